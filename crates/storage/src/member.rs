//! Members: users in one account.

mod by_email;

use std::collections::{BTreeSet, HashMap};

use sea_orm::sea_query::{Condition, Expr, Func, SimpleExpr};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use usher_domain::account::Account;
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, UserId};
use usher_domain::member::{Member, MemberIdentity, MemberState};
use usher_domain::text::username_key;
use usher_domain::time::Time;

use crate::bulk::insert_all;
use crate::convert::{account_id, count, from_word, micros, time, time_opt, user_id, user_id_opt, word};
use crate::entity::{account, identity, member, member_identity, user};
use crate::error::Error;
use crate::store::Tx;

/// Which members a list shows. Empty lists ask for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberFilter {
    pub roles: Vec<String>,
    pub states: Vec<MemberState>,
    pub seats: Vec<SeatFilter>,
    /// The normalised key of an address.
    pub email_key: Option<String>,
}

/// What a member's seat is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeatFilter {
    Held,
    /// No seat, in one of these roles (those that would use one, or those that would not).
    NotHeldIn(Vec<String>),
}

/// The change that a member's row is of, for explaining a standing.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    pub time: Time,
    pub event_kind: &'a str,
    pub revision: i64,
}

impl Tx {
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn member_fetch(&self, account: &AccountId, id: &UserId) -> Result<Option<Member>, Error> {
        let row = of(account).filter(member::Column::UserId.eq(id.as_str())).one(&self.inner).await?;
        Ok(self.members(row.into_iter().collect()).await?.pop())
    }

    /// # Errors
    /// [`Error::Exists`] when the user is a member already.
    pub async fn member_insert(&self, member: &Member, stamp: Stamp<'_>) -> Result<(), Error> {
        self.member_insert_many(std::slice::from_ref(member), stamp).await
    }

    /// As [`Tx::member_insert`], for many.
    ///
    /// # Errors
    /// [`Error::Exists`] when a user is a member already.
    pub async fn member_insert_many(&self, members: &[Member], stamp: Stamp<'_>) -> Result<(), Error> {
        insert_all(self, members.iter().map(|member| new_row(member, stamp)).collect()).await?;
        let links = members.iter().flat_map(|member| member.identities.iter().map(move |i| link(member, i)));
        insert_all(self, links.collect()).await
    }

    /// Notes a sign-in on the memberships of a user, to the day, so that most of them write nothing; on those
    /// in the accounts of `reach` alone, if it is given.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn member_note_sign_in(
        &self,
        id: &UserId,
        now: Time,
        reach: Option<&BTreeSet<AccountId>>,
    ) -> Result<(), Error> {
        let day = now.to_the_day().micros();
        let stale = Condition::any()
            .add(member::Column::LastSignInTime.is_null())
            .add(member::Column::LastSignInTime.lt(day));
        member::Entity::update_many()
            .col_expr(member::Column::LastSignInTime, Expr::val(day))
            .col_expr(
                member::Column::FirstSignInTime,
                Func::coalesce([Expr::col(member::Column::FirstSignInTime), Expr::val(now.micros())]).into(),
            )
            .filter(member::Column::UserId.eq(id.as_str()))
            .filter(within(reach))
            .filter(stale)
            .exec(&self.inner)
            .await?;
        Ok(())
    }

    /// Writes what can change of a member: contact, role, state, seat. With a stamp, what changed of
    /// the last three is as it is from then on.
    ///
    /// # Errors
    /// Those of the database; when the member is not there.
    pub async fn member_update(&self, member: &Member, changed: Option<Stamp<'_>>) -> Result<(), Error> {
        let mut row = changing(member);
        if let Some(stamp) = changed {
            row.changed_time = Set(stamp.time.micros());
            row.changed_event = Set(stamp.event_kind.to_owned());
            row.changed_revision = Set(stamp.revision);
        }
        let mut update = member::Entity::update_many();
        if let Some(Stamp { time, .. }) = changed {
            // The columns on the right are those before the update.
            let since = |column: member::Column, changed: SimpleExpr| {
                Expr::case(changed, Expr::val(time.micros())).finally(Expr::col(column))
            };
            let state = member::Column::State.ne(word(member.state));
            update = update
                .col_expr(member::Column::StateTime, since(member::Column::StateTime, state).into())
                .col_expr(
                    member::Column::RoleTime,
                    since(member::Column::RoleTime, member::Column::Role.ne(&member.role)).into(),
                )
                .col_expr(
                    member::Column::SeatTime,
                    since(member::Column::SeatTime, member::Column::Seat.ne(member.seat)).into(),
                );
        }
        let done = update
            .set(row)
            .filter(member::Column::AccountId.eq(member.account_id.as_str()))
            .filter(member::Column::UserId.eq(member.user_id.as_str()))
            .exec(&self.inner)
            .await?;
        if done.rows_affected == 1 { Ok(()) } else { Err(Error::corrupt("member", &member.user_id)) }
    }

    /// # Errors
    /// Those of the database.
    pub async fn member_delete(&self, account: &AccountId, id: &UserId) -> Result<(), Error> {
        member_identity::Entity::delete_many()
            .filter(member_identity::Column::AccountId.eq(account.as_str()))
            .filter(member_identity::Column::UserId.eq(id.as_str()))
            .exec(&self.inner)
            .await?;
        member::Entity::delete_many()
            .filter(member::Column::AccountId.eq(account.as_str()))
            .filter(member::Column::UserId.eq(id.as_str()))
            .exec(&self.inner)
            .await?;
        Ok(())
    }

    /// How many hold the role: active and, where it uses a seat, seated. Exact under the lock.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn member_count_holders(
        &self,
        account: &AccountId,
        role: &str,
        uses_seat: bool,
    ) -> Result<u32, Error> {
        let mut query = of(account)
            .filter(member::Column::Role.eq(role))
            .filter(member::Column::State.eq(word(MemberState::Active)));
        if uses_seat {
            query = query.filter(member::Column::Seat.eq(true));
        }
        count(i64::try_from(query.count(&self.inner).await?).unwrap_or(i64::MAX))
    }

    /// Members by user id, which nothing changes: who reads page after page meets each of them once.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn members_by_id(
        &self,
        account: &AccountId,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<Member>, Error> {
        let mut query = of(account);
        if let Some(after) = after {
            query = query.filter(member::Column::UserId.gt(after.as_str()));
        }
        let rows =
            query.order_by_asc(member::Column::UserId).limit(u64::from(limit)).all(&self.inner).await?;
        self.members(rows).await
    }

    /// A page of members in the order of (address, user id), after the given place; and how many
    /// the filter finds in all.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn member_list(
        &self,
        account: &AccountId,
        filter: &MemberFilter,
        after: Option<&(String, String)>,
        limit: u32,
    ) -> Result<(Vec<Member>, u32), Error> {
        let mut query = of(account);
        if !filter.roles.is_empty() {
            query = query.filter(member::Column::Role.is_in(&filter.roles));
        }
        if !filter.states.is_empty() {
            query = query.filter(member::Column::State.is_in(filter.states.iter().map(|state| word(*state))));
        }
        if let Some(key) = &filter.email_key {
            let proven = user::Entity::find_by_email_key(key).one(&self.inner).await?;
            let mut either = Condition::any().add(member::Column::EmailKey.eq(key));
            if let Some(user) = proven {
                either = either.add(member::Column::UserId.eq(user.id));
            }
            query = query.filter(either);
        }
        if !filter.seats.is_empty() {
            query = query.filter(filter.seats.iter().fold(Condition::any(), |any, seat| match seat {
                SeatFilter::Held => any.add(member::Column::Seat.eq(true)),
                SeatFilter::NotHeldIn(roles) => {
                    any.add(member::Column::Seat.eq(false).and(member::Column::Role.is_in(roles)))
                }
            }));
        }
        let total = query.clone().count(&self.inner).await?;
        if let Some((email_key, id)) = after {
            let same = member::Column::EmailKey.eq(email_key).and(member::Column::UserId.gt(id));
            // Said apart from the choice, so that an index begins there and not at the first member.
            query = query.filter(member::Column::EmailKey.gte(email_key));
            query = query.filter(Condition::any().add(member::Column::EmailKey.gt(email_key)).add(same));
        }
        let rows = query
            .order_by_asc(member::Column::EmailKey)
            .order_by_asc(member::Column::UserId)
            .limit(u64::from(limit))
            .all(&self.inner)
            .await?;
        Ok((self.members(rows).await?, count(i64::try_from(total).unwrap_or(i64::MAX))?))
    }

    /// The display names of those of the users who are members, by user id.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn member_names(
        &self,
        account: &AccountId,
        ids: impl IntoIterator<Item = &UserId>,
    ) -> Result<HashMap<String, String>, Error> {
        let ids: Vec<&str> = ids.into_iter().map(UserId::as_str).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let names: Vec<(String, String)> = of(account)
            .filter(member::Column::UserId.is_in(ids))
            .select_only()
            .column(member::Column::UserId)
            .column(member::Column::DisplayName)
            .into_tuple()
            .all(&self.inner)
            .await?;
        Ok(names.into_iter().collect())
    }

    /// The accounts that the user is a member of, by id.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn member_accounts(&self, id: &UserId) -> Result<Vec<AccountId>, Error> {
        let ids: Vec<String> = member::Entity::find()
            .filter(member::Column::UserId.eq(id.as_str()))
            .select_only()
            .column(member::Column::AccountId)
            .order_by_asc(member::Column::AccountId)
            .into_tuple()
            .all(&self.inner)
            .await?;
        ids.iter().map(|id| account_id(id)).collect()
    }

    /// A user's memberships with their accounts, by account id, after the given one; those in the accounts of
    /// `reach` alone, if it is given.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn membership_list(
        &self,
        id: &UserId,
        reach: Option<&BTreeSet<AccountId>>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(Member, Account)>, Error> {
        let mut query =
            member::Entity::find().filter(member::Column::UserId.eq(id.as_str())).filter(within(reach));
        if let Some(after) = after {
            query = query.filter(member::Column::AccountId.gt(after));
        }
        let rows =
            query.order_by_asc(member::Column::AccountId).limit(u64::from(limit)).all(&self.inner).await?;
        let ids: Vec<String> = rows.iter().map(|row| row.account_id.clone()).collect();
        let accounts =
            account::Entity::find().filter(account::Column::Id.is_in(ids)).all(&self.inner).await?;
        let mut accounts: HashMap<String, Account> = accounts
            .into_iter()
            .map(|row| Ok((row.id.clone(), crate::account::from_row(row)?)))
            .collect::<Result<_, Error>>()?;
        rows.into_iter()
            .filter_map(|row| {
                let account = accounts.remove(&row.account_id)?;
                Some(from_row(row, Vec::new(), false).map(|member| (member, account)))
            })
            .collect()
    }

    /// The models and roles that members have, for a server to see whether its files know them.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn member_roles_in_use(&self) -> Result<Vec<(String, String)>, Error> {
        use sea_orm::{FromQueryResult, Statement};
        #[derive(FromQueryResult)]
        struct Row {
            model: String,
            role: String,
        }
        let sql = "SELECT DISTINCT a.model AS model, m.role AS role FROM member m JOIN account a ON a.id = m.account_id";
        let backend = sea_orm::ConnectionTrait::get_database_backend(&self.inner);
        let rows = Row::find_by_statement(Statement::from_string(backend, sql)).all(&self.inner).await?;
        Ok(rows.into_iter().map(|row| (row.model, row.role)).collect())
    }

    async fn members(&self, rows: Vec<member::Model>) -> Result<Vec<Member>, Error> {
        let Some(account) = rows.first().map(|row| row.account_id.clone()) else { return Ok(Vec::new()) };
        let ids: Vec<&str> = rows.iter().map(|row| row.user_id.as_str()).collect();
        let mut given: HashMap<String, Vec<MemberIdentity>> = HashMap::new();
        let links = member_identity::Entity::find()
            .filter(member_identity::Column::AccountId.eq(&account))
            .filter(member_identity::Column::UserId.is_in(ids.iter().copied()))
            .all(&self.inner)
            .await?;
        if !links.is_empty() {
            let identities = identity::Entity::find()
                .filter(identity::Column::UserId.is_in(ids.iter().copied()))
                .all(&self.inner)
                .await?;
            for link in links {
                let of_link =
                    |i: &&identity::Model| i.issuer == link.issuer && i.username_key == link.username_key;
                if let Some(found) = identities.iter().find(of_link) {
                    given.entry(link.user_id).or_default().push(MemberIdentity {
                        issuer: found.issuer.clone(),
                        username: found.username.clone(),
                        bound: found.subject.is_some(),
                    });
                }
            }
        }
        let proven: HashMap<String, Option<String>> = user::Entity::find()
            .filter(user::Column::Id.is_in(ids.iter().copied()))
            .select_only()
            .column(user::Column::Id)
            .column(user::Column::EmailKey)
            .into_tuple::<(String, Option<String>)>()
            .all(&self.inner)
            .await?
            .into_iter()
            .collect();
        rows.into_iter()
            .map(|row| {
                let identities = given.remove(&row.user_id).unwrap_or_default();
                let verified =
                    proven.get(&row.user_id).is_some_and(|key| key.as_deref() == Some(&row.email_key));
                from_row(row, identities, verified)
            })
            .collect()
    }
}

fn of(account: &AccountId) -> sea_orm::Select<member::Entity> {
    member::Entity::find().filter(member::Column::AccountId.eq(account.as_str()))
}

fn link(member: &Member, given: &MemberIdentity) -> member_identity::ActiveModel {
    member_identity::ActiveModel {
        account_id: Set(member.account_id.to_string()),
        user_id: Set(member.user_id.to_string()),
        issuer: Set(given.issuer.clone()),
        username_key: Set(username_key(&given.username)),
    }
}

/// The row of a new member.
pub(crate) fn new_row(member: &Member, stamp: Stamp<'_>) -> member::ActiveModel {
    member::ActiveModel {
        account_id: Set(member.account_id.to_string()),
        user_id: Set(member.user_id.to_string()),
        join_time: Set(member.join_time.micros()),
        state_time: Set(member.suspend_time.unwrap_or(member.join_time).micros()),
        role_time: Set(member.join_time.micros()),
        seat_time: Set(member.join_time.micros()),
        first_sign_in_time: Set(micros(member.first_sign_in_time)),
        last_sign_in_time: Set(micros(member.last_sign_in_time)),
        invited_by: Set(member.invited_by.as_ref().map(ToString::to_string)),
        changed_time: Set(stamp.time.micros()),
        changed_event: Set(stamp.event_kind.to_owned()),
        changed_revision: Set(stamp.revision),
        ..changing(member)
    }
}

fn changing(member: &Member) -> member::ActiveModel {
    member::ActiveModel {
        email: Set(member.email.clone()),
        email_key: Set(EmailAddress::parse(&member.email).map_or_else(|_| String::new(), |email| email.key())),
        display_name: Set(member.display_name.clone()),
        role: Set(member.role.clone()),
        state: Set(word(member.state)),
        seat: Set(member.seat),
        ..Default::default()
    }
}

fn from_row(
    row: member::Model,
    identities: Vec<MemberIdentity>,
    email_verified: bool,
) -> Result<Member, Error> {
    let state = from_word("member state", &row.state)?;
    Ok(Member {
        account_id: account_id(&row.account_id)?,
        user_id: user_id(&row.user_id)?,
        email: row.email,
        email_verified,
        display_name: row.display_name,
        role: row.role,
        state,
        seat: row.seat,
        identities,
        join_time: time(row.join_time),
        suspend_time: (state == MemberState::Suspended).then(|| time(row.state_time)),
        first_sign_in_time: time_opt(row.first_sign_in_time),
        last_sign_in_time: time_opt(row.last_sign_in_time),
        invited_by: user_id_opt(row.invited_by.as_deref())?,
    })
}

fn within(reach: Option<&BTreeSet<AccountId>>) -> Condition {
    let ids = reach.map(|reach| reach.iter().map(AccountId::as_str));
    Condition::all().add_option(ids.map(|ids| member::Column::AccountId.is_in(ids)))
}
