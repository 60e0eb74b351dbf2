//! Users: what was proven of a person, and nothing else.

use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use usher_domain::email::EmailAddress;
use usher_domain::id::UserId;
use usher_domain::secret::Secret;
use usher_domain::text::username_key;
use usher_domain::time::Time;

use crate::bulk::insert_all;
use crate::convert::{micros, time, time_opt, user_id};
use crate::entity::{identity, user, user_token};
use crate::error::Error;
use crate::store::{Engine, Tx};

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// Proven by following a link that was mailed to it.
    pub email: Option<EmailAddress>,
    /// An argon2id hash in PHC form.
    pub password_hash: Option<Secret<String>>,
    pub create_time: Time,
    pub erase_time: Option<Time>,
    /// Counts the changes of the user, from 1; its stream of events follows it.
    pub revision: i64,
    pub event_hash: String,
}

/// A login at an OAuth provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub issuer: String,
    pub username: String,
    /// The provider's own id, bound at the first sign-in; from then on only it counts.
    pub subject: Option<String>,
    pub user_id: UserId,
    pub create_time: Time,
    pub bind_time: Option<Time>,
}

/// What a mailed token of a user is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenPurpose {
    /// Sets a password; following it proves the address that it was mailed to.
    SetPassword,
    /// Makes the address that it was mailed to the user's.
    ChangeEmail,
}

impl TokenPurpose {
    fn word(self) -> &'static str {
        match self {
            Self::SetPassword => "set_password",
            Self::ChangeEmail => "change_email",
        }
    }
}

impl user::Entity {
    pub(crate) fn find_by_email_key(key: &str) -> sea_orm::Select<Self> {
        use sea_orm::EntityTrait as _;
        Self::find().filter(user::Column::EmailKey.eq(key))
    }
}

impl Tx {
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn user_fetch(&self, id: &UserId) -> Result<Option<User>, Error> {
        user::Entity::find_by_id(id.as_str()).one(&self.inner).await?.map(from_row).transpose()
    }

    /// The user whose proven address this is.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn user_find_by_email(&self, key: &str) -> Result<Option<User>, Error> {
        user::Entity::find_by_email_key(key).one(&self.inner).await?.map(from_row).transpose()
    }

    /// # Errors
    /// [`Error::Exists`] when the id or the address is taken.
    pub async fn user_insert(&self, user: &User) -> Result<(), Error> {
        user::Entity::insert(new_row(user)).exec_without_returning(&self.inner).await?;
        Ok(())
    }

    /// As [`Tx::user_insert`], for many.
    ///
    /// # Errors
    /// [`Error::Exists`] when an id or an address is taken.
    pub async fn user_insert_many(&self, users: &[User]) -> Result<(), Error> {
        insert_all(self, users.iter().map(new_row).collect()).await
    }

    /// Those of the users that there are, in no order. At most [`crate::PAGE_SIZE_MAX`] ids.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn user_fetch_many(&self, ids: &[UserId]) -> Result<Vec<User>, Error> {
        let found = user::Entity::find().filter(user::Column::Id.is_in(ids.iter().map(UserId::as_str)));
        found.all(&self.inner).await?.into_iter().map(from_row).collect()
    }

    /// The users whose proven addresses have these keys, in no order. At most [`crate::PAGE_SIZE_MAX`] keys.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn user_find_by_emails(&self, keys: &[String]) -> Result<Vec<User>, Error> {
        let found = user::Entity::find().filter(user::Column::EmailKey.is_in(keys));
        found.all(&self.inner).await?.into_iter().map(from_row).collect()
    }

    /// # Errors
    /// [`Error::Exists`] when the address is somebody else's.
    pub async fn user_update(&self, user: &User) -> Result<(), Error> {
        user::Entity::update_many()
            .set(changing(user))
            .filter(user::Column::Id.eq(user.id.as_str()))
            .exec(&self.inner)
            .await?;
        Ok(())
    }

    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn identity_find_by_username(
        &self,
        issuer: &str,
        username: &str,
    ) -> Result<Option<Identity>, Error> {
        let key = (issuer.to_owned(), username_key(username));
        identity::Entity::find_by_id(key).one(&self.inner).await?.map(identity_from_row).transpose()
    }

    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn identity_find_by_subject(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<Identity>, Error> {
        identity::Entity::find()
            .filter(identity::Column::Issuer.eq(issuer))
            .filter(identity::Column::Subject.eq(subject))
            .one(&self.inner)
            .await?
            .map(identity_from_row)
            .transpose()
    }

    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn identity_list(&self, user: &UserId) -> Result<Vec<Identity>, Error> {
        identity::Entity::find()
            .filter(identity::Column::UserId.eq(user.as_str()))
            .order_by_asc(identity::Column::Issuer)
            .order_by_asc(identity::Column::UsernameKey)
            .all(&self.inner)
            .await?
            .into_iter()
            .map(identity_from_row)
            .collect()
    }

    /// # Errors
    /// [`Error::Exists`] when the issuer's username or subject is taken.
    pub async fn identity_insert(&self, identity: &Identity) -> Result<(), Error> {
        identity::Entity::insert(identity_to_row(identity)).exec_without_returning(&self.inner).await?;
        Ok(())
    }

    /// As [`Tx::identity_insert`], for many.
    ///
    /// # Errors
    /// [`Error::Exists`] when an issuer's username or subject is taken.
    pub async fn identity_insert_many(&self, identities: &[Identity]) -> Result<(), Error> {
        insert_all(self, identities.iter().map(identity_to_row).collect()).await
    }

    /// All logins of these users, by user, issuer and name. At most [`crate::PAGE_SIZE_MAX`] users.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn identity_list_many(&self, users: &[UserId]) -> Result<Vec<Identity>, Error> {
        let theirs = identity::Column::UserId.is_in(users.iter().map(UserId::as_str));
        identity_find(self, theirs.into()).await
    }

    /// The logins with these names or subjects, at any issuer. At most [`crate::PAGE_SIZE_MAX`] of each.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn identity_find_many(
        &self,
        usernames: &[String],
        subjects: &[String],
    ) -> Result<Vec<Identity>, Error> {
        let named = identity::Column::UsernameKey.is_in(usernames.iter().map(|name| username_key(name)));
        let bound = identity::Column::Subject.is_in(subjects);
        identity_find(self, Condition::any().add(named).add(bound)).await
    }

    /// Binds the issuer's subject to a username that has none yet; whether it did.
    ///
    /// # Errors
    /// [`Error::Exists`] when the subject is bound to another username.
    pub async fn identity_bind(
        &self,
        issuer: &str,
        username: &str,
        subject: &str,
        now: Time,
    ) -> Result<bool, Error> {
        let row = identity::ActiveModel {
            subject: Set(Some(subject.to_owned())),
            bind_time: Set(Some(now.micros())),
            ..Default::default()
        };
        let done = identity::Entity::update_many()
            .set(row)
            .filter(identity::Column::Issuer.eq(issuer))
            .filter(identity::Column::UsernameKey.eq(username_key(username)))
            .filter(identity::Column::Subject.is_null())
            .exec(&self.inner)
            .await?;
        Ok(done.rows_affected == 1)
    }

    /// # Errors
    /// Those of the database.
    pub async fn identity_delete_all(&self, user: &UserId) -> Result<(), Error> {
        identity::Entity::delete_many()
            .filter(identity::Column::UserId.eq(user.as_str()))
            .exec(&self.inner)
            .await?;
        Ok(())
    }

    /// Locks the user's row until the transaction ends, and reads it. After accounts, if any.
    ///
    /// # Errors
    /// [`Error::Contention`] when the lock cannot be had in time.
    pub async fn user_lock(&self, id: &UserId) -> Result<Option<User>, Error> {
        let query = user::Entity::find_by_id(id.as_str());
        let query = match self.engine {
            Engine::Postgres => query.lock_exclusive(),
            Engine::Sqlite => query,
        };
        query.one(&self.inner).await?.map(from_row).transpose()
    }

    /// Keeps the hash of a token that is about to be mailed.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn user_token_insert(
        &self,
        hash: &str,
        user: &UserId,
        purpose: TokenPurpose,
        email: &str,
        (now, expire_time): (Time, Time),
    ) -> Result<(), Error> {
        let row = user_token::ActiveModel {
            hash: Set(hash.to_owned()),
            user_id: Set(user.to_string()),
            purpose: Set(purpose.word().to_owned()),
            email: Set(email.to_owned()),
            create_time: Set(now.micros()),
            expire_time: Set(expire_time.micros()),
        };
        user_token::Entity::insert(row).exec_without_returning(&self.inner).await?;
        Ok(())
    }

    /// Whose token it is, the address it was mailed to, and when it expires.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn user_token_find(
        &self,
        hash: &str,
        purpose: TokenPurpose,
    ) -> Result<Option<(UserId, String, Time)>, Error> {
        let row = user_token::Entity::find_by_id(hash)
            .filter(user_token::Column::Purpose.eq(purpose.word()))
            .one(&self.inner)
            .await?;
        row.map(|row| Ok((user_id(&row.user_id)?, row.email, time(row.expire_time)))).transpose()
    }

    /// Ends all tokens of a user for one purpose: the used one, and older ones with it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn user_token_delete(&self, user: &UserId, purpose: TokenPurpose) -> Result<(), Error> {
        user_token::Entity::delete_many()
            .filter(user_token::Column::UserId.eq(user.as_str()))
            .filter(user_token::Column::Purpose.eq(purpose.word()))
            .exec(&self.inner)
            .await?;
        Ok(())
    }

    /// Forgets tokens that expired before then, and how many they were.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn user_token_delete_before(&self, before: Time) -> Result<u64, Error> {
        let done = user_token::Entity::delete_many()
            .filter(user_token::Column::ExpireTime.lte(before.micros()))
            .exec(&self.inner)
            .await?;
        Ok(done.rows_affected)
    }
}

async fn identity_find(tx: &Tx, which: Condition) -> Result<Vec<Identity>, Error> {
    identity::Entity::find()
        .filter(which)
        .order_by_asc(identity::Column::UserId)
        .order_by_asc(identity::Column::Issuer)
        .order_by_asc(identity::Column::UsernameKey)
        .all(&tx.inner)
        .await?
        .into_iter()
        .map(identity_from_row)
        .collect()
}

/// The row of a new user.
pub(crate) fn new_row(user: &User) -> user::ActiveModel {
    user::ActiveModel {
        id: Set(user.id.to_string()),
        create_time: Set(user.create_time.micros()),
        ..changing(user)
    }
}

fn identity_to_row(identity: &Identity) -> identity::ActiveModel {
    identity::ActiveModel {
        issuer: Set(identity.issuer.clone()),
        username_key: Set(username_key(&identity.username)),
        username: Set(identity.username.clone()),
        subject: Set(identity.subject.clone()),
        user_id: Set(identity.user_id.to_string()),
        create_time: Set(identity.create_time.micros()),
        bind_time: Set(micros(identity.bind_time)),
    }
}

fn changing(user: &User) -> user::ActiveModel {
    user::ActiveModel {
        email: Set(user.email.as_ref().map(|email| email.as_str().to_owned())),
        email_key: Set(user.email.as_ref().map(EmailAddress::key)),
        password_hash: Set(user.password_hash.as_ref().map(|hash| hash.expose().clone())),
        erase_time: Set(micros(user.erase_time)),
        revision: Set(user.revision),
        event_hash: Set(user.event_hash.clone()),
        ..Default::default()
    }
}

fn from_row(row: user::Model) -> Result<User, Error> {
    let email = row
        .email
        .map(|text| EmailAddress::parse(&text).map_err(|_| Error::corrupt("email of user", &row.id)));
    Ok(User {
        id: user_id(&row.id)?,
        email: email.transpose()?,
        password_hash: row.password_hash.map(Secret::new),
        create_time: time(row.create_time),
        erase_time: time_opt(row.erase_time),
        revision: row.revision,
        event_hash: row.event_hash,
    })
}

fn identity_from_row(row: identity::Model) -> Result<Identity, Error> {
    Ok(Identity {
        issuer: row.issuer,
        username: row.username,
        subject: row.subject,
        user_id: user_id(&row.user_id)?,
        create_time: time(row.create_time),
        bind_time: time_opt(row.bind_time),
    })
}
