//! Moving in and out: `usher import`, `usher export` and `usher account create`, with the real binary.

use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;
use usher_tests::cast::fill;
use usher_tests::engine::Database;
use usher_tests::harness::{ISSUER, channel};
use usher_tests::pb::authorization_service_client::AuthorizationServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::pb::sign_in_service_client::SignInServiceClient;
use usher_tests::person::{PASSWORD, accepting, identity, linking, new_password, token_of};
use usher_tests::process::usher;
use usher_tests::{DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Process, Usher, acting, both_engines, pb};

both_engines!(
    both_formats_say_the_same,
    what_is_exported_comes_back_byte_for_byte,
    an_import_goes_on_where_it_stopped,
    a_dry_run_writes_nothing,
    people_who_are_known_already_stay_as_they_are,
    a_server_sees_what_is_imported_beside_it,
    an_account_is_founded_from_the_command_line,
);

/// A database and a directory for files.
struct Place {
    database: Database,
    directory: TempDir,
}

impl Place {
    fn new(engine: Engine) -> Self {
        let directory = TempDir::new().unwrap();
        Self { database: Database::fresh(engine, directory.path()), directory }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, command: &[&str], more: &[&str]) -> Output {
        let issuers = format!("oauth.issuers={ISSUER}");
        let always = ["--migrate", "--database-url", &self.database.url, "--set", &issuers];
        usher(&[command, always.as_slice(), more].concat())
    }

    fn import(&self, file: &Path, more: &[&str]) -> Output {
        self.run(&["import", file.to_str().unwrap()], more)
    }

    fn import_text(&self, text: &str) -> Output {
        self.import(&self.file("import.jsonl", text), &[])
    }

    #[track_caller]
    fn export(&self) -> String {
        said(&self.run(&["export"], &[]))
    }
}

#[track_caller]
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it said on stderr, having failed.
#[track_caller]
fn complained(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

const JSON: &str = r#"
{"account_id":"acme","name":"Acme & Söhne","model":"integrate-io","seats":10,"plan":"team","expire_time":"2031-01-31T00:00:00Z"}
{"account_id":"acme","user_id":"u2","role":"editor","email":"Ed@acme.example","username":"Ed","subject":"8841"}
{"account_id":"acme","user_id":"u1","role":"owner","verified_email":"Olivia@acme.example","display_name":"Olivia"}
{"account_id":"acme","user_id":"u3","role":"reader","state":"suspended","display_name":"R, \"quoted\""}
{"account_id":"globex","user_id":"u1","role":"admin","verified_email":"olivia@acme.example"}
{"account_id":"globex","name":"Globex","model":"dataimporter","seats":"unlimited"}
{"account_id":"globex","user_id":42,"role":"user","seat":false}
"#;

const CSV: &str = r#"user_id,account_id,name,model,seats,plan,expire_time,role,state,seat,verified_email,email,display_name,username,subject
,acme,Acme & Söhne,integrate-io,10,team,2031-01-31T00:00:00Z,,,,,,,,
u2,acme,,,,,,editor,,,,Ed@acme.example,,Ed,8841
u1,acme,,,,,,owner,,,Olivia@acme.example,,Olivia,,
u3,acme,,,,,,reader,suspended,,,,"R, ""quoted""",,
,globex,Globex,dataimporter,unlimited,,,,,,,,,,
u1,globex,,,,,,admin,,,olivia@acme.example,,,,
42,globex,,,,,,user,,false,,,,,
"#;

async fn both_formats_say_the_same(engine: Engine) {
    let json = Place::new(engine);
    assert_eq!(said(&json.import_text(JSON)), "2 accounts with 5 members imported; 0 there already\n");
    let csv = Place::new(engine);
    // As a table program writes it: with a byte order mark and Windows' line ends.
    let text = format!("\u{feff}{}", CSV.replace('\n', "\r\n"));
    assert!(said(&csv.import(&csv.file("import.csv", &text), &[])).starts_with("2 accounts"));
    let without_times = |text: &str| {
        let lines = text.lines().map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            let fields = line.as_object_mut().unwrap();
            fields.retain(|name, _| name != "create_time" && name != "join_time");
            line
        });
        lines.collect::<Vec<_>>()
    };
    let (json, csv) = (without_times(&json.export()), without_times(&csv.export()));
    assert_eq!(json, csv);
    assert_eq!(json[0]["account_id"], "acme");
    assert_eq!(json[0]["grace_end_time"], "2031-02-14T00:00:00Z", "14 days later");
    let member = |user: &str| json.iter().find(|line| line["user_id"] == user).unwrap();
    assert_eq!(member("u3")["seat"], false, "who is suspended holds none");
    assert_eq!(member("u3")["display_name"], "R, \"quoted\"");
    assert_eq!(member("u2")["identities"][0]["issuer"], ISSUER);
    assert_eq!(member("42")["seat"], false);
}

/// Two accounts with people in every state, made by calls.
async fn lived_in(place: &Place) {
    let server = Process::serve(&place.database.url, &place.directory.path().join("mails"));
    let channel = channel(&server.url).await;
    fill(&channel, "acme", INTEGRATE_IO, 20).await;
    fill(&channel, "globex", DATAIMPORTER, 2).await;
    let mut members = MemberServiceClient::new(channel.clone());
    for (account, email, role) in
        [("acme", "Ivy@people.example", "reader"), ("acme", "joe@people.example", "editor")]
    {
        let invited = members.invite_user(linking(account, Platform, email, role)).await.unwrap();
        let token = token_of(&invited.into_inner().accept_link);
        members.accept_invitation(accepting(&token, new_password(PASSWORD))).await.unwrap();
    }
    let suspend = pb::SuspendMemberRequest {
        account_id: "acme".to_owned(),
        acting: acting(Platform),
        user_id: "acme-reader".to_owned(),
        ..Default::default()
    };
    members.suspend_member(suspend).await.unwrap();
    // A login that is bound, and one that came by an invitation and was not given by the account.
    let resolve = pb::ResolveIdentityRequest {
        issuer: ISSUER.to_owned(),
        subject: "s-1".to_owned(),
        username: "acme-admin".to_owned(),
        email: String::new(),
    };
    SignInServiceClient::new(channel.clone()).resolve_identity(resolve).await.unwrap();
    let invited =
        members.invite_user(linking("acme", Platform, "kim@people.example", "reader")).await.unwrap();
    let token = token_of(&invited.into_inner().accept_link);
    members.accept_invitation(accepting(&token, identity("s-2", "kim"))).await.unwrap();
    let over = pb::ManageLicensesRequest {
        account_id: "globex".to_owned(),
        acting: acting(Platform),
        changes: vec![pb::LicenseChange {
            change: Some(pb::license_change::Change::SetPurchasedSeats(pb::SetPurchasedSeats {
                purchased: Some(pb::set_purchased_seats::Purchased::Seats(1)),
                allow_over_limit: true,
                ..Default::default()
            })),
        }],
        ..Default::default()
    };
    let mut licenses = pb::license_service_client::LicenseServiceClient::new(channel.clone());
    licenses.manage_licenses(over).await.unwrap();
    drop((members, licenses, channel));
    assert_eq!(server.terminate(), Some(0));
}

async fn what_is_exported_comes_back_byte_for_byte(engine: Engine) {
    let (one, other) = (Place::new(engine), Place::new(engine));
    lived_in(&one).await;
    let first = one.export();
    assert_eq!(first.lines().count(), 2 + 8 + 2, "{first}");
    assert!(!first.contains("argon2"), "no password leaves");
    for told in
        ["\"given\":false", "\"allow_over_limit\":true", "\"state\":\"suspended\"", "\"subject\":\"s-1\""]
    {
        assert!(first.contains(told), "{told} in {first}");
    }
    let file = other.file("moved.jsonl", &first);
    assert!(said(&other.import(&file, &[])).starts_with("2 accounts with 10 members imported"));
    assert_eq!(other.export(), first);
    // It is what is there, so nothing is to do.
    assert_eq!(said(&one.import(&file, &[])), "0 accounts with 0 members imported; 2 there already\n");
    for place in [&one, &other] {
        assert!(said(&place.run(&["audit", "verify"], &[])).contains("nothing is wrong"));
    }
}

async fn an_import_goes_on_where_it_stopped(engine: Engine) {
    let place = Place::new(engine);
    let acme: String =
        JSON.lines().filter(|line| line.contains("\"acme\"")).map(|l| format!("{l}\n")).collect();
    // `u1` has the verified address in both accounts, so nothing about them is missing.
    assert!(said(&place.import_text(&acme)).starts_with("1 account with 3 members"));
    assert_eq!(said(&place.import_text(JSON)), "1 account with 2 members imported; 1 there already\n");
    assert_eq!(said(&place.import_text(JSON)), "0 accounts with 0 members imported; 2 there already\n");

    let other =
        JSON.replace("\"role\":\"editor\"", "\"role\":\"operator\"").replace("\"Globex\"", "\"Globex 2\"");
    let said_no = complained(&place.import_text(&other));
    assert!(
        said_no.contains("import.jsonl:3: role: `u2` is there already, with another `role`"),
        "{said_no}"
    );
    assert!(said_no.contains("import.jsonl:7: name: the account `globex` is there already"), "{said_no}");
    let fewer: String =
        JSON.lines().filter(|line| !line.contains("\"u3\"")).map(|l| format!("{l}\n")).collect();
    let said_no = complained(&place.import_text(&fewer));
    assert!(said_no.contains("with the member `u3`, whom the file lacks"), "{said_no}");
    assert_eq!(said(&place.import_text(JSON)), "0 accounts with 0 members imported; 2 there already\n");
}

async fn a_dry_run_writes_nothing(engine: Engine) {
    let place = Place::new(engine);
    let file = place.file("import.jsonl", JSON);
    assert_eq!(said(&place.import(&file, &["--dry-run"])), "2 accounts would be imported; 0 there already\n");
    assert_eq!(place.export(), "");
    assert!(said(&place.import(&file, &[])).starts_with("2 accounts"));
    assert_eq!(said(&place.import(&file, &["--dry-run"])), "0 accounts would be imported; 2 there already\n");
}

async fn people_who_are_known_already_stay_as_they_are(engine: Engine) {
    let place = Place::new(engine);
    said(&place.import_text(JSON));
    let account = |id: &str, member: &str| {
        format!(
            "{{\"account_id\":\"{id}\",\"name\":\"N\",\"model\":\"dataimporter\",\"seats\":5}}\n\
             {{\"account_id\":\"{id}\",\"role\":\"admin\",{member}}}\n"
        )
    };
    // Less than is known is no contradiction; the fifth and tenth lines are.
    let text = [
        account("a", r#""user_id":"u1""#),
        account("b", r#""user_id":"u2","verified_email":"eve@acme.example""#),
        account("c", r#""user_id":"eve","verified_email":"OLIVIA@acme.example""#),
        account("d", r#""user_id":"eve2","username":"ED""#),
        account("e", r#""user_id":"eve3","username":"eve","subject":"8841""#),
        account("f", r#""user_id":"u2","username":"ed","subject":"other""#),
        account("g", r#""user_id":"u2","username":"ed","subject":"8841""#),
    ];
    // One by one, because lines of one file must agree with each other first.
    for (place_in_list, text) in text.iter().enumerate() {
        let output = place.import_text(text);
        let expected = match place_in_list {
            0 | 6 => {
                assert!(said(&output).starts_with("1 account with 1 member imported"));
                continue;
            }
            1 => "2: verified_email: `u2` is known to Usher without this verified address",
            2 => "2: verified_email: the verified address is that of `u1` in Usher",
            3 | 4 => "2: username: the login is that of `u2` in Usher",
            _ => "2: username: `u2` is known to Usher without this login",
        };
        assert!(complained(&output).contains(expected), "{expected}: {output:?}");
    }
    assert!(!place.export().contains("eve"), "nothing of a refused account is written");
    assert!(said(&place.run(&["audit", "verify"], &[])).contains("nothing is wrong"));
}

async fn a_server_sees_what_is_imported_beside_it(engine: Engine) {
    let server = Usher::start(engine).await;
    let place = TempDir::new().unwrap();
    let file = place.path().join("import.jsonl");
    std::fs::write(&file, JSON).unwrap();
    let question = |fully: bool| pb::CheckPermissionRequest {
        account_id: "acme".to_owned(),
        subject: Some(pb::Subject { kind: Some(pb::subject::Kind::UserId("u1".to_owned())) }),
        action: "run".to_owned(),
        resource: Some(pb::Resource { r#type: "job".to_owned(), ..Default::default() }),
        consistency: fully.then_some(pb::Consistency {
            requirement: Some(pb::consistency::Requirement::FullyConsistent(true)),
        }),
        ..Default::default()
    };
    let mut checks = AuthorizationServiceClient::new(server.channel.clone());
    let before = checks.check_permission(question(false)).await.unwrap().into_inner();
    assert_eq!(before.reason(), pb::DecisionReason::AccountUnknown);
    let issuers = format!("oauth.issuers={ISSUER}");
    let url = &server.database.url;
    let arguments =
        ["import", file.to_str().unwrap(), "--database-url", url, "--set", &issuers].map(str::to_owned);
    // Beside the server, and so on another thread than its.
    let running = tokio::task::spawn_blocking(move || usher(&arguments.each_ref().map(String::as_str)));
    let output = running.await.unwrap();
    if engine == Engine::Sqlite {
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("another usher process uses") && said.contains("stop it"), "{said}");
    } else {
        said(&output);
        let now = checks.check_permission(question(true)).await.unwrap().into_inner();
        assert_eq!(now.decision(), pb::Decision::Allow);
        // From memory too, as soon as the server has heard of it.
        let heard = async {
            while checks.check_permission(question(false)).await.unwrap().into_inner().decision()
                != pb::Decision::Allow
            {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), heard).await.unwrap();
    }
    server.stop().await;
}

async fn an_account_is_founded_from_the_command_line(engine: Engine) {
    let place = Place::new(engine);
    let create = |more: &[&str]| {
        let always = ["--name", "Acme", "--model", "integrate-io", "--seats", "5"];
        place.run(&["account", "create"], &[always.as_slice(), more].concat())
    };
    let output = create(&["--id", "acme", "--founder-email", "olivia@acme.example", "--plan", "team"]);
    assert_eq!(said(&output), "acme\n");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("a mail to set a password goes to `olivia@acme.example`"), "{told}");
    let username =
        ["--founder-username", "olga", "--new-user-id", "olga", "--id", "two", "--seats", "unlimited"];
    let output = place.run(&["account", "create", "--name", "Two", "--model", "dataimporter"], &username);
    assert_eq!(said(&output), "two\n");
    let made = said(&create(&["--founder-id", "olga"]));
    assert!(made.starts_with("acc_"), "{made}");
    for (more, word) in [
        (&["--id", "acme", "--founder-id", "olga"][..], "taken"),
        (&["--founder-id", "nobody"], "not found"),
        (&["--founder-email", "nobody"], "`--founder-email`: `nobody` is not an email address"),
        (&["--id", "a b", "--founder-id", "olga"], "`--id`"),
        (&["--founder-id", "olga", "--expire-time", "tomorrow"], "`--expire-time`"),
    ] {
        let output = create(more);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.lines().count() == 1 && said.contains(word), "`{word}` in {said}");
    }
    // The mail leaves as soon as a server runs.
    let mails = place.directory.path().join("mails");
    let server = Process::serve(&place.database.url, &mails);
    let mailbox = usher_tests::mailbox::Mailbox { directory: mails };
    assert!(mailbox.wait_for("olivia@acme.example").await.link().starts_with("http"));
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(place.export().matches("\"seats\":5").count(), 2);
}

/// Every mistake on its line, in one run, and nothing is written.
#[test]
fn every_mistake_is_told_with_its_line() {
    let place = Place::new(Engine::Sqlite);
    let text = r#"{"account_id":"acme","name":"Acme","model":"integrate-io","seats":2}
{"account_id":"acme","user_id":"o","role":"owner"}
not json
{"account_id":"acme","user_id":"a b","role":"admin"}
{"account_id":"acme","user_id":"c","email":"nobody","role":"admin"}
{"account_id":"acme","user_id":"d","role":"admin","seats":3}
{"account_id":"acme","user_id":"e","rôle":"admin"}
{"account_id":"acme","user_id":"f","role":"admin","username":"f","issuer":"https://elsewhere.example"}
{"account_id":"acme","user_id":"g","role":"admin","join_time":"yesterday"}
{"account_id":"acme","user_id":"h","role":"admin","seat":"perhaps"}
{"account_id":"b","name":"B","model":"integrate-io","seats":"many"}
{"account_id":"c","name":"C","model":"integrate-io","seats":1,"grace_end_time":"2030-01-01T00:00:00Z"}
{"account_id":"d","name":"D","model":"integrate-io","seats":1,"stat":"active"}
["account_id"]
"#;
    let said = complained(&place.import_text(text));
    for expected in [
        ":3: is no JSON object",
        ":4: user_id: `a b`",
        ":5: email: `nobody` is not an email address",
        ":6: `seats` is no field of a member",
        ":7: role: is missing",
        ":7: `rôle` is no field; did you mean `role`?",
        ":8: issuer: `https://elsewhere.example` is no configured OAuth issuer",
        ":9: join_time: `yesterday` is no time such as",
        ":10: seat: is neither `true` nor `false`",
        ":11: seats: `many` is neither a number",
        ":12: grace_end_time: needs an `expire_time`",
        ":13: `stat` is no field; did you mean `state`?",
        ":14: is no JSON object",
        "nothing was written: 13 faults",
    ] {
        assert!(said.contains(expected), "`{expected}` in:\n{said}");
    }
    let text = r#"{"account_id":"acme","name":"Acme","model":"integrate-io","seats":1}
{"account_id":"acme","user_id":"o","role":"owner","verified_email":"o@x.example"}
{"account_id":"acme","user_id":"o","role":"admin"}
{"account_id":"acme","user_id":"p","role":"edtor"}
{"account_id":"acme","user_id":"q","role":"owner","verified_email":"O@x.example"}
{"account_id":"nowhere","user_id":"o","role":"admin"}
{"account_id":"d","name":"D","model":"dataimportr","seats":1}
{"account_id":"e","name":"E","model":"dataimporter","seats":1}
{"account_id":"e","user_id":"r","role":"user"}
{"account_id":"acme","name":"Again","model":"integrate-io","seats":1}
"#;
    let said = complained(&place.import_text(text));
    for expected in [
        ":1: exactly one active member with a seat must have the role `owner`, and 2 have it",
        ":1: seats: the members hold 2 seats, and 1 are purchased",
        ":3: user_id: `o` is a member of `acme` already, by line 2",
        ":4: role: `edtor` is no role of the model `integrate-io`; did you mean `editor`?",
        ":5: verified_email: the verified address is that of `o` already, by line 2",
        ":6: account_id: no line without a `user_id` says what the account `nowhere` is",
        ":7: model: `dataimportr` is no role model of this server; did you mean `dataimporter`?",
        ":8: at least one active member with a seat must have the role `admin`",
        ":10: account_id: the account `acme` has line 1 already",
    ] {
        assert!(said.contains(expected), "`{expected}` in:\n{said}");
    }
    assert_eq!(place.export(), "");
}

#[test]
fn a_table_that_is_none_is_told() {
    let place = Place::new(Engine::Sqlite);
    for (text, word) in [
        ("account_id;user_id;role\n", "separated by commas"),
        ("account_id,user_id,rol\n", "`rol` is none; did you mean `role`?"),
        ("account_id,role,role\n", "`role` twice"),
        ("user_id,role\n", "no column `account_id`"),
    ] {
        let output = place.import(&place.file("import.csv", text), &[]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(word), "`{word}` in {said}");
    }
    let ragged = "account_id,user_id,role\nacme,u1\n\"acme\n";
    let said = complained(&place.import(&place.file("import.csv", ragged), &[]));
    assert!(said.contains("import.csv:2: has 2 cells, and the first line 3"), "{said}");
    let unknown = place.import(&place.file("import.txt", ""), &[]);
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("add `--format jsonl`"));
    let missing = place.import(&place.directory.path().join("no.csv"), &[]);
    assert!(String::from_utf8(missing.stderr).unwrap().contains("cannot read"));
}

/// A hundred faults are told, and the number of the others.
#[test]
fn faults_without_end_are_bounded() {
    let place = Place::new(Engine::Sqlite);
    let text: String = (0..250).map(|n| format!("{{\"account_id\":\"a{n}\"}}\n")).collect();
    let said = complained(&place.import_text(&text));
    assert_eq!(said.lines().count(), 102, "{said}");
    assert!(said.contains("and 650 more") && said.contains("750 faults"), "{said}");
}
