//! A check without its transport, and its parts: what decides beyond HTTP/2.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use futures::FutureExt;
use prost::Message;
use usher_contract::wire;
use usher_contract::wire::authorization_service_server::AuthorizationService;
use usher_policy::{Ask, Subject};
use usher_server::app::check::{CheckPermission, Consistency, check_from_memory};

#[path = "../examples/one_check/scene.rs"]
mod scene;

use scene::{ACCOUNT, Scene, USER, encoded, received};

/// In memory; nine in ten of them at least.
const STANDINGS: usize = 900_000;

fn check(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let scene = runtime.block_on(Scene::new(STANDINGS));
    assert!(
        scene.app.standings.figures().entries > STANDINGS * 9 / 10,
        "{:?}",
        scene.app.standings.figures()
    );
    let (one, many) = (encoded(&scene::check()), encoded(&scene::checks(100)));
    let list = encoded(&scene::list());

    c.bench_function("decide from memory", |b| {
        let check = CheckPermission {
            account_id: ACCOUNT,
            ask: Ask { subject: Subject::User(USER), resource_type: "job", action: "run", owner: None },
            consistency: Consistency::MinimizeLatency,
            explain: false,
        };
        b.iter(|| check_from_memory(&scene.app, black_box(&check)));
    });
    c.bench_function(&format!("decide from memory, anybody of {STANDINGS}"), |b| {
        // In one piece and out of order, so that what is not in the processor's cache is Usher's.
        let users: String =
            (0..STANDINGS).map(|at| scene::stranger(at.wrapping_mul(7_919) % STANDINGS)).collect();
        let mut next = (0..STANDINGS).cycle();
        b.iter(|| {
            let at = next.next().unwrap_or_default() * USER.len();
            let user = Subject::User(&users[at..at + USER.len()]);
            let check = CheckPermission {
                account_id: ACCOUNT,
                ask: Ask { subject: user, resource_type: "job", action: "run", owner: None },
                consistency: Consistency::MinimizeLatency,
                explain: false,
            };
            check_from_memory(&scene.app, black_box(&check))
        });
    });
    c.bench_function("decode a CheckPermissionRequest", |b| {
        b.iter(|| wire::CheckPermissionRequest::decode(black_box(&one).clone()));
    });
    c.bench_function("CheckPermission, bytes to bytes", |b| {
        b.iter(|| {
            let answer = scene.api.check_permission(received(black_box(&one))).now_or_never();
            answer.expect("memory does not wait").expect("an answer").get_ref().encode_to_vec()
        });
    });
    c.bench_function("CheckPermissions of 100, bytes to bytes", |b| {
        b.iter(|| {
            let answer = scene.api.check_permissions(received(black_box(&many))).now_or_never();
            answer.expect("memory does not wait").expect("an answer").get_ref().encode_to_vec()
        });
    });
    c.bench_function("ListPermissions, bytes to bytes", |b| {
        b.iter(|| {
            let answer = scene.api.list_permissions(received(black_box(&list))).now_or_never();
            answer.expect("memory does not wait").expect("an answer").get_ref().encode_to_vec()
        });
    });
}

criterion_group!(benches, check);
criterion_main!(benches);
