//! The gRPC contract of Usher as Rust: messages, clients, servers and descriptors.
//!
//! Everything here is generated from `proto/usher/v1`, whose comments are the reference. There is no
//! logic and no conversion to other types: the server's `rpc` module does that. The one thing written
//! by hand is `Debug` for the messages that carry a secret, so that printing a message never prints a
//! password, a token or a link.

use std::fmt;

#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]
mod generated {
    /// Version 1 of the contract.
    pub mod v1 {
        tonic::include_proto!("usher.v1");
    }

    /// The messages of checks, and the service that answers them, with `Bytes` where [`v1`] has `String`.
    ///
    /// Both are the same on the wire. Here a text is a part of the bytes that came in, or of a text that lives
    /// for ever, where a `String` would be a copy with an allocation of its own; a check has eight of them and
    /// a batch hundreds. Nobody has looked yet whether such a text is UTF-8.
    pub mod wire {
        include!(concat!(env!("OUT_DIR"), "/wire/usher.v1.rs"));
    }
}
pub use generated::{v1, wire};

/// The encoded `FileDescriptorSet` of the contract and of all that it imports, for reflection and
/// for tests that walk the contract.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("usher_descriptor");

/// `Debug` that prints the name of a type and nothing of what it holds.
macro_rules! debug_by_name {
    ($($secret:ty),+ $(,)?) => {$(
        impl fmt::Debug for $secret {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($secret), " { .. }"))
            }
        }
    )+};
}

debug_by_name!(
    v1::InviteUserResponse,
    v1::invite_user_response::Outcome,
    v1::ResendInvitationResponse,
    v1::LookUpInvitationRequest,
    v1::AcceptInvitationRequest,
    v1::accept_invitation_request::Proof,
    v1::VerifyPasswordRequest,
    v1::ResetPasswordRequest,
    v1::ChangeEmailRequest,
);
