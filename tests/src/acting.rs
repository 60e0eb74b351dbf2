//! The acting party, which each request has as a `oneof` of its own.

use crate::pb;

/// On whose behalf a request is made.
#[derive(Debug, Clone, Copy)]
pub enum By<'a> {
    /// A member, by user id.
    Actor(&'a str),
    Platform,
    /// `acting` is left unset.
    Nobody,
}

/// An `acting` of some request.
pub trait Acting: Sized {
    fn actor(id: String) -> Self;
    fn platform() -> Self;
}

/// The field `acting` of whichever request it is put into.
pub fn acting<A: Acting>(by: By<'_>) -> Option<A> {
    match by {
        By::Actor(id) => Some(A::actor(id.to_owned())),
        By::Platform => Some(A::platform()),
        By::Nobody => None,
    }
}

macro_rules! acting_of {
    ($($request:ident),+ $(,)?) => {$(
        impl Acting for pb::$request::Acting {
            fn actor(id: String) -> Self {
                Self::ActorId(id)
            }
            fn platform() -> Self {
                Self::Platform(pb::Platform {})
            }
        }
    )+};
}

acting_of!(
    invite_user_request,
    update_invitation_request,
    resend_invitation_request,
    revoke_invitation_request,
    get_invitation_request,
    list_invitations_request,
    list_members_request,
    get_member_request,
    update_member_request,
    change_role_request,
    suspend_member_request,
    reactivate_member_request,
    remove_member_request,
    manage_licenses_request,
    get_licenses_request,
    get_account_request,
    update_account_request,
    get_ownership_transfer_request,
    list_ownership_transfers_request,
    list_events_request,
);
