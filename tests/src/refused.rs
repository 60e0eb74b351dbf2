//! What a refused call says: exactly one reason, and what comes with it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

/// A refusal, read out of a status.
#[derive(Debug, Clone)]
pub struct Refused {
    pub code: Code,
    /// As `ErrorInfo` names it.
    pub reason: String,
    pub message: String,
    pub metadata: HashMap<String, String>,
    /// `BadRequest`'s violations: field, description, narrower reason.
    pub fields: Vec<(String, String, String)>,
    /// `PreconditionFailure`'s violations: type and subject.
    pub preconditions: Vec<(String, String)>,
    /// `QuotaFailure`'s subjects.
    pub quotas: Vec<String>,
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// # Panics
    /// When the status carries no `ErrorInfo` of Usher's.
    #[track_caller]
    pub fn of(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().unwrap_or_else(|| panic!("no `ErrorInfo` in {status:?}"));
        assert_eq!(info.domain, "usher.v1", "{status:?}");
        let bad = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        let preconditions = details.precondition_failure().map(|p| p.violations.clone()).unwrap_or_default();
        let quotas = details.quota_failure().map(|quota| quota.violations.clone()).unwrap_or_default();
        Self {
            code: status.code(),
            reason: info.reason.clone(),
            message: status.message().to_owned(),
            metadata: info.metadata.clone(),
            fields: bad.into_iter().map(|v| (v.field, v.description, v.reason)).collect(),
            preconditions: preconditions.into_iter().map(|v| (v.r#type, v.subject)).collect(),
            quotas: quotas.into_iter().map(|v| v.subject).collect(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }

    /// A value of the metadata; empty when it is not there.
    pub fn meta(&self, name: &str) -> &str {
        self.metadata.get(name).map_or("", String::as_str)
    }

    /// The paths of all fields that are wrong, in their order.
    pub fn paths(&self) -> Vec<&str> {
        self.fields.iter().map(|(path, _, _)| path.as_str()).collect()
    }
}

/// The refusal of a call that must be refused, with this code and for this reason.
///
/// # Panics
/// When it succeeded, or was refused otherwise.
#[track_caller]
pub fn refused<T: Debug>(call: Result<Response<T>, Status>, code: Code, reason: &str) -> Refused {
    let status = match call {
        Ok(answer) => panic!("expected {reason}, got {:?}", answer.into_inner()),
        Err(status) => status,
    };
    let refused = Refused::of(&status);
    assert_eq!((refused.code, refused.reason.as_str()), (code, reason), "{refused:?}");
    refused
}
