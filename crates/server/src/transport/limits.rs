//! Every bound that the transport keeps, with the values that held under attack.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tonic::transport::Server;

/// How much, how many and how long. Units stand last in the names; 0 means "no limit" only where
/// it says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at once, over all listeners. Further ones wait in the kernel's queue.
    pub connections: u32,
    /// Connections at once from one IPv4 address or one IPv6 /64. Behind a proxy this is per proxy.
    pub connections_per_address: u32,
    /// The pause after an accept that failed, so that a lack of file descriptors does not spin.
    pub accept_pause_ms: u64,
    /// From the TCP connection to the end of the TLS handshake.
    pub handshake_ms: u64,
    /// From there to the last byte of the HTTP/2 preface.
    pub preface_ms: u64,
    /// A connection that sends no byte for so long is cut; a living peer answers our pings. 0: no limit.
    pub idle_seconds: u64,
    /// After this age (± 10 %) a connection is asked to end, so that clients spread over replicas.
    /// 0: no limit.
    pub connection_age_seconds: u64,
    /// A connection older than its age is cut after this time, whatever it still does.
    pub connection_grace_seconds: u64,
    /// Between two HTTP/2 pings.
    pub keepalive_interval_seconds: u64,
    /// A ping unanswered for so long ends the connection.
    pub keepalive_timeout_seconds: u64,
    /// Silence before the first TCP keepalive probe.
    pub tcp_keepalive_idle_seconds: u64,
    /// Between two TCP keepalive probes.
    pub tcp_keepalive_interval_seconds: u64,
    /// Unanswered TCP keepalive probes before the kernel gives up.
    pub tcp_keepalive_probes: u32,
    /// Streams at once on one connection.
    pub streams_per_connection: u32,
    /// Streams that one connection may make us reset, over its life (CVE-2025-8671).
    pub local_error_resets: usize,
    /// Streams that the peer reset before we looked at them (CVE-2023-44487).
    pub pending_resets: usize,
    /// The headers of one request, uncompressed; a bearer token must fit in.
    pub header_list_bytes: u32,
    /// One HTTP/2 frame.
    pub frame_bytes: u32,
    /// Unread bytes of one stream.
    pub stream_window_bytes: u32,
    /// Unread bytes of one connection.
    pub connection_window_bytes: u32,
    /// One request message, also after decompression.
    pub request_bytes: usize,
    /// One response message.
    pub response_bytes: usize,
    /// Unary calls at once in the process; more are refused at once.
    pub concurrent_calls: usize,
    /// Server streams open at once in the process; more are refused at once.
    pub concurrent_streams: usize,
    /// A server stream whose reader takes nothing for so long is cut.
    pub slow_reader_seconds: u64,
    /// How long a call may take, unless `deadlines_ms` says otherwise or the caller wants less.
    /// Streams have none.
    pub deadline_ms: u64,
    /// Deadlines of single methods, as `"usher.v1.AuthorizationService/CheckPermission" = 1000`.
    pub deadlines_ms: BTreeMap<String, u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_address: 256,
            accept_pause_ms: 100,
            handshake_ms: 3_000,
            preface_ms: 2_000,
            idle_seconds: 120,
            connection_age_seconds: 600,
            connection_grace_seconds: 60,
            keepalive_interval_seconds: 30,
            keepalive_timeout_seconds: 10,
            tcp_keepalive_idle_seconds: 60,
            tcp_keepalive_interval_seconds: 15,
            tcp_keepalive_probes: 4,
            streams_per_connection: 128,
            local_error_resets: 1_024,
            pending_resets: 20,
            header_list_bytes: 8 << 10,
            frame_bytes: 16 << 10,
            stream_window_bytes: 64 << 10,
            connection_window_bytes: 512 << 10,
            request_bytes: 1 << 20,
            response_bytes: 1 << 20,
            concurrent_calls: 256,
            concurrent_streams: 1_024,
            slow_reader_seconds: 30,
            deadline_ms: 5_000,
            deadlines_ms: BTreeMap::from([(
                "usher.v1.AuthorizationService/CheckPermission".to_owned(),
                1_000,
            )]),
        }
    }
}

/// How far the age of connections differs from process to process, so that replicas which started
/// together do not shed their connections together.
const AGE_JITTER_PERCENT: u64 = 10;

impl Limits {
    /// What is wrong with the values, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        let at_least_one = [
            ("connections", u64::from(self.connections)),
            ("connections_per_address", u64::from(self.connections_per_address)),
            ("accept_pause_ms", self.accept_pause_ms),
            ("handshake_ms", self.handshake_ms),
            ("preface_ms", self.preface_ms),
            ("connection_grace_seconds", self.connection_grace_seconds),
            ("keepalive_interval_seconds", self.keepalive_interval_seconds),
            ("keepalive_timeout_seconds", self.keepalive_timeout_seconds),
            ("tcp_keepalive_idle_seconds", self.tcp_keepalive_idle_seconds),
            ("tcp_keepalive_interval_seconds", self.tcp_keepalive_interval_seconds),
            ("tcp_keepalive_probes", u64::from(self.tcp_keepalive_probes)),
            ("streams_per_connection", u64::from(self.streams_per_connection)),
            ("local_error_resets", self.local_error_resets as u64),
            ("pending_resets", self.pending_resets as u64),
            ("header_list_bytes", u64::from(self.header_list_bytes)),
            ("request_bytes", self.request_bytes as u64),
            ("response_bytes", self.response_bytes as u64),
            ("concurrent_calls", self.concurrent_calls as u64),
            ("concurrent_streams", self.concurrent_streams as u64),
            ("slow_reader_seconds", self.slow_reader_seconds),
            ("deadline_ms", self.deadline_ms),
        ];
        let zero = at_least_one.into_iter().filter(|(_, value)| *value == 0);
        let mut problems: Vec<_> = zero.map(|(name, _)| format!("`{name}` must be at least 1")).collect();
        if !(16 << 10..=(1 << 24) - 1).contains(&self.frame_bytes) {
            problems.push("`frame_bytes` must lie between 16384 and 16777215 (RFC 9113)".to_owned());
        }
        for (name, value) in [
            ("stream_window_bytes", self.stream_window_bytes),
            ("connection_window_bytes", self.connection_window_bytes),
        ] {
            if !(1 << 16..=1 << 30).contains(&value) {
                problems.push(format!("`{name}` must lie between 65536 and 1073741824"));
            }
        }
        if self.idle_seconds != 0 && self.idle_seconds <= self.keepalive_interval_seconds {
            problems.push("`idle_seconds` must exceed `keepalive_interval_seconds`".to_owned());
        }
        let zero = self.deadlines_ms.iter().filter(|(_, ms)| **ms == 0);
        problems.extend(zero.map(|(method, _)| format!("the deadline of `{method}` must be at least 1 ms")));
        problems
    }

    /// Gives `server` every HTTP/2 setting. tonic passes what is not set on as "no limit", so
    /// nothing here may be left out.
    ///
    /// Deliberately not called: `max_connection_age_grace` (it cuts without a GOAWAY; the hard life
    /// is kept by [`super::guarded`]), `timeout` (it answers CANCELLED; see [`super::outcome`]),
    /// `http2_adaptive_window` (it overrides the windows), `accept_http1`.
    pub fn apply<L>(&self, server: Server<L>) -> Server<L> {
        let server = server
            .max_concurrent_streams(self.streams_per_connection)
            .http2_max_local_error_reset_streams(Some(self.local_error_resets))
            .http2_max_pending_accept_reset_streams(Some(self.pending_resets))
            .http2_max_header_list_size(self.header_list_bytes)
            .max_frame_size(self.frame_bytes)
            .initial_stream_window_size(self.stream_window_bytes)
            .initial_connection_window_size(self.connection_window_bytes)
            .http2_keepalive_interval(Some(Duration::from_secs(self.keepalive_interval_seconds)))
            .http2_keepalive_timeout(Some(Duration::from_secs(self.keepalive_timeout_seconds)));
        match self.connection_age(getrandom::u32().unwrap_or(u32::MAX / 2)) {
            Some(age) => server.max_connection_age(age),
            None => server,
        }
    }

    /// The age at which a connection is asked to end: ± 10 % of the setting, as `random` says.
    fn connection_age(&self, random: u32) -> Option<Duration> {
        let age_ms = self.connection_age_seconds.saturating_mul(1_000);
        let spread = age_ms / 100 * AGE_JITTER_PERCENT * 2;
        let offset = (u128::from(spread) * u128::from(random) / u128::from(u32::MAX)) as u64;
        (age_ms > 0).then(|| Duration::from_millis(age_ms - spread / 2 + offset))
    }

    /// The age at which a connection is cut, whatever it does.
    pub(super) fn connection_life(&self) -> Option<Duration> {
        let oldest = self.connection_age(u32::MAX)?;
        Some(oldest + Duration::from_secs(self.connection_grace_seconds))
    }

    pub(super) fn idle(&self) -> Option<Duration> {
        (self.idle_seconds > 0).then(|| Duration::from_secs(self.idle_seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_an_empty_file_means_them() {
        assert_eq!(Limits::default().problems(), Vec::<String>::new());
        assert_eq!(toml::from_str::<Limits>("").unwrap(), Limits::default());
        assert!(
            toml::from_str::<Limits>("conections = 1").unwrap_err().to_string().contains("unknown field")
        );
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let limits = Limits { connections: 0, frame_bytes: 1, idle_seconds: 30, ..Limits::default() };
        assert_eq!(
            limits.problems(),
            [
                "`connections` must be at least 1",
                "`frame_bytes` must lie between 16384 and 16777215 (RFC 9113)",
                "`idle_seconds` must exceed `keepalive_interval_seconds`",
            ]
        );
    }

    #[test]
    fn the_age_spreads_by_a_tenth_and_the_hard_life_comes_after_it() {
        let limits = Limits::default();
        let age = |random| limits.connection_age(random).unwrap().as_secs();
        assert_eq!((age(0), age(u32::MAX / 2), age(u32::MAX)), (540, 599, 660));
        assert_eq!(limits.connection_life(), Some(Duration::from_secs(720)));
        let ageless = Limits { connection_age_seconds: 0, ..limits };
        assert_eq!((ageless.connection_age(7), ageless.connection_life()), (None, None));
    }
}
