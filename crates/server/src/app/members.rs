//! Reading members.

use std::collections::HashMap;

use usher_domain::caller::{Acting, Caller};
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, UserId};
use usher_domain::member::{Member, MemberState};
use usher_policy::RoleModel;
use usher_storage::{MemberFilter, SeatFilter, Tx};

use super::App;
use super::access::{Access, role, stored_role};
use super::view::{MemberView, member_affordances, member_view};
use crate::error::{Error, Missing};
use crate::token;

/// What every request that reads something of an account says.
#[derive(Debug, Clone)]
pub struct Read {
    pub account_id: AccountId,
    pub acting: Acting,
    /// A consistency token that the answer must not be older than.
    pub at_least_as_fresh: Option<String>,
}

impl Read {
    /// Reads go to the database and so are always fresh; a token can only be wrong.
    ///
    /// # Errors
    /// When the token is of another account or epoch, or from the future.
    pub fn require_revision(&self, app: &App, revision: i64) -> Result<(), Error> {
        let Some(token) = &self.at_least_as_fresh else { return Ok(()) };
        let wanted = token::read_consistency(token, &app.epoch(), self.account_id.as_str())?;
        if wanted > revision { Err(Error::RevisionInFuture.with("revision", revision)) } else { Ok(()) }
    }
}

/// A page to read.
#[derive(Debug, Clone)]
pub struct Page {
    /// 1 to [`usher_storage::PAGE_SIZE_MAX`].
    pub size: u32,
    pub token: String,
}

/// A page that was read.
pub struct Listed<T> {
    pub items: Vec<T>,
    pub next_page_token: String,
    pub total_size: u32,
    pub revision: i64,
}

/// A seat as a list's filter names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    Held,
    None,
    NotNeeded,
}

#[derive(Debug, Clone)]
pub struct ListMembers {
    pub read: Read,
    pub page: Page,
    pub roles: Vec<String>,
    pub states: Vec<MemberState>,
    pub seats: Vec<Seat>,
    pub email: Option<EmailAddress>,
}

/// # Errors
/// See the contract's `ListMembers`.
pub async fn list_members(
    app: App,
    _caller: Caller,
    command: ListMembers,
) -> Result<Listed<MemberView>, Error> {
    let bound = format!(
        "members {} {:?} {:?} {:?} {:?} {:?}",
        command.read.account_id,
        command.read.acting,
        command.roles,
        command.states,
        command.seats,
        command.email.as_ref().map(EmailAddress::key)
    );
    let after =
        app.page_tokens.read::<2>(&bound, &command.page.token)?.map(|[email_key, id]| (email_key, id));
    let now = app.clock.now();
    app.store
        .read(async |tx: &Tx| {
            let account = tx.account_fetch(&command.read.account_id).await?;
            let access = Access::open(app.roles, now, tx, account, &command.read.acting).await?;
            access.require("member.list")?;
            let filter = filter(access.model()?, &command)?;
            let size = command.page.size;
            let (mut members, total_size) =
                tx.member_list(&access.account.id, &filter, after.as_ref(), size + 1).await?;
            let more = members.len() > size as usize;
            members.truncate(size as usize);
            let next = members.last().filter(|_| more).map(|last| place(&last.email, last.user_id.as_str()));
            Ok(Listed {
                items: shown(tx, &access, members).await?,
                next_page_token: next.map(|place| app.page_tokens.make(&bound, &place)).unwrap_or_default(),
                total_size,
                revision: access.account.revision,
            })
        })
        .await
}

/// The place in a list that is sorted by (address, id).
pub fn place(email: &str, id: &str) -> [String; 2] {
    let key = EmailAddress::parse(email).map_or_else(|_| String::new(), |email| email.key());
    [key, id.to_owned()]
}

fn filter(model: &RoleModel, command: &ListMembers) -> Result<MemberFilter, Error> {
    for (index, id) in command.roles.iter().enumerate() {
        role(model, id, &format!("roles[{index}]"))?;
    }
    let seated = |uses_seat: bool| {
        model
            .roles()
            .iter()
            .filter(|role| role.uses_seat == uses_seat)
            .map(|role| role.id.to_string())
            .collect()
    };
    let seats = command.seats.iter().map(|seat| match seat {
        Seat::Held => SeatFilter::Held,
        Seat::None => SeatFilter::NotHeldIn(seated(true)),
        Seat::NotNeeded => SeatFilter::NotHeldIn(seated(false)),
    });
    Ok(MemberFilter {
        roles: command.roles.clone(),
        states: command.states.clone(),
        seats: seats.collect(),
        email_key: command.email.as_ref().map(EmailAddress::key),
    })
}

/// Members as the actor sees them, with what the actor may do to each.
async fn shown(tx: &Tx, access: &Access<'_>, members: Vec<Member>) -> Result<Vec<MemberView>, Error> {
    let model = access.model()?;
    let seats = tx.seats(&access.account, access.now).await?;
    let mut views = Vec::with_capacity(members.len());
    let mut holders: HashMap<String, u32> = HashMap::new();
    for member in members {
        let affordances = match access.acting {
            Acting::Member(_) => {
                // Counted once a role, however many members the page has.
                if !holders.contains_key(&member.role) {
                    let (_, role) = stored_role(model, &member.role)?;
                    let count = tx.member_count_holders(&access.account.id, &role.id, role.uses_seat).await?;
                    holders.insert(member.role.clone(), count);
                }
                let of_role = holders.get(&member.role).copied().unwrap_or_default();
                Some(member_affordances(access, &member, seats, of_role)?)
            }
            Acting::Platform => None,
        };
        views.push(MemberView { actor_may: affordances, ..member_view(model, member) });
    }
    Ok(views)
}

#[derive(Debug, Clone)]
pub struct GetMember {
    pub read: Read,
    pub user_id: UserId,
}

/// # Errors
/// See the contract's `GetMember`.
pub async fn get_member(app: App, _caller: Caller, command: GetMember) -> Result<(MemberView, i64), Error> {
    let now = app.clock.now();
    app.store
        .read(async |tx: &Tx| {
            let account = tx.account_fetch(&command.read.account_id).await?;
            let access = Access::open(app.roles, now, tx, account, &command.read.acting).await?;
            access.require("member.view")?;
            let member = tx.member_fetch(&access.account.id, &command.user_id).await?;
            let member = member.ok_or_else(|| Error::no_member(&command.user_id))?;
            let view = shown(tx, &access, vec![member]).await?.pop();
            Ok((view.ok_or(Error::Missing(Missing::Member))?, access.account.revision))
        })
        .await
}
