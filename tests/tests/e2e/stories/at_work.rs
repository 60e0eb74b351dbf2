//! Running jobs, by people and by schedules, and drawing what people may do.

use tonic::Code;
use usher_tests::cast::joining;
use usher_tests::{Actor, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, both_engines, pb, refused};

use crate::changes::lapse_at;
use crate::invite::invite;
use crate::matrix::{automation, user};
use crate::reasons::{answer, check};

both_engines!(
    story_3_1_a_job_run_request_at_the_gateway,
    story_3_2_drawing_the_ui,
    story_3_10_nightly_runs_where_the_subject_is_a_schedule,
);

fn fresh(token: &str) -> Option<pb::Consistency> {
    let requirement = pb::consistency::Requirement::AtLeastAsFresh(token.to_owned());
    Some(pb::Consistency { requirement: Some(requirement) })
}

fn item(subject: &str, action: &str, owner: Option<&str>) -> pb::Check {
    let one = check("globex", subject, action, owner);
    pb::Check { subject: None, action: one.action, resource: one.resource }
}

async fn story_3_1_a_job_run_request_at_the_gateway(engine: Engine) {
    let usher = Usher::start(engine).await;
    let acme = usher.cast("acme", INTEGRATE_IO).await;
    let globex = usher.cast("globex", DATAIMPORTER).await;
    // Integrate.io: the gateway alone can decide, and tells whom it refuses what they are.
    let allowed = answer(&usher, check("acme", &acme.member("editor"), "job.run", None)).await;
    assert_eq!((allowed.decision(), &*allowed.role), (pb::Decision::Allow, "editor"));
    assert!(!allowed.permission.is_empty() && !allowed.depends_on_owner);
    let reader = acme.member("reader");
    let denied = answer(&usher, check("acme", &reader, "job.run", None)).await;
    assert_eq!((denied.reason(), &*denied.role), (pb::DecisionReason::RoleLacksPermission, "reader"));
    // A typo is a bug of the caller, and no denial.
    let typo = usher.authorization().check_permission(check("acme", &reader, "job.execute", None)).await;
    refused(typo, Code::InvalidArgument, "ACTION_UNKNOWN");
    // Dataimporter: who does not know the owner is told that this is not the last word.
    let uma = globex.member("user");
    let open = answer(&usher, check("globex", &uma, "job.run", None)).await;
    assert_eq!((open.reason(), open.depends_on_owner), (pb::DecisionReason::OwnerRequired, true));
    let own = answer(&usher, check("globex", &uma, "job.run", Some(&uma))).await;
    assert_eq!((own.decision(), own.depends_on_owner), (pb::Decision::Allow, true));
    let other = answer(&usher, check("globex", &uma, "job.run", Some(&globex.member("admin")))).await;
    assert_eq!(other.reason(), pb::DecisionReason::NotOwner);
    // The job and each connection that it uses, in one call at one revision.
    let request = pb::CheckPermissionsRequest {
        account_id: "globex".to_owned(),
        subject: user(&uma),
        checks: vec![
            item(&uma, "job.run", Some(&uma)),
            item(&uma, "connection.use", Some(&uma)),
            item(&uma, "connection.use", Some("somebody")),
        ],
        ..Default::default()
    };
    let answers = usher.authorization().check_permissions(request).await.unwrap().into_inner();
    let decisions: Vec<_> = answers
        .results
        .iter()
        .map(|result| match &result.result {
            Some(pb::check_result::Result::Outcome(outcome)) => outcome.decision(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(decisions, [pb::Decision::Allow, pb::Decision::Allow, pb::Decision::Deny]);
    // After a change in the same flow the gateway passes on what the change gave it.
    let changed = usher.change_role("acme", Platform, &reader, "editor").await.unwrap().into_inner();
    let request = pb::CheckPermissionRequest {
        consistency: fresh(&changed.consistency_token),
        ..check("acme", &reader, "job.run", None)
    };
    let now = answer(&usher, request).await;
    assert_eq!((now.decision(), now.revision), (pb::Decision::Allow, changed.revision));
    usher.stop().await;
}

async fn story_3_2_drawing_the_ui(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let globex = usher.cast("globex", DATAIMPORTER).await;
    let (uma, admin) = (globex.member("user"), globex.member("admin"));
    let list = async |subject: &str| {
        let request = pb::ListPermissionsRequest {
            account_id: "globex".to_owned(),
            subject: user(subject),
            ..Default::default()
        };
        usher.authorization().list_permissions(request).await.unwrap().into_inner()
    };
    let of_user = list(&uma).await;
    let grant = |list: &pb::ListPermissionsResponse, resource: &str, action: &str| {
        let found = list.permissions.iter().find(|p| p.resource_type == resource && p.action == action);
        found.unwrap_or_else(|| panic!("{resource}.{action} is not listed")).grant()
    };
    assert_eq!((&*of_user.role, &*of_user.role_title), ("user", "User"));
    assert_eq!(of_user.blocked_reason(), pb::DecisionReason::Unspecified);
    // What is drawn for fifty jobs needs no two hundred checks; what is never allowed is listed too.
    assert_eq!(grant(&of_user, "job", "update"), pb::Grant::WhenOwn);
    assert_eq!(grant(&of_user, "job", "create"), pb::Grant::Always);
    assert_eq!(grant(&of_user, "billing", "view"), pb::Grant::Never);
    assert_eq!(of_user.permissions.len(), list(&admin).await.permissions.len());
    // Grace shows as a notice with its end, the lapse as one reason for the whole.
    lapse_at(&usher, &globex, 100, 200).await;
    usher.set_seconds(150);
    let in_grace = list(&uma).await;
    assert_eq!(in_grace.notices[0].kind(), pb::NoticeKind::InGrace);
    assert_eq!(in_grace.notices[0].end_time, crate::changes::at(200));
    assert_eq!(in_grace.valid_until_time, crate::changes::at(200));
    usher.set_seconds(200);
    assert_eq!(list(&uma).await.blocked_reason(), pb::DecisionReason::SubscriptionLapsed);
    // The account switcher.
    let request = pb::ListMembershipsRequest { user_id: uma.clone(), ..Default::default() };
    let memberships = usher.sign_in().list_memberships(request).await.unwrap().into_inner().memberships;
    assert_eq!(memberships[0].account_id, "globex");
    assert_eq!(memberships[0].subscription_state(), pb::SubscriptionState::Lapsed);
    usher.stop().await;
}

async fn story_3_10_nightly_runs_where_the_subject_is_a_schedule(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let acme = usher.cast("acme", INTEGRATE_IO).await;
    let globex = usher.cast("globex", DATAIMPORTER).await;
    let by_schedule = |account: &str, action: &str| pb::CheckPermissionRequest {
        subject: automation(),
        ..check(account, "nobody", action, None)
    };
    // Integrate.io: whoever made the schedule may have left; the account is what counts.
    let (_, operator) = (usher.remove("acme", Platform, &acme.member("editor")).await.unwrap(), "operator");
    usher.remove("acme", Platform, &acme.member(operator)).await.unwrap();
    for action in ["job.run", "cluster.create", "cluster.delete"] {
        let run = answer(&usher, by_schedule("acme", action)).await;
        assert_eq!((run.decision(), run.reason()), (pb::Decision::Allow, pb::DecisionReason::Automation));
    }
    let no = answer(&usher, by_schedule("acme", "package.delete")).await;
    assert_eq!(no.reason(), pb::DecisionReason::AutomationLacksPermission);
    // Dataimporter: as the schedule's owner, who must still be in order.
    let no = answer(&usher, by_schedule("globex", "job.run")).await;
    assert_eq!(no.reason(), pb::DecisionReason::AutomationLacksPermission);
    invite(&usher, joining("globex", Actor(&globex.member("admin")), "uma", "user")).await;
    let as_owner = || check("globex", "uma", "job.run", Some("uma"));
    assert_eq!(answer(&usher, as_owner()).await.decision(), pb::Decision::Allow);
    usher.suspend_member("globex", "uma").await;
    assert_eq!(answer(&usher, as_owner()).await.reason(), pb::DecisionReason::MemberSuspended);
    // Not paid, not run: and the reason is there to be shown on the run.
    lapse_at(&usher, &acme, 10, 20).await;
    usher.set_seconds(20);
    let lapsed = answer(&usher, by_schedule("acme", "job.run")).await;
    assert_eq!(lapsed.reason(), pb::DecisionReason::SubscriptionLapsed);
    usher.stop().await;
}
