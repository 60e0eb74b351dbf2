//! What the servers are asked about: accounts of the model `integrate-io` with members in every role.

use std::path::Path;

use tonic::transport::Channel;
use usher_contract::v1 as pb;
use usher_contract::v1::account_service_client::AccountServiceClient;
use usher_contract::v1::authorization_service_client::AuthorizationServiceClient;
use usher_contract::v1::member_service_client::MemberServiceClient;

use crate::Result;
use crate::load::{self, Question};

pub(crate) const CHECK: &str = "usher.v1.AuthorizationService/CheckPermission";
pub(crate) const CHECKS: &str = "usher.v1.AuthorizationService/CheckPermissions";
/// Checks in the batch.
pub(crate) const BATCH: usize = 100;
/// Roles that members get in turn; the founder is the owner.
pub(crate) const ROLES: [&str; 4] = ["admin", "operator", "editor", "reader"];
/// What is asked of everybody.
pub(crate) const ACTIONS: [(&str, &str); 10] = [
    ("job", "run"),
    ("job", "view"),
    ("package", "update"),
    ("cluster", "create"),
    ("connector", "list"),
    ("connector", "update"),
    ("schedule", "create"),
    ("member", "invite"),
    ("billing", "view"),
    ("workspace", "list"),
];

/// Ids as long as those that Usher makes.
pub(crate) fn account_id(number: u64) -> String {
    format!("acc_{:032x}", 0x0190_0000_0000_7000_8000_0000_0000_0000_u128 + u128::from(number))
}

/// The member `number` of an account; 0 is its founder.
pub(crate) fn user_id(account: u64, number: u64) -> String {
    format!("usr_{:016x}{number:016x}", 0x0190_0000_0000_7000 + account)
}

pub(crate) fn role(number: u64) -> &'static str {
    match number {
        0 => "owner",
        _ => ROLES[(number as usize - 1) % ROLES.len()],
    }
}

/// Whether the role may, as the product's table says it.
pub(crate) fn may(role: &str, (resource, action): (&str, &str)) -> bool {
    let rank = ["reader", "editor", "operator", "admin", "owner"].iter().position(|r| *r == role);
    let needs = match (resource, action) {
        ("billing", _) => 4,
        ("member", _) => 3,
        ("connector" | "schedule", "create" | "update" | "delete") | ("connector", "list" | "view") => 2,
        (_, "view" | "list") => 0,
        _ => 1,
    };
    rank.is_some_and(|rank| rank >= needs)
}

pub(crate) fn check(
    account: &str,
    user: &str,
    (resource, action): (&str, &str),
) -> pb::CheckPermissionRequest {
    pb::CheckPermissionRequest {
        account_id: account.to_owned(),
        subject: Some(subject(user)),
        action: action.to_owned(),
        resource: Some(self::resource(resource)),
        ..Default::default()
    }
}

fn subject(user: &str) -> pb::Subject {
    pb::Subject { kind: Some(pb::subject::Kind::UserId(user.to_owned())) }
}

fn resource(kind: &str) -> pb::Resource {
    pb::Resource { r#type: kind.to_owned(), id: "job_0190".to_owned(), owner_id: None }
}

/// A batch about one member, all actions in turn.
pub(crate) fn batch(account: &str, user: &str) -> pb::CheckPermissionsRequest {
    let checks = (0..BATCH).map(|at| {
        let (kind, action) = ACTIONS[at % ACTIONS.len()];
        pb::Check { subject: None, action: action.to_owned(), resource: Some(resource(kind)) }
    });
    pb::CheckPermissionsRequest {
        account_id: account.to_owned(),
        subject: Some(subject(user)),
        checks: checks.collect(),
        consistency: None,
    }
}

pub(crate) async fn connect(url: &str) -> Result<Channel> {
    Ok(Channel::from_shared(url.to_owned())?.connect().await?)
}

/// Founds accounts with members, over the wire as the platform does.
pub(crate) async fn fill(channel: &Channel, accounts: u64, members: u64) -> Result<()> {
    let founding = (0..accounts).map(async |account| {
        let founder = user_id(account, 0);
        let request = pb::CreateAccountRequest {
            account_id: account_id(account),
            name: format!("Account {account}"),
            model: "integrate-io".to_owned(),
            purchased: Some(pb::create_account_request::Purchased::Unlimited(true)),
            subscription: Some(pb::Subscription { plan: "team".to_owned(), ..Default::default() }),
            founder: Some(pb::Founder {
                way: Some(pb::founder::Way::Identity(username(&founder))),
                new_user_id: founder.clone(),
                contact_email: format!("{founder}@people.example"),
                display_name: "Founder".to_owned(),
            }),
            ..Default::default()
        };
        AccountServiceClient::new(channel.clone()).create_account(request).await?;
        let mut client = MemberServiceClient::new(channel.clone());
        for number in 1..=members {
            client.invite_user(join(account, number)).await?;
        }
        Result::Ok(())
    });
    futures::future::try_join_all(founding).await?;
    Ok(())
}

/// A person with a login becomes a member at once.
fn join(account: u64, number: u64) -> pb::InviteUserRequest {
    let user = user_id(account, number);
    pb::InviteUserRequest {
        acting: Some(pb::invite_user_request::Acting::Platform(pb::Platform {})),
        account_id: account_id(account),
        email: format!("{user}@people.example"),
        display_name: "Member".to_owned(),
        role: role(number).to_owned(),
        identity: Some(username(&user)),
        new_user_id: user,
        ..Default::default()
    }
}

fn username(name: &str) -> pb::ExternalUsername {
    pb::ExternalUsername { username: name.to_owned(), issuer: String::new() }
}

/// Asks about every role and action and compares with the product's table.
///
/// # Errors
/// The first answer that differs.
pub(crate) async fn verify(channel: &Channel) -> Result<usize> {
    let mut client = AuthorizationServiceClient::new(channel.clone());
    let mut asked = 0;
    for number in 0..=ROLES.len() as u64 {
        for act in ACTIONS {
            let response = client.check_permission(check(&account_id(0), &user_id(0, number), act)).await?;
            let allowed = response.get_ref().decision() == pb::Decision::Allow;
            if allowed != may(role(number), act) {
                return Err(format!("Usher says {allowed} to {} for {act:?}", role(number)).into());
            }
            asked += 1;
        }
    }
    Ok(asked)
}

/// The two questions that are asked again and again, with the answers that Usher gives, which the bare
/// servers repeat.
pub(crate) struct Asked {
    pub check: Question,
    pub checks: Question,
    pub check_answer: std::path::PathBuf,
    pub checks_answer: std::path::PathBuf,
}

impl Asked {
    pub(crate) async fn of(channel: &Channel, scratch: &Path) -> Result<Self> {
        use prost::Message;
        let (account, editor) = (account_id(0), user_id(0, 3));
        let mut client = AuthorizationServiceClient::new(channel.clone());
        let one = check(&account, &editor, ("job", "run"));
        let many = batch(&account, &editor);
        let (check_answer, checks_answer) = (scratch.join("check.answer"), scratch.join("checks.answer"));
        let answer = client.check_permission(one.clone()).await?.into_inner();
        if answer.decision() != pb::Decision::Allow {
            return Err(format!("an editor may not run a job: {answer:?}").into());
        }
        std::fs::write(&check_answer, answer.encode_to_vec())?;
        let answers = client.check_permissions(many.clone()).await?.into_inner();
        std::fs::write(&checks_answer, answers.encode_to_vec())?;
        Ok(Self {
            check: Question::grpc(CHECK, &one, scratch.join("check.frame"))?,
            checks: Question::grpc(CHECKS, &many, scratch.join("checks.frame"))?,
            check_answer,
            checks_answer,
        })
    }
}

/// Members of one account among those that [`copies`] makes.
const PER_ACCOUNT: u64 = 100;

/// The frame of a check about the member of this number among those that [`copies`] makes.
pub(crate) fn member_check(number: u64) -> Result<Vec<u8>> {
    let (account, member) = (1 + number / PER_ACCOUNT, number % PER_ACCOUNT);
    load::frame(&check(&account_id(account), &user_id(account, member), ("job", "run")))
}

/// SQL that copies the first account and its editor, whatever columns there are.
pub(crate) fn copies(size: u64) -> String {
    let accounts = size.div_ceil(PER_ACCOUNT);
    let (template, editor) = (account_id(0), user_id(0, 3));
    format!(
        "DO $$ DECLARE cols text; BEGIN
         SELECT string_agg(quote_ident(column_name), ', ') INTO cols FROM information_schema.columns
           WHERE table_schema = current_schema() AND table_name = 'account' AND column_name <> 'id';
         EXECUTE format('INSERT INTO account (id, %s) SELECT ''acc_01900000000070008'' || lpad(to_hex(n), 15, ''0''), %s
           FROM account, generate_series(1, {accounts}) n WHERE id = %L', cols, cols, '{template}');
         SELECT string_agg(quote_ident(column_name), ', ') INTO cols FROM information_schema.columns
           WHERE table_schema = current_schema() AND table_name = 'user' AND column_name <> 'id';
         EXECUTE format('INSERT INTO \"user\" (id, %s) SELECT ''usr_'' || lpad(to_hex(112589990684291072 + 1 + n / {PER_ACCOUNT}), 16, ''0'')
           || lpad(to_hex(mod(n, {PER_ACCOUNT})), 16, ''0''), %s
           FROM \"user\", generate_series(0::bigint, {size} - 1) n WHERE id = %L', cols, cols, '{editor}');
         SELECT string_agg(quote_ident(column_name), ', ') INTO cols FROM information_schema.columns
           WHERE table_schema = current_schema() AND table_name = 'member' AND column_name NOT IN ('account_id', 'user_id');
         EXECUTE format('INSERT INTO member (account_id, user_id, %s)
           SELECT ''acc_01900000000070008'' || lpad(to_hex(1 + n / {PER_ACCOUNT}), 15, ''0''),
           ''usr_'' || lpad(to_hex(112589990684291072 + 1 + n / {PER_ACCOUNT}), 16, ''0'') || lpad(to_hex(mod(n, {PER_ACCOUNT})), 16, ''0''), %s
           FROM member, generate_series(0::bigint, {size} - 1) n WHERE user_id = %L', cols, cols, '{editor}');
         END $$; ANALYZE;"
    )
}
