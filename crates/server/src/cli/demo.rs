//! `usher demo`: a server to try, with data that shows every role.

use std::path::PathBuf;

use clap::Args;
use usher_domain::caller::{Acting, Caller};
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, UserId};
use usher_domain::invitation::{Delivery, ExternalUsername};
use usher_domain::license::Subscription;

use super::say;
use super::serve::{listen, stop_signal};
use crate::app::App;
use crate::app::change::Change;
use crate::app::create_account::{CreateAccount, Founder, create_account};
use crate::app::invite_user::{InviteUser, invite_user};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Error;
use crate::lifecycle::{self, StartError, build_app};
use crate::telemetry;

#[derive(Args)]
pub(super) struct Demo {
    /// Where to serve gRPC.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:50051")]
    listen: std::net::SocketAddr,
    /// Where the demo keeps its database and mails; made anew at each start.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// The members of one account: role and user id.
struct Cast {
    account: &'static str,
    name: &'static str,
    model: &'static str,
    seats: u32,
    founder: &'static str,
    members: &'static [(&'static str, &'static str)],
}

const CASTS: [Cast; 2] = [
    Cast {
        account: "acme",
        name: "Acme",
        model: "integrate-io",
        seats: 8,
        founder: "olivia",
        members: &[("admin", "adam"), ("operator", "oscar"), ("editor", "edith"), ("reader", "rita")],
    },
    Cast {
        account: "globex",
        name: "Globex",
        model: "dataimporter",
        seats: 5,
        founder: "ada",
        members: &[("user", "uma"), ("user", "ugo")],
    },
];

pub(super) async fn demo(demo: &Demo) -> Result<(), StartError> {
    let directory = demo.directory.clone().unwrap_or_else(|| std::env::temp_dir().join("usher-demo"));
    let mut config = Config::default();
    config.server.listen = demo.listen;
    config.database.url = format!("sqlite:{}", directory.join("usher.db").display());
    config.database.migrate = true;
    config.mail.directory = Some(directory.join("mails"));
    config.oauth.issuers = vec!["https://login.example".into()];
    config.log.filter = "warn,usher_server=info".into();
    let listener = listen(&config).await?;
    clear(&directory)?;
    let telemetry = telemetry::start(&config.log)?;
    let app = build_app(&config, Clock::system()).await?;
    fill(&app).await.map_err(|e| StartError(format!("the demo cannot be filled: {e}")))?;
    for line in welcome(demo.listen, &directory.join("mails")) {
        say(&line);
    }
    let served = lifecycle::serve(&config, app, listener, stop_signal()?).await;
    telemetry.flush().await;
    served
}

/// What `clear` removes is what a demo made, and nothing else.
fn clear(directory: &PathBuf) -> Result<(), StartError> {
    let failed = |e| StartError(format!("cannot make `{}`: {e}; see `--directory`", directory.display()));
    std::fs::create_dir_all(directory).map_err(failed)?;
    for name in ["usher.db", "usher.db-wal", "usher.db-shm", "usher.db.lock"] {
        match std::fs::remove_file(directory.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
    }
    match std::fs::remove_dir_all(directory.join("mails")) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed(e)),
        _ => Ok(()),
    }
}

async fn fill(app: &App) -> Result<(), Error> {
    let caller = Caller::local();
    for cast in &CASTS {
        let account = AccountId::parse(cast.account).map_err(|e| Error::Internal(e.to_string()))?;
        let change = Change {
            account_id: account,
            acting: Acting::Platform,
            request_id: String::new(),
            digest: String::new(),
            note: String::new(),
        };
        let founding = CreateAccount {
            change: change.clone(),
            is_id_made: false,
            name: cast.name.to_owned(),
            model: cast.model.to_owned(),
            purchased: Some(cast.seats),
            subscription: Subscription { plan: "team".to_owned(), expire_time: None, grace_end_time: None },
            founder: Founder::Identity(username(cast.founder)),
            new_user_id: Some(user(cast.founder)?),
            contact_email: Some(email(cast, cast.founder)?),
            display_name: display_name(cast.founder),
            language: String::new(),
        };
        create_account(app.clone(), caller.clone(), founding).await?;
        for (role, name) in cast.members {
            let invitation = InviteUser {
                change: change.clone(),
                email: email(cast, name)?,
                display_name: display_name(name),
                role: (*role).to_owned(),
                identity: Some(username(name)),
                delivery: Delivery::None,
                lifetime: None,
                language: String::new(),
                new_user_id: Some(user(name)?),
            };
            invite_user(app.clone(), caller.clone(), invitation).await?;
        }
    }
    Ok(())
}

fn user(name: &str) -> Result<UserId, Error> {
    UserId::parse(name).map_err(|e| Error::Internal(e.to_string()))
}

fn username(name: &str) -> ExternalUsername {
    ExternalUsername { issuer: String::new(), username: name.to_owned() }
}

fn email(cast: &Cast, name: &str) -> Result<EmailAddress, Error> {
    EmailAddress::parse(&format!("{name}@{}.example", cast.account))
        .map_err(|e| Error::Internal(e.to_string()))
}

fn display_name(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What to try, with the answers to expect.
fn welcome(address: std::net::SocketAddr, mails: &std::path::Path) -> Vec<String> {
    let call = |method: &str, request: &str, expect: &str| {
        vec![
            format!("  grpcurl -plaintext -d '{request}' {address} usher.v1.{method}"),
            format!("    → {expect}"),
            String::new(),
        ]
    };
    let mut lines =
        vec![format!("usher demo on {address}; Ctrl-C ends it, the next start begins anew"), String::new()];
    for cast in &CASTS {
        let founder = if cast.model == "integrate-io" { "owner" } else { "admin" };
        let members: Vec<String> = std::iter::once(format!("{} ({founder})", cast.founder))
            .chain(cast.members.iter().map(|(role, name)| format!("{name} ({role})")))
            .collect();
        lines.push(format!(
            "  {:<7} {:<13} {} seats: {}",
            cast.account,
            cast.model,
            cast.seats,
            members.join(", ")
        ));
    }
    lines.extend([format!("  mails   {}", mails.display()), String::new(), "Try:".to_owned(), String::new()]);
    lines.extend(call(
        "AuthorizationService/CheckPermission",
        r#"{"account_id":"acme","subject":{"user_id":"edith"},"action":"run","resource":{"type":"job"}}"#,
        "DECISION_ALLOW, ROLE_GRANTS: an editor runs jobs by the permission `Update`",
    ));
    lines.extend(call(
        "AuthorizationService/CheckPermission",
        r#"{"account_id":"globex","subject":{"user_id":"uma"},"action":"run","resource":{"type":"job","owner_id":"ugo"}}"#,
        "DECISION_DENY, NOT_OWNER: a user runs only jobs of their own",
    ));
    lines.extend(call(
        "MemberService/InviteUser",
        r#"{"account_id":"acme","actor_id":"adam","email":"ivy@acme.example","role":"editor"}"#,
        "an invitation that reserves a seat; its mail is in the directory above",
    ));
    lines.extend(call(
        "LicenseService/GetLicenses",
        r#"{"account_id":"acme","actor_id":"adam"}"#,
        "purchased 8, active 5, reserved 1, available 2",
    ));
    lines
}
