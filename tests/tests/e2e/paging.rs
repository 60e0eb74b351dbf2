//! Lists: every member and invitation once, whatever the page size, and no token where it does not belong.

use tonic::Code;
use usher_tests::cast::{inviting, joining};
use usher_tests::{
    Actor, By, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, acting, both_engines, pb, refused,
};

both_engines!(
    pages_of_any_size_hold_everything_once,
    a_token_goes_on_only_where_it_came_from,
    members_are_filtered,
    invitations_are_filtered_by_what_they_are_now,
    a_page_goes_on_although_the_list_changes,
);

const PEOPLE: usize = 23;

async fn fill(usher: &Usher, account: &str, role: &str) {
    for number in 0..PEOPLE {
        // Addresses of two accounts sort alike, and some differ in case only.
        let name = format!("{account}-p{number:02}");
        let email = if number % 2 == 0 {
            format!("P{number:02}@x.example")
        } else {
            format!("p{number:02}@x.example")
        };
        let joining =
            pb::InviteUserRequest { email: email.clone(), ..joining(account, Platform, &name, role) };
        usher.members().invite_user(joining).await.unwrap();
        let inviting = inviting(account, Platform, &format!("i{email}"), role);
        usher.members().invite_user(inviting).await.unwrap();
    }
}

fn members_page(account: &str, by: By<'_>, page_size: i32, page_token: &str) -> pb::ListMembersRequest {
    pb::ListMembersRequest {
        account_id: account.to_owned(),
        acting: acting(by),
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    }
}

fn invitations_page(
    account: &str,
    by: By<'_>,
    page_size: i32,
    page_token: &str,
) -> pb::ListInvitationsRequest {
    pb::ListInvitationsRequest {
        account_id: account.to_owned(),
        acting: acting(by),
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    }
}

/// All user ids, page by page; no page but the last is shorter than asked.
async fn all_members(usher: &Usher, mut request: pb::ListMembersRequest) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let page = usher.members().list_members(request.clone()).await.unwrap().into_inner();
        let asked = request.page_size;
        assert!(
            asked == 0
                || page.next_page_token.is_empty()
                || page.members.len() == usize::try_from(asked).unwrap()
        );
        all.extend(page.members.into_iter().map(|member| member.user_id));
        if page.next_page_token.is_empty() {
            assert_eq!(page.total_size, Some(u32::try_from(all.len()).unwrap()));
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

async fn all_invitations(usher: &Usher, mut request: pb::ListInvitationsRequest) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let page = usher.members().list_invitations(request.clone()).await.unwrap().into_inner();
        all.extend(page.invitations.into_iter().map(|invitation| invitation.email));
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

async fn pages_of_any_size_hold_everything_once(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.accounts().create_account(usher_tests::cast::founding("acme", INTEGRATE_IO, 100)).await.unwrap();
    usher.accounts().create_account(usher_tests::cast::founding("globex", DATAIMPORTER, 100)).await.unwrap();
    fill(&usher, "acme", "reader").await;
    fill(&usher, "globex", "user").await;
    let whole = all_members(&usher, members_page("acme", Platform, 0, "")).await;
    // The founder is first by address (`acme-owner@…`), then the rest in theirs, whatever the case.
    let expected: Vec<String> = std::iter::once("acme-owner".to_owned())
        .chain((0..PEOPLE).map(|n| format!("acme-p{n:02}")))
        .collect();
    assert_eq!(whole, expected);
    for size in [1, 2, 7, 24, 25, 500, i32::MAX] {
        assert_eq!(all_members(&usher, members_page("acme", Platform, size, "")).await, whole, "size {size}");
    }
    // With a username an invitation is on record as accepted, so there are two for each number.
    let invitations = all_invitations(&usher, invitations_page("acme", Platform, 0, "")).await;
    assert_eq!(invitations.len(), 2 * PEOPLE);
    let lower: Vec<String> = invitations.iter().map(|email| email.to_lowercase()).collect();
    assert!(lower.is_sorted());
    for size in [1, 2, 45, 46, 47] {
        assert_eq!(
            all_invitations(&usher, invitations_page("acme", Platform, size, "")).await,
            invitations,
            "size {size}"
        );
    }
    let negative = usher.members().list_members(members_page("acme", Platform, -1, "")).await;
    assert_eq!(refused(negative, Code::InvalidArgument, "INVALID_FIELD").paths(), ["page_size"]);
    usher.stop().await;
}

async fn a_token_goes_on_only_where_it_came_from(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    usher.cast("globex", DATAIMPORTER).await;
    for name in ["a", "b"] {
        usher
            .members()
            .invite_user(inviting("acme", Platform, &format!("{name}@x.example"), "reader"))
            .await
            .unwrap();
    }
    let first =
        usher.members().list_members(members_page("acme", Platform, 2, "")).await.unwrap().into_inner();
    let token = first.next_page_token;
    usher
        .members()
        .list_members(members_page("acme", Platform, 1, &token))
        .await
        .expect("another size is fine");
    let of_invitations = usher
        .members()
        .list_invitations(invitations_page("acme", Platform, 1, ""))
        .await
        .unwrap()
        .into_inner();
    let other_filter = pb::ListMembersRequest {
        roles: vec!["reader".to_owned()],
        ..members_page("acme", Platform, 2, &token)
    };
    let admin = cast.member("admin");
    let elsewhere = [
        members_page("globex", Platform, 2, &token),
        members_page("acme", Actor(&admin), 2, &token),
        members_page("acme", Platform, 2, &of_invitations.next_page_token),
        members_page("acme", Platform, 2, &token[1..]),
        members_page("acme", Platform, 2, "not a token"),
        members_page("acme", Platform, 2, &"x".repeat(10_000)),
        other_filter,
    ];
    for request in elsewhere {
        let what = format!("{request:?}");
        let told =
            refused(usher.members().list_members(request).await, Code::InvalidArgument, "PAGE_TOKEN_INVALID");
        assert_eq!(told.paths(), ["page_token"], "{what}");
    }
    for request in [
        invitations_page("acme", Platform, 1, &token),
        invitations_page("acme", Actor(&admin), 1, &of_invitations.next_page_token),
    ] {
        refused(usher.members().list_invitations(request).await, Code::InvalidArgument, "PAGE_TOKEN_INVALID");
    }
    usher.stop().await;
}

async fn members_are_filtered(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    usher.suspend_member("acme", &cast.member("reader")).await;
    let freed = crate::changes::manage("acme", Platform, [crate::changes::release(&cast.member("editor"))]);
    usher.licenses().manage_licenses(freed).await.unwrap();
    let find = async |request: pb::ListMembersRequest| {
        let found = all_members(&usher, request).await;
        found.into_iter().map(|id| id.trim_start_matches("acme-").to_owned()).collect::<Vec<_>>()
    };
    let all = || members_page("acme", Platform, 2, "");
    let roles = vec!["reader".to_owned(), "owner".to_owned()];
    assert_eq!(find(pb::ListMembersRequest { roles, ..all() }).await, ["owner", "reader"]);
    let states = vec![pb::MemberState::Suspended.into()];
    assert_eq!(find(pb::ListMembersRequest { states, ..all() }).await, ["reader"]);
    let seats = vec![pb::SeatState::None.into()];
    assert_eq!(find(pb::ListMembersRequest { seats, ..all() }).await, ["editor", "reader"]);
    let seats = vec![pb::SeatState::Held.into()];
    assert_eq!(find(pb::ListMembersRequest { seats, ..all() }).await, ["admin", "operator", "owner"]);
    let email = "ACME-operator@people.example".to_owned();
    assert_eq!(find(pb::ListMembersRequest { email, ..all() }).await, ["operator"]);
    let roles = vec!["rader".to_owned()];
    let told = refused(
        usher.members().list_members(pb::ListMembersRequest { roles, ..all() }).await,
        Code::InvalidArgument,
        "ROLE_UNKNOWN",
    );
    assert_eq!((told.paths(), told.meta("suggestion")), (vec!["roles[0]"], "reader"));
    usher.stop().await;
}

async fn invitations_are_filtered_by_what_they_are_now(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    for (name, hours) in [("short", 1), ("long", 48)] {
        let lifetime = Some(prost_types::Duration { seconds: hours * 3600, nanos: 0 });
        let request = pb::InviteUserRequest {
            lifetime,
            ..inviting("acme", Platform, &format!("{name}@x.example"), "editor")
        };
        usher.members().invite_user(request).await.unwrap();
    }
    let find = async |state: pb::InvitationState| {
        let request = pb::ListInvitationsRequest {
            states: vec![state.into()],
            roles: vec!["editor".to_owned()],
            ..invitations_page("acme", Platform, 1, "")
        };
        all_invitations(&usher, request).await
    };
    assert_eq!(find(pb::InvitationState::Pending).await, ["long@x.example", "short@x.example"]);
    usher.set_seconds(3600);
    assert_eq!(find(pb::InvitationState::Pending).await, ["long@x.example"]);
    assert_eq!(find(pb::InvitationState::Expired).await, ["short@x.example"]);
    assert_eq!(find(pb::InvitationState::Accepted).await, ["acme-editor@people.example"]);
    usher.stop().await;
}

/// Who was there all along is listed exactly once; who comes or goes meanwhile, at most once.
async fn a_page_goes_on_although_the_list_changes(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.accounts().create_account(usher_tests::cast::founding("acme", INTEGRATE_IO, 100)).await.unwrap();
    for number in 0..10 {
        let joining = joining("acme", Platform, &format!("b{number}"), "reader");
        usher.members().invite_user(joining).await.unwrap();
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    for round in 0.. {
        let page = usher
            .members()
            .list_members(members_page("acme", Platform, 3, &token))
            .await
            .unwrap()
            .into_inner();
        seen.extend(page.members.into_iter().map(|member| member.user_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        // Before the place and after it; and the very member that the token names leaves.
        for name in [format!("a{round}"), format!("c{round}")] {
            usher.members().invite_user(joining("acme", Platform, &name, "reader")).await.unwrap();
        }
        let gone = pb::RemoveMemberRequest {
            account_id: "acme".to_owned(),
            acting: acting(Platform),
            user_id: seen.last().unwrap().clone(),
            ..Default::default()
        };
        usher.members().remove_member(gone).await.unwrap();
    }
    for number in 0..10 {
        assert_eq!(seen.iter().filter(|id| **id == format!("b{number}")).count(), 1, "b{number} in {seen:?}");
    }
    usher.stop().await;
}
