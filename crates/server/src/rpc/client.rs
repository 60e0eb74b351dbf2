//! The client's side of a check, for the command line.

use serde_json::json;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use usher_contract::v1 as pb;
use usher_contract::v1::authorization_service_client::AuthorizationServiceClient;

pub(crate) struct Question<'a> {
    pub(crate) account: &'a str,
    /// `None` is automation.
    pub(crate) subject: Option<&'a str>,
    pub(crate) resource_type: &'a str,
    pub(crate) action: &'a str,
    pub(crate) owner: Option<&'a str>,
    pub(crate) explain: bool,
    pub(crate) token: Option<&'a str>,
}

pub(crate) struct Answer {
    pub(crate) allows: bool,
    pub(crate) lines: Vec<String>,
    pub(crate) json: serde_json::Value,
}

pub(crate) async fn ask(channel: Channel, question: &Question<'_>) -> Result<Answer, String> {
    let kind = match question.subject {
        Some(user) => pb::subject::Kind::UserId(user.to_owned()),
        None => pb::subject::Kind::Automation(pb::Automation { id: "cli".to_owned() }),
    };
    let mut request = Request::new(pb::CheckPermissionRequest {
        account_id: question.account.to_owned(),
        subject: Some(pb::Subject { kind: Some(kind) }),
        action: question.action.to_owned(),
        resource: Some(pb::Resource {
            r#type: question.resource_type.to_owned(),
            id: String::new(),
            owner_id: question.owner.map(str::to_owned),
        }),
        consistency: None,
        explain: question.explain,
    });
    if let Some(token) = question.token {
        let value =
            MetadataValue::try_from(format!("Bearer {token}")).map_err(|_| "the token is not text")?;
        request.metadata_mut().insert("authorization", value);
    }
    let answer = AuthorizationServiceClient::new(channel).check_permission(request).await;
    answer.map(|answer| told(answer.into_inner())).map_err(|status| status.message().to_owned())
}

fn told(answer: pb::CheckPermissionResponse) -> Answer {
    let allows = answer.decision() == pb::Decision::Allow;
    let decision = if allows { "ALLOW" } else { "DENY" };
    let reason = answer.reason().as_str_name().trim_start_matches("DECISION_REASON_").to_owned();
    let mut first = format!("{decision} {reason}");
    for (name, value) in [("role", &answer.role), ("permission", &answer.permission)] {
        if !value.is_empty() {
            first.push_str(&format!(" {name}={value}"));
        }
    }
    first.push_str(&format!(" revision={}", answer.revision));
    let parts = answer.explanation.iter().flat_map(|explanation| &explanation.parts);
    let parts: Vec<(bool, String)> = parts.map(|part| (part.holds, part.detail.clone())).collect();
    let json = json!({
        "decision": decision,
        "reason": reason,
        "role": answer.role,
        "permission": answer.permission,
        "depends_on_owner": answer.depends_on_owner,
        "revision": answer.revision,
        "parts": parts.iter().map(|(holds, detail)| json!({"holds": holds, "detail": detail})).collect::<Vec<_>>(),
    });
    let told = parts.iter().map(|(holds, detail)| format!("  {} {detail}", if *holds { "✔" } else { "✘" }));
    Answer { allows, lines: std::iter::once(first).chain(told).collect(), json }
}
