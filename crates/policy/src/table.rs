//! The compiled role model: role × action × fact → decision and granting permission.
//!
//! One byte a cell, rows of roles, so that a look-up is an index and a mask. Look-ups allocate
//! nothing, and an index of another model never panics: it grants nothing.

use std::fmt;

use crate::hint::{Hints, UnknownAction};
use crate::index::ActionTable;

/// The most actions of a model.
pub const ACTIONS_MAX: usize = 512;
/// The most roles of a model: one bit each in a word.
pub const ROLES_MAX: usize = 64;
/// The most permissions of a model: six bits of a cell.
pub const PERMISSIONS_MAX: usize = 64;

/// Which model of a [`crate::Catalogue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelIndex(pub(crate) u16);

/// Which role of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleIndex(pub(crate) u8);

/// Which permission of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PermissionIndex(pub(crate) u8);

/// Which action of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionIndex(pub(crate) u16);

macro_rules! position {
    ($($name:ident)*) => {$(
        impl $name {
            /// The position in the model's list (of models, roles, permissions, actions).
            pub fn position(self) -> usize {
                usize::from(self.0)
            }
        }
    )*};
}
position!(ModelIndex RoleIndex PermissionIndex ActionIndex);

/// The fact that a permission asks for. More facts may come, so this is not a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The subject owns the resource: `when = "own"`.
    Own,
}

impl Condition {
    /// As files and tables write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
        }
    }
}

/// What is known about the owner of the resource that a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnerFact {
    /// The caller named no owner.
    NotNamed,
    /// The subject owns it.
    Subject,
    /// Somebody else owns it.
    Another,
}

impl OwnerFact {
    pub const ALL: [Self; 3] = [Self::NotNamed, Self::Subject, Self::Another];
}

/// What a role's cell says about an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grant {
    Always(PermissionIndex),
    WhenOwn(PermissionIndex),
    Never,
}

impl Grant {
    /// Whether the action is allowed once `fact` is known.
    pub fn allows(self, fact: OwnerFact) -> bool {
        match self {
            Self::Always(_) => true,
            Self::WhenOwn(_) => fact == OwnerFact::Subject,
            Self::Never => false,
        }
    }

    /// The permission that grants it.
    pub fn permission(self) -> Option<PermissionIndex> {
        match self {
            Self::Always(permission) | Self::WhenOwn(permission) => Some(permission),
            Self::Never => None,
        }
    }
}

/// A grant in a byte: two bits of condition, six of permission. Zero is never.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell(u8);

impl Cell {
    const PERMISSION: u8 = 0b0011_1111;
    const ALWAYS: u8 = 0b0100_0000;
    const OWN: u8 = 0b1000_0000;

    pub(crate) fn of(grant: Grant) -> Self {
        match grant {
            Grant::Never => Self(0),
            Grant::Always(PermissionIndex(p)) => Self(Self::ALWAYS | (p & Self::PERMISSION)),
            Grant::WhenOwn(PermissionIndex(p)) => Self(Self::OWN | (p & Self::PERMISSION)),
        }
    }

    fn grant(self) -> Grant {
        let permission = PermissionIndex(self.0 & Self::PERMISSION);
        match self.0 & !Self::PERMISSION {
            Self::ALWAYS => Grant::Always(permission),
            Self::OWN => Grant::WhenOwn(permission),
            _ => Grant::Never,
        }
    }
}

/// How many active members (with a seat, if the role uses one) must hold a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holders {
    Any,
    AtLeastOne,
    ExactlyOne,
}

impl Holders {
    /// As files and tables write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::AtLeastOne => "at_least_one",
            Self::ExactlyOne => "exactly_one",
        }
    }
}

/// One action: what is acted on and how, `job.run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub(crate) name: Box<str>,
    /// Where the dot stands.
    pub(crate) dot: usize,
    pub(crate) available_after_lapse: bool,
    pub(crate) automation: bool,
}

impl Action {
    /// Both parts: `job.run`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn resource_type(&self) -> &str {
        &self.name[..self.dot]
    }

    pub fn verb(&self) -> &str {
        &self.name[self.dot + 1..]
    }

    /// Whether it is still answered by role after a lapse.
    pub fn available_after_lapse(&self) -> bool {
        self.available_after_lapse
    }

    /// Whether automation may do it.
    pub fn automation(&self) -> bool {
        self.automation
    }
}

/// A named group of actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    pub id: Box<str>,
    pub title: Box<str>,
    /// `None` grants always.
    pub condition: Option<Condition>,
    /// In the order of the file.
    pub actions: Box<[ActionIndex]>,
}

/// A named set of permissions, and the rules for who may hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub id: Box<str>,
    pub title: Box<str>,
    /// A sentence for a person who chooses a role; may be empty.
    pub description: Box<str>,
    /// In the order of the file, which is the order in which they are reported.
    pub permissions: Box<[PermissionIndex]>,
    pub assignable_by: Box<[RoleIndex]>,
    pub uses_seat: bool,
    pub holders: Holders,
    /// Whether whoever founds the account gets it.
    pub founder: bool,
    pub changes_by_support_only: bool,
    /// What the former holder gets when support gives the role to another.
    pub successor: Option<RoleIndex>,
}

/// The roles, permissions and actions of one product, compiled.
#[derive(Clone)]
pub struct RoleModel {
    pub(crate) id: Box<str>,
    pub(crate) title: Box<str>,
    pub(crate) digest: Box<str>,
    pub(crate) actions: Box<[Action]>,
    pub(crate) permissions: Box<[Permission]>,
    pub(crate) roles: Box<[Role]>,
    /// A row of actions for each role.
    pub(crate) cells: Box<[Cell]>,
    /// For each role, the roles whose every cell it allows too, a bit each.
    pub(crate) covers: Box<[u64]>,
    /// For each role, the roles that it may assign, a bit each.
    pub(crate) assigns: Box<[u64]>,
    pub(crate) founder: RoleIndex,
    pub(crate) support_only: Option<RoleIndex>,
    pub(crate) index: ActionTable,
    pub(crate) hints: Hints,
}

impl RoleModel {
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn title(&self) -> &str {
        &self.title
    }

    /// The SHA-256, in hex, of what [`RoleModel::matrix`] says. Comments, layout, titles and the model's
    /// own id do not change it.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// In the order of the file.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    pub fn permissions(&self) -> &[Permission] {
        &self.permissions
    }

    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// Every action with its index.
    pub fn action_indices(&self) -> impl Iterator<Item = ActionIndex> + use<> {
        (0u16..).take(self.actions.len()).map(ActionIndex)
    }

    /// Every role's index.
    pub fn role_indices(&self) -> impl Iterator<Item = RoleIndex> + use<> {
        (0u8..).take(self.roles.len()).map(RoleIndex)
    }

    /// # Errors
    /// When the model has no such action; it says which part is unknown and what may have been meant.
    #[inline]
    pub fn action(&self, resource_type: &str, verb: &str) -> Result<ActionIndex, UnknownAction> {
        match self.find(resource_type, verb) {
            Some(action) => Ok(action),
            None => Err(UnknownAction::new(self, resource_type, verb)),
        }
    }

    /// The action written in one word, `member.invite`.
    pub fn action_index(&self, name: &str) -> Option<ActionIndex> {
        let (resource_type, verb) = name.split_once('.')?;
        self.find(resource_type, verb)
    }

    #[inline]
    pub(crate) fn find(&self, resource_type: &str, verb: &str) -> Option<ActionIndex> {
        self.index.find(&self.actions, resource_type, verb)
    }

    /// Whether anything of this resource type is acted on.
    pub fn has_resource_type(&self, resource_type: &str) -> bool {
        self.actions.iter().any(|action| action.resource_type() == resource_type)
    }

    pub fn role(&self, id: &str) -> Option<RoleIndex> {
        self.role_indices().zip(&self.roles).find(|(_, role)| &*role.id == id).map(|(index, _)| index)
    }

    /// `None` for an index of another model.
    #[inline]
    pub fn role_at(&self, role: RoleIndex) -> Option<&Role> {
        self.roles.get(role.position())
    }

    /// `None` for an index of another model.
    pub fn permission_at(&self, permission: PermissionIndex) -> Option<&Permission> {
        self.permissions.get(permission.position())
    }

    /// `None` for an index of another model.
    #[inline]
    pub fn action_at(&self, action: ActionIndex) -> Option<&Action> {
        self.actions.get(action.position())
    }

    /// What `role` may do of `action`: the unconditional permission wins, then the first of the role.
    #[inline]
    pub fn grant(&self, role: RoleIndex, action: ActionIndex) -> Grant {
        // The action is bounded here, or it would reach into the next role's row.
        if action.position() >= self.actions.len() {
            return Grant::Never;
        }
        let cell = role.position() * self.actions.len() + action.position();
        self.cells.get(cell).map_or(Grant::Never, |cell| cell.grant())
    }

    pub fn automation_may(&self, action: ActionIndex) -> bool {
        self.action_at(action).is_some_and(|action| action.automation)
    }

    #[inline]
    pub fn available_after_lapse(&self, action: ActionIndex) -> bool {
        self.action_at(action).is_some_and(|action| action.available_after_lapse)
    }

    /// The roles that grant `action`, always or on a condition.
    pub fn roles_that_grant(&self, action: ActionIndex) -> impl Iterator<Item = &Role> {
        self.role_indices()
            .zip(&self.roles)
            .filter(move |(role, _)| self.grant(*role, action) != Grant::Never)
            .map(|(_, role)| role)
    }

    /// The permissions that list `action`.
    pub fn permissions_that_grant(&self, action: ActionIndex) -> impl Iterator<Item = &Permission> {
        self.permissions.iter().filter(move |permission| permission.actions.contains(&action))
    }

    /// Whether every (action, fact) that `target` allows is allowed to `actor` too.
    pub fn covers(&self, actor: RoleIndex, target: RoleIndex) -> bool {
        has_bit(&self.covers, actor, target)
    }

    /// Whether a member in role `actor` may give or take `role`: it covers the role, and the model
    /// lets it.
    pub fn may_assign(&self, actor: RoleIndex, role: RoleIndex) -> bool {
        has_bit(&self.assigns, actor, role)
    }

    /// The role of whoever founds an account.
    pub fn founder_role(&self) -> RoleIndex {
        self.founder
    }

    /// The role that changes hands through support alone.
    pub fn support_only_role(&self) -> Option<RoleIndex> {
        self.support_only
    }
}

fn has_bit(rows: &[u64], row: RoleIndex, bit: RoleIndex) -> bool {
    rows.get(row.position()).is_some_and(|row| row.checked_shr(bit.0.into()).unwrap_or(0) & 1 == 1)
}

impl fmt::Debug for RoleModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleModel")
            .field("id", &self.id)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
