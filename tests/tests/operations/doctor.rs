//! `usher doctor` finds what is wrong, says what to do, and changes nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use usher_tests::engine::Database;
use usher_tests::process::usher;
use usher_tests::{Certificates, Engine, Process, SmtpServer, both_engines};

both_engines!(a_database_is_examined);

/// The exit code, and what it found by part.
fn examine(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = usher(&[&["doctor", "--output", "json"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
}

/// The verdict on a part and the text.
#[track_caller]
fn finding(report: &Value, part: &str) -> (String, String) {
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["part"] == part);
    let found = found.unwrap_or_else(|| panic!("nothing about {part}: {report:#}"));
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("verdict"), text("text"))
}

async fn a_database_is_examined(engine: Engine) {
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(engine, directory.path());
    let url = ["--database-url", &database.url];
    let (code, report) = examine(&url);
    assert_eq!(code, Some(1), "{report:#}");
    let missing = if engine == Engine::Sqlite { "database" } else { "schema" };
    let (verdict, text) = finding(&report, missing);
    assert!(verdict == "problem" && text.contains("usher migrate"), "{text}");
    assert!(
        engine != Engine::Sqlite || !directory.path().join("usher.db").exists(),
        "looking made a database"
    );

    assert!(usher(&[&["migrate"], &url[..]].concat()).status.success());
    let (code, report) = examine(&url);
    assert_eq!(code, Some(0), "{report:#}");
    for part in ["role models", "database", "schema", "roles in use"] {
        assert_eq!(finding(&report, part).0, "ok", "{report:#}");
    }
    assert_eq!(finding(&report, "configuration").0, "warning", "nobody proves who they are");
    assert_eq!(finding(&report, "mail").0, "warning");
    if engine == Engine::Postgres {
        assert_eq!(finding(&report, "clock").0, "ok");
    }

    let server = Process::serve(&database.url, &directory.path().join("mails"));
    let (code, report) = examine(&url);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(finding(&report, "database").1.contains("running server"), engine == Engine::Sqlite);
    assert_eq!(server.terminate(), Some(0));
}

fn write(path: &Path, text: &str, mode: u32) -> String {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn certificates_and_secrets_are_examined() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let made = |days: i64| {
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        // Far enough from now for any clock that tests run on.
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after =
            if days > 0 { rcgen::date_time_ymd(2090, 1, 1) } else { rcgen::date_time_ymd(2021, 1, 1) };
        let key = rcgen::KeyPair::generate().unwrap();
        (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let (certificate, key) = made(1);
    let certificate_file = write(&path("tls.crt"), &certificate, 0o644);
    let key_file = write(&path("tls.key"), &key, 0o600);
    let config = path("usher.toml");
    let text = format!("[tls]\ncertificate_file = {certificate_file:?}\nkey_file = {key_file:?}\n");
    let config = write(&config, &text, 0o644);
    let arguments = ["--config", &config];
    let (_, report) = examine(&arguments);
    assert_eq!(finding(&report, "certificates").0, "ok", "{report:#}");
    assert_eq!(finding(&report, "secrets").0, "ok", "{report:#}");

    write(&path("tls.key"), &key, 0o644);
    let (verdict, text) = finding(&examine(&arguments).1, "secrets");
    assert!(verdict == "warning" && text.contains("chmod") && text.contains("tls.key"), "{text}");
    // The key of another certificate.
    write(&path("tls.key"), &made(1).1, 0o600);
    let (code, report) = examine(&arguments);
    assert_eq!((code, finding(&report, "certificates").0.as_str()), (Some(1), "problem"), "{report:#}");
    let (expired, key) = made(0);
    write(&path("tls.crt"), &expired, 0o644);
    write(&path("tls.key"), &key, 0o600);
    let (verdict, text) = finding(&examine(&arguments).1, "certificates");
    assert!(verdict == "problem" && text.contains("expired"), "{text}");

    // All mistakes of a file that cannot be used.
    write(Path::new(&config), "[database]\nconnections_max = 0\n[cache]\nstandings_max = 0\n", 0o644);
    let (code, report) = examine(&arguments);
    assert_eq!((code, report["problems"].as_u64()), (Some(1), Some(2)), "{report:#}");
}

#[test]
fn the_mail_server_is_greeted_and_sent_nothing() {
    let directory = TempDir::new().unwrap();
    let certificates = Certificates::make(directory.path(), "localhost");
    let options = json!({ "certificate": certificates.server, "login": ["usher", "gravel orbit lantern"] });
    let Some(server) = SmtpServer::start(&options) else { return };
    let with = |port: &str, password: &str| {
        let settings = [
            "mail.smtp_host=localhost".to_owned(),
            format!("mail.smtp_port={port}"),
            format!("mail.smtp_ca_file={}", certificates.authority.display()),
            "mail.smtp_username=usher".to_owned(),
            format!("mail.smtp_password={password}"),
        ];
        let flags: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting.as_str()]).collect();
        let (code, report) = examine(&flags);
        assert_eq!(code, Some(1), "there is no database: {report:#}");
        assert!(!report.to_string().contains(password), "{report:#}");
        finding(&report, "mail")
    };
    let port = server.port.to_string();
    let (verdict, text) = with(&port, "gravel orbit lantern");
    assert_eq!(verdict, "ok", "{text}");
    let (verdict, text) = with(&port, "gravel orbit canary");
    assert!(verdict == "problem" && text.contains("login"), "{text}");
    let nobody = crate::metrics::free_address();
    let (verdict, text) = with(nobody.rsplit_once(':').unwrap().1, "gravel orbit lantern");
    assert!(verdict == "problem" && text.contains("mail.smtp_host"), "{text}");
    assert!(server.try_next().is_none(), "no mail was sent");
}
