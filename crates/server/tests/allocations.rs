//! What memory answers costs no allocation up to the decision, and few from the bytes of its message to
//! those of its answer.

use std::hint::black_box;

use allocation_counter::{AllocationInfo, measure};
use futures::FutureExt;
use prost::Message;
use usher_contract::v1 as pb;
use usher_contract::wire::authorization_service_server::AuthorizationService;
use usher_policy::{Ask, Subject};
use usher_server::app::check::{CheckPermission, Consistency, check_from_memory};

#[path = "../examples/one_check/scene.rs"]
mod scene;

use scene::{ACCOUNT, Scene, USER, encoded, received, stranger};

/// In memory beside the member who is asked about; strangers have standings too.
const STRANGERS: usize = if cfg!(debug_assertions) { 10_000 } else { 1_000_000 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cached_decision_allocates_nothing() {
    let scene = Scene::new(STRANGERS).await;
    let entries = scene.app.standings.figures().entries;
    assert!(entries >= STRANGERS * 9 / 10, "{entries}");
    let last = stranger(STRANGERS - 1);
    for (user, allowed) in [(USER, true), (last.as_str(), false)] {
        let ask =
            Ask { subject: Subject::User(user), resource_type: "job", action: "run", owner: Some("usr_x") };
        let check = CheckPermission {
            account_id: ACCOUNT,
            ask,
            consistency: Consistency::MinimizeLatency,
            explain: false,
        };
        let mut decided = Ok(None);
        let allocated = measure(|| decided = check_from_memory(&scene.app, black_box(&check)));
        let decided = decided.expect("it has an answer").expect("it is in memory");
        assert_eq!(decided.decision.allows(), allowed, "{user}");
        assert_eq!(allocated.count_total, 0, "{user}: {allocated:?}");
    }
}

/// A regression shows here before it does on a clock: texts are borrowed from the message and from the
/// role model.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_allocates_little_and_a_batch_no_more_for_each_check() {
    let scene = Scene::new(0).await;
    let (one, many) = (encoded(&scene::check()), encoded(&scene::checks(100)));
    let list = encoded(&scene::list());
    let mut answer = Vec::new();
    let allocated = measured(|| {
        let answered = scene.api.check_permission(received(&one)).now_or_never();
        answer = answered.expect("memory does not wait").expect("an answer").get_ref().encode_to_vec();
    });
    let answered = pb::CheckPermissionResponse::decode(answer.as_slice()).expect("an answer");
    assert_eq!((answered.decision(), answered.role.as_str()), (pb::Decision::Allow, "owner"));
    // tonic's box of the call, the consistency token and its counter, and the bytes of the answer.
    assert_eq!(allocated.count_total, 4, "{allocated:?}");

    let allocated = measured(|| {
        let answered = scene.api.check_permissions(received(&many)).now_or_never();
        answer = answered.expect("memory does not wait").expect("an answer").get_ref().encode_to_vec();
    });
    let answered = pb::CheckPermissionsResponse::decode(answer.as_slice()).expect("an answer");
    assert_eq!(answered.results.len(), 100);
    // The same, and the lists of checks, asks, decisions and results.
    assert!(allocated.count_total <= 20, "{allocated:?}");

    let allocated = measured(|| {
        let answered = scene.api.list_permissions(received(&list)).now_or_never();
        answer = answered.expect("memory does not wait").expect("an answer").get_ref().encode_to_vec();
    });
    let answered = pb::ListPermissionsResponse::decode(answer.as_slice()).expect("an answer");
    assert!(answered.permissions.len() > 50, "{answered:?}");
    assert!(allocated.count_total <= 20, "{allocated:?}");
}

/// The second time: what is made once and kept is not counted.
fn measured(mut call: impl FnMut()) -> AllocationInfo {
    call();
    measure(call)
}
