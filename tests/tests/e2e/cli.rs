//! The binary as an operator meets it: help, checks, and one line for each reason not to start.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use usher_tests::process::usher;
use usher_tests::{DATAIMPORTER, Engine, INTEGRATE_IO, Process, Usher, both_engines};

both_engines!(a_running_server_is_asked, a_database_that_is_not_migrated_or_newer_is_refused);

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// A refusal: one line on stderr that says all of `words`, nothing on stdout, and an exit code that is not 0.
#[track_caller]
fn failed(output: &Output, words: &[&str]) {
    let said = text(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code != 0), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 1, "one line: {said}");
    assert!(lines[0].starts_with("usher: "), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` in: {said}");
    }
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
}

#[test]
fn help_names_every_command_and_fits_a_terminal() {
    let help = succeeded(&usher(&["--help"]));
    let commands = [
        "serve", "demo", "migrate", "account", "import", "export", "audit", "roles", "check", "health",
        "doctor",
    ];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{command} in {help}");
        let of_command = succeeded(&usher(&[command, "--help"]));
        assert!(of_command.lines().all(|line| line.chars().count() <= 100), "{of_command}");
    }
    assert!(succeeded(&usher(&["--version"])).starts_with("usher 0."));
    let unknown = usher(&["serv"]);
    assert!(!unknown.status.success() && text(&unknown.stderr).contains("serve"), "{unknown:?}");
}

#[test]
fn role_models_are_checked_and_shown_without_a_server() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/policy");
    for model in ["integrate-io", "dataimporter"] {
        let file = crates.join(format!("models/{model}.toml"));
        assert!(succeeded(&usher(&["roles", "check", file.to_str().unwrap()])).contains("is right"));
        let shown = succeeded(&usher(&["roles", "show", model]));
        let golden = std::fs::read_to_string(crates.join(format!("tests/golden/{model}.show.txt"))).unwrap();
        assert_eq!(shown.trim_end(), golden.trim_end(), "{model}");
    }
    let json = succeeded(&usher(&["roles", "show", "dataimporter", "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["roles"][0]["actions"]["job.run"], "WHEN_OWN", "{json}");
    assert_eq!(json["roles"][1]["actions"]["job.view"], "ALWAYS", "{json}");
    let directory = TempDir::new().unwrap();
    let good = std::fs::read_to_string(crates.join("models/dataimporter.toml")).unwrap();
    let bad = directory.path().join("bad.toml");
    let line =
        good.lines().position(|line| line.contains("\"job.create\", \"instance.create\"")).unwrap() + 1;
    std::fs::write(
        &bad,
        good.replace("\"job.create\", \"instance.create\"", "\"job.craete\", \"instance.create\""),
    )
    .unwrap();
    let bad = bad.to_str().unwrap();
    let place = format!("{bad}:{line}: ");
    failed(&usher(&["roles", "check", bad]), &[&place, "job.craete", "job.create"]);
    failed(&usher(&["roles", "check", "/nowhere/at/all.toml"]), &["/nowhere/at/all.toml"]);
    failed(&usher(&["roles", "show", "integrate.io"]), &["integrate.io", "`integrate-io`", "`dataimporter`"]);
    // A server does not start with what `roles check` refuses.
    let database = format!("sqlite:{}", directory.path().join("usher.db").display());
    let models = directory.path().to_str().unwrap();
    failed(&usher(&["serve", "--migrate", "--database-url", &database, "--role-models", models]), &[&place]);
}

async fn a_running_server_is_asked(engine: Engine) {
    let server = Usher::start(engine).await;
    server.cast("acme", INTEGRATE_IO).await;
    server.cast("globex", DATAIMPORTER).await;
    let url = server.url.clone();
    // The binary blocks its thread, and the server needs the others.
    let asked = tokio::task::spawn_blocking(move || {
        let check = |arguments: &[&str]| {
            let all = [&["check", "--server", &url], arguments].concat();
            let output = usher(&all);
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        let (code, said, _) = check(&["acme", "acme-editor", "job.run"]);
        assert!(code == Some(0) && said.contains("ALLOW"), "{said}");
        let (code, said, _) = check(&["acme", "acme-reader", "job.run"]);
        assert!(code == Some(1) && said.contains("DENY") && said.contains("ROLE_LACKS_PERMISSION"), "{said}");
        let (code, said, _) = check(&["globex", "globex-user", "job.run", "--owner", "globex-user"]);
        assert!(code == Some(0) && said.contains("ROLE_GRANTS_OWN"), "{said}");
        let (code, said, _) = check(&["acme", "automation", "job.run"]);
        assert!(code == Some(0) && said.contains("AUTOMATION"), "{said}");
        let (code, said, _) = check(&["globex", "globex-user", "job.run", "--explain"]);
        assert!(code == Some(1) && said.contains("OWNER_REQUIRED") && said.lines().count() > 5, "{said}");
        let (code, said, _) = check(&["acme", "acme-editor", "job.run", "--output", "json"]);
        let json: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert!(code == Some(0) && json.is_object(), "{json}");
        let (code, said, problem) = check(&["acme", "acme-editor", "job.execute"]);
        assert!(code == Some(2) && said.is_empty() && problem.contains("job.run"), "{problem}");
        let (code, _, problem) = check(&["acme", "acme-editor", "run"]);
        assert!(code == Some(2) && problem.contains("job.run"), "{problem}");
    });
    asked.await.unwrap();
    server.stop().await;
    let nobody = free_port().to_string();
    failed(
        &usher(&["check", "--server", &format!("http://127.0.0.1:{nobody}"), "a", "b", "job.run"]),
        &["cannot reach", &nobody],
    );
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn serve(database: &str, more: &[&str]) -> Output {
    usher(&[&["serve", "--listen", "127.0.0.1:0", "--database-url", database], more].concat())
}

async fn a_database_that_is_not_migrated_or_newer_is_refused(engine: Engine) {
    let directory = TempDir::new().unwrap();
    let database = usher_tests::engine::Database::fresh(engine, directory.path());
    failed(&serve(&database.url, &[]), &["m0001_initial", "usher migrate", "--migrate"]);
    let migrate = ["migrate", "--database-url", &database.url];
    assert!(succeeded(&usher(&migrate)).contains("up to date"));
    succeeded(&usher(&migrate));
    // A newer usher has added something, and says that this one fits.
    database.execute("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_from_tomorrow', 0)");
    assert!(succeeded(&usher(&migrate)).contains("up to date"));
    let server = Process::serve(&database.url, &directory.path().join("mails"));
    assert_eq!(server.terminate(), Some(0));
    // It has taken something away.
    database.execute("UPDATE meta SET value = 'm9999_from_tomorrow' WHERE key = 'schema_least'");
    for output in [serve(&database.url, &[]), serve(&database.url, &["--migrate"]), usher(&migrate)] {
        failed(&output, &["m9999_from_tomorrow", "newer"]);
    }
}

#[test]
fn a_place_that_cannot_be_used_is_named() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let sqlite = |name: &str| format!("sqlite:{}", path(name));
    failed(&serve(&sqlite("no/such/place.db"), &["--migrate"]), &["no/such/place.db"]);
    std::fs::write(
        path("text.db"),
        "this is no database, but it is long enough to be read as one\n".repeat(99),
    )
    .unwrap();
    failed(&serve(&sqlite("text.db"), &["--migrate"]), &["text.db"]);
    std::fs::create_dir(path("directory.db")).unwrap();
    failed(&serve(&sqlite("directory.db"), &["--migrate"]), &["directory.db"]);
    failed(&serve("mysql://x", &[]), &["sqlite:", "postgres://", "database.url"]);
    let nobody = format!("postgres://usher@127.0.0.1:{}/usher", free_port());
    failed(&serve(&nobody, &[]), &["PostgreSQL", "database.url"]);
    std::fs::write(path("file"), "").unwrap();
    let mails = format!("mail.directory={}", path("file/mails"));
    failed(
        &serve(&sqlite("good.db"), &["--migrate", "--set", "log.filter=off", "--set", &mails]),
        &["mail.directory"],
    );
    // An occupied port, and a database that another process uses.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let flags = ["--migrate", "--listen", &address];
    failed(
        &usher(&[&["serve", "--database-url", &sqlite("good.db")][..], &flags].concat()),
        &[&address, "in use"],
    );
    let running = Process::serve(&sqlite("good.db"), &directory.path().join("mails"));
    failed(&serve(&sqlite("good.db"), &[]), &["another usher process", "good.db"]);
    assert_eq!(running.terminate(), Some(0));
}

#[test]
fn a_configuration_that_is_wrong_is_told_with_its_place() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("usher.toml");
    let name = file.to_str().unwrap().to_owned();
    let with = |text: &str| {
        std::fs::write(&file, text).unwrap();
        usher(&["serve", "--config", &name])
    };
    failed(&with("[server\n"), &[&name, ":1: "]);
    failed(&with("[database]\nurll = \"x\"\n"), &[&name, "urll"]);
    failed(&with("[server]\nlisten = \"nowhere\"\n"), &[&name]);
    failed(&with("[database]\nconnections_max = 0\n"), &["database.connections_max"]);
    failed(&with("[mail]\ninvitation_url = \"https://x.example/\"\n"), &["mail.invitation_url", "{token}"]);
    failed(&usher(&["serve", "--config", "/nowhere/usher.toml"]), &["/nowhere/usher.toml"]);
    failed(&usher(&["serve", "--set", "databse.url=x"]), &["did you mean `database.url`?"]);
    failed(&usher(&["serve", "--set", "nonsense"]), &["SETTING=VALUE"]);
    let database = format!("sqlite:{}", directory.path().join("usher.db").display());
    let open = [
        "serve",
        "--migrate",
        "--listen",
        "0.0.0.0:0",
        "--database-url",
        &database,
        "--set",
        "log.filter=off",
    ];
    failed(&usher(&open), &["127.0.0.1", "--insecure"]);
}

/// Each line that the demo prints to be pasted gives the answer that stands below it.
#[test]
fn the_demo_says_what_its_calls_answer() {
    let directory = TempDir::new().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let (demo, said) = Process::demo(&listen, directory.path());
    let welcome = said.join("\n");
    assert!(
        welcome.contains("acme") && welcome.contains("globex") && welcome.contains("olivia (owner)"),
        "{welcome}"
    );
    let calls: Vec<(&str, &str)> = said
        .iter()
        .zip(said.iter().skip(1))
        .filter_map(|(call, answer)| {
            Some((call.trim().strip_prefix("grpcurl ")?, answer.trim().strip_prefix("→ ")?))
        })
        .collect();
    assert_eq!(calls.len(), 4, "{welcome}");
    if let Some(grpcurl) = std::env::var_os("USHER_TEST_GRPCURL") {
        for (call, expected) in calls {
            // As pasted into a shell.
            let script = format!("exec \"$0\" {call}");
            let output = Command::new("sh").args(["-c", &script]).arg(&grpcurl).output().unwrap();
            answers(&succeeded(&output), expected);
        }
    }
    assert_eq!(demo.terminate(), Some(0));
}

/// Compares a JSON answer with the sentence that announces it.
#[track_caller]
fn answers(json: &str, expected: &str) {
    let answer: serde_json::Value = serde_json::from_str(json).unwrap();
    if let Some((decision, rest)) =
        expected.split_once(", ").filter(|(first, _)| first.starts_with("DECISION_"))
    {
        let (reason, _) = rest.split_once(':').unwrap();
        assert_eq!(answer["decision"], decision, "{json}");
        assert_eq!(answer["reason"], format!("DECISION_REASON_{reason}"), "{json}");
    } else if expected.starts_with("an invitation that reserves a seat") {
        assert_eq!(answer["invitation"]["reservesSeat"], true, "{json}");
    } else {
        for figure in expected.split(", ") {
            let (name, number) = figure.split_once(' ').unwrap();
            assert_eq!(answer["licenses"][name].to_string(), number, "{json}");
        }
    }
}
