//! Two who want what only one can have: never two winners.

use std::future::Future;

use tonic::{Code, Response, Status};
use usher_tests::cast::inviting;
use usher_tests::harness::Usher;
use usher_tests::lookup::{self, check_chain};
use usher_tests::person::{PASSWORD, accepting, new_password};
use usher_tests::{
    Actor, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Refused, acting, both_engines, pb, refused,
};

use crate::changes::{figures, manage, set_seats};
use crate::ownership_life::{approving, cancelling, open};

both_engines!(
    two_accept_one_link,
    accepting_meets_revoking,
    two_last_admins_demote_each_other,
    fewer_seats_meet_an_invitation,
    approving_meets_cancelling,
    ten_seats_for_sixty_four_invitations,
    one_address_accepts_in_two_accounts_at_once,
);

/// Set where a race is run more often.
const LONG: &str = "USHER_TEST_LONG";

fn rounds(few: usize, many: usize) -> usize {
    if std::env::var_os(LONG).is_some() { many } else { few }
}

/// Both at once, from two tasks, and so from two threads.
async fn race<A: Send + 'static, B: Send + 'static>(
    one: impl Future<Output = A> + Send + 'static,
    other: impl Future<Output = B> + Send + 'static,
) -> (A, B) {
    let (one, other) = (tokio::spawn(one), tokio::spawn(other));
    (one.await.unwrap(), other.await.unwrap())
}

/// The reason of the one that lost.
#[track_caller]
fn lost<A, B>(one: Result<Response<A>, Status>, other: Result<Response<B>, Status>) -> String {
    match (one, other) {
        (Ok(_), Err(status)) | (Err(status), Ok(_)) => Refused::of(&status).reason,
        (Ok(_), Ok(_)) => panic!("two winners"),
        (Err(one), Err(other)) => panic!("no winner: {one:?}, {other:?}"),
    }
}

async fn check_account(usher: &Usher, id: &str) {
    let account = lookup::account(&usher.app.store, id).await;
    check_chain(&account, &lookup::events(&usher.app.store, id).await);
}

async fn two_accept_one_link(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    for round in 0..rounds(10, 100) {
        let (_, token) = usher.link("acme", Platform, &format!("p{round}@people.example"), "reader").await;
        // Its owner may buy as many seats as they want.
        let seats = figures(&usher, "acme").await.0.1 + 2;
        let request = manage("acme", Platform, [set_seats(seats)]);
        usher.licenses().manage_licenses(request).await.unwrap();
        let accept = || {
            let (mut members, token) = (usher.members(), token.clone());
            async move { members.accept_invitation(accepting(&token, new_password(PASSWORD))).await }
        };
        let (one, other) = race(accept(), accept()).await;
        let reason = lost(one, other);
        // Who comes a moment later finds that the person exists.
        assert!(["INVITATION_ACCEPTED", "EXISTING_LOGIN_REQUIRED"].contains(&&*reason), "{reason}");
        let ((_, active, reserved, available, over), _) = figures(&usher, "acme").await;
        assert_eq!((active, reserved, available, over), (seats - 1, 0, Some(1), 0));
    }
    check_account(&usher, "acme").await;
    usher.stop().await;
}

async fn accepting_meets_revoking(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    for round in 0..rounds(10, 100) {
        let email = format!("p{round}@people.example");
        let (invitation, token) = usher.link("acme", Platform, &email, "reader").await;
        let accept = {
            let mut members = usher.members();
            async move { members.accept_invitation(accepting(&token, new_password(PASSWORD))).await }
        };
        let revoke = {
            let mut members = usher.members();
            let request = pb::RevokeInvitationRequest {
                account_id: "acme".to_owned(),
                acting: acting(Platform),
                invitation_id: invitation.id.clone(),
                ..Default::default()
            };
            // Hashing a password takes a while, so that the other is let go later each round.
            let pause = std::time::Duration::from_millis(u64::try_from(round % 10).unwrap() * 15);
            async move {
                tokio::time::sleep(pause).await;
                members.revoke_invitation(request).await
            }
        };
        let (accepted, revoked) = race(accept, revoke).await;
        let won = accepted.is_ok();
        let expected = if won { "INVITATION_ACCEPTED" } else { "INVITATION_REVOKED" };
        assert_eq!(lost(accepted, revoked), expected);
        let is_there = usher.verify(&email, PASSWORD).await.is_ok();
        assert_eq!(is_there, won);
        if won {
            let user = usher.invitation("acme", &invitation.id).await.accepted_user_id;
            usher.remove("acme", Platform, &user).await.unwrap();
        }
        assert_eq!(figures(&usher, "acme").await.0, (Some(20), 5, 0, Some(15), 0));
    }
    check_account(&usher, "acme").await;
    usher.stop().await;
}

async fn two_last_admins_demote_each_other(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", DATAIMPORTER).await;
    let (one, other) = (cast.member("admin"), cast.member("user"));
    usher.change_role("acme", Platform, &other, "admin").await.unwrap();
    for round in 0..rounds(10, 100) {
        // By themselves and by the platform, which has no ceiling but the same rule.
        let by = |actor: &str| if round % 2 == 0 { acting(Actor(actor)) } else { acting(Platform) };
        let demote = |actor: &str, user: &str| {
            let mut members = usher.members();
            let request = pb::ChangeRoleRequest {
                account_id: "acme".to_owned(),
                acting: by(actor),
                user_id: user.to_owned(),
                role: "user".to_owned(),
                ..Default::default()
            };
            async move { members.change_role(request).await }
        };
        let (first, second) = race(demote(&one, &other), demote(&other, &one)).await;
        let reason = lost(first, second);
        let expected = if round % 2 == 0 { "ACTOR_LACKS_PERMISSION" } else { "LAST_HOLDER" };
        assert_eq!(reason, expected);
        let mut roles = Vec::new();
        for user in [&one, &other] {
            roles.push(usher.member("acme", user).await.unwrap().role);
            usher.change_role("acme", Platform, user, "admin").await.unwrap();
        }
        roles.sort_unstable();
        assert_eq!(roles, ["admin", "user"]);
    }
    check_account(&usher, "acme").await;
    usher.stop().await;
}

async fn fewer_seats_meet_an_invitation(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.found("acme", INTEGRATE_IO, 2).await;
    for round in 0..rounds(10, 100) {
        let reduce = {
            let mut licenses = usher.licenses();
            let request = manage("acme", Platform, [set_seats(1)]);
            async move { licenses.manage_licenses(request).await }
        };
        let invite = {
            let mut members = usher.members();
            let request = inviting("acme", Platform, &format!("p{round}@people.example"), "reader");
            async move { members.invite_user(request).await }
        };
        let (reduced, invited) = race(reduce, invite).await;
        let open = invited.as_ref().ok().and_then(|answer| match &answer.get_ref().outcome {
            Some(pb::invite_user_response::Outcome::Invitation(open)) => Some(open.id.clone()),
            _ => None,
        });
        let expected = if open.is_some() { "SEATS_IN_USE" } else { "NO_SEAT_AVAILABLE" };
        assert_eq!(lost(reduced, invited), expected);
        let ((purchased, active, reserved, _, over), _) = figures(&usher, "acme").await;
        assert_eq!((purchased, active + reserved, over), (Some(active + reserved), active + reserved, 0));
        if let Some(open) = open {
            usher.revoke("acme", &open).await.unwrap();
        }
        usher.licenses().manage_licenses(manage("acme", Platform, [set_seats(2)])).await.unwrap();
    }
    check_account(&usher, "acme").await;
    usher.stop().await;
}

async fn approving_meets_cancelling(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let (mut owner, mut admin) = (cast.founder(), cast.member("admin"));
    for _ in 0..rounds(10, 100) {
        let ticket = open(&usher, "acme", &admin, "sam").await;
        let (mut one, mut other) = (usher.accounts(), usher.accounts());
        let (approve, cancel) = (approving("acme", &ticket.id, "pat"), cancelling("acme", &ticket.id, "kim"));
        let (approved, cancelled) =
            race(async move { one.approve_ownership_transfer(approve).await }, async move {
                other.cancel_ownership_transfer(cancel).await
            })
            .await;
        let won = approved.is_ok();
        assert_eq!(lost(approved, cancelled), "OWNERSHIP_TRANSFER_ENDED");
        if won {
            std::mem::swap(&mut owner, &mut admin);
        }
        assert_eq!(usher.member("acme", &owner).await.unwrap().role, "owner");
        assert_eq!(usher.member("acme", &admin).await.unwrap().role, "admin");
    }
    check_account(&usher, "acme").await;
    usher.stop().await;
}

async fn ten_seats_for_sixty_four_invitations(engine: Engine) {
    let usher = Usher::start(engine).await;
    for round in 0..rounds(3, 20) {
        let account = format!("acme-{round}");
        usher.found(&account, INTEGRATE_IO, 11).await;
        let calls = (0..64).map(|index| {
            let mut members = usher.members();
            let request = inviting(&account, Platform, &format!("p{index}@people.example"), "reader");
            tokio::spawn(async move { members.invite_user(request).await })
        });
        let calls: Vec<_> = calls.collect();
        let mut given = 0;
        for call in calls {
            match call.await.unwrap() {
                Ok(_) => given += 1,
                refusal => {
                    refused(refusal, Code::ResourceExhausted, "NO_SEAT_AVAILABLE");
                }
            }
        }
        assert_eq!(given, 10);
        assert_eq!(figures(&usher, &account).await.0, (Some(11), 1, 10, Some(0), 0));
        check_account(&usher, &account).await;
    }
    usher.stop().await;
}

/// Both make the user; one of them finds that the person exists.
async fn one_address_accepts_in_two_accounts_at_once(engine: Engine) {
    let usher = Usher::start(engine).await;
    // Every round leaves a member in one account and an open invitation in the other.
    usher.found("acme", INTEGRATE_IO, 200).await;
    usher.found("globex", INTEGRATE_IO, 200).await;
    for round in 0..rounds(5, 100) {
        let email = format!("p{round}@people.example");
        let (_, one) = usher.link("acme", Platform, &email, "reader").await;
        let (_, other) = usher.link("globex", Platform, &email, "reader").await;
        let accept = |token: String| {
            let mut members = usher.members();
            async move { members.accept_invitation(accepting(&token, new_password(PASSWORD))).await }
        };
        let (first, second) = race(accept(one.clone()), accept(other.clone())).await;
        let loser = if first.is_ok() { other } else { one };
        let reason = lost(first, second);
        // Where both wrote before either committed, the loser is asked to try again, and then told why.
        assert!(["EXISTING_LOGIN_REQUIRED", "CONTENTION"].contains(&&*reason), "{reason}");
        let again = accept(loser).await;
        refused(again, Code::FailedPrecondition, "EXISTING_LOGIN_REQUIRED");
        let seen = usher.verify(&email, PASSWORD).await.unwrap().into_inner();
        assert_eq!(seen.memberships.len(), 1);
    }
    usher.stop().await;
}
