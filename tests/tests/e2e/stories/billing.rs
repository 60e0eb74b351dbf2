//! Seats and money.

use tonic::Code;
use usher_tests::cast::{inviting, joining};
use usher_tests::pb::license_change::Change;
use usher_tests::person::{PASSWORD, new_password};
use usher_tests::{
    Actor, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, acting, both_engines, pb, refused,
};

use crate::changes::{assign, at, figures, lapse_at, manage, release, set, set_seats, shown};
use crate::invite::invite;
use crate::reasons::{answer, check};

both_engines!(
    story_3_3_billing_page_of_dataimporter,
    story_3_9_a_payment_message_changes_seats_without_a_human,
    story_3_12_five_more_seats_and_three_pending_invitations,
    story_3_13_a_customer_stops_paying,
);

async fn licenses(usher: &Usher, account: &str, actor: &str) -> pb::GetLicensesResponse {
    let request = pb::GetLicensesRequest {
        account_id: account.to_owned(),
        acting: acting(Actor(actor)),
        consistency: None,
    };
    usher.licenses().get_licenses(request).await.unwrap().into_inner()
}

async fn story_3_3_billing_page_of_dataimporter(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let admin = usher.found("globex", DATAIMPORTER, 3).await.founder();
    invite(&usher, joining("globex", Actor(&admin), "uma", "user")).await;
    let page = licenses(&usher, "globex", &admin).await;
    assert_eq!(shown(page.licenses.unwrap()), (Some(3), 2, 0, Some(1), 0));
    assert_eq!(page.subscription.unwrap().plan, "team");
    assert!(page.invitations_open, "one button, one answer");
    invite(&usher, inviting("globex", Actor(&admin), "ivy@people.example", "user")).await;
    let page = licenses(&usher, "globex", &admin).await;
    assert_eq!(shown(page.licenses.unwrap()), (Some(3), 2, 1, Some(0), 0));
    assert_eq!(
        (page.invitations_open, page.invitations_blocked_reason()),
        (false, pb::ErrorReason::NoSeatAvailable)
    );
    // The figures change by themselves when the invitation expires.
    assert_eq!(page.next_change_time, at(7 * 24 * 3600));
    // The table of seats, and managing access.
    let held = async || {
        let request = pb::ListMembersRequest {
            account_id: "globex".to_owned(),
            acting: acting(Actor(&admin)),
            seats: vec![pb::SeatState::Held.into()],
            ..Default::default()
        };
        let members = usher.members().list_members(request).await.unwrap().into_inner().members;
        members.into_iter().map(|member| member.user_id).collect::<Vec<_>>()
    };
    assert_eq!(held().await, [admin.clone(), "uma".to_owned()]);
    let change = async |change: Change| {
        usher.licenses().manage_licenses(manage("globex", Actor(&admin), [change])).await
    };
    change(release("uma")).await.unwrap();
    assert_eq!(held().await, std::slice::from_ref(&admin));
    let no_seat = answer(&usher, check("globex", "uma", "job.create", None)).await;
    assert_eq!(no_seat.reason(), pb::DecisionReason::NoSeat);
    change(assign("uma")).await.unwrap();
    refused(change(release(&admin)).await, Code::FailedPrecondition, "LAST_HOLDER");
    assert_eq!(
        answer(&usher, check("globex", "uma", "billing.view", None)).await.decision(),
        pb::Decision::Deny
    );
    assert_eq!(
        answer(&usher, check("globex", &admin, "billing.view", None)).await.decision(),
        pb::Decision::Allow
    );
    usher.stop().await;
}

async fn story_3_9_a_payment_message_changes_seats_without_a_human(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let message = |event: &str, seats: u32, seconds: i64| pb::ManageLicensesRequest {
        request_id: event.to_owned(),
        note: "invoice 7".to_owned(),
        ..manage(
            "acme",
            Platform,
            [Change::SetPurchasedSeats(pb::SetPurchasedSeats {
                allow_over_limit: true,
                as_of_time: at(seconds),
                ..set(seats)
            })],
        )
    };
    let send = async |message| usher.licenses().manage_licenses(message).await.unwrap().into_inner();
    let first = send(message("evt_1", 15, 10)).await;
    assert_eq!(first.licenses.unwrap().purchased, Some(15));
    // Days later the payment system sends it again: the first answer, and no change.
    let repeated = send(message("evt_1", 15, 10)).await;
    assert_eq!((repeated.revision, repeated.licenses), (first.revision, first.licenses));
    let fewer = send(message("evt_3", 12, 30)).await;
    // One that was overtaken on the way is answered, and not applied.
    let late = send(message("evt_2", 20, 20)).await;
    assert_eq!(late.results[0].reason(), pb::ChangeResultReason::OlderThanLast);
    assert!(!late.results[0].applied);
    assert_eq!((late.revision, late.licenses.unwrap().purchased), (fewer.revision, Some(12)));
    // The money has changed already, so fewer than are in use is taken as it is.
    let over = send(message("evt_4", 3, 40)).await;
    assert_eq!(shown(over.licenses.unwrap()), (Some(3), 5, 0, Some(0), 2));
    let reader = check("acme", "acme-reader", "job.view", None);
    assert_eq!(answer(&usher, reader).await.decision(), pb::Decision::Allow, "nobody is shut out for it");
    let more = usher.members().invite_user(joining("acme", Platform, "uma", "reader")).await;
    refused(more, Code::ResourceExhausted, "OVER_LIMIT");
    usher.stop().await;
}

async fn story_3_12_five_more_seats_and_three_pending_invitations(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    for user in ["uma", "ugo"] {
        invite(&usher, joining("acme", Platform, user, "reader")).await;
    }
    usher.licenses().manage_licenses(manage("acme", Platform, [set_seats(10)])).await.unwrap();
    let mut tokens = Vec::new();
    for number in 0..3 {
        let email = format!("p{number}@people.example");
        tokens.push(usher.link("acme", Actor("acme-admin"), &email, "reader").await.1);
    }
    assert_eq!(figures(&usher, "acme").await.0, (Some(10), 7, 3, Some(0), 0));
    let buy = |only_look: bool| pb::ManageLicensesRequest {
        validate_only: only_look,
        ..manage(
            "acme",
            Actor("acme-owner"),
            [Change::SetPurchasedSeats(pb::SetPurchasedSeats { expected_seats: Some(10), ..set(15) })],
        )
    };
    let (_, before) = figures(&usher, "acme").await;
    let preview = usher.licenses().manage_licenses(buy(true)).await.unwrap().into_inner();
    assert_eq!((shown(preview.licenses.unwrap()), preview.revision), ((Some(15), 7, 3, Some(5), 0), before));
    let bought = usher.licenses().manage_licenses(buy(false)).await.unwrap().into_inner();
    assert_eq!(
        (shown(bought.licenses.unwrap()), bought.revision),
        ((Some(15), 7, 3, Some(5), 0), before + 1)
    );
    for number in 3..8 {
        let email = format!("p{number}@people.example");
        invite(&usher, inviting("acme", Actor("acme-admin"), &email, "reader")).await;
    }
    assert_eq!(figures(&usher, "acme").await.0, (Some(15), 7, 8, Some(0), 0));
    for token in tokens {
        usher.accept(&token, new_password(PASSWORD)).await.unwrap();
    }
    assert_eq!(figures(&usher, "acme").await.0, (Some(15), 10, 5, Some(0), 0));
    usher.stop().await;
}

async fn story_3_13_a_customer_stops_paying(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    let globex = usher.cast("globex", DATAIMPORTER).await;
    let (admin, uma) = (globex.member("admin"), globex.member("user"));
    let ivy = usher.join("globex", "ivy@people.example", "user").await;
    lapse_at(&usher, &globex, 100, 200).await;
    let run = || check("globex", &uma, "job.create", None);
    usher.set_seconds(150);
    assert_eq!(answer(&usher, run()).await.decision(), pb::Decision::Allow, "in grace all works");
    assert_eq!(licenses(&usher, "globex", &admin).await.notices[0].kind(), pb::NoticeKind::InGrace);
    usher.set_seconds(200);
    assert_eq!(answer(&usher, run()).await.reason(), pb::DecisionReason::SubscriptionLapsed);
    // What pays and what frees seats goes on, and so does signing in.
    for action in ["billing.view", "subscription.update", "license.update", "member.remove"] {
        let kept = answer(&usher, check("globex", &admin, action, None)).await;
        assert_eq!(kept.decision(), pb::Decision::Allow, "{action}");
    }
    let seen = usher.verify("ivy@people.example", PASSWORD).await.unwrap().into_inner();
    assert_eq!(seen.memberships[0].subscription_state(), pb::SubscriptionState::Lapsed);
    assert_eq!(seen.memberships[0].account_state(), pb::AccountState::Active);
    usher.remove("globex", Actor(&admin), &ivy).await.unwrap();
    let invited =
        usher.members().invite_user(inviting("globex", Platform, "joe@people.example", "user")).await;
    refused(invited, Code::FailedPrecondition, "SUBSCRIPTION_LAPSED");
    // Pays again: all is back at once.
    lapse_at(&usher, &globex, 10_000, 20_000).await;
    assert_eq!(answer(&usher, run()).await.decision(), pb::Decision::Allow);
    // Pays for less, with a date by which somebody must go.
    let less = Change::SetPurchasedSeats(pb::SetPurchasedSeats {
        allow_over_limit: true,
        over_limit_end_time: at(1000),
        ..set(1)
    });
    usher.licenses().manage_licenses(manage("globex", Actor(&admin), [less])).await.unwrap();
    usher.set_seconds(999);
    assert_eq!(answer(&usher, run()).await.decision(), pb::Decision::Allow);
    usher.set_seconds(1000);
    assert_eq!(answer(&usher, run()).await.reason(), pb::DecisionReason::OverLimitEnded);
    usher.remove("globex", Actor(&admin), &uma).await.unwrap();
    let admins = answer(&usher, check("globex", &admin, "job.create", None)).await;
    assert_eq!(admins.decision(), pb::Decision::Allow, "one seat, one person");
    // Goes for good.
    usher.close_account("globex").await;
    let gone = answer(&usher, check("globex", &admin, "billing.view", None)).await;
    assert_eq!(gone.reason(), pb::DecisionReason::AccountUnknown);
    usher.stop().await;
}
