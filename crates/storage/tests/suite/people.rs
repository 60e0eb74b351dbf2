use usher_domain::email::EmailAddress;
use usher_domain::id::InvitationId;
use usher_domain::invitation::{Delivery, DeliveryState, DeliveryStatus, Invitation, InvitationState};
use usher_domain::member::MemberState;
use usher_domain::standing::AccountState;
use usher_storage::{Error, Identity, MemberFilter, SeatFilter, SeatTotals, Store, Tx};

use super::{account_id, add_account, add_member, at, member, stamp, user, user_id};

pub(crate) async fn a_standing_is_read_with_its_revision(store: Store) {
    add_account(&store, "acme").await;
    add_member(&store, "acme", "bob", "editor").await;
    let standing = store.standing(&account_id("acme"), Some(&user_id("bob"))).await.unwrap().unwrap();
    assert_eq!((standing.record.revision, standing.record.account_state), (1, AccountState::Active));
    let of_member = standing.record.member.unwrap();
    assert_eq!(
        (of_member.role.as_str(), of_member.state, of_member.seat),
        ("editor", MemberState::Active, true)
    );
    assert!(standing.record.lapse_time > Some(at(100)), "grace follows the expiry");
    let stranger = store.standing(&account_id("acme"), Some(&user_id("eve"))).await.unwrap().unwrap();
    assert_eq!(stranger.record.member, None);
    let automation = store.standing(&account_id("acme"), None).await.unwrap().unwrap();
    assert_eq!(automation.record.member, None);
    assert_eq!(store.standing(&account_id("nobody"), None).await.unwrap(), None);
}

pub(crate) async fn members_are_paged_without_gap_or_repetition_while_they_come_and_go(store: Store) {
    add_account(&store, "acme").await;
    add_account(&store, "other").await;
    for n in 0..20 {
        add_member(&store, "acme", &format!("user{n:02}"), "editor").await;
    }
    add_member(&store, "other", "user03", "reader").await;
    let mut seen = Vec::new();
    let mut after: Option<(String, String)> = None;
    loop {
        let place = after.clone();
        let filter = MemberFilter::default();
        let account = account_id("acme");
        let page = async |tx: &Tx| tx.member_list(&account, &filter, place.as_ref(), 3).await;
        let (page, total) = store.read(page).await.unwrap();
        assert!(total >= 19);
        let Some(last) = page.last() else { break };
        after = Some((EmailAddress::parse(&last.email).unwrap().key(), last.user_id.to_string()));
        seen.extend(page.into_iter().map(|member| member.user_id.to_string()));
        if seen.len() == 6 {
            // One that was shown goes, one that would have been shown before comes.
            let gone = async |tx: &Tx| tx.member_delete(&account_id("acme"), &user_id("user01")).await;
            store.write(gone).await.unwrap();
            add_member(&store, "acme", "aaa", "editor").await;
        }
    }
    let expected: Vec<String> = (0..20).map(|n| format!("user{n:02}")).collect();
    assert_eq!(seen, expected);
}

pub(crate) async fn addresses_match_by_their_key_alone(store: Store) {
    add_account(&store, "acme").await;
    store
        .write(async |tx: &Tx| {
            tx.user_insert(&user("bob", Some("Bob@Example.test"))).await?;
            tx.member_insert(&member("acme", "bob", "editor"), stamp()).await
        })
        .await
        .unwrap();
    let find = async |key: &str| {
        store
            .read(async |tx: &Tx| tx.member_find_by_email(&account_id("acme"), &[key.to_owned()]).await)
            .await
            .unwrap()
            .len()
    };
    assert_eq!(find("bob@example.test").await, 1);
    assert_eq!(find("Bob@Example.test").await, 0, "the key is lower case, on every engine");
    assert_eq!(find("b_b@example.test").await, 0, "no character is a wildcard");
    let taken =
        store.write(async |tx: &Tx| tx.user_insert(&user("eve", Some("BOB@example.TEST"))).await).await;
    assert!(matches!(taken, Err(Error::Exists(_))), "{taken:?}");
    let shown = store.read(async |tx: &Tx| tx.member_fetch(&account_id("acme"), &user_id("bob")).await).await;
    assert!(shown.unwrap().unwrap().email_verified, "the contact address is the proven one");
}

fn invitation(id: &str, email: &str) -> Invitation {
    Invitation {
        account_id: account_id("acme"),
        id: InvitationId::parse(id).unwrap(),
        email: email.into(),
        display_name: String::new(),
        role: "editor".into(),
        stored_state: InvitationState::Pending,
        uses_seat: true,
        invited_by: None,
        create_time: at(0),
        expire_time: at(100),
        accept_time: None,
        revoke_time: None,
        accepted_user_id: None,
        new_user_id: None,
        language: "de".into(),
        delivery: Delivery::Email,
        delivery_status: DeliveryStatus {
            state: DeliveryState::Queued,
            sends: 0,
            last_send_time: None,
            next_attempt_time: None,
            failure: String::new(),
        },
        identity: None,
    }
}

pub(crate) async fn one_invitation_of_an_address_is_pending(store: Store) {
    add_account(&store, "acme").await;
    let insert = async |invitation: &Invitation| {
        store.write(async |tx: &Tx| tx.invitation_insert(invitation).await).await
    };
    let mut first = invitation("inv_1", "Ivy@x.test");
    insert(&first).await.unwrap();
    assert!(matches!(insert(&invitation("inv_2", "ivy@X.test")).await, Err(Error::Exists(_))));
    let find = async || {
        let pending =
            async |tx: &Tx| tx.invitation_find_pending(&account_id("acme"), &["ivy@x.test".to_owned()]).await;
        store.read(pending).await.unwrap().remove("ivy@x.test")
    };
    assert_eq!(find().await, Some(first.clone()));
    first.stored_state = InvitationState::Revoked;
    store.write(async |tx: &Tx| tx.invitation_update(&first).await).await.unwrap();
    assert_eq!(find().await, None);
    insert(&invitation("inv_2", "ivy@X.test")).await.unwrap();
}

pub(crate) async fn at_most_three_tokens_of_an_invitation_live(store: Store) {
    add_account(&store, "acme").await;
    let invitation = invitation("inv_1", "ivy@x.test");
    store.write(async |tx: &Tx| tx.invitation_insert(&invitation).await).await.unwrap();
    for n in 0..5 {
        let insert =
            async |tx: &Tx| tx.invitation_token_insert(&invitation.id, &format!("hash{n}"), at(n)).await;
        store.write(insert).await.unwrap();
    }
    for n in 0..5 {
        let found =
            store.read(async |tx: &Tx| tx.invitation_find_by_token(&format!("hash{n}")).await).await.unwrap();
        assert_eq!(found.is_some(), n >= 2, "hash{n}");
    }
}

pub(crate) async fn an_identity_is_bound_once(store: Store) {
    let claim = |name: &str, user: &str| Identity {
        issuer: "https://login.test".into(),
        username: name.into(),
        subject: None,
        user_id: user_id(user),
        create_time: at(0),
        bind_time: None,
    };
    store
        .write(async |tx: &Tx| {
            tx.user_insert(&user("bob", None)).await?;
            tx.user_insert(&user("eve", None)).await?;
            tx.identity_insert(&claim("Bob", "bob")).await?;
            tx.identity_insert(&claim("eve", "eve")).await
        })
        .await
        .unwrap();
    let taken = store.write(async |tx: &Tx| tx.identity_insert(&claim("bOB", "eve")).await).await;
    assert!(matches!(taken, Err(Error::Exists(_))), "names differ by more than case");
    let bind = async |name: &str, subject: &str| {
        store.write(async |tx: &Tx| tx.identity_bind("https://login.test", name, subject, at(1)).await).await
    };
    assert!(bind("bob", "4711").await.unwrap());
    assert!(!bind("bob", "4712").await.unwrap(), "only once");
    assert!(matches!(bind("eve", "4711").await, Err(Error::Exists(_))), "a subject is one person");
}

/// Fifty tries at once: the four free ones and one more are verified, the others wait.
pub(crate) async fn parallel_tries_to_sign_in_are_all_counted(store: Store) {
    let count = |store: Store| async move {
        store.write(async |tx: &Tx| tx.sign_in_count("bob@x.test", at(0)).await).await.unwrap()
    };
    let tries = futures::future::join_all((0..50).map(|_| tokio::spawn(count(store.clone())))).await;
    let allowed = tries.into_iter().filter(|done| done.as_ref().unwrap().is_none()).count();
    assert_eq!(allowed, 5);
    let next = async |seconds: i64| {
        store.write(async |tx: &Tx| tx.sign_in_count("bob@x.test", at(seconds)).await).await.unwrap()
    };
    assert_eq!(next(0).await, Some(at(1)), "then one second");
    assert_eq!(next(1).await, None);
    assert_eq!(next(1).await, Some(at(3)), "then two");
    assert_eq!(next(10_000).await, None, "an hour later all is forgotten");
    assert_eq!(next(10_000).await, None);
}

pub(crate) async fn holders_and_seats_are_counted(store: Store) {
    add_account(&store, "acme").await;
    for (user, role) in [("a", "admin"), ("b", "admin"), ("c", "editor")] {
        add_member(&store, "acme", user, role).await;
    }
    let change = async |member: usher_domain::member::Member| {
        store.write(async |tx: &Tx| tx.member_update(&member, Some(stamp())).await).await
    };
    let mut seatless = member("acme", "b", "admin");
    seatless.seat = false;
    change(seatless.clone()).await.unwrap();
    let holders = async |uses_seat: bool| {
        let count = async |tx: &Tx| tx.member_count_holders(&account_id("acme"), "admin", uses_seat).await;
        store.read(count).await.unwrap()
    };
    assert_eq!((holders(true).await, holders(false).await), (1, 2));
    let seats = async || {
        store
            .read(async |tx: &Tx| {
                let account = tx.account_fetch(&account_id("acme")).await?.unwrap();
                tx.seats(&account, at(50)).await
            })
            .await
            .unwrap()
    };
    store.write(async |tx: &Tx| tx.invitation_insert(&invitation("inv_1", "i@x.test")).await).await.unwrap();
    let counted = seats().await;
    assert_eq!((counted.active, counted.reserved, counted.purchased), (2, 1, Some(10)));
    // Over all accounts; an expired invitation holds none, and neither does what a closed account had.
    let totals = async |seconds| store.read(async |tx: &Tx| tx.seat_totals(at(seconds)).await).await.unwrap();
    assert_eq!(totals(50).await, SeatTotals { purchased: 10, active: 2, reserved: 1 });
    assert_eq!(totals(1_000_000).await, SeatTotals { purchased: 10, active: 2, reserved: 0 });
    let keep = async |state| {
        let account = usher_domain::account::Account { state, ..super::account("acme") };
        store.write(async |tx: &Tx| tx.account_update(&account, at(50), 7, None).await).await.unwrap();
    };
    keep(AccountState::Closed).await;
    assert_eq!(totals(50).await, SeatTotals::default());
    keep(AccountState::Active).await;
    assert!(store.time().await.unwrap() > at(-1_000_000_000) && store.pool_figures().max > 0);
    let filter = MemberFilter {
        seats: vec![SeatFilter::NotHeldIn(vec!["admin".into()])],
        states: vec![MemberState::Active],
        ..Default::default()
    };
    let listed = async |tx: &Tx| tx.member_list(&account_id("acme"), &filter, None, 10).await;
    let (found, total) = store.read(listed).await.unwrap();
    assert_eq!((found[0].user_id.as_str(), total), ("b", 1));
    // The second wall: a suspended member with a seat is refused by the database itself.
    seatless.state = MemberState::Suspended;
    seatless.seat = true;
    assert!(change(seatless).await.is_err());
}
