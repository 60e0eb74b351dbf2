//! What a mail says when it is about to leave: read then, not when it was asked for, and nothing when
//! what it is about is over. Here its token is drawn and the hash stored.

use std::time::Duration;

use usher_domain::account::Account;
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, InvitationId, TransferId, UserId};
use usher_domain::member::Member;
use usher_domain::ownership::TransferState;
use usher_domain::secret::{Secret, token_hash};
use usher_domain::time::Time;
use usher_storage::{Mail, MailKind, TokenPurpose, Tx, User};

use super::outbox::Links;
use crate::app::App;
use crate::app::invite_user::link;
use crate::error::Error;
use crate::mail::Letter;
use crate::random;

/// How long the link in the mail to a founder works.
const FOUNDER_LINK_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long links to a new password or address work.
const LINK_LIFETIME: Duration = Duration::from_secs(3600);

/// A letter and whom it goes to.
pub(super) struct Ready {
    pub(super) to: EmailAddress,
    pub(super) letter: Letter,
}

pub(super) struct Desk<'a> {
    pub(super) app: &'a App,
    pub(super) links: &'a Links,
    pub(super) tx: &'a Tx,
    pub(super) now: Time,
}

impl Desk<'_> {
    /// The account or the user that a mail is about, locked: a change that ends older links, or takes
    /// back the mail, is either over by now or waits until the new token is stored, and ends it too.
    pub(super) async fn lock(&self, mail: &Mail) -> Result<(Option<Account>, Option<User>), Error> {
        let account = match &mail.account_id {
            Some(id) => self.tx.account_lock(id).await?,
            None => None,
        };
        let user = match (mail.kind, UserId::parse(&mail.subject_id)) {
            (MailKind::Invitation | MailKind::OwnershipTransfer, _) | (_, Err(_)) => None,
            (_, Ok(id)) => self.tx.user_lock(&id).await?.filter(|user| user.erase_time.is_none()),
        };
        Ok((account, user))
    }

    /// `None` when there is nothing to send any more.
    pub(super) async fn write(
        &self,
        mail: &Mail,
        locked: (Option<Account>, Option<User>),
    ) -> Result<Option<Ready>, Error> {
        match (mail.kind, locked) {
            (MailKind::Invitation, (Some(account), _)) => self.invitation(mail, &account).await,
            (MailKind::OwnershipTransfer, (Some(account), _)) => self.transfer(mail, &account).await,
            (MailKind::Joined, (Some(account), Some(user))) => self.joined(mail, &account, &user).await,
            (MailKind::Founder, (Some(account), Some(user))) => self.founder(mail, &account, &user).await,
            (MailKind::PasswordReset, (_, Some(user))) => self.password_reset(mail, &user).await,
            (MailKind::EmailChange, (_, Some(user))) => self.email_change(mail, &user).await,
            _ => Ok(None),
        }
    }

    async fn invitation(&self, mail: &Mail, account: &Account) -> Result<Option<Ready>, Error> {
        let (Ok(id), Some(to)) = (InvitationId::parse(&mail.subject_id), address(mail)) else {
            return Ok(None);
        };
        let invitation = self.tx.invitation_fetch(&account.id, &id).await?;
        let Some(invitation) = invitation.filter(|invitation| invitation.is_open(self.now)) else {
            return Ok(None);
        };
        let token = random::token()?;
        self.tx.invitation_token_insert(&id, &token_hash(token.expose()), self.now).await?;
        let letter = Letter::Invitation {
            account_name: account.name.clone(),
            role_title: self.role_title(account, &invitation.role),
            invited_by_name: self.sponsor_name(account, invitation.invited_by.as_ref()).await?,
            link: link(&self.links.invitation, &token),
            expire_time: invitation.expire_time,
        };
        Ok(Some(Ready { to, letter }))
    }

    /// Nothing when they are no member any more.
    async fn joined(&self, mail: &Mail, account: &Account, user: &User) -> Result<Option<Ready>, Error> {
        let Some(to) = address(mail) else { return Ok(None) };
        let Some(member) = self.tx.member_fetch(&account.id, &user.id).await? else { return Ok(None) };
        let username = member.identities.first().map(|login| login.username.clone());
        let letter = Letter::Joined {
            account_name: account.name.clone(),
            role_title: self.role_title(account, &member.role),
            invited_by_name: self.sponsor_name(account, member.invited_by.as_ref()).await?,
            username: username.unwrap_or_default(),
        };
        Ok(Some(Ready { to, letter }))
    }

    /// Empty for the platform, and for who has no name or is gone.
    async fn sponsor_name(&self, account: &Account, sponsor: Option<&UserId>) -> Result<String, Error> {
        let Some(sponsor) = sponsor else { return Ok(String::new()) };
        let member = self.tx.member_fetch(&account.id, sponsor).await?;
        Ok(member.map(|member| member.display_name).unwrap_or_default())
    }

    /// To the address that was typed for them, unless they have proven another one since: who reads
    /// the former must not set the password of who has the latter.
    async fn founder(&self, mail: &Mail, account: &Account, user: &User) -> Result<Option<Ready>, Error> {
        let Some(to) = address(mail) else { return Ok(None) };
        if user.email.as_ref().is_some_and(|proven| proven.key() != to.key()) {
            return Ok(None);
        }
        let expire_time = self.now + FOUNDER_LINK_LIFETIME;
        let link = self.user_link(user, TokenPurpose::SetPassword, &to, expire_time).await?;
        let account_name = account.name.clone();
        Ok(Some(Ready { to, letter: Letter::Founder { account_name, link, expire_time } }))
    }

    /// To the user's proven address; the mail's is only what somebody typed to find it. One who has
    /// proven none is a founder, found by the address of their first mail.
    async fn password_reset(&self, mail: &Mail, user: &User) -> Result<Option<Ready>, Error> {
        let Some(to) = user.email.clone().or_else(|| address(mail)) else { return Ok(None) };
        let expire_time = self.now + LINK_LIFETIME;
        let link = self.user_link(user, TokenPurpose::SetPassword, &to, expire_time).await?;
        Ok(Some(Ready { to, letter: Letter::PasswordReset { link, expire_time } }))
    }

    async fn email_change(&self, mail: &Mail, user: &User) -> Result<Option<Ready>, Error> {
        let Some(to) = address(mail) else { return Ok(None) };
        let expire_time = self.now + LINK_LIFETIME;
        let link = self.user_link(user, TokenPurpose::ChangeEmail, &to, expire_time).await?;
        Ok(Some(Ready { to, letter: Letter::EmailChange { link, expire_time } }))
    }

    /// A new link, which ends older ones for the same purpose.
    async fn user_link(
        &self,
        user: &User,
        purpose: TokenPurpose,
        to: &EmailAddress,
        expire_time: Time,
    ) -> Result<Secret<String>, Error> {
        let token = random::token()?;
        let hash = token_hash(token.expose());
        self.tx.user_token_delete(&user.id, purpose).await?;
        self.tx.user_token_insert(&hash, &user.id, purpose, to.as_str(), (self.now, expire_time)).await?;
        let url = match purpose {
            TokenPurpose::SetPassword => &self.links.password,
            TokenPurpose::ChangeEmail => &self.links.email,
        };
        Ok(link(url, &token))
    }

    /// Also when the ticket was approved meanwhile: the owner must learn of it in any case.
    async fn transfer(&self, mail: &Mail, account: &Account) -> Result<Option<Ready>, Error> {
        let (Ok(id), Some(to)) = (TransferId::parse(&mail.subject_id), address(mail)) else {
            return Ok(None);
        };
        let transfer = self.tx.ownership_transfer_fetch(&account.id, &id).await?;
        let Some(transfer) = transfer else { return Ok(None) };
        match transfer.state(self.now) {
            TransferState::Open | TransferState::Approved => {}
            TransferState::Cancelled | TransferState::Expired => return Ok(None),
        }
        let letter = Letter::OwnershipTransfer {
            account_name: account.name.clone(),
            role_title: self.role_title(account, &transfer.role),
            new_owner_name: self.name_of(&account.id, &transfer.new_owner_id).await?,
            ticket_ref: transfer.ticket_ref,
        };
        Ok(Some(Ready { to, letter }))
    }

    /// What a member is called: by name, or else by address or id.
    async fn name_of(&self, account: &AccountId, user: &UserId) -> Result<String, Error> {
        let member: Option<Member> = self.tx.member_fetch(account, user).await?;
        let names = member.map(|member| [member.display_name, member.email]).unwrap_or_default();
        let name = names.into_iter().find(|name| !name.is_empty());
        Ok(name.unwrap_or_else(|| user.to_string()))
    }

    fn role_title(&self, account: &Account, role: &str) -> String {
        let model = self.app.roles.get(&account.model).map(|(_, model)| model);
        let found = model.and_then(|model| model.role_at(model.role(role)?));
        found.map_or_else(|| role.to_owned(), |role| role.title.to_string())
    }
}

fn address(mail: &Mail) -> Option<EmailAddress> {
    EmailAddress::parse(&mail.email).ok()
}
