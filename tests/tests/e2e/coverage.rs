//! Lists that must be complete are compared with the contract itself. Whatever was forgotten is named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;
use usher_domain::caller::Scope;
use usher_server::guard;
use usher_tests::cast::MODELS;
use usher_tests::{Engine, Usher};

use crate::golden::Golden;

/// RPCs of the contract that no server answers yet. It may only shrink.
const RPCS_NOT_YET: &[&str] = &[];

/// RPCs with a guard that still answer UNIMPLEMENTED. It may only shrink.
const UNIMPLEMENTED: &[&str] = &[];

/// The one action that only a model with a role that changes by support alone has.
const TICKETS: &str = "ownership_transfer.view";

/// Who may call what: the RPC, the scopes of which its caller needs one, the actor's action.
const GUARDS: &[(&str, &[Scope], Option<&str>)] = &[
    ("AuthorizationService/CheckPermission", &[Scope::Check], None),
    ("AuthorizationService/CheckPermissions", &[Scope::Check], None),
    ("AuthorizationService/ListPermissions", &[Scope::Check], None),
    ("AuthorizationService/ListRoles", &[Scope::Check], None),
    ("MemberService/InviteUser", &[Scope::Members], Some("member.invite")),
    ("MemberService/ResendInvitation", &[Scope::Members], Some("invitation.resend")),
    ("MemberService/RevokeInvitation", &[Scope::Members], Some("invitation.revoke")),
    ("MemberService/UpdateInvitation", &[Scope::Members], Some("invitation.resend")),
    ("MemberService/GetInvitation", &[Scope::Members], Some("invitation.view")),
    ("MemberService/ListInvitations", &[Scope::Members], Some("invitation.list")),
    ("MemberService/LookUpInvitation", &[Scope::SignIn], None),
    ("MemberService/AcceptInvitation", &[Scope::SignIn], None),
    ("MemberService/ListMembers", &[Scope::Members], Some("member.list")),
    ("MemberService/GetMember", &[Scope::Members], Some("member.view")),
    ("MemberService/UpdateMember", &[Scope::Members], Some("member.update")),
    ("MemberService/ChangeRole", &[Scope::Members], Some("member.change_role")),
    ("MemberService/SuspendMember", &[Scope::Members], Some("member.suspend")),
    ("MemberService/ReactivateMember", &[Scope::Members], Some("member.reactivate")),
    ("MemberService/RemoveMember", &[Scope::Members], Some("member.remove")),
    // Each change has its own.
    ("LicenseService/ManageLicenses", &[Scope::Licenses, Scope::Billing], None),
    ("LicenseService/GetLicenses", &[Scope::Licenses], Some("license.view")),
    ("AccountService/CreateAccount", &[Scope::Platform], None),
    ("AccountService/SuspendAccount", &[Scope::Platform], None),
    ("AccountService/ReactivateAccount", &[Scope::Platform], None),
    ("AccountService/CloseAccount", &[Scope::Platform], None),
    ("UserService/GetUser", &[Scope::Platform], None),
    ("UserService/EraseUser", &[Scope::Platform], None),
    ("AccountService/GetAccount", &[Scope::Accounts], Some("account.view")),
    ("AccountService/UpdateAccount", &[Scope::Accounts], Some("account.update")),
    ("AccountService/OpenOwnershipTransfer", &[Scope::Support], None),
    ("AccountService/ApproveOwnershipTransfer", &[Scope::Support], None),
    ("AccountService/CancelOwnershipTransfer", &[Scope::Support], None),
    ("AccountService/GetOwnershipTransfer", &[Scope::Support, Scope::Members], Some(TICKETS)),
    ("AccountService/ListOwnershipTransfers", &[Scope::Support, Scope::Members], Some(TICKETS)),
    ("AuditService/ListEvents", &[Scope::Audit], Some("audit.view")),
    ("AuditService/WatchEvents", &[Scope::Audit], None),
    ("SignInService/VerifyPassword", &[Scope::SignIn], None),
    ("SignInService/ResolveIdentity", &[Scope::SignIn], None),
    ("SignInService/RequestPasswordReset", &[Scope::SignIn], None),
    ("SignInService/ResetPassword", &[Scope::SignIn], None),
    ("SignInService/RequestEmailChange", &[Scope::SignIn], None),
    ("SignInService/ChangeEmail", &[Scope::SignIn], None),
    ("SignInService/ListMemberships", &[Scope::SignIn], None),
];

fn contract() -> FileDescriptorSet {
    FileDescriptorSet::decode(usher_contract::DESCRIPTORS).unwrap()
}

/// All RPCs of the contract, as `Service/Method`.
pub(crate) fn rpcs() -> BTreeSet<String> {
    let files = contract().file.into_iter().filter(|file| file.package() == "usher.v1");
    files
        .flat_map(|file| file.service)
        .flat_map(|service| {
            let name = service.name().to_owned();
            service.method.into_iter().map(move |method| format!("{name}/{}", method.name()))
        })
        .collect()
}

pub(crate) fn guarded() -> BTreeSet<String> {
    guard::ALL.iter().map(|guard| guard.rpc.to_owned()).collect()
}

#[test]
fn every_rpc_has_one_guard() {
    let (rpcs, guarded) = (rpcs(), guarded());
    let not_yet: BTreeSet<String> = RPCS_NOT_YET.iter().map(|rpc| (*rpc).to_owned()).collect();
    assert_eq!(guarded.len(), guard::ALL.len(), "an RPC has two guards");
    assert_eq!(guarded.difference(&rpcs).collect::<Vec<_>>(), Vec::<&String>::new(), "guards of no RPC");
    assert_eq!(not_yet.difference(&rpcs).collect::<Vec<_>>(), Vec::<&String>::new(), "not in the contract");
    assert_eq!(
        not_yet.intersection(&guarded).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "these have a guard now: take them out of RPCS_NOT_YET"
    );
    let missing: Vec<&String> =
        rpcs.iter().filter(|rpc| !guarded.contains(*rpc) && !not_yet.contains(*rpc)).collect();
    assert_eq!(missing, Vec::<&String>::new(), "these have no row in `usher_server::guard`");
}

#[test]
fn guards_ask_for_what_the_contract_says() {
    let table: BTreeMap<&str, (&[Scope], Option<&str>)> =
        GUARDS.iter().map(|(rpc, scopes, action)| (*rpc, (*scopes, *action))).collect();
    assert_eq!(table.keys().map(|rpc| (*rpc).to_owned()).collect::<BTreeSet<_>>(), rpcs());
    for guard in guard::ALL {
        assert_eq!((guard.scopes, guard.action), table[guard.rpc], "{}", guard.rpc);
    }
    use guard::license_change as change;
    let changes = [
        (&change::SET_PURCHASED_SEATS, Scope::Billing, "license.update"),
        (&change::UPDATE_SUBSCRIPTION, Scope::Billing, "subscription.update"),
        (&change::ASSIGN_SEAT, Scope::Licenses, "license.assign"),
        (&change::RELEASE_SEAT, Scope::Licenses, "license.release"),
    ];
    for (guard, scope, action) in changes {
        assert_eq!((guard.scopes, guard.action), (&[scope][..], Some(action)));
    }
}

#[test]
fn every_guarding_action_is_in_both_models() {
    let of_guards = GUARDS.iter().filter_map(|(_, _, action)| *action).filter(|action| *action != TICKETS);
    let others = [
        "license.update",
        "subscription.update",
        "license.assign",
        "license.release",
        guard::SUBSCRIPTION_VIEW,
    ];
    let actions: BTreeSet<&str> = of_guards.chain(others).collect();
    for model in MODELS {
        let golden = Golden::of(model);
        for action in &actions {
            assert!(golden.cells.iter().any(|cell| cell.action() == *action), "{} lacks {action}", model.id);
        }
        let has_support_role = golden.roles.iter().any(|(_, about)| about.contains("support_only"));
        let has_tickets = golden.cells.iter().any(|cell| cell.action() == TICKETS);
        assert_eq!(has_tickets, has_support_role, "{}", model.id);
    }
}

/// What has a guard is served, and nothing else is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_guarded_rpc_is_served() {
    let usher = Usher::start(Engine::Sqlite).await;
    for rpc in rpcs() {
        let mut client = tonic::client::Grpc::new(usher.channel.clone());
        client.ready().await.unwrap();
        let path = format!("/usher.v1.{rpc}").parse().unwrap();
        let empty = Request::new(());
        let status = client.unary::<(), (), _>(empty, path, ProstCodec::default()).await.unwrap_err();
        let served = status.code() != Code::Unimplemented;
        let expected = guarded().contains(&rpc) && !UNIMPLEMENTED.contains(&rpc.as_str());
        assert_eq!(served, expected, "{rpc}: {status:?}");
        // Nothing is right about an empty request, and it is told so as the contract says.
        if served {
            assert_eq!(status.code(), Code::InvalidArgument, "{rpc}: {status:?}");
            assert!(!usher_tests::Refused::of(&status).fields.is_empty(), "{rpc}");
        }
    }
    usher.stop().await;
}

/// Reasons that no test provokes yet. It may only shrink.
const REASONS_NOT_YET: &[&str] = &[];

#[test]
fn every_reason_is_provoked_by_a_test() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    let provoked = |name: &str| sources.contains(&format!("\"{name}\""));
    let files = contract().file;
    let reasons = files.iter().flat_map(|file| &file.enum_type).find(|kind| kind.name() == "ErrorReason");
    let names = reasons.unwrap().value.iter().map(|value| value.name().to_owned());
    let names: BTreeSet<String> = names
        .map(|name| name.trim_start_matches("ERROR_REASON_").to_owned())
        .filter(|n| n != "UNSPECIFIED")
        .collect();
    let missing: Vec<&String> =
        names.iter().filter(|name| !provoked(name) && !REASONS_NOT_YET.contains(&name.as_str())).collect();
    assert_eq!(missing, Vec::<&String>::new(), "no test names these");
    let done: Vec<&&str> = REASONS_NOT_YET.iter().filter(|name| provoked(name)).collect();
    assert_eq!(done, Vec::<&&str>::new(), "tests name these now: take them out of REASONS_NOT_YET");
    let gone: Vec<&&str> = REASONS_NOT_YET.iter().filter(|name| !names.contains(**name)).collect();
    assert_eq!(gone, Vec::<&&str>::new(), "not in the contract");
}

/// The text of all tests but this file's.
fn sources(directory: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("coverage.rs") {
            text += &std::fs::read_to_string(&path).unwrap();
        }
    }
    text
}
