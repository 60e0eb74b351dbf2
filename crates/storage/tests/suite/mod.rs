//! What the store promises, as cases that run on every engine. `sqlite.rs` and `postgres.rs` run all.

pub(crate) mod changes;
pub(crate) mod people;
pub(crate) mod values;

use usher_domain::account::{Account, AccountState};
use usher_domain::id::{AccountId, UserId};
use usher_domain::license::{License, Subscription};
use usher_domain::member::{Member, MemberState};
use usher_domain::time::Time;
use usher_storage::{Error, Stamp, Store, Tx, User};

/// Every case by name. A case gets a store with an empty, migrated database of its own.
macro_rules! cases {
    ($run:ident) => {
        $run!(
            changes::an_account_is_what_was_written,
            changes::an_error_rolls_back_and_so_does_a_dropped_future,
            changes::writers_of_one_account_take_turns,
            changes::migrating_again_changes_nothing,
            changes::a_remembered_request_is_found_until_it_is_too_old,
            changes::events_are_chained_in_order_and_pages_go_both_ways,
            people::a_standing_is_read_with_its_revision,
            people::members_are_paged_without_gap_or_repetition_while_they_come_and_go,
            people::addresses_match_by_their_key_alone,
            people::one_invitation_of_an_address_is_pending,
            people::at_most_three_tokens_of_an_invitation_live,
            people::an_identity_is_bound_once,
            people::parallel_tries_to_sign_in_are_all_counted,
            people::holders_and_seats_are_counted,
            values::mails_are_claimed_by_one_worker_at_a_time,
            values::a_claim_ends_and_a_late_worker_is_not_believed,
            values::shared_values_are_those_of_the_first,
            values::role_models_are_remembered,
            values::an_open_ticket_is_the_only_one,
        );
    };
}
pub(crate) use cases;

pub(crate) const NOW: i64 = 1_900_000_000;

pub(crate) fn at(seconds: i64) -> Time {
    Time::from_seconds(NOW + seconds)
}

pub(crate) fn account_id(id: &str) -> AccountId {
    AccountId::parse(id).unwrap()
}

pub(crate) fn user_id(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

pub(crate) fn account(id: &str) -> Account {
    Account {
        id: account_id(id),
        name: format!("{id} & Söhne"),
        model: "integrate-io".into(),
        state: AccountState::Active,
        license: License {
            purchased: Some(10),
            subscription: Subscription::new("team".into(), Some(at(100)), None).unwrap(),
            over_limit: false,
            over_limit_end_time: None,
            seats_as_of: None,
            subscription_as_of: None,
        },
        revision: 1,
        event_hash: String::new(),
        create_time: at(0),
        suspend_time: None,
        close_time: None,
    }
}

pub(crate) fn member(account: &str, user: &str, role: &str) -> Member {
    Member {
        account_id: account_id(account),
        user_id: user_id(user),
        email: format!("{user}@Example.test"),
        email_verified: false,
        display_name: user.to_uppercase(),
        role: role.into(),
        state: MemberState::Active,
        seat: true,
        identities: Vec::new(),
        join_time: at(1),
        suspend_time: None,
        first_sign_in_time: None,
        last_sign_in_time: None,
        invited_by: None,
    }
}

pub(crate) fn user(id: &str, email: Option<&str>) -> User {
    User {
        id: user_id(id),
        email: email.map(|email| usher_domain::email::EmailAddress::parse(email).unwrap()),
        password_hash: None,
        create_time: at(0),
        erase_time: None,
        revision: 1,
        event_hash: String::new(),
    }
}

pub(crate) fn stamp() -> Stamp<'static> {
    Stamp { time: at(1), event_kind: "member.joined", revision: 1 }
}

pub(crate) async fn add_account(store: &Store, id: &str) {
    store.write(async |tx: &Tx| tx.account_insert(&account(id), 7, "account.created").await).await.unwrap();
}

pub(crate) async fn add_member(store: &Store, account: &str, id: &str, role: &str) {
    store
        .write(async |tx: &Tx| {
            if tx.user_fetch(&user_id(id)).await?.is_none() {
                tx.user_insert(&user(id, None)).await?;
            }
            tx.member_insert(&member(account, id, role), stamp()).await
        })
        .await
        .unwrap();
}

/// For closures whose error is the store's own.
pub(crate) type Result<T> = std::result::Result<T, Error>;
