//! Every RPC as every kind of caller, compared with `golden/callers.txt`, which says what each gets.

use std::fmt::Write;
use std::path::Path;

use tonic::{Code, Status};
use usher_domain::caller::Scope;
use usher_server::clock::Clock;
use usher_tests::callers::{BY_CERTIFICATE, BY_JWT, Callers, static_token, with_scopes};
use usher_tests::samples::{self, SAMPLES};
use usher_tests::{
    Actor, By, Engine, INTEGRATE_IO, Nobody, Platform, Refused, Usher, any_call, both_engines,
};

use crate::coverage::rpcs;

both_engines!(every_rpc_answers_every_caller_as_the_golden_table_says);

/// Writes the table instead of comparing it, for a change that is meant.
const WRITE: &str = "USHER_TEST_WRITE_GOLDEN";

const HEAD: &str = "\
# What each RPC answers to each kind of caller. A caller's column names its only scope; `all` has all of
# them, once by static token, once by JWT, once by client certificate. `nobody` brings nothing, `unknown` a
# token that is nobody's. A row says who acts: the platform, a member with the right to it (the owner), one
# without (a reader), nobody (`acting` left unset), or `-` where the request has no acting party.
#
#   ✔          passes the guard: the call succeeds, or is refused for what it names
#   ·          PERMISSION_DENIED, SCOPE_MISSING: a scope of the RPC
#   platform   PERMISSION_DENIED, SCOPE_MISSING: `platform`, to act as it
#   actor      PERMISSION_DENIED, ACTOR_LACKS_PERMISSION
#   unset      INVALID_ARGUMENT, ACTING_MISSING
#   who        UNAUTHENTICATED, CALLER_UNAUTHENTICATED
";

/// What a call came to, in a word of the table.
fn cell(by: By<'_>, outcome: Result<(), Status>) -> String {
    let Err(status) = outcome else { return "✔".to_owned() };
    let refused = Refused::of(&status);
    match (refused.code, refused.reason.as_str()) {
        (Code::PermissionDenied, "SCOPE_MISSING")
            if refused.meta("scope") == "platform" && matches!(by, Platform) =>
        {
            "platform".to_owned()
        }
        (Code::PermissionDenied, "SCOPE_MISSING") => "·".to_owned(),
        (Code::PermissionDenied, "ACTOR_LACKS_PERMISSION") => "actor".to_owned(),
        (Code::InvalidArgument, "ACTING_MISSING") => "unset".to_owned(),
        (Code::Unauthenticated, "CALLER_UNAUTHENTICATED") => "who".to_owned(),
        // What the request names is not there, or is as it is: that is found out behind the guard.
        (Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition | Code::ResourceExhausted, _) => {
            "✔".to_owned()
        }
        (Code::PermissionDenied, "WRONG_CREDENTIALS") => "✔".to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn every_rpc_has_a_sample() {
    let sampled = SAMPLES.iter().map(|(sample, _)| samples::rpc(sample).to_owned());
    assert_eq!(sampled.collect::<std::collections::BTreeSet<_>>(), rpcs());
}

async fn every_rpc_answers_every_caller_as_the_golden_table_says(engine: Engine) {
    let usher = Usher::start_with(engine, Clock::system(), |_| {}).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let callers = Callers::make();
    let scopes = Scope::ALL.map(Scope::name);
    let single = scopes.iter().map(|scope| with_scopes(scope, [*scope]));
    let port = usher.second_door(|config| {
        callers.configure(config, single.chain([with_scopes("all", scopes)]));
    });
    let port = port.await;
    let plain = callers.connect(port).await;
    let certified = callers.connect_with_certificate(port).await;
    let jwt = callers.jwt(usher.app.clock.now().seconds());
    let mut columns: Vec<_> =
        scopes.iter().map(|scope| (*scope, &plain, Some(static_token(scope)))).collect();
    columns.extend([
        ("all", &plain, Some(static_token("all"))),
        (BY_JWT, &plain, Some(jwt)),
        (BY_CERTIFICATE, &certified, None),
        ("nobody", &plain, None),
        ("unknown", &plain, Some(static_token("somebody-else"))),
    ]);

    let (owner, reader) = (cast.founder(), cast.member("reader"));
    let acting =
        [("platform", Platform), ("owner", Actor(&owner)), ("reader", Actor(&reader)), ("unset", Nobody)];
    let nobody: [(&str, By<'_>); 1] = [("-", Nobody)];
    let mut table = HEAD.to_owned();
    let heads = columns.iter().map(|(name, _, _)| *name);
    line(&mut table, "", "", heads);
    for (sample, _) in SAMPLES {
        let rows = if any_call::has_acting(samples::rpc(sample)) { &acting[..] } else { &nobody };
        for (who, by) in rows {
            let mut cells = Vec::new();
            for (_, channel, token) in &columns {
                let outcome = samples::call(channel, sample, &cast.account, *by, token.as_deref()).await;
                cells.push(cell(*by, outcome));
            }
            line(&mut table, sample, who, cells.iter().map(String::as_str));
        }
    }
    compare(&table);
    usher.stop().await;
}

fn line<'a>(table: &mut String, sample: &str, who: &str, cells: impl Iterator<Item = &'a str>) {
    let mut text = format!("{sample:<41} {who:<9}");
    for cell in cells {
        let _ = write!(text, " {cell:<9}");
    }
    table.push_str(text.trim_end());
    table.push('\n');
}

fn compare(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/golden/callers.txt");
    if std::env::var_os(WRITE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, table).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let differ: Vec<String> = golden
        .lines()
        .zip(table.lines())
        .filter(|(golden, now)| golden != now)
        .map(|(golden, now)| format!("- {golden}\n+ {now}"))
        .collect();
    assert!(
        golden == table,
        "{} is not what the server answers; if that is meant, set {WRITE}=1:\n{}",
        path.display(),
        differ.join("\n")
    );
}
