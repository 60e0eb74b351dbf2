//! A caller that is limited to one account learns nothing of another and changes nothing there: what is the
//! other's looks to it like what does not exist, in every byte.

use std::collections::BTreeSet;

use prost_reflect::DynamicMessage;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};
use usher_domain::caller::Scope;
use usher_server::authenticate::config::CallerConfig;
use usher_tests::callers::{Callers, static_token, with_scopes};
use usher_tests::cast::joining;
use usher_tests::lookup;
use usher_tests::person::{OTHER_PASSWORD, PASSWORD, password};
use usher_tests::samples::{self, SAMPLES};
use usher_tests::{
    Actor, Engine, INTEGRATE_IO, Nobody, Platform, Refused, Usher, any_call, both_engines, pb,
};

use crate::coverage::rpcs;
use crate::sign_in::{next_token, request_reset};

both_engines!(
    another_account_looks_like_one_that_does_not_exist,
    in_its_own_account_ids_of_another_are_unknown,
    people_and_tokens_of_another_account_do_not_exist,
    a_person_of_both_accounts_is_known_as_a_member_of_its_own,
);

type Outcome = Result<DynamicMessage, Status>;

/// The server, `acme`, `globex` and a caller with every scope who is limited to `acme`.
struct World {
    usher: Usher,
    limited: Channel,
}

impl World {
    async fn new(engine: Engine) -> Self {
        let usher = Usher::start(engine).await;
        usher.cast("acme", INTEGRATE_IO).await;
        usher.cast("globex", INTEGRATE_IO).await;
        let callers = Callers::make();
        let all = with_scopes("limited", Scope::ALL.map(Scope::name));
        let limited = CallerConfig { accounts: Some(vec!["acme".to_owned()]), ..all };
        let port = usher.second_door(|config| callers.configure(config, [limited])).await;
        Self { limited: callers.connect(port).await, usher }
    }

    async fn limited(&self, rpc: &str, fields: &Value) -> Outcome {
        let request = any_call::request(rpc, fields);
        any_call::call(&self.limited, rpc, &request, Some(&static_token("limited"))).await
    }

    async fn unlimited(&self, rpc: &str, fields: &Value) -> Outcome {
        any_call::call(&self.usher.channel, rpc, &any_call::request(rpc, fields), None).await
    }

    async fn open_transfer(&self, account: &str) -> String {
        let request = pb::OpenOwnershipTransferRequest {
            account_id: account.to_owned(),
            new_owner_id: format!("{account}-admin"),
            ticket_ref: "T-1".to_owned(),
            operator_id: "anna".to_owned(),
            ..Default::default()
        };
        let opened = self.usher.accounts().open_ownership_transfer(request).await.unwrap();
        opened.into_inner().transfer.unwrap().id
    }

    /// All that is stored of an account's changes.
    async fn trace(&self, account: &str) -> String {
        format!("{:?}", lookup::events(&self.usher.app.store, account).await)
    }
}

fn is_about_an_account(rpc: &str) -> bool {
    any_call::method(rpc).input().get_field_by_name("account_id").is_some()
}

/// Everything that the wire says of a refusal, but for the id of the request.
fn bytes(outcome: Outcome) -> (Code, String, Vec<u8>) {
    let status = outcome.expect_err("a refusal");
    (status.code(), status.message().to_owned(), status.details().to_vec())
}

fn not_allowed() -> (Code, String, Vec<u8>) {
    let error = usher_server::error::Error::AccountNotAllowed;
    let status = usher_server::rpc::status::status(&error, "");
    let refused = Refused::of(&status);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::PermissionDenied, "ACCOUNT_NOT_ALLOWED"));
    bytes(Err(status))
}

async fn another_account_looks_like_one_that_does_not_exist(engine: Engine) {
    let world = World::new(engine).await;
    let (invitation, _) = world.usher.link("globex", Platform, "new@people.example", "editor").await;
    let transfer = world.open_transfer("globex").await;
    let before = world.trace("globex").await;
    for (sample, _) in SAMPLES.iter().filter(|(sample, _)| is_about_an_account(samples::rpc(sample))) {
        let rpc = samples::rpc(sample);
        for by in [Actor("globex-owner"), Platform, Nobody] {
            for account in ["globex", "nowhere"] {
                let mut fields = samples::fields(sample, account, by);
                fields["account_id"] = json!(account);
                let fields = of_globex(&fields, &invitation.id, &transfer);
                assert_eq!(
                    bytes(world.limited(rpc, &fields).await),
                    not_allowed(),
                    "{sample} {account} {by:?}"
                );
            }
        }
    }
    // An id that Usher would make is not the caller's either.
    let mut fields = samples::fields("AccountService/CreateAccount", "", Nobody);
    fields.as_object_mut().unwrap().remove("account_id");
    assert_eq!(bytes(world.limited("AccountService/CreateAccount", &fields).await), not_allowed());
    assert_eq!(world.trace("globex").await, before);
    world.usher.stop().await;
}

/// The same fields, naming what there is in `globex`.
fn of_globex(fields: &Value, invitation: &str, transfer: &str) -> Value {
    let text = fields.to_string().replace("inv_none", invitation).replace("tkt_none", transfer);
    serde_json::from_str(&text.replace("\"nobody\"", "\"globex-editor\"")).unwrap()
}

async fn in_its_own_account_ids_of_another_are_unknown(engine: Engine) {
    let world = World::new(engine).await;
    let (invitation, _) = world.usher.link("globex", Platform, "new@people.example", "editor").await;
    let transfer = world.open_transfer("globex").await;
    let before = world.trace("globex").await;
    let named = |text: String| {
        let text = text.replace(&invitation.id, "inv_none").replace(&transfer, "tkt_none");
        text.replace("globex-editor", "nobody").replace("globex-owner", "stranger")
    };
    // In words, because the facts of an error have no order on the wire.
    let told = |outcome: Outcome| match outcome {
        Ok(answer) => named(answer.to_string()),
        Err(status) => {
            let refused = Refused::of(&status);
            let facts: std::collections::BTreeMap<_, _> = refused.metadata.clone().into_iter().collect();
            named(format!("{:?} {facts:?}", Refused { metadata: Default::default(), ..refused }))
        }
    };
    for (sample, _) in SAMPLES.iter().filter(|(sample, _)| is_about_an_account(samples::rpc(sample))) {
        let rpc = samples::rpc(sample);
        let unknown = samples::fields(sample, "acme", Platform);
        let theirs = of_globex(&unknown, &invitation.id, &transfer);
        if theirs != unknown && rpc != "AccountService/CreateAccount" {
            let pair = (told(world.limited(rpc, &theirs).await), told(world.limited(rpc, &unknown).await));
            assert_eq!(pair.0, pair.1, "{sample}");
        }
        if any_call::has_acting(rpc) {
            let theirs = samples::fields(sample, "acme", Actor("globex-owner"));
            let unknown = samples::fields(sample, "acme", Actor("stranger"));
            let pair = (told(world.limited(rpc, &theirs).await), told(world.limited(rpc, &unknown).await));
            assert_eq!(pair.0, pair.1, "{sample} actor");
        }
    }
    assert_eq!(world.trace("globex").await, before);
    tokens(&world).await;
    world.usher.stop().await;
}

/// Page and consistency tokens of `globex`, and a request id that was used there.
async fn tokens(world: &World) {
    let lists = any_call::methods().filter(|method| {
        let has = |name: &str| method.input().get_field_by_name(name).is_some();
        has("account_id") && has("page_token")
    });
    world.usher.link("globex", Platform, "second@people.example", "editor").await;
    let transfers = "AccountService/ListOwnershipTransfers";
    for rpc in lists.map(|method| any_call::name(&method)).filter(|rpc| rpc != transfers) {
        let page = json!({ "account_id": "globex", "platform": {}, "page_size": 1 });
        let answer = world.unlimited(&rpc, &page).await.unwrap();
        let token = answer.get_field_by_name("next_page_token").unwrap().as_str().unwrap().to_owned();
        assert_ne!(token, "", "{rpc}");
        let mut refusals = Vec::new();
        for token in [token.as_str(), "AAAA"] {
            let page = json!({ "account_id": "acme", "platform": {}, "page_size": 1, "page_token": token });
            refusals.push(bytes(world.limited(&rpc, &page).await));
        }
        assert_eq!(refusals[0], refusals[1], "{rpc}");
        assert_eq!(refusals[0].0, Code::InvalidArgument, "{rpc}");
    }
    let mut refusals = Vec::new();
    for account in ["globex", "nowhere"] {
        let token = usher_server::token::consistency(&world.usher.app.epoch(), account, 3);
        let mut check = samples::fields("AuthorizationService/CheckPermission", "acme", Nobody);
        check["consistency"] = json!({ "at_least_as_fresh": token });
        refusals.push(bytes(world.limited("AuthorizationService/CheckPermission", &check).await));
    }
    assert_eq!(refusals[0], refusals[1]);
    let invite = |account: &str| {
        json!({ "account_id": account, "platform": {}, "request_id": "evt_1", "role": "editor",
            "email": "third@people.example" })
    };
    world.unlimited("MemberService/InviteUser", &invite("globex")).await.unwrap();
    world.limited("MemberService/InviteUser", &invite("acme")).await.unwrap();
}

async fn people_and_tokens_of_another_account_do_not_exist(engine: Engine) {
    let world = World::new(engine).await;
    let usher = &world.usher;
    let ivy = usher.join("globex", "ivy@people.example", "editor").await;
    let zoe = usher.join("globex", "zoe@people.example", "editor").await;
    let (_, link) = usher.link("globex", Platform, "new@people.example", "editor").await;
    let (_, own_link) = usher.link("acme", Platform, "own@people.example", "editor").await;
    usher.resolve("sub-reader", "globex-reader").await.unwrap();
    request_reset(usher, "ivy@people.example").await;
    let reset = next_token(usher, "ivy@people.example", &[]).await;
    let change = json!({ "user_id": zoe, "new_email": "zoe@elsewhere.example" });
    world.unlimited("SignInService/RequestEmailChange", &change).await.unwrap();
    let change = next_token(usher, "zoe@elsewhere.example", &[]).await;

    let issuer = usher_tests::harness::ISSUER;
    // What is the other account's, and the same of nobody; the last uses up what those before need.
    let calls = [
        ("MemberService/LookUpInvitation", json!({ "token": link }), json!({ "token": "none" })),
        (
            "MemberService/AcceptInvitation",
            json!({ "token": link, "new_password": PASSWORD }),
            json!({ "token": "none", "new_password": PASSWORD }),
        ),
        (
            "SignInService/VerifyPassword",
            json!({ "email": "ivy@people.example", "password": PASSWORD }),
            json!({ "email": "nobody@people.example", "password": PASSWORD }),
        ),
        (
            "SignInService/ResolveIdentity",
            json!({ "issuer": issuer, "subject": "sub-reader" }),
            json!({ "issuer": issuer, "subject": "sub-none" }),
        ),
        (
            "SignInService/ResolveIdentity",
            json!({ "issuer": issuer, "subject": "sub-thief", "username": "globex-editor" }),
            json!({ "issuer": issuer, "subject": "sub-thief", "username": "none" }),
        ),
        (
            "SignInService/ResetPassword",
            json!({ "token": reset, "new_password": OTHER_PASSWORD }),
            json!({ "token": "none", "new_password": OTHER_PASSWORD }),
        ),
        (
            "SignInService/RequestPasswordReset",
            json!({ "email": "ivy@people.example" }),
            json!({ "email": "nobody@people.example" }),
        ),
        (
            "SignInService/RequestEmailChange",
            json!({ "user_id": ivy, "new_email": "thief@people.example" }),
            json!({ "user_id": "nobody", "new_email": "thief@people.example" }),
        ),
        ("SignInService/ChangeEmail", json!({ "token": change }), json!({ "token": "none" })),
        ("SignInService/ListMemberships", json!({ "user_id": ivy }), json!({ "user_id": "nobody" })),
        ("UserService/GetUser", json!({ "user_id": ivy }), json!({ "user_id": "nobody" })),
        ("UserService/EraseUser", json!({ "user_id": ivy }), json!({ "user_id": "nobody" })),
    ];
    let covered: BTreeSet<String> = calls.iter().map(|(rpc, _, _)| (*rpc).to_owned()).collect();
    let uncovered: Vec<String> =
        rpcs().into_iter().filter(|rpc| !is_about_an_account(rpc) && !covered.contains(rpc)).collect();
    assert_eq!(uncovered, Vec::<String>::new(), "these name no account and are not tried here");

    let before = world.trace("globex").await;
    for (rpc, theirs, nobodys) in &calls {
        let (theirs, nobodys) = (world.limited(rpc, theirs).await, world.limited(rpc, nobodys).await);
        match *rpc {
            "SignInService/RequestPasswordReset" => assert_eq!(theirs.unwrap(), nobodys.unwrap()),
            "SignInService/VerifyPassword" => {
                let refused = Refused::of(theirs.as_ref().unwrap_err());
                let told = (refused.code, refused.reason.as_str());
                assert_eq!(told, (Code::PermissionDenied, "WRONG_CREDENTIALS"));
                assert_eq!(bytes(theirs), bytes(nobodys));
            }
            _ => {
                assert_eq!(bytes(theirs), not_allowed(), "{rpc}");
                assert_eq!(bytes(nobodys), not_allowed(), "{rpc}");
            }
        }
    }
    // A link to its own account does not make it vouch for anybody.
    for user in [ivy.as_str(), "nobody"] {
        let accept = json!({ "token": own_link, "signed_in_user_id": user });
        assert_eq!(
            bytes(world.limited("MemberService/AcceptInvitation", &accept).await),
            not_allowed(),
            "{user}"
        );
    }
    assert_eq!(world.trace("globex").await, before);
    // All of it was real, and nothing was used up.
    for (rpc, theirs, _) in &calls {
        world.unlimited(rpc, theirs).await.unwrap_or_else(|status| panic!("{rpc}: {status:?}"));
    }
    assert!(usher.mailbox.letters_to("ivy@people.example").len() <= 2, "one mail was asked for in vain");
    world.usher.stop().await;
}

async fn a_person_of_both_accounts_is_known_as_a_member_of_its_own(engine: Engine) {
    let world = World::new(engine).await;
    let usher = &world.usher;
    let pat = usher.join("globex", "pat@people.example", "editor").await;
    let (_, link) = usher.link("acme", Platform, "pat@people.example", "editor").await;
    usher.accept(&link, password(PASSWORD)).await.unwrap();
    let accounts = |answer: DynamicMessage| {
        let memberships = answer.get_field_by_name("memberships").unwrap().into_owned();
        let of = |one: &prost_reflect::Value| {
            one.as_message().unwrap().get_field_by_name("account_id").unwrap().as_str().unwrap().to_owned()
        };
        let next = answer.get_field_by_name("next_page_token").unwrap().as_str().unwrap().to_owned();
        (memberships.as_list().unwrap().iter().map(of).collect::<Vec<_>>(), next)
    };
    let only_acme = (vec!["acme".to_owned()], String::new());
    let verify = json!({ "email": "pat@people.example", "password": PASSWORD });
    let seen = world.limited("SignInService/VerifyPassword", &verify).await.unwrap();
    assert_eq!(accounts(seen), only_acme);
    let list = json!({ "user_id": pat, "page_size": 1 });
    let seen = world.limited("SignInService/ListMemberships", &list).await.unwrap();
    assert_eq!(accounts(seen), only_acme, "not even that there is another page");
    assert!(usher.member("acme", &pat).await.unwrap().last_sign_in_time.is_some());
    assert!(usher.member("globex", &pat).await.unwrap().last_sign_in_time.is_none());
    let whole = world.unlimited("SignInService/ListMemberships", &json!({ "user_id": pat })).await.unwrap();
    assert_eq!(accounts(whole).0, ["acme", "globex"]);

    // What they sign in with is theirs in both accounts: a mail to them may change it, the caller's word not.
    let to_thief = json!({ "user_id": pat, "new_email": "thief@people.example" });
    assert_eq!(bytes(world.limited("SignInService/RequestEmailChange", &to_thief).await), not_allowed());
    let forgot = json!({ "email": "pat@people.example" });
    world.limited("SignInService/RequestPasswordReset", &forgot).await.unwrap();
    let token = next_token(usher, "pat@people.example", &[]).await;
    let reset = json!({ "token": token, "new_password": OTHER_PASSWORD });
    world.limited("SignInService/ResetPassword", &reset).await.unwrap();
    usher.verify("pat@people.example", OTHER_PASSWORD).await.unwrap();

    // For a member of its own account alone, its word counts.
    usher.members().invite_user(joining("acme", Platform, "uma", "reader")).await.unwrap();
    let first = json!({ "issuer": usher_tests::harness::ISSUER, "subject": "sub-uma", "username": "uma" });
    let bound = world.limited("SignInService/ResolveIdentity", &first).await.unwrap();
    assert_eq!(bound.get_field_by_name("bound_now").unwrap().as_bool(), Some(true));
    let moving = json!({ "user_id": "uma", "new_email": "uma@elsewhere.example" });
    world.limited("SignInService/RequestEmailChange", &moving).await.unwrap();
    world.usher.stop().await;
}
