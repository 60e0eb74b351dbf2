//! Standings: what a check needs, read in one statement so that value and revision agree.

use sea_orm::{FromQueryResult, Statement, Value};
use usher_domain::id::{AccountId, UserId};
use usher_domain::standing::{MemberRecord, StandingRecord};
use usher_domain::time::Time;

use crate::convert::{from_word, time, time_opt};
use crate::error::Error;
use crate::store::{Store, Tx};

const STANDING: &str = "\
SELECT a.revision, a.state, a.model, a.grace_end_time, a.over_limit, a.over_limit_end_time, a.over_limit_clear_time, \
a.expire_time, a.suspend_time, a.changed_time AS account_changed_time, a.changed_event AS account_changed_event, \
a.changed_revision AS account_changed_revision, \
m.state AS member_state, m.role, m.seat, m.state_time, m.role_time, m.seat_time, m.changed_time AS member_changed_time, \
m.changed_event AS member_changed_event, m.changed_revision AS member_changed_revision \
FROM account a LEFT JOIN member m ON m.account_id = a.id AND m.user_id = $2 WHERE a.id = $1";

#[derive(FromQueryResult)]
struct Row {
    revision: i64,
    state: String,
    model: String,
    expire_time: Option<i64>,
    grace_end_time: Option<i64>,
    over_limit: bool,
    over_limit_end_time: Option<i64>,
    over_limit_clear_time: Option<i64>,
    suspend_time: Option<i64>,
    account_changed_time: i64,
    account_changed_event: String,
    account_changed_revision: i64,
    member_state: Option<String>,
    role: Option<String>,
    seat: Option<bool>,
    state_time: Option<i64>,
    role_time: Option<i64>,
    seat_time: Option<i64>,
    member_changed_time: Option<i64>,
    member_changed_event: Option<String>,
    member_changed_revision: Option<i64>,
}

/// A standing with what an explanation adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingFacts {
    pub record: StandingRecord,
    pub since: Since,
    /// The last change that touched this standing, and the kind of its event.
    pub changed_time: Time,
    pub changed_event: String,
    pub changed_revision: i64,
}

/// Since when the parts of a standing are as they are; `None` where that is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Since {
    /// Only of a suspended account.
    pub account: Option<Time>,
    pub member: Option<Time>,
    pub role: Option<Time>,
    pub seat: Option<Time>,
}

impl Store {
    /// The standing of a subject (`None` is automation) in an account, at one revision; `None` when
    /// there is no such account. One statement; behind a pooler it must have a transaction.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn standing(
        &self,
        account: &AccountId,
        subject: Option<&UserId>,
    ) -> Result<Option<StandingFacts>, Error> {
        if self.options().pooler {
            return self.read(async |tx: &Tx| tx.standing(account, subject).await).await;
        }
        let statement = statement(self.backend(), account, subject);
        let read = async { Ok(Row::find_by_statement(statement).one(&self.connection()).await?) };
        self.presence().patiently(read).await?.map(from_row).transpose()
    }
}

impl Tx {
    /// As [`Store::standing`], inside a transaction: the guard of a change reads what it locked.
    ///
    /// # Errors
    /// Those of the database; a row that does not parse.
    pub async fn standing(
        &self,
        account: &AccountId,
        subject: Option<&UserId>,
    ) -> Result<Option<StandingFacts>, Error> {
        let backend = sea_orm::ConnectionTrait::get_database_backend(&self.inner);
        let statement = statement(backend, account, subject);
        Row::find_by_statement(statement).one(&self.inner).await?.map(from_row).transpose()
    }
}

fn statement(backend: sea_orm::DbBackend, account: &AccountId, subject: Option<&UserId>) -> Statement {
    // No id is empty, so automation finds no member.
    let subject = subject.map_or("", UserId::as_str);
    Statement::from_sql_and_values(backend, STANDING, [Value::from(account.as_str()), Value::from(subject)])
}

fn from_row(row: Row) -> Result<StandingFacts, Error> {
    let member = match (row.member_state, row.role, row.seat) {
        (Some(state), Some(role), Some(seat)) => {
            Some(MemberRecord { state: from_word("member state", &state)?, role, seat })
        }
        _ => None,
    };
    let of_account = (row.account_changed_revision, row.account_changed_time, row.account_changed_event);
    let of_member = row.member_changed_time.zip(row.member_changed_event);
    let of_member = row.member_changed_revision.zip(of_member).map(|(r, (t, e))| (r, t, e));
    let (changed_revision, changed_time, changed_event) = of_member.into_iter().fold(of_account, Ord::max);
    Ok(StandingFacts {
        record: StandingRecord {
            revision: row.revision,
            account_state: from_word("account state", &row.state)?,
            model: row.model,
            expire_time: time_opt(row.expire_time),
            lapse_time: time_opt(row.grace_end_time),
            over_limit: row.over_limit,
            over_limit_end_time: time_opt(row.over_limit_end_time),
            over_limit_clear_time: time_opt(row.over_limit_clear_time),
            member,
        },
        since: Since {
            account: time_opt(row.suspend_time),
            member: time_opt(row.state_time),
            role: time_opt(row.role_time),
            seat: time_opt(row.seat_time),
        },
        changed_time: time(changed_time),
        changed_event,
        changed_revision,
    })
}
