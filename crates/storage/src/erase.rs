//! Erasing a person: what identifies them goes, their id stays.

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use usher_domain::id::{AccountId, UserId};

use crate::convert::{account_id, word};
use crate::entity::{event, invitation, outbox, request, sign_in_failure, user_token};
use crate::error::Error;
use crate::outbox::MailKind;
use crate::store::Tx;

impl Tx {
    /// The accounts that hold an invitation of the person: to their address, or accepted by them.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn erase_find_accounts(
        &self,
        user: &UserId,
        email_key: Option<&str>,
    ) -> Result<Vec<AccountId>, Error> {
        let ids: Vec<String> = invitation::Entity::find()
            .filter(theirs(user, email_key))
            .select_only()
            .column(invitation::Column::AccountId)
            .distinct()
            .order_by_asc(invitation::Column::AccountId)
            .into_tuple()
            .all(&self.inner)
            .await?;
        ids.iter().map(|id| account_id(id)).collect()
    }

    /// Takes the personal part out of everything but the user's own row: invitations and their
    /// events, events about the user, mails, tokens, tries to sign in, remembered answers. `email_key` is the
    /// address that they proved: what goes to another may be somebody else's.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn erase_traces(&self, user: &UserId, email_key: Option<&str>) -> Result<(), Error> {
        let invitations: Vec<String> = invitation::Entity::find()
            .filter(theirs(user, email_key))
            .select_only()
            .column(invitation::Column::Id)
            .into_tuple()
            .all(&self.inner)
            .await?;
        invitation::Entity::update_many()
            .col_expr(invitation::Column::Email, Expr::val(""))
            .col_expr(invitation::Column::EmailKey, Expr::val(""))
            .col_expr(invitation::Column::DisplayName, Expr::val(""))
            .col_expr(invitation::Column::Username, Expr::val(Option::<String>::None))
            .col_expr(invitation::Column::Issuer, Expr::val(Option::<String>::None))
            .filter(invitation::Column::Id.is_in(&invitations))
            .exec(&self.inner)
            .await?;
        let mut subjects = invitations;
        subjects.push(user.to_string());
        event::Entity::update_many()
            .col_expr(event::Column::Personal, Expr::val(Option::<String>::None))
            .filter(event::Column::SubjectId.is_in(&subjects))
            .exec(&self.inner)
            .await?;
        let mails = Condition::any()
            .add(outbox::Column::SubjectId.is_in(&subjects))
            .add(outbox::Column::EmailKey.is_in(email_key));
        outbox::Entity::delete_many().filter(mails).exec(&self.inner).await?;
        user_token::Entity::delete_many()
            .filter(user_token::Column::UserId.eq(user.as_str()))
            .exec(&self.inner)
            .await?;
        sign_in_failure::Entity::delete_many()
            .filter(sign_in_failure::Column::EmailKey.is_in(email_key))
            .exec(&self.inner)
            .await?;
        let told = subjects
            .iter()
            .map(String::as_str)
            .chain(email_key)
            .fold(Condition::any(), |any, text| any.add(request::Column::Outcome.contains(text)));
        request::Entity::delete_many().filter(told).exec(&self.inner).await?;
        Ok(())
    }
}

impl Tx {
    /// Forgets the mails that told one who goes of an ownership ticket, at their contact address in the account.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn erase_ticket_mails(&self, account: &AccountId, email_key: &str) -> Result<(), Error> {
        outbox::Entity::delete_many()
            .filter(outbox::Column::AccountId.eq(account.as_str()))
            .filter(outbox::Column::Kind.eq(word(MailKind::OwnershipTransfer)))
            .filter(outbox::Column::EmailKey.eq(email_key))
            .exec(&self.inner)
            .await?;
        Ok(())
    }
}

fn theirs(user: &UserId, email_key: Option<&str>) -> Condition {
    let accepted = Condition::any().add(invitation::Column::AcceptedUserId.eq(user.as_str()));
    match email_key {
        Some(key) => accepted.add(invitation::Column::EmailKey.eq(key)),
        None => accepted,
    }
}
