//! What members and invitations say that an actor may do with them is what the calls then do.

use std::fmt::Debug;

use tonic::{Response, Status};
use usher_tests::cast::{Cast, inviting};
use usher_tests::{
    Actor, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Refused, Usher, acting, both_engines, pb,
};

use crate::changes::{assign, figures, manage, release, set_seats};

both_engines!(what_is_said_of_members_is_what_calls_do, what_is_said_of_invitations_is_what_calls_do);

/// How a call ended: with a change, without one, or refused with a reason.
async fn outcome<T: Debug>(
    usher: &Usher,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> (bool, String) {
    let (_, before) = figures(usher, "acme").await;
    match call.await {
        Ok(_) => (figures(usher, "acme").await.1 > before, String::new()),
        Err(status) => (false, Refused::of(&status).reason),
    }
}

fn said(affordance: Option<pb::Affordance>) -> (bool, String) {
    let affordance = affordance.unwrap();
    let reason = match affordance.reason() {
        pb::ErrorReason::Unspecified => "",
        reason => reason.as_str_name().trim_start_matches("ERROR_REASON_"),
    };
    (affordance.allowed, reason.to_owned())
}

async fn member(usher: &Usher, actor: &str, user: &str) -> pb::MemberAffordances {
    let request = pb::GetMemberRequest {
        account_id: "acme".to_owned(),
        acting: acting(Actor(actor)),
        user_id: user.to_owned(),
    };
    usher.members().get_member(request).await.unwrap().into_inner().member.unwrap().actor_may.unwrap()
}

const STEPS: [&str; 9] =
    ["suspend", "suspend", "assign", "reactivate", "reactivate", "assign", "release", "release", "suspend"];

/// Does each thing, in whatever state the member is by then, and back again.
async fn try_all(usher: &Usher, actor: &str, user: &str, steps: &[&str]) {
    let account_id = || "acme".to_owned();
    for step in steps {
        let may = member(usher, actor, user).await;
        let by = Actor(actor);
        let (said, done) = match *step {
            "suspend" => {
                let request = pb::SuspendMemberRequest {
                    account_id: account_id(),
                    acting: acting(by),
                    user_id: user.to_owned(),
                    ..Default::default()
                };
                (said(may.suspend), outcome(usher, usher.members().suspend_member(request)).await)
            }
            "reactivate" => {
                let request = pb::ReactivateMemberRequest {
                    account_id: account_id(),
                    acting: acting(by),
                    user_id: user.to_owned(),
                    ..Default::default()
                };
                (said(may.reactivate), outcome(usher, usher.members().reactivate_member(request)).await)
            }
            "assign" => {
                let request = manage("acme", by, [assign(user)]);
                (said(may.assign_seat), outcome(usher, usher.licenses().manage_licenses(request)).await)
            }
            _ => {
                let request = manage("acme", by, [release(user)]);
                (said(may.release_seat), outcome(usher, usher.licenses().manage_licenses(request)).await)
            }
        };
        assert_eq!(said, done, "{actor} would {step} {user}");
    }
}

async fn what_is_said_of_members_is_what_calls_do(engine: Engine) {
    for model in [INTEGRATE_IO, DATAIMPORTER] {
        let usher = Usher::start(engine).await;
        let cast: Cast = usher.cast("acme", model).await;
        let admin = cast.member("admin");
        for user in cast.model.roles.iter().map(|role| cast.member(role)).filter(|user| *user != admin) {
            try_all(&usher, &admin, &user, &STEPS).await;
        }
        // Without a seat they would not even see themselves.
        try_all(&usher, &admin, &admin, &["suspend", "reactivate", "assign"]).await;
        // Not a seat to spare.
        let (_, lowest, ..) = figures(&usher, "acme").await.0;
        usher.licenses().manage_licenses(manage("acme", Platform, [set_seats(lowest)])).await.unwrap();
        let last = cast.model.roles.iter().rfind(|role| **role != "admin").unwrap();
        try_all(&usher, &admin, &cast.member(last), &STEPS).await;
        usher.stop().await;
    }
}

async fn invitation(usher: &Usher, actor: &str, id: &str) -> pb::InvitationAffordances {
    let request = pb::GetInvitationRequest {
        account_id: "acme".to_owned(),
        acting: acting(Actor(actor)),
        invitation_id: id.to_owned(),
    };
    let answer = usher.members().get_invitation(request).await.unwrap().into_inner();
    answer.invitation.unwrap().actor_may.unwrap()
}

async fn what_is_said_of_invitations_is_what_calls_do(engine: Engine) {
    const WEEK: i64 = 7 * 24 * 3600;
    let usher = Usher::start_with_manual_clock(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    let admin = cast.member("admin");
    let invite = async |email: &str, role: &str| usher.link("acme", Actor(&admin), email, role).await;
    let (anew, _) = invite("anew@people.example", "reader").await;
    let (joins, _) = invite("joins@people.example", "reader").await;
    let (late, _) = invite("late@people.example", "reader").await;
    let (revoked, _) = invite("revoked@people.example", "reader").await;
    usher.revoke("acme", &revoked.id).await.unwrap();
    usher.set_seconds(WEEK);
    usher.members().invite_user(inviting("acme", Platform, "anew@people.example", "editor")).await.unwrap();
    usher.join("acme", "joins@people.example", "editor").await;
    let (open, _) = invite("open@people.example", "reader").await;
    let (accepted, token) = invite("accepted@people.example", "reader").await;
    usher.accept(&token, usher_tests::person::new_password(usher_tests::person::PASSWORD)).await.unwrap();
    let all = [anew, joins, late, revoked, open, accepted];
    for round in ["resend", "resend", "revoke", "revoke"] {
        for one in &all {
            let may = invitation(&usher, &admin, &one.id).await;
            let (said, done) = if round == "resend" {
                let request = pb::ResendInvitationRequest {
                    account_id: "acme".to_owned(),
                    acting: acting(Actor(&admin)),
                    invitation_id: one.id.clone(),
                    delivery: Some(pb::Delivery::ReturnLink.into()),
                    ..Default::default()
                };
                (said(may.resend), outcome(&usher, usher.members().resend_invitation(request)).await)
            } else {
                let request = pb::RevokeInvitationRequest {
                    account_id: "acme".to_owned(),
                    acting: acting(Actor(&admin)),
                    invitation_id: one.id.clone(),
                    ..Default::default()
                };
                (said(may.revoke), outcome(&usher, usher.members().revoke_invitation(request)).await)
            };
            assert_eq!(said, done, "to {round} that of {}", one.email);
        }
    }
    usher.stop().await;
}
