//! An account with one member in memory, among strangers.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use prost::Message;
use tempfile::TempDir;
use usher_contract::v1 as pb;
use usher_contract::wire::authorization_service_server::AuthorizationService;
use usher_domain::caller::{Acting, Caller};
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, UserId};
use usher_domain::invitation::ExternalUsername;
use usher_domain::license::Subscription;
use usher_server::app::App;
use usher_server::app::change::Change;
use usher_server::app::create_account::{CreateAccount, Founder, create_account};
use usher_server::authenticate::Authenticator;
use usher_server::clock::Clock;
use usher_server::config::Config;
use usher_server::lifecycle::build_app;
use usher_server::rpc::Api;

pub(crate) const ACCOUNT: &str = "acc_0190f3a2b4c57d8e9f00112233445566";
pub(crate) const USER: &str = "usr_0190f3a2b4c57d8e9f00112233445566";

pub(crate) struct Scene {
    pub(crate) app: App,
    pub(crate) api: Api,
    _directory: TempDir,
}

impl Scene {
    /// With so many strangers in memory beside the member.
    ///
    /// # Panics
    /// When the account cannot be made.
    pub(crate) async fn new(strangers: usize) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut config = Config::default();
        config.database.url = format!("sqlite:{}", directory.path().join("usher.db").display());
        config.database.migrate = true;
        config.oauth.issuers = vec!["https://login.example".to_owned()];
        let app = build_app(&config, Clock::system()).await.expect("the app");
        create_account(app.clone(), Caller::local(), founding()).await.expect("an account");
        let api = Api::new(app.clone(), Arc::new(Authenticator::open()), tokio::runtime::Handle::current());
        let scene = Self { app, api, _directory: directory };
        let strangers = (0..strangers).map(|number| scene.ask(stranger(number)));
        futures::stream::iter(strangers).buffer_unordered(64).collect::<Vec<()>>().await;
        scene.ask(USER.to_owned()).await;
        scene
    }

    async fn ask(&self, user: String) {
        let request = pb::CheckPermissionRequest { subject: Some(subject(&user)), ..check() };
        self.api.check_permission(received(&encoded(&request))).await.expect("an answer");
    }
}

pub(crate) fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// As tonic reads a message from what came in.
pub(crate) fn received<M: Message + Default>(bytes: &Bytes) -> tonic::Request<M> {
    tonic::Request::new(M::decode(bytes.clone()).expect("a message"))
}

/// The user id of a stranger; as long as those that Usher makes.
pub(crate) fn stranger(number: usize) -> String {
    format!("usr_{number:032}")
}

fn founding() -> CreateAccount {
    CreateAccount {
        change: Change {
            account_id: AccountId::parse(ACCOUNT).expect("an id"),
            acting: Acting::Platform,
            request_id: String::new(),
            digest: String::new(),
            note: String::new(),
        },
        is_id_made: false,
        name: "Acme".to_owned(),
        model: "integrate-io".to_owned(),
        purchased: None,
        subscription: Subscription { plan: String::new(), expire_time: None, grace_end_time: None },
        founder: Founder::Identity(ExternalUsername { issuer: String::new(), username: "olivia".to_owned() }),
        new_user_id: Some(UserId::parse(USER).expect("an id")),
        contact_email: Some(EmailAddress::parse("olivia@acme.example").expect("an address")),
        display_name: "Olivia".to_owned(),
        language: String::new(),
    }
}

fn subject(user: &str) -> pb::Subject {
    pb::Subject { kind: Some(pb::subject::Kind::UserId(user.to_owned())) }
}

fn resource() -> pb::Resource {
    pb::Resource { r#type: "job".to_owned(), id: "job_17".to_owned(), owner_id: None }
}

/// May the member run a job?
pub(crate) fn check() -> pb::CheckPermissionRequest {
    pb::CheckPermissionRequest {
        account_id: ACCOUNT.to_owned(),
        subject: Some(subject(USER)),
        action: "run".to_owned(),
        resource: Some(resource()),
        ..Default::default()
    }
}

/// The same, so many times in one message.
pub(crate) fn checks(count: usize) -> pb::CheckPermissionsRequest {
    let check = pb::Check { subject: None, action: "run".to_owned(), resource: Some(resource()) };
    pb::CheckPermissionsRequest {
        account_id: ACCOUNT.to_owned(),
        subject: Some(subject(USER)),
        checks: vec![check; count],
        consistency: None,
    }
}

/// What may the member do?
pub(crate) fn list() -> pb::ListPermissionsRequest {
    pb::ListPermissionsRequest {
        account_id: ACCOUNT.to_owned(),
        subject: Some(subject(USER)),
        ..Default::default()
    }
}
