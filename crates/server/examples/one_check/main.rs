//! For counting instructions: `valgrind --tool=callgrind --toggle-collect='*one_check::counted*'`. The
//! argument says what is counted: `check`, `checks` (a hundred) or `list`. `usher-bench` runs it.

use std::hint::black_box;

use bytes::Bytes;
use futures::FutureExt;
use prost::Message;
use usher_contract::wire::authorization_service_server::AuthorizationService;
use usher_server::rpc::Api;

mod scene;

use scene::{encoded, received};

/// Calls that are counted.
const CALLS: usize = 1_000;

fn main() {
    let what = std::env::args().nth(1).unwrap_or_else(|| "check".to_owned());
    let bytes = match what.as_str() {
        "checks" => encoded(&scene::checks(100)),
        "list" => encoded(&scene::list()),
        _ => encoded(&scene::check()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let scene = runtime.block_on(scene::Scene::new(100));
    // In an async context, as in the server, but nothing waits.
    runtime.block_on(async {
        assert!(scene.app.standings.figures().entries > 0, "the member is in memory");
        for _ in 0..CALLS {
            black_box(counted(&scene.api, &what, &bytes));
        }
    });
}

/// One call from the bytes of its message to those of its answer.
#[inline(never)]
fn counted(api: &Api, what: &str, bytes: &Bytes) -> Option<Vec<u8>> {
    Some(match what {
        "checks" => api.check_permissions(received(bytes)).now_or_never()?.ok()?.get_ref().encode_to_vec(),
        "list" => api.list_permissions(received(bytes)).now_or_never()?.ok()?.get_ref().encode_to_vec(),
        _ => api.check_permission(received(bytes)).now_or_never()?.ok()?.get_ref().encode_to_vec(),
    })
}
