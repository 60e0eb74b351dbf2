//! What an acting party may do in an account: the same table as `CheckPermission`, and the ceiling
//! on whom a member may touch.

use usher_domain::account::{Account, AccountState};
use usher_domain::caller::Acting;
use usher_domain::id::UserId;
use usher_domain::member::{HolderRule, RoleRules};
use usher_domain::refusal::Refusal;
use usher_domain::time::Time;
use usher_policy::{Catalogue, Holders, Reason, Role, RoleIndex, RoleModel, Standing, actor_may};
use usher_storage::Tx;

use crate::error::{Error, Missing, Wrong, nearest};

/// An account as somebody in particular finds it.
pub struct Access<'a> {
    pub roles: &'a Catalogue,
    pub now: Time,
    pub account: Account,
    pub acting: &'a Acting,
    /// The actor's standing; `None` for the platform.
    standing: Option<Standing>,
}

impl<'a> Access<'a> {
    /// # Errors
    /// `Missing(Account)` when there is none, or it is closed.
    pub async fn open(
        roles: &'a Catalogue,
        now: Time,
        tx: &Tx,
        account: Option<Account>,
        acting: &'a Acting,
    ) -> Result<Self, Error> {
        let account = account
            .filter(|account| account.state != AccountState::Closed)
            .ok_or(Error::Missing(Missing::Account))?;
        let standing = match acting.member() {
            Some(actor) => {
                let facts = tx.standing(&account.id, Some(actor)).await?;
                facts.map(|facts| roles.standing(&facts.record))
            }
            None => None,
        };
        Ok(Self { roles, now, account, acting, standing })
    }

    /// The platform's access to a locked account, closed or not.
    pub fn of_platform(roles: &'a Catalogue, now: Time, account: Account) -> Self {
        Self { roles, now, account, acting: &Acting::Platform, standing: None }
    }

    /// Whether the acting party may do this here. The platform may do everything.
    ///
    /// # Errors
    /// `Denied`, with the reason that a check would answer.
    pub fn require(&self, action: &'static str) -> Result<(), Error> {
        match self.acting {
            Acting::Platform => Ok(()),
            Acting::Member(_) => {
                let decision = actor_may(self.roles, self.standing.as_ref(), self.now, action);
                if decision.allows() {
                    Ok(())
                } else {
                    Err(Error::Denied { action, reason: decision.reason, field: None })
                }
            }
        }
    }

    pub fn may(&self, action: &'static str) -> bool {
        self.require(action).is_ok()
    }

    /// The account's role model.
    ///
    /// # Errors
    /// When this server lacks the file.
    pub fn model(&self) -> Result<&'a RoleModel, Error> {
        let model = self.roles.get(&self.account.model).map(|(_, model)| model);
        model.ok_or_else(|| {
            Error::Internal(format!("this server lacks the role model `{}`", self.account.model))
        })
    }

    pub fn actor(&self) -> Option<&'a UserId> {
        self.acting.member()
    }

    pub fn is_oneself(&self, user: &UserId) -> bool {
        self.actor() == Some(user)
    }

    fn actor_role(&self) -> Option<RoleIndex> {
        self.standing.and_then(|standing| standing.member().role())
    }

    /// Whether the acting party may grant, change or take this role: everything that it allows, the
    /// actor's role must allow too, and the model must let them assign it. The platform has no
    /// ceiling, but roles that move by support alone bind it too.
    ///
    /// # Errors
    /// `RoleChangesBySupportOnly`, `RoleAboveActor`, `RoleNotAssignable`.
    pub fn require_reach(&self, role: &Role, index: RoleIndex) -> Result<(), Error> {
        if role.changes_by_support_only {
            return Err(Refusal::RoleChangesBySupportOnly { role: role.id.to_string() }.into());
        }
        self.require_covers(role, index)?;
        match self.actor_role() {
            Some(actor_role) if !self.model()?.may_assign(actor_role, index) => {
                Err(Error::RoleNotAssignable { role: role.id.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Whether everything that this role allows is allowed to the acting party too.
    ///
    /// # Errors
    /// `RoleAboveActor`.
    pub fn require_covers(&self, role: &Role, index: RoleIndex) -> Result<(), Error> {
        let covers = match (self.acting, self.actor_role()) {
            (Acting::Platform, _) => true,
            (Acting::Member(_), Some(actor_role)) => self.model()?.covers(actor_role, index),
            (Acting::Member(_), None) => false,
        };
        if covers { Ok(()) } else { Err(Error::RoleAboveActor { role: role.id.to_string() }) }
    }
}

/// A role of the model by its id.
///
/// # Errors
/// `Invalid` with the roles there are, for a role that a request names in `field`.
pub fn role<'m>(model: &'m RoleModel, id: &str, field: &str) -> Result<(RoleIndex, &'m Role), Error> {
    let found = model.role(id).and_then(|index| Some((index, model.role_at(index)?)));
    found.ok_or_else(|| {
        let known: Vec<String> = model.roles().iter().map(|role| format!("`{}`", role.id)).collect();
        Error::unknown(
            Wrong::RoleUnknown,
            field,
            format!("is not a role of the model `{}`, which has {}", model.id(), known.join(", ")),
            nearest(id, model.roles().iter().map(|role| &*role.id)),
        )
    })
}

/// A role that a row names. The model may have lost it since.
///
/// # Errors
/// When this server's file lacks it.
pub fn stored_role<'m>(model: &'m RoleModel, id: &str) -> Result<(RoleIndex, &'m Role), Error> {
    let found = model.role(id).and_then(|index| Some((index, model.role_at(index)?)));
    found.ok_or_else(|| Error::Internal(format!("the role model `{}` lacks the role `{id}`", model.id())))
}

pub fn rules(role: &Role) -> RoleRules {
    RoleRules {
        uses_seat: role.uses_seat,
        support_only: role.changes_by_support_only,
        holders: match role.holders {
            Holders::Any => HolderRule::Any,
            Holders::AtLeastOne => HolderRule::AtLeastOne,
            Holders::ExactlyOne => HolderRule::ExactlyOne,
        },
    }
}

/// Whether a denial is about the account or its subscription, and not about the actor.
pub fn is_about_account(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AccountUnknown
            | Reason::AccountSuspended
            | Reason::SubscriptionLapsed
            | Reason::OverLimitEnded
    )
}
