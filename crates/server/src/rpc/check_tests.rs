//! What memory answers costs no allocation, from the decoded message to the decision.

use allocation_counter::measure;
use tempfile::TempDir;
use usher_domain::caller::{Acting, Caller};
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, UserId};
use usher_domain::invitation::ExternalUsername;
use usher_domain::license::Subscription;

use super::*;
use crate::app::change::Change;
use crate::app::create_account::{CreateAccount, Founder, create_account};
use crate::clock::Clock;
use crate::config::Config;
use crate::lifecycle::build_app;

/// In memory beside the member who is asked about; strangers have standings too.
const STRANGERS: usize = if cfg!(debug_assertions) { 10_000 } else { 1_000_000 };

fn request(user: &str, action: &str) -> pb::CheckPermissionRequest {
    pb::CheckPermissionRequest {
        account_id: "acc_0190f3a2b4c57d8e9f00112233445566".to_owned(),
        subject: Some(pb::Subject { kind: Some(pb::subject::Kind::UserId(user.to_owned())) }),
        action: action.to_owned(),
        resource: Some(pb::Resource {
            r#type: "job".to_owned(),
            id: "job_17".to_owned(),
            owner_id: Some("usr_somebody".to_owned()),
        }),
        ..Default::default()
    }
}

async fn app(directory: &TempDir) -> App {
    let mut config = Config::default();
    config.database.url = format!("sqlite:{}", directory.path().join("usher.db").display());
    config.database.migrate = true;
    config.oauth.issuers = vec!["https://login.example".to_owned()];
    let app = build_app(&config, Clock::system()).await.unwrap();
    let user = UserId::parse("usr_0190f3a2b4c57d8e9f00112233445566").unwrap();
    let founding = CreateAccount {
        change: Change {
            account_id: AccountId::parse(&request("", "").account_id).unwrap(),
            acting: Acting::Platform,
            request_id: String::new(),
            digest: String::new(),
            note: String::new(),
        },
        name: "Acme".to_owned(),
        model: "integrate-io".to_owned(),
        purchased: None,
        subscription: Subscription { plan: String::new(), expire_time: None, grace_end_time: None },
        founder: Founder::Identity(ExternalUsername { issuer: String::new(), username: "olivia".to_owned() }),
        new_user_id: Some(user),
        contact_email: Some(EmailAddress::parse("olivia@acme.example").unwrap()),
        display_name: "Olivia".to_owned(),
        language: String::new(),
    };
    create_account(app.clone(), Caller::local(), founding).await.unwrap();
    app
}

#[tokio::test]
async fn a_cached_decision_allocates_nothing() {
    let directory = TempDir::new().unwrap();
    let app = app(&directory).await;
    let owner = request("usr_0190f3a2b4c57d8e9f00112233445566", "run");
    owner.clone().ask_store(app.clone()).await.unwrap();
    for number in 0..STRANGERS {
        request(&format!("usr_{number:032}"), "run").ask_store(app.clone()).await.unwrap();
    }
    assert!(app.standings.figures().entries >= STRANGERS * 9 / 10, "{:?}", app.standings.figures());

    let stranger = request(&format!("usr_{:032}", STRANGERS - 1), "view");
    for (request, allowed) in [(&owner, true), (&stranger, false)] {
        let mut decided = None;
        let allocated = measure(|| {
            let ask = one(request).unwrap();
            decided =
                check::check_from_memory(&app, &ask).map(|checked| checked.map(|c| c.decision.allows()));
        });
        assert_eq!(decided.map(Result::unwrap), Some(allowed), "it came from memory and is right");
        assert_eq!(allocated.count_total, 0, "{allocated:?}");
    }

    // The answer's texts are the message's own: role, permission and token.
    let mut answer = None;
    let allocated = measure(|| answer = owner.ask_memory(&app));
    assert_eq!(answer.unwrap().unwrap().decision(), pb::Decision::Allow);
    assert_eq!(allocated.count_total, 3, "{allocated:?}");
}
