//! Which calls are traced, decided once, before there is a span: what is not traced costs a look at
//! one header.

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use crate::lifecycle::StartError;

/// What a caller's W3C `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent<'a> {
    /// 32 hexadecimal digits, not all 0.
    pub(super) trace_id: &'a str,
    pub(super) is_sampled: bool,
}

impl<'a> Parent<'a> {
    /// `None` when there is none, or one that breaks the form: then the caller is as one without.
    pub(super) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let text = headers.get("traceparent")?.to_str().ok()?;
        let mut parts = text.split('-');
        let (version, trace_id, span_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |part: &str, length| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let is_zero = |part: &str| part.bytes().all(|b| b == b'0');
        let fits = is_hex(version, 2) && is_hex(trace_id, 32) && is_hex(span_id, 16) && is_hex(flags, 2);
        if !fits || version == "ff" || is_zero(trace_id) || is_zero(span_id) {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace_id, is_sampled: flags & 1 == 1 })
    }
}

/// `OTEL_TRACES_SAMPLER` and its argument.
#[derive(Debug)]
pub(super) struct Sampling {
    /// A parent's decision is followed.
    parent_based: bool,
    /// Of calls without a parent to follow, those are traced whose number is below.
    threshold: u64,
    next: AtomicU64,
}

impl Sampling {
    pub(super) fn from_environment() -> Result<Self, StartError> {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Self::read(variable("OTEL_TRACES_SAMPLER").as_deref(), variable("OTEL_TRACES_SAMPLER_ARG").as_deref())
    }

    fn read(sampler: Option<&str>, argument: Option<&str>) -> Result<Self, StartError> {
        let ratio = || match argument.map(str::parse::<f64>) {
            None => Ok(1.0),
            Some(Ok(ratio)) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
            Some(_) => Err(StartError("`OTEL_TRACES_SAMPLER_ARG` is not a number from 0 to 1".to_owned())),
        };
        let (parent_based, ratio) = match sampler.unwrap_or("parentbased_always_on") {
            "always_on" => (false, 1.0),
            "always_off" => (false, 0.0),
            "traceidratio" => (false, ratio()?),
            "parentbased_always_on" => (true, 1.0),
            "parentbased_always_off" => (true, 0.0),
            "parentbased_traceidratio" => (true, ratio()?),
            other => {
                return Err(StartError(format!(
                    "`OTEL_TRACES_SAMPLER` is `{other}`; usher has `always_on`, `always_off`, `traceidratio` \
                     and each with `parentbased_` before it"
                )));
            }
        };
        let threshold = if ratio >= 1.0 { u64::MAX } else { (ratio * 2_f64.powi(64)) as u64 };
        Ok(Self { parent_based, threshold, next: AtomicU64::new(getrandom::u64().unwrap_or(0)) })
    }

    /// Whether a call with this parent is traced.
    pub(super) fn traces(&self, parent: Option<Parent<'_>>) -> bool {
        match parent {
            Some(parent) if self.parent_based => parent.is_sampled,
            // By the trace's own number, so that all who sample by ratio take the same ones.
            Some(parent) => {
                self.is_below(parent.trace_id.get(16..).and_then(|low| u64::from_str_radix(low, 16).ok()))
            }
            None if self.threshold == u64::MAX => true,
            None if self.threshold == 0 => false,
            None => self.is_below(Some(self.draw())),
        }
    }

    fn is_below(&self, number: Option<u64>) -> bool {
        self.threshold == u64::MAX || number.is_some_and(|number| number < self.threshold)
    }

    /// SplitMix64 over a shared counter: spread well enough, and no call waits for another.
    fn draw(&self) -> u64 {
        let mut z = self.next.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Carries the decision to the SDK: the span of a call that is traced has the kind `server`, and what
/// is below a traced span is traced. Work that no call asked for (polls, the outbox) is not.
#[derive(Debug, Clone)]
pub(super) struct Decided;

impl ShouldSample for Decided {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        _trace_id: TraceId,
        _name: &str,
        kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let context = parent.map(|parent| parent.span().span_context().clone());
        let is_below_traced =
            context.as_ref().is_some_and(|context| context.is_valid() && context.is_sampled());
        let decision = if *kind == SpanKind::Server || is_below_traced {
            SamplingDecision::RecordAndSample
        } else {
            SamplingDecision::Drop
        };
        let trace_state = context.map(|context| context.trace_state().clone()).unwrap_or_default();
        SamplingResult { decision, attributes: Vec::new(), trace_state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn headers(traceparent: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), traceparent.parse().unwrap())])
    }

    #[test]
    fn a_parent_is_read_as_w3c_says() {
        let sampled = headers(&format!("00-{TRACE}-b7ad6b7169203331-01"));
        assert_eq!(Parent::of(&sampled), Some(Parent { trace_id: TRACE, is_sampled: true }));
        let unsampled = headers(&format!("00-{TRACE}-b7ad6b7169203331-00"));
        assert!(!Parent::of(&unsampled).unwrap().is_sampled);
        let later = headers(&format!("01-{TRACE}-b7ad6b7169203331-03-more"));
        assert!(Parent::of(&later).unwrap().is_sampled);
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-b7ad6b7169203331-1"),
        ] {
            assert_eq!(Parent::of(&headers(&bad)), None, "{bad}");
        }
        assert_eq!(Parent::of(&HeaderMap::new()), None);
    }

    #[test]
    fn parents_are_followed_and_roots_are_drawn_by_ratio() {
        let read = |sampler, argument| Sampling::read(Some(sampler), argument).unwrap();
        let parent = |is_sampled| Some(Parent { trace_id: TRACE, is_sampled });
        let all = Sampling::read(None, None).unwrap();
        assert!(all.traces(None) && all.traces(parent(true)) && !all.traces(parent(false)));
        let none = read("parentbased_always_off", None);
        assert!(!none.traces(None) && none.traces(parent(true)));
        let off = read("always_off", None);
        assert!(!off.traces(None) && !off.traces(parent(true)));
        let half = read("parentbased_traceidratio", Some("0.5"));
        let drawn = (0..10_000).filter(|_| half.traces(None)).count();
        assert!((4_500..5_500).contains(&drawn), "{drawn}");
        // 0x8448… is a little more than half of all.
        assert!(!read("traceidratio", Some("0.5")).traces(parent(true)));
        assert!(read("traceidratio", Some("0.6")).traces(parent(false)));
        for (sampler, argument) in
            [("jaeger_remote", None), ("traceidratio", Some("2")), ("traceidratio", Some("x"))]
        {
            assert!(Sampling::read(Some(sampler), argument).is_err(), "{sampler}");
        }
    }
}
