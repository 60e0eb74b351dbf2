//! The compiled table against Cedar: each model, lowered to Cedar's policy language from its lists of
//! permissions (not from its cells), must give the same answer in every cell, whatever is known of
//! the owner.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use std::fmt::Write as _;
use std::str::FromStr as _;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request, RestrictedExpression,
};
use proptest::prelude::*;
use usher_policy::guard::GUARD_ACTIONS;
use usher_policy::{Catalogue, Condition, Grant, OwnerFact, RoleModel};

/// One policy for each permission of each role.
fn lower(model: &RoleModel) -> PolicySet {
    let mut text = String::new();
    for role in model.roles() {
        for permission in &role.permissions {
            let permission = model.permission_at(*permission).unwrap();
            let actions: Vec<String> = permission
                .actions
                .iter()
                .map(|action| format!("Action::\"{}\"", model.action_at(*action).unwrap().name()))
                .collect();
            let when = match permission.condition {
                None => "",
                Some(Condition::Own) => " when { resource has owner && resource.owner == principal }",
            };
            let (role, actions) = (&role.id, actions.join(", "));
            writeln!(text, "permit(principal in Role::\"{role}\", action in [{actions}], resource){when};")
                .unwrap();
        }
    }
    PolicySet::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn uid(kind: &str, id: &str) -> EntityUid {
    EntityUid::from_str(&format!("{kind}::\"{id}\"")).unwrap()
}

/// A resource with the owner that `fact` says, and `alice` in the role.
fn world(model: &RoleModel, fact: OwnerFact, role: &str) -> Entities {
    let alice = uid("User", "alice");
    let owner = match fact {
        OwnerFact::NotNamed => None,
        OwnerFact::Subject => Some(alice.clone()),
        OwnerFact::Another => Some(uid("User", "bob")),
    };
    let owner = owner.map(|owner| ("owner".to_owned(), RestrictedExpression::new_entity_uid(owner)));
    let resource = Entity::new(uid("Resource", "it"), owner.into_iter().collect(), [].into()).unwrap();
    let member = Entity::new(alice, [].into(), [uid("Role", role)].into()).unwrap();
    let roles = model.roles().iter().map(|role| Entity::new_no_attrs(uid("Role", &role.id), [].into()));
    Entities::from_entities(roles.chain([resource, member]), None).unwrap()
}

fn assert_agrees(model: &RoleModel) {
    let (policies, authorizer) = (lower(model), Authorizer::new());
    for (index, role) in model.role_indices().zip(model.roles()) {
        for fact in OwnerFact::ALL {
            let world = world(model, fact, &role.id);
            for (action, name) in model.action_indices().zip(model.actions()) {
                let (alice, it) = (uid("User", "alice"), uid("Resource", "it"));
                let request =
                    Request::new(alice, uid("Action", name.name()), it, Context::empty(), None).unwrap();
                let answer = authorizer.is_authorized(&request, &policies, &world);
                assert_eq!(answer.diagnostics().errors().count(), 0);
                let allowed = model.grant(index, action).allows(fact);
                assert_eq!(
                    answer.decision() == Decision::Allow,
                    allowed,
                    "{} {} {fact:?}",
                    role.id,
                    name.name()
                );
            }
        }
        assert_reports_the_right_permission(model, index);
    }
}

/// The unconditional permission wins, then the first of the role; written anew from the lists.
fn assert_reports_the_right_permission(model: &RoleModel, role: usher_policy::RoleIndex) {
    let held = &model.role_at(role).unwrap().permissions;
    for action in model.action_indices() {
        let listed = |condition: Option<Condition>| {
            held.iter().copied().find(|index| {
                let permission = model.permission_at(*index).unwrap();
                permission.condition == condition && permission.actions.contains(&action)
            })
        };
        let expected = match (listed(None), listed(Some(Condition::Own))) {
            (Some(permission), _) => Grant::Always(permission),
            (None, Some(permission)) => Grant::WhenOwn(permission),
            (None, None) => Grant::Never,
        };
        assert_eq!(model.grant(role, action), expected);
    }
}

#[test]
fn cedar_agrees_with_the_shipped_models() {
    for model in Catalogue::shipped().models() {
        assert_agrees(model);
    }
}

/// Some permissions over some actions of one's own, and some roles over the permissions.
#[derive(Debug, Clone)]
struct Plan {
    types: usize,
    verbs: usize,
    /// For each permission: whether it is conditional, and its actions by number.
    permissions: Vec<(bool, Vec<usize>)>,
    /// For each role its permissions by number.
    roles: Vec<Vec<usize>>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let permission = (any::<bool>(), proptest::collection::vec(0usize..12, 1..8));
    let role = proptest::collection::vec(0usize..5, 1..5);
    (1usize..4, 1usize..5, proptest::collection::vec(permission, 1..6), proptest::collection::vec(role, 1..5))
        .prop_map(|(types, verbs, permissions, roles)| Plan { types, verbs, permissions, roles })
}

fn unique(mut list: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
    list
}

/// A file that keeps all rules: a founder with everything, a role for each permission alone.
fn written(plan: &Plan) -> String {
    let own: Vec<String> =
        (0..plan.types).flat_map(|t| (0..plan.verbs).map(move |v| format!("thing{t}.do{v}"))).collect();
    let mut text = "id = \"random\"\ntitle = \"Random\"\n[actions]\n".to_owned();
    let mut by_type: Vec<(String, Vec<String>)> = Vec::new();
    for name in own.iter().map(String::as_str).chain(GUARD_ACTIONS.iter().copied()) {
        let (resource_type, verb) = name.split_once('.').unwrap();
        match by_type.iter_mut().find(|(t, _)| t == resource_type) {
            Some((_, verbs)) => verbs.push(verb.to_owned()),
            None => by_type.push((resource_type.to_owned(), vec![verb.to_owned()])),
        }
    }
    for (resource_type, verbs) in &by_type {
        writeln!(text, "{resource_type} = {verbs:?}").unwrap();
    }
    let guards: Vec<String> = GUARD_ACTIONS.iter().map(|name| (*name).to_owned()).collect();
    let mut founder = Vec::new();
    for (i, (when, actions)) in plan.permissions.iter().enumerate() {
        let actions = unique(actions.iter().map(|a| own[a % own.len()].clone()).collect());
        let when = if *when { "when = \"own\"\n" } else { "" };
        writeln!(text, "[permissions.p{i}]\ntitle = \"P{i}\"\n{when}actions = {actions:?}").unwrap();
        founder.push(format!("p{i}"));
        let rules = "assignable_by = [\"founder\"]";
        writeln!(text, "[roles.only{i}]\ntitle = \"Only {i}\"\npermissions = [\"p{i}\"]\n{rules}").unwrap();
    }
    // The rest is granted on condition, so that not all of it is the same.
    writeln!(text, "[permissions.rest]\ntitle = \"Rest\"\nwhen = \"own\"\nactions = {own:?}").unwrap();
    writeln!(text, "[roles.rest]\ntitle = \"Rest\"\npermissions = [\"rest\"]\nassignable_by = [\"founder\"]")
        .unwrap();
    writeln!(text, "[permissions.guards]\ntitle = \"Guards\"\nactions = {guards:?}").unwrap();
    founder.extend(["rest".to_owned(), "guards".to_owned()]);
    for (i, permissions) in plan.roles.iter().enumerate() {
        let count = plan.permissions.len();
        let permissions = unique(permissions.iter().map(|p| format!("p{}", p % count)).collect());
        let rules = "assignable_by = [\"founder\"]";
        writeln!(text, "[roles.r{i}]\ntitle = \"R{i}\"\npermissions = {permissions:?}\n{rules}").unwrap();
    }
    writeln!(text, "[roles.founder]\ntitle = \"Founder\"\npermissions = {founder:?}\nfounder = true")
        .unwrap();
    text + "[after_lapse]\nactions = [\"subscription.update\"]\n"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cedar_agrees_with_random_models(plan in plan()) {
        let text = written(&plan);
        let model = RoleModel::from_source("random.toml", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_agrees(&model);
        for actor in model.role_indices() {
            for target in model.role_indices() {
                let covers = model.action_indices().all(|action| OwnerFact::ALL.into_iter().all(|fact| {
                    model.grant(actor, action).allows(fact) || !model.grant(target, action).allows(fact)
                }));
                prop_assert_eq!(model.covers(actor, target), covers);
                let lets = model.role_at(target).unwrap().assignable_by.contains(&actor);
                prop_assert_eq!(model.may_assign(actor, target), covers && lets);
            }
        }
    }
}
