//! SIGKILL in the middle of 200 invitations: what was acknowledged is there, whole, after the next start.

use std::time::Duration;

use tempfile::TempDir;
use tonic::transport::Channel;
use tonic_types::StatusExt;
use usher_storage::{ConnectOptions, Store};
use usher_tests::cast::{fill, founding, inviting};
use usher_tests::engine::Database;
use usher_tests::harness::channel;
use usher_tests::lookup::{account, check_chain, events, mails_of_invitation};
use usher_tests::mailbox::Mailbox;
use usher_tests::pb::account_service_client::AccountServiceClient;
use usher_tests::pb::authorization_service_client::AuthorizationServiceClient;
use usher_tests::pb::license_service_client::LicenseServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::pb::{self, invite_user_response::Outcome};
use usher_tests::{Engine, INTEGRATE_IO, Platform, Process, acting, both_engines};

both_engines!(nothing_acknowledged_is_lost_in_one_account, nothing_acknowledged_is_lost_in_many_accounts);

const INVITATIONS: usize = 200;
/// Fewer than are invited, so that the limit is met in the middle of it.
const SEATS: u32 = 150;

async fn nothing_acknowledged_is_lost_in_one_account(engine: Engine) {
    rounds(engine, 1).await;
}

async fn nothing_acknowledged_is_lost_in_many_accounts(engine: Engine) {
    rounds(engine, 20).await;
}

async fn rounds(engine: Engine, accounts: usize) {
    let rounds = if std::env::var_os("USHER_TEST_LONG").is_some() { 10 } else { 2 };
    for round in 0..rounds {
        // Killed after more and more acknowledgements, so at another place each time.
        let kill_after = 5 + round * (INVITATIONS - 70) / rounds;
        killed_in_the_middle(engine, accounts, kill_after).await;
    }
}

/// An invitation that the server said it has made.
struct Acknowledged {
    account: String,
    invitation: pb::Invitation,
    revision: i64,
}

async fn killed_in_the_middle(engine: Engine, accounts: usize, kill_after: usize) {
    let directory = TempDir::new().unwrap();
    let database = Database::fresh(engine, directory.path());
    let mails = directory.path().join("mails");
    let server = Process::serve(&database.url, &mails);
    let names: Vec<String> = (0..accounts).map(|number| format!("account-{number}")).collect();
    let connection = channel(&server.url).await;
    for name in &names {
        let request = founding(name, INTEGRATE_IO, SEATS);
        AccountServiceClient::new(connection.clone()).create_account(request).await.unwrap();
    }
    let acknowledged = invite_and_kill(server, connection, &names, kill_after).await;
    assert!(acknowledged.len() >= kill_after, "{} of {kill_after}", acknowledged.len());

    // What stands in the store before anybody can mend it.
    let store = Store::connect(&ConnectOptions::new(&database.url)).await.unwrap();
    for name in &names {
        check_account(&store, name, &acknowledged).await;
    }
    let mailbox = Mailbox { directory: mails.clone() };
    for one in &acknowledged {
        let queued = mails_of_invitation(&store, &one.invitation.id).await;
        let delivered = mailbox.letters_to(&one.invitation.email).len();
        assert!(queued == 1 || delivered > 0, "the mail to {} is gone", one.invitation.email);
    }
    store.close().await;

    let server = Process::serve(&database.url, &mails);
    let connection = channel(&server.url).await;
    for name in &names {
        check_served(&connection, name, &acknowledged).await;
    }
    // And it goes on as if nothing had been.
    fill(&connection, "after", INTEGRATE_IO, 9).await;
    assert_eq!(server.terminate(), Some(0));
}

/// Sends all at once and kills the server when so many are acknowledged; what was, until the very end.
async fn invite_and_kill(
    server: Process,
    connection: Channel,
    names: &[String],
    kill_after: usize,
) -> Vec<Acknowledged> {
    let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..INVITATIONS {
        let account = names[number % names.len()].clone();
        let mut members = MemberServiceClient::new(connection.clone());
        let request = pb::InviteUserRequest {
            request_id: format!("r{number}"),
            ..inviting(&account, Platform, &format!("p{number}@people.example"), "reader")
        };
        let sender = sender.clone();
        tokio::spawn(async move {
            let answer = loop {
                match members.invite_user(request.clone()).await {
                    Ok(answer) => break answer.into_inner(),
                    // A crowd for one account: the contract says to try again, under the same request id.
                    Err(status) if status.get_details_retry_info().is_some() => {}
                    Err(_) => return,
                }
            };
            let Some(Outcome::Invitation(invitation)) = answer.outcome else { return };
            let _ = sender.send(Acknowledged { account, invitation, revision: answer.revision });
        });
    }
    drop(sender);
    let mut acknowledged = Vec::new();
    let mut server = Some(server);
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), answers.recv()).await;
        let Some(one) = next.expect("answers come or the connection breaks") else { break };
        acknowledged.push(one);
        if acknowledged.len() == kill_after
            && let Some(server) = server.take()
        {
            server.kill();
        }
    }
    acknowledged
}

/// The store by itself: chain, rows and figures agree, and nothing is half-made.
async fn check_account(store: &Store, name: &str, acknowledged: &[Acknowledged]) {
    let stored = account(store, name).await;
    let events = events(store, name).await;
    check_chain(&stored, &events);
    let created: Vec<(&str, i64)> = events
        .iter()
        .filter(|row| row.event.kind == "invitation.created")
        .map(|row| (row.event.subject_id.as_str(), row.event.revision))
        .collect();
    for one in acknowledged.iter().filter(|one| one.account == name) {
        let found = created.contains(&(one.invitation.id.as_str(), one.revision));
        assert!(found, "the event of {} at {} is gone", one.invitation.id, one.revision);
    }
    // Also those whose answer nobody heard have their mail.
    for (invitation, _) in &created {
        assert_eq!(mails_of_invitation(store, invitation).await, 1, "{invitation}");
    }
    assert_eq!(stored.revision, 1 + i64::try_from(created.len()).unwrap());
}

/// The new server: every invitation is open, each holds one seat, and checks agree.
async fn check_served(connection: &Channel, name: &str, acknowledged: &[Acknowledged]) {
    let request = pb::ListInvitationsRequest {
        account_id: name.to_owned(),
        acting: acting(Platform),
        page_size: 500,
        ..Default::default()
    };
    let listed =
        MemberServiceClient::new(connection.clone()).list_invitations(request).await.unwrap().into_inner();
    for one in acknowledged.iter().filter(|one| one.account == name) {
        let found = listed.invitations.iter().find(|listed| listed.id == one.invitation.id).unwrap();
        assert_eq!((found.state(), found.reserves_seat), (pb::InvitationState::Pending, true));
        assert_eq!((&found.email, &found.role), (&one.invitation.email, &one.invitation.role));
    }
    let request =
        pb::GetLicensesRequest { account_id: name.to_owned(), acting: acting(Platform), consistency: None };
    let figures =
        LicenseServiceClient::new(connection.clone()).get_licenses(request).await.unwrap().into_inner();
    let licenses = figures.licenses.unwrap();
    let reserved = u32::try_from(listed.invitations.len()).unwrap();
    assert_eq!((licenses.active, licenses.reserved, licenses.over_limit_by), (1, reserved, 0), "{name}");
    assert_eq!(licenses.available, Some(SEATS - 1 - reserved), "{name}");
    let request = crate::reasons::check(name, &format!("{name}-owner"), "member.invite", None);
    let told = AuthorizationServiceClient::new(connection.clone())
        .check_permission(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((told.decision(), told.revision), (pb::Decision::Allow, figures.revision));
}
