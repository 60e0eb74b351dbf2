//! Every setting that is not a table of its own: what a variable or `--set` may name, and what the runbook
//! lists.

/// How a setting is written in a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Flag,
    /// Separated by commas.
    List,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its place in the file: `database.url`.
    pub path: &'static str,
    pub kind: Kind,
    pub meaning: &'static str,
}

const fn setting(path: &'static str, kind: Kind, meaning: &'static str) -> Setting {
    Setting { path, kind, meaning }
}

/// Every setting that is not a table of its own.
pub const SETTINGS: &[Setting] = &[
    setting("server.listen", Kind::Text, "where gRPC is served"),
    setting(
        "server.insecure",
        Kind::Flag,
        "serve other addresses than loopback without caller authentication",
    ),
    setting("server.reflection", Kind::Flag, "serve the contract's descriptors, for grpcurl and its like"),
    setting(
        "server.threads",
        Kind::Number,
        "threads that serve connections and answer checks from memory; 0 is one for each core",
    ),
    setting("server.probe_listen", Kind::Text, "a plaintext port for health probes alone"),
    setting("server.metrics_listen", Kind::Text, "a plaintext port where Prometheus reads `/metrics`"),
    setting(
        "server.drain_lead_seconds",
        Kind::Number,
        "how long calls are still taken after the signal to stop, until clients have heard of it",
    ),
    setting("server.drain_seconds", Kind::Number, "how long calls may take to finish after that"),
    setting("database.url", Kind::Text, "`sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`"),
    setting("database.connections_max", Kind::Number, "the most connections to the database"),
    setting(
        "database.pooler",
        Kind::Flag,
        "PostgreSQL is behind a pooler in transaction mode, such as PgBouncer",
    ),
    setting("database.migrate", Kind::Flag, "bring the schema up to date at the start"),
    setting("cache.standings_max", Kind::Number, "the most standings held in memory"),
    setting("cache.staleness_max_ms", Kind::Number, "on PostgreSQL: how old an answer from memory may be"),
    setting(
        "cache.poll_interval_ms",
        Kind::Number,
        "on PostgreSQL: how often changes of other servers are looked for",
    ),
    setting(
        "cache.outage_grace_ms",
        Kind::Number,
        "how much longer memory answers when the database is away",
    ),
    setting("roles.directory", Kind::Text, "role models (`*.toml`) that replace or add to the shipped ones"),
    setting(
        "oauth.issuers",
        Kind::List,
        "the OAuth issuers that people log in at; one alone need not be named in requests",
    ),
    setting(
        "mail.directory",
        Kind::Text,
        "a directory that mails are written to as `.eml` files, for trials",
    ),
    setting("mail.smtp_host", Kind::Text, "the mail server that mails are handed to"),
    setting(
        "mail.smtp_port",
        Kind::Number,
        "its port; without it 587 (`starttls`), 465 (`tls`) or 25 (`none`)",
    ),
    setting("mail.smtp_tls", Kind::Text, "`starttls`, `tls` or, on loopback only, `none`"),
    setting("mail.smtp_username", Kind::Text, "the login at the mail server"),
    setting("mail.smtp_password", Kind::Text, "the password of that login"),
    setting("mail.smtp_ca_file", Kind::Text, "the only authorities (PEM) that may vouch for the mail server"),
    setting("mail.smtp_timeout_seconds", Kind::Number, "how long handing over one mail may take"),
    setting("mail.templates", Kind::Text, "a directory of texts that replace or add to the shipped ones"),
    setting("mail.from", Kind::Text, "the sender of mails"),
    setting("mail.invitation_url", Kind::Text, "the page that accepts an invitation; holds `{token}`"),
    setting("mail.password_url", Kind::Text, "the page that sets a password; holds `{token}`"),
    setting("mail.email_url", Kind::Text, "the page that confirms a new address; holds `{token}`"),
    setting("mail.account_hourly_max", Kind::Number, "the most mails that an account causes in an hour"),
    setting("tls.certificate_file", Kind::Text, "the server's certificate chain, in PEM; turns TLS on"),
    setting("tls.key_file", Kind::Text, "the key of the certificate, in PEM"),
    setting("tls.client_ca_file", Kind::Text, "the authorities of callers' certificates, in PEM"),
    setting(
        "tls.client_certificates",
        Kind::Text,
        "`required`, `optional` (for callers with tokens) or `none`",
    ),
    setting("limits.connections", Kind::Number, "connections at once"),
    setting("limits.connections_per_address", Kind::Number, "connections at once from one address"),
    setting("limits.accept_pause_ms", Kind::Number, "pause after an accept that failed"),
    setting("limits.handshake_ms", Kind::Number, "time for the TLS handshake"),
    setting("limits.preface_ms", Kind::Number, "time for the HTTP/2 preface after it"),
    setting("limits.idle_seconds", Kind::Number, "a connection silent for so long is cut; 0 is never"),
    setting(
        "limits.connection_age_seconds",
        Kind::Number,
        "age at which a connection is asked to end; 0 is never",
    ),
    setting("limits.connection_grace_seconds", Kind::Number, "time after that until it is cut"),
    setting("limits.keepalive_interval_seconds", Kind::Number, "time between two HTTP/2 pings"),
    setting("limits.keepalive_timeout_seconds", Kind::Number, "time for the answer to a ping"),
    setting("limits.tcp_keepalive_idle_seconds", Kind::Number, "silence before the first TCP probe"),
    setting("limits.tcp_keepalive_interval_seconds", Kind::Number, "time between two TCP probes"),
    setting("limits.tcp_keepalive_probes", Kind::Number, "TCP probes without answer"),
    setting("limits.streams_per_connection", Kind::Number, "calls at once on one connection"),
    setting("limits.local_error_resets", Kind::Number, "streams that one connection may make us reset"),
    setting("limits.pending_resets", Kind::Number, "streams reset by the peer before we looked at them"),
    setting("limits.header_list_bytes", Kind::Number, "headers of one request"),
    setting("limits.frame_bytes", Kind::Number, "one HTTP/2 frame"),
    setting("limits.stream_window_bytes", Kind::Number, "unread bytes of one stream"),
    setting("limits.connection_window_bytes", Kind::Number, "unread bytes of one connection"),
    setting("limits.request_bytes", Kind::Number, "one request"),
    setting("limits.response_bytes", Kind::Number, "one response"),
    setting("limits.concurrent_calls", Kind::Number, "calls at once in the process"),
    setting("limits.concurrent_streams", Kind::Number, "server streams at once in the process"),
    setting(
        "limits.slow_reader_seconds",
        Kind::Number,
        "a stream whose reader takes nothing for so long is cut",
    ),
    setting("limits.deadline_ms", Kind::Number, "how long a call may take"),
    setting("log.format", Kind::Text, "`text` or `json`"),
    setting("log.filter", Kind::Text, "what is logged, as `tracing` filters say it"),
];
