//! `usher audit verify` finds what was altered past Usher, and names it.

use tempfile::TempDir;
use usher_tests::cast::fill;
use usher_tests::engine::Database;
use usher_tests::harness::channel;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::person::{PASSWORD, accepting, linking, new_password, token_of};
use usher_tests::process::usher;
use usher_tests::{Engine, INTEGRATE_IO, Platform, Process, both_engines};

both_engines!(what_was_altered_is_named);

/// What it printed, and its exit code.
fn verify(database: &Database, more: &[&str]) -> (String, Option<i32>) {
    let arguments = [&["audit", "verify", "--database-url", &database.url], more].concat();
    let output = usher(&arguments);
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

/// An account whose log has several revisions, and a user with a log of their own; the user's id.
async fn logged(database: &Database, directory: &std::path::Path) -> String {
    let server = Process::serve(&database.url, &directory.join("mails"));
    let channel = channel(&server.url).await;
    fill(&channel, "acme", INTEGRATE_IO, 20).await;
    fill(&channel, "globex", INTEGRATE_IO, 20).await;
    let mut members = MemberServiceClient::new(channel.clone());
    let invited =
        members.invite_user(linking("acme", Platform, "ivy@people.example", "reader")).await.unwrap();
    let token = token_of(&invited.into_inner().accept_link);
    let accepted = members.accept_invitation(accepting(&token, new_password(PASSWORD))).await.unwrap();
    drop((members, channel));
    assert_eq!(server.terminate(), Some(0));
    accepted.into_inner().member.unwrap().user_id
}

async fn what_was_altered_is_named(engine: Engine) {
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(engine, directory.path());
    let user = logged(&database, directory.path()).await;
    let (said, code) = verify(&database, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("of 2 accounts and 11 users: nothing is wrong\n"), "{said}");
    let acme = "stream_kind = 0 AND stream_id = 'acme'";
    let of_user = format!("stream_kind = 1 AND stream_id = '{user}'");
    // Each with what undoes it, so that the next is alone.
    let alterations = [
        (
            format!("UPDATE event SET caller = 'eve' WHERE {acme} AND revision = 3"),
            format!("UPDATE event SET caller = 'local' WHERE {acme} AND revision = 3"),
            "account `acme`: revision 3, event 0 (`member.joined`): its hash does not follow",
        ),
        (
            format!("UPDATE event SET after_facts = '{{' WHERE {acme} AND revision = 2"),
            String::new(),
            "account `acme`: revision 2, event 0 (`member.joined`): it cannot be read",
        ),
        (
            "UPDATE account SET event_hash = 'x' WHERE id = 'globex'".to_owned(),
            String::new(),
            "account `globex`: events are missing at the end, or the head was altered",
        ),
        (format!("UPDATE event SET personal = NULL WHERE {acme} AND revision = 1"), String::new(), ""),
        (
            format!("UPDATE event SET personal = '{{\"salt\":\"s\",\"facts\":{{}}}}' WHERE {of_user}"),
            format!("UPDATE event SET personal = NULL WHERE {of_user}"),
            "(`user.created`): its personal part is not the one that was written",
        ),
        (
            format!("DELETE FROM event WHERE {of_user}"),
            String::new(),
            "events are missing at the end: the log ends at revision 1, and the newest is 2",
        ),
    ];
    for (alter, undo, expected) in alterations {
        database.execute(&alter);
        let (said, code) = verify(&database, &[]);
        assert!(said.contains(expected), "`{expected}` in:\n{said}");
        // An erased person's part is no fault; the ones before may still show.
        assert!(expected.is_empty() || code == Some(1), "{said}");
        if !undo.is_empty() {
            database.execute(&undo);
        }
    }
    // Only what is asked for is read, and what is not there is said.
    assert_eq!(verify(&database, &["acme"]).0.lines().count(), 2);
    assert!(!verify(&database, &["acme"]).0.contains("globex"));
    assert!(verify(&database, &["--user", &user]).0.contains("user `usr_"));
    assert_eq!(verify(&database, &["nowhere"]).1, Some(1));

    let directory = TempDir::new().unwrap();
    let database = Database::fresh(engine, directory.path());
    logged(&database, directory.path()).await;
    database.execute(&format!("DELETE FROM event WHERE {acme} AND revision = 6"));
    let (said, _) = verify(&database, &["acme"]);
    assert!(
        said.contains("revision 7, event 0") && said.contains("revision 6 does not come first"),
        "{said}"
    );
    database.execute(&format!("DELETE FROM event WHERE {acme} AND revision > 5"));
    let (said, _) = verify(&database, &["acme"]);
    assert!(said.contains("the log ends at revision 5, and the newest is 7"), "{said}");
    database.execute(&format!("DELETE FROM event WHERE {acme} AND revision = 1 AND idx = 1"));
    let (said, code) = verify(&database, &["acme"]);
    assert!(said.contains("revision 2, event 0") && said.contains("one between them removed"), "{said}");
    assert_eq!(code, Some(1));
    database.execute("DELETE FROM event WHERE stream_kind = 0 AND stream_id = 'globex'");
    let (said, _) = verify(&database, &["globex"]);
    assert!(said.contains("the log ends at revision 0, and the newest is 5"), "{said}");
}
