//! How fresh an answer is, and batches of checks.

use tonic::Code;
use usher_tests::pb::{self, DecisionReason as R, check_result, consistency::Requirement};
use usher_tests::{Cast, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, acting, both_engines, refused};

use crate::changes::{assign, manage, release};
use crate::matrix::user;
use crate::reasons::{answer, check};

both_engines!(
    a_change_is_seen_by_the_next_check,
    a_token_binds_to_its_account_and_its_past,
    batches_keep_order_answer_duplicates_and_part_errors_from_denials,
    a_batch_says_what_its_checks_say_one_by_one,
    a_batch_holds_a_thousand_checks_and_no_more,
    a_batch_is_answered_from_one_revision,
);

fn fresh(requirement: Requirement) -> Option<pb::Consistency> {
    Some(pb::Consistency { requirement: Some(requirement) })
}

fn at_least(token: &str) -> Option<pb::Consistency> {
    fresh(Requirement::AtLeastAsFresh(token.to_owned()))
}

/// Gives and takes a seat; the answer changes each time, whichever way it is asked.
async fn a_change_is_seen_by_the_next_check(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let reader = cast.member("reader");
    let ask = check("acme", &reader, "job.view", None);
    for round in 0..10 {
        let (change, expected) =
            if round % 2 == 0 { (release(&reader), R::NoSeat) } else { (assign(&reader), R::RoleGrants) };
        let changed =
            usher.licenses().manage_licenses(manage("acme", Platform, [change])).await.unwrap().into_inner();
        let modes = [
            None,
            fresh(Requirement::MinimizeLatency(true)),
            at_least(&changed.consistency_token),
            fresh(Requirement::FullyConsistent(true)),
        ];
        for consistency in modes {
            let request = pb::CheckPermissionRequest { consistency: consistency.clone(), ..ask.clone() };
            let told = answer(&usher, request).await;
            assert_eq!((told.reason(), told.revision), (expected, changed.revision), "round {round}");
            assert_eq!(told.consistency_token, changed.consistency_token);
            let told = usher
                .authorization()
                .check_permissions(many(&ask, consistency.clone()))
                .await
                .unwrap()
                .into_inner();
            let Some(check_result::Result::Outcome(outcome)) = &told.results[0].result else {
                panic!("{told:?}")
            };
            assert_eq!((outcome.reason(), told.revision), (expected, changed.revision), "round {round}");
            assert_eq!(told.consistency_token, changed.consistency_token);
            let told =
                usher.authorization().list_permissions(list(&ask, consistency)).await.unwrap().into_inner();
            let blocked = if expected == R::NoSeat { R::NoSeat } else { R::Unspecified };
            assert_eq!((told.blocked_reason(), told.revision), (blocked, changed.revision), "round {round}");
            assert_eq!(told.consistency_token, changed.consistency_token);
        }
    }
    usher.stop().await;
}

/// The same question as a batch of one.
fn many(
    ask: &pb::CheckPermissionRequest,
    consistency: Option<pb::Consistency>,
) -> pb::CheckPermissionsRequest {
    let check = pb::Check { action: ask.action.clone(), resource: ask.resource.clone(), subject: None };
    pb::CheckPermissionsRequest {
        account_id: ask.account_id.clone(),
        subject: ask.subject.clone(),
        checks: vec![check],
        consistency,
    }
}

/// All that its subject may do.
fn list(
    ask: &pb::CheckPermissionRequest,
    consistency: Option<pb::Consistency>,
) -> pb::ListPermissionsRequest {
    pb::ListPermissionsRequest {
        account_id: ask.account_id.clone(),
        subject: ask.subject.clone(),
        consistency,
        ..Default::default()
    }
}

async fn a_token_binds_to_its_account_and_its_past(engine: Engine) {
    let usher = Usher::start(engine).await;
    let acme = usher.cast("acme", INTEGRATE_IO).await;
    let globex = usher.cast("globex", DATAIMPORTER).await;
    let ask = |cast: &Cast, token: &str| pb::CheckPermissionRequest {
        consistency: at_least(token),
        ..check(&cast.account, &cast.founder(), "license.view", None)
    };
    let refuse = async |token: &str, code, reason: &str| {
        let told = refused(usher.authorization().check_permission(ask(&acme, token)).await, code, reason);
        // Explaining takes another path and must not be laxer.
        let explained = pb::CheckPermissionRequest { explain: true, ..ask(&acme, token) };
        refused(usher.authorization().check_permission(explained).await, code, reason);
        let (batch, listed) =
            (many(&ask(&acme, token), at_least(token)), list(&ask(&acme, token), at_least(token)));
        refused(usher.authorization().check_permissions(batch).await, code, reason);
        refused(usher.authorization().list_permissions(listed).await, code, reason);
        let figures = pb::GetLicensesRequest {
            account_id: "acme".to_owned(),
            acting: acting(Platform),
            consistency: at_least(token),
        };
        refused(usher.licenses().get_licenses(figures).await, code, reason);
        told
    };
    let old = answer(&usher, check("acme", &acme.founder(), "license.view", None)).await;
    let of_globex =
        answer(&usher, check("globex", &globex.founder(), "license.view", None)).await.consistency_token;
    refuse(&of_globex, Code::InvalidArgument, "CONSISTENCY_TOKEN_OF_OTHER_ACCOUNT").await;
    let long = "x".repeat(5000);
    for malformed in ["x", "!!!", "bm90IGEgdG9rZW4", &old.consistency_token[1..], &long, ""] {
        let told = refuse(malformed, Code::InvalidArgument, "CONSISTENCY_TOKEN_INVALID").await;
        assert_eq!(told.paths(), ["consistency"], "{malformed}");
    }
    // A token from a server whose data is newer, as after a restore: this one's own, a revision ahead.
    let future = usher_server::token::consistency(&usher.app.epoch(), "acme", old.revision + 1);
    let told = refuse(&future, Code::FailedPrecondition, "REVISION_IN_FUTURE").await;
    assert_eq!(told.meta("revision"), old.revision.to_string());
    // An older one is no reason to answer from older data.
    let moved = manage("acme", Platform, [release(&acme.member("reader"))]);
    let moved = usher.licenses().manage_licenses(moved).await.unwrap().into_inner();
    assert_eq!(answer(&usher, ask(&acme, &old.consistency_token)).await.revision, moved.revision);
    usher.stop().await;
}

fn item(subject: Option<pb::Subject>, action: &str, owner: Option<&str>) -> pb::Check {
    let request = check("-", "-", action, owner);
    pb::Check { subject, action: request.action, resource: request.resource }
}

async fn batch(
    usher: &Usher,
    subject: Option<pb::Subject>,
    checks: Vec<pb::Check>,
) -> pb::CheckPermissionsResponse {
    let request =
        pb::CheckPermissionsRequest { account_id: "globex".to_owned(), subject, checks, consistency: None };
    usher.authorization().check_permissions(request).await.unwrap().into_inner()
}

async fn batches_keep_order_answer_duplicates_and_part_errors_from_denials(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("globex", DATAIMPORTER).await;
    let (uma, ada) = (cast.member("user"), cast.founder());
    let no_resource = pb::Check { resource: None, ..item(None, "job.run", None) };
    let checks = vec![
        item(None, "job.run", Some(&uma)),
        item(None, "job.run", Some(&ada)),
        item(None, "job.execute", None),
        item(user(&ada), "member.invite", None),
        item(None, "jobb.run", None),
        item(None, "job.run", Some(&uma)),
        item(user("not an id"), "job.run", Some("nor this")),
        no_resource,
        item(crate::matrix::automation(), "job.run", None),
        item(None, "member.invite", None),
    ];
    let told = batch(&usher, user(&uma), checks).await;
    let shown: Vec<String> = told
        .results
        .iter()
        .map(|result| match result.result.as_ref().unwrap() {
            check_result::Result::Outcome(outcome) => outcome.reason().as_str_name().to_owned(),
            check_result::Result::Error(error) => {
                format!("{} {} {}", error.code, error.reason().as_str_name(), error.field)
            }
        })
        .collect();
    let expected = [
        "DECISION_REASON_ROLE_GRANTS_OWN",
        "DECISION_REASON_NOT_OWNER",
        "INVALID_ARGUMENT ERROR_REASON_ACTION_UNKNOWN checks[2].action",
        "DECISION_REASON_ROLE_GRANTS",
        "INVALID_ARGUMENT ERROR_REASON_RESOURCE_TYPE_UNKNOWN checks[4].resource.type",
        "DECISION_REASON_ROLE_GRANTS_OWN",
        "INVALID_ARGUMENT ERROR_REASON_INVALID_FIELD checks[6].subject.user_id",
        "INVALID_ARGUMENT ERROR_REASON_INVALID_FIELD checks[7].resource",
        "DECISION_REASON_AUTOMATION_LACKS_PERMISSION",
        "DECISION_REASON_ROLE_LACKS_PERMISSION",
    ];
    assert_eq!(shown, expected);
    assert!(told.revision > 0 && !told.consistency_token.is_empty());
    // Nobody is named at all: that item has no subject.
    let nobody = batch(&usher, None, vec![item(None, "job.run", None)]).await;
    let Some(check_result::Result::Error(error)) = nobody.results[0].result.clone() else {
        panic!("{nobody:?}")
    };
    assert_eq!(error.field, "checks[0].subject");
    usher.stop().await;
}

/// Checks drawn from a few of everything, so that many come twice: each answer of a batch is that of its check
/// asked alone, in the batch's order.
async fn a_batch_says_what_its_checks_say_one_by_one(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("globex", DATAIMPORTER).await;
    let (uma, ada) = (cast.member("user"), cast.founder());
    let subjects = [user(&uma), user(&ada), user("stranger"), crate::matrix::automation()];
    let actions = ["job.run", "job.view", "job.list", "member.invite", "job.execute", "role.view"];
    let owners = [None, Some(uma.as_str()), Some(ada.as_str())];
    let draw = (0..subjects.len(), 0..actions.len(), 0..owners.len());
    let drawn = proptest::collection::vec(draw, 300);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let drawn = proptest::strategy::Strategy::new_tree(&drawn, &mut runner).unwrap();
    let drawn = proptest::strategy::ValueTree::current(&drawn);
    let checks = drawn.iter().map(|(s, a, o)| item(subjects[*s].clone(), actions[*a], owners[*o]));
    let told = batch(&usher, None, checks.collect()).await;
    assert_eq!(told.results.len(), drawn.len());
    for ((s, a, o), result) in drawn.iter().zip(told.results) {
        let mut alone = check("globex", "-", actions[*a], owners[*o]);
        alone.subject.clone_from(&subjects[*s]);
        let alone = usher.authorization().check_permission(alone).await.map(tonic::Response::into_inner);
        match (result.result.unwrap(), alone) {
            (check_result::Result::Outcome(outcome), Ok(alone)) => {
                let same = pb::CheckOutcome {
                    decision: alone.decision,
                    reason: alone.reason,
                    role: alone.role,
                    permission: alone.permission,
                    depends_on_owner: alone.depends_on_owner,
                    valid_until_time: alone.valid_until_time,
                };
                assert_eq!((outcome, told.revision), (same, alone.revision));
            }
            (check_result::Result::Error(error), Err(status)) => {
                let refused = usher_tests::Refused::of(&status);
                let reason = error.reason().as_str_name().trim_start_matches("ERROR_REASON_").to_owned();
                assert_eq!((error.code.as_str(), reason), ("INVALID_ARGUMENT", refused.reason));
            }
            other => panic!("{other:?}"),
        }
    }
    usher.stop().await;
}

async fn a_batch_holds_a_thousand_checks_and_no_more(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("globex", DATAIMPORTER).await;
    let uma = cast.member("user");
    let many = |count: usize| {
        (0..count)
            .map(|index| item(None, "job.run", Some(if index % 2 == 0 { &uma } else { "x" })))
            .collect::<Vec<_>>()
    };
    let told = batch(&usher, user(&uma), many(1000)).await;
    assert_eq!(told.results.len(), 1000);
    for (index, result) in told.results.into_iter().enumerate() {
        let Some(check_result::Result::Outcome(outcome)) = result.result else { panic!("{index}") };
        assert_eq!(outcome.decision() == pb::Decision::Allow, index % 2 == 0, "{index}");
    }
    for checks in [many(1001), Vec::new()] {
        let request = pb::CheckPermissionsRequest {
            account_id: "globex".to_owned(),
            subject: user(&uma),
            checks,
            consistency: None,
        };
        let call = usher.authorization().check_permissions(request).await;
        assert_eq!(refused(call, Code::InvalidArgument, "INVALID_FIELD").paths(), ["checks"]);
    }
    usher.stop().await;
}

/// While seats change hands, no batch may see one seat in two hands, or in none.
async fn a_batch_is_answered_from_one_revision(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("globex", DATAIMPORTER).await;
    let (left, right) = (cast.member("user"), "ugo".to_owned());
    let joining = usher_tests::cast::joining("globex", Platform, &right, "user");
    usher.members().invite_user(joining).await.unwrap();
    usher.licenses().manage_licenses(manage("globex", Platform, [release(&right)])).await.unwrap();
    let swapping = {
        let (mut licenses, left, right) = (usher.licenses(), left.clone(), right.clone());
        tokio::spawn(async move {
            for round in 0..40 {
                let (from, to) = if round % 2 == 0 { (&left, &right) } else { (&right, &left) };
                licenses
                    .manage_licenses(manage("globex", Platform, [release(from), assign(to)]))
                    .await
                    .unwrap();
            }
        })
    };
    let mut last = 0;
    while !swapping.is_finished() {
        let checks = vec![item(user(&left), "job.create", None), item(user(&right), "job.create", None)];
        let told = batch(&usher, None, checks).await;
        let allowed = told.results.iter().filter(|result| {
            matches!(&result.result, Some(check_result::Result::Outcome(o)) if o.decision() == pb::Decision::Allow)
        });
        assert_eq!(allowed.count(), 1, "at revision {}", told.revision);
        assert!(told.revision >= last, "answers never go back");
        last = told.revision;
    }
    swapping.await.unwrap();
    usher.stop().await;
}
