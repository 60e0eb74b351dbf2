//! People on their way into an account: invited with a link, and through it a member.

use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::acting::By::{self, Platform};
use crate::acting::acting;
use crate::cast::inviting;
use crate::harness::{ISSUER, Usher};
use crate::pb;
use crate::pb::accept_invitation_request::Proof;
use crate::pb::audit_service_client::AuditServiceClient;
use crate::pb::invite_user_response::Outcome;
use crate::pb::sign_in_service_client::SignInServiceClient;
use crate::pb::user_service_client::UserServiceClient;

/// A password that every rule allows.
pub const PASSWORD: &str = "vierzehn Kraniche über Łódź";
/// Another one.
pub const OTHER_PASSWORD: &str = "sieben Hügel und ein Fluss";

/// The proof of a new person.
pub fn new_password(password: &str) -> Proof {
    Proof::NewPassword(password.to_owned())
}

/// The proof of a person who has a password.
pub fn password(password: &str) -> Proof {
    Proof::Password(password.to_owned())
}

/// What the caller vouches for: this user is signed in.
pub fn signed_in(user: &str) -> Proof {
    Proof::SignedInUserId(user.to_owned())
}

/// What the issuer vouches for.
pub fn identity(subject: &str, username: &str) -> Proof {
    let (subject, username) = (subject.to_owned(), username.to_owned());
    Proof::Identity(pb::VouchedIdentity { issuer: ISSUER.to_owned(), subject, username })
}

/// The request that follows a link.
pub fn accepting(token: &str, proof: Proof) -> pb::AcceptInvitationRequest {
    pb::AcceptInvitationRequest { token: token.to_owned(), proof: Some(proof), ..Default::default() }
}

/// The request to invite an address with the link in the answer.
pub fn linking(account: &str, by: By<'_>, email: &str, role: &str) -> pb::InviteUserRequest {
    pb::InviteUserRequest {
        delivery: Some(pb::Delivery::ReturnLink.into()),
        ..inviting(account, by, email, role)
    }
}

/// The token at the end of a link.
pub fn token_of(link: &str) -> String {
    link.rsplit('/').next().unwrap_or_default().to_owned()
}

impl Usher {
    pub fn sign_in(&self) -> SignInServiceClient<Channel> {
        SignInServiceClient::new(self.channel.clone())
    }

    pub fn users(&self) -> UserServiceClient<Channel> {
        UserServiceClient::new(self.channel.clone())
    }

    pub fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel.clone())
    }

    /// Invites an address; the invitation and the token of its link.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn link(&self, account: &str, by: By<'_>, email: &str, role: &str) -> (pb::Invitation, String) {
        let answer = self.members().invite_user(linking(account, by, email, role)).await;
        let answer = answer.expect("an invitation").into_inner();
        let Some(Outcome::Invitation(invitation)) = answer.outcome else { panic!("no invitation") };
        (invitation, token_of(&answer.accept_link))
    }

    /// Follows a link.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn accept(
        &self,
        token: &str,
        proof: Proof,
    ) -> Result<Response<pb::AcceptInvitationResponse>, Status> {
        self.members().accept_invitation(accepting(token, proof)).await
    }

    /// Makes a new person with [`PASSWORD`] a member by a link; their user id.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn join(&self, account: &str, email: &str, role: &str) -> String {
        let (_, token) = self.link(account, Platform, email, role).await;
        let accepted = self.accept(&token, new_password(PASSWORD)).await.expect("a member");
        accepted.into_inner().member.expect("a member").user_id
    }

    /// Asks whose address and password these are.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn verify(
        &self,
        email: &str,
        password: &str,
    ) -> Result<Response<pb::VerifyPasswordResponse>, Status> {
        let (email, password) = (email.to_owned(), password.to_owned());
        self.sign_in().verify_password(pb::VerifyPasswordRequest { email, password }).await
    }

    /// Asks whom the issuer vouches for.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn resolve(
        &self,
        subject: &str,
        username: &str,
    ) -> Result<Response<pb::ResolveIdentityResponse>, Status> {
        let request = pb::ResolveIdentityRequest {
            issuer: ISSUER.to_owned(),
            subject: subject.to_owned(),
            username: username.to_owned(),
            email: String::new(),
        };
        self.sign_in().resolve_identity(request).await
    }

    /// A member as the platform sees them.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn member(&self, account: &str, user: &str) -> Result<pb::Member, Status> {
        let request = pb::GetMemberRequest {
            account_id: account.to_owned(),
            acting: acting(Platform),
            user_id: user.to_owned(),
        };
        let answer = self.members().get_member(request).await?.into_inner();
        Ok(answer.member.expect("a member"))
    }

    /// An invitation as the platform sees it.
    ///
    /// # Panics
    /// When there is none.
    pub async fn invitation(&self, account: &str, id: &str) -> pb::Invitation {
        let request = pb::GetInvitationRequest {
            account_id: account.to_owned(),
            acting: acting(Platform),
            invitation_id: id.to_owned(),
        };
        let answer = self.members().get_invitation(request).await.expect("an invitation");
        answer.into_inner().invitation.expect("an invitation")
    }

    /// Ends an invitation on behalf of the platform.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn revoke(
        &self,
        account: &str,
        id: &str,
    ) -> Result<Response<pb::RevokeInvitationResponse>, Status> {
        let request = pb::RevokeInvitationRequest {
            account_id: account.to_owned(),
            acting: acting(Platform),
            invitation_id: id.to_owned(),
            ..Default::default()
        };
        self.members().revoke_invitation(request).await
    }

    /// Removes a member.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn remove(
        &self,
        account: &str,
        by: By<'_>,
        user: &str,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        let request = pb::RemoveMemberRequest {
            account_id: account.to_owned(),
            acting: acting(by),
            user_id: user.to_owned(),
            ..Default::default()
        };
        self.members().remove_member(request).await
    }

    /// Gives a member another role.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn change_role(
        &self,
        account: &str,
        by: By<'_>,
        user: &str,
        role: &str,
    ) -> Result<Response<pb::ChangeRoleResponse>, Status> {
        let request = pb::ChangeRoleRequest {
            account_id: account.to_owned(),
            acting: acting(by),
            user_id: user.to_owned(),
            role: role.to_owned(),
            ..Default::default()
        };
        self.members().change_role(request).await
    }
}
