use super::*;
use crate::license::{License, Subscription};
use crate::member::HolderRule;
use crate::standing::AccountState;

const EDITOR: RoleRules = RoleRules { uses_seat: true, holders: HolderRule::Any, support_only: false };
const GUEST: RoleRules = RoleRules { uses_seat: false, holders: HolderRule::Any, support_only: false };
const OWNER: RoleRules = RoleRules { uses_seat: true, holders: HolderRule::ExactlyOne, support_only: true };

fn at(seconds: i64) -> Time {
    Time::from_seconds(seconds)
}

fn account() -> Account {
    Account {
        id: AccountId::parse("acme").unwrap(),
        name: "Acme".into(),
        model: "integrate-io".into(),
        state: AccountState::Active,
        license: License {
            purchased: Some(2),
            subscription: Subscription::new("team".into(), Some(at(100)), Some(at(200))).unwrap(),
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

fn seats(active: u32, reserved: u32) -> Seats {
    Seats { purchased: Some(2), active, reserved }
}

fn invitation_id() -> InvitationId {
    InvitationId::parse("inv_1").unwrap()
}

fn bob() -> UserId {
    UserId::parse("bob").unwrap()
}

fn ask(now: i64, seats: Seats, rules: RoleRules, known: Known) -> Result<Invited, Refusal> {
    invite(at(now), &account(), seats, ("editor", rules), known)
}

#[test]
fn a_spare_seat_is_taken() {
    assert_eq!(ask(0, seats(1, 0), EDITOR, Known::Nobody), Ok(Invited::New { seat: true }));
    assert_eq!(ask(0, seats(1, 1), EDITOR, Known::Nobody), Err(Refusal::NoSeatAvailable(seats(1, 1))));
}

#[test]
fn a_role_without_seat_needs_none() {
    assert_eq!(ask(0, seats(2, 0), GUEST, Known::Nobody), Ok(Invited::New { seat: false }));
}

#[test]
fn inviting_twice_is_the_same_invitation_and_takes_no_second_seat() {
    let open = Known::Open { id: invitation_id(), role: "editor".into() };
    assert_eq!(ask(0, seats(1, 1), EDITOR, open), Ok(Invited::AlreadyOpen(invitation_id())));
    let other = Known::Open { id: invitation_id(), role: "reader".into() };
    assert_eq!(
        ask(0, seats(1, 0), EDITOR, other),
        Err(Refusal::InvitationOpenWithOtherRole { id: invitation_id(), role: "reader".into() })
    );
}

#[test]
fn members_are_not_invited() {
    let member = |state, by_username| Known::Member { user_id: bob(), state, by_username };
    assert_eq!(
        ask(0, seats(1, 0), EDITOR, member(MemberState::Active, false)),
        Err(Refusal::AlreadyMember { user_id: bob() })
    );
    assert_eq!(
        ask(0, seats(1, 0), EDITOR, member(MemberState::Active, true)),
        Err(Refusal::UsernameTakenInAccount { user_id: bob() })
    );
    assert_eq!(
        ask(0, seats(1, 0), EDITOR, member(MemberState::Suspended, true)),
        Err(Refusal::MemberSuspendedReactivate { user_id: bob() })
    );
}

#[test]
fn an_account_out_of_order_lets_nobody_in() {
    assert!(ask(150, seats(1, 0), EDITOR, Known::Nobody).is_ok(), "grace still works");
    assert_eq!(ask(200, seats(1, 0), EDITOR, Known::Nobody), Err(Refusal::SubscriptionLapsed));
    let suspended = Account { state: AccountState::Suspended, ..account() };
    assert_eq!(
        invite(at(0), &suspended, seats(1, 0), ("editor", EDITOR), Known::Nobody),
        Err(Refusal::AccountSuspended)
    );
}

#[test]
fn nobody_is_invited_as_owner() {
    assert_eq!(
        invite(at(0), &account(), seats(1, 0), ("owner", OWNER), Known::Nobody),
        Err(Refusal::RoleChangesBySupportOnly { role: "owner".into() })
    );
}

#[test]
fn expiry_is_a_matter_of_the_clock() {
    let invitation = Invitation {
        account_id: AccountId::parse("acme").unwrap(),
        id: invitation_id(),
        email: "a@b.test".into(),
        display_name: String::new(),
        role: "editor".into(),
        stored_state: InvitationState::Pending,
        uses_seat: true,
        invited_by: None,
        create_time: at(0),
        expire_time: at(10),
        accept_time: None,
        revoke_time: None,
        accepted_user_id: None,
        new_user_id: None,
        language: String::new(),
        delivery: Delivery::Email,
        delivery_status: DeliveryStatus {
            state: DeliveryState::Queued,
            sends: 0,
            last_send_time: None,
            next_attempt_time: None,
            failure: String::new(),
        },
        identity: None,
    };
    assert!(invitation.reserves_seat(at(9)));
    assert!(!invitation.reserves_seat(at(10)));
    assert_eq!(invitation.state(at(10)), InvitationState::Expired);
}
