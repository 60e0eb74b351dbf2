//! A person over all accounts: where they are a member, and what is left of them when they are erased.

use tonic::Code;
use usher_tests::cast::joining;
use usher_tests::lookup::{self, check_chain};
use usher_tests::person::{PASSWORD, identity, linking, new_password, token_of};
use usher_tests::{
    Actor, DATAIMPORTER, Engine, INTEGRATE_IO, Platform, Usher, acting, both_engines, pb, refused,
};

use crate::invite::invite;
use crate::ownership_life::{approving, opening};

both_engines!(
    memberships_are_paged_and_say_what_is_blocked,
    nothing_of_an_erased_person_is_in_the_database,
    what_was_sent_to_a_contact_address_is_not_the_erased_persons,
    mails_to_prove_an_address_are_limited_however_it_is_written,
);

async fn memberships_are_paged_and_say_what_is_blocked(engine: Engine) {
    let usher = Usher::start(engine).await;
    let accounts: Vec<String> = (0..7).map(|number| format!("account-{number}")).collect();
    for account in &accounts {
        usher.found(account, DATAIMPORTER, 3).await;
        invite(&usher, joining(account, Platform, "uma", "user")).await;
    }
    usher.suspend_member("account-1", "uma").await;
    usher.suspend_account("account-2").await;
    usher.close_account("account-3").await;
    let page = async |size: i32, token: &str| {
        let request = pb::ListMembershipsRequest {
            user_id: "uma".to_owned(),
            page_size: size,
            page_token: token.to_owned(),
        };
        usher.sign_in().list_memberships(request).await
    };
    let whole = page(0, "").await.unwrap().into_inner();
    assert!(whole.next_page_token.is_empty());
    let ids: Vec<&str> = whole.memberships.iter().map(|one| one.account_id.as_str()).collect();
    let open: Vec<&String> = accounts.iter().filter(|id| *id != "account-3").collect();
    assert_eq!(ids, open, "a closed account is as if it had never been");
    assert_eq!(whole.memberships[1].member_state(), pb::MemberState::Suspended);
    assert_eq!(whole.memberships[1].seat(), pb::SeatState::None);
    assert_eq!(whole.memberships[2].account_state(), pb::AccountState::Suspended);
    for size in 1..=4 {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let answer = page(size, &token).await.unwrap().into_inner();
            assert!(answer.memberships.len() <= usize::try_from(size).unwrap());
            seen.extend(answer.memberships.into_iter().map(|one| one.account_id));
            token = answer.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, ids, "in pages of {size}");
    }
    let token = page(2, "").await.unwrap().into_inner().next_page_token;
    let other =
        pb::ListMembershipsRequest { user_id: "account-0-admin".to_owned(), page_size: 2, page_token: token };
    refused(usher.sign_in().list_memberships(other).await, Code::InvalidArgument, "PAGE_TOKEN_INVALID");
    refused(page(-1, "").await, Code::InvalidArgument, "INVALID_FIELD");
    usher.stop().await;
}

/// A word that stands in every name and address of the person, as they were typed at any time.
const MARK: &str = "zibbelkraut";

/// Has done everything that leaves a trace: invited and invited again, renamed, bound a login, changed the
/// address, asked for a password, failed to sign in, owned an account; then their whole database is searched.
async fn nothing_of_an_erased_person_is_in_the_database(engine: Engine) {
    let usher = Usher::start(engine).await;
    let cast = usher.cast("acme", INTEGRATE_IO).await;
    usher.cast("globex", DATAIMPORTER).await;
    let address = |domain: &str| format!("Ivy.Zibbelkraut@{domain}.example");
    let admin = cast.member("admin");
    let inviting = |account: &str, email: &str, role: &str| pb::InviteUserRequest {
        display_name: "Ivy Zibbelkraut".to_owned(),
        request_id: format!("invite-{account}"),
        ..linking(account, Platform, email, role)
    };
    let link = invite(&usher, inviting("acme", &address("people"), "admin")).await.accept_link;
    let accepted = usher.accept(&token_of(&link), new_password(PASSWORD)).await.unwrap().into_inner();
    let ivy = accepted.member.unwrap().user_id;
    // Under another address and a login, in another account.
    let joins = pb::InviteUserRequest {
        display_name: "I. Zibbelkraut".to_owned(),
        delivery: Some(pb::Delivery::Email.into()),
        ..joining("globex", Platform, "Zibbelkraut-Login", "user")
    };
    let joins = pb::InviteUserRequest { new_user_id: String::new(), ..joins };
    let other = invite(&usher, joins).await;
    let Some(pb::invite_user_response::Outcome::Member(other)) = other.outcome else { panic!("no member") };
    usher.resolve("zibbelkraut-subject", "Zibbelkraut-Login").await.unwrap();
    let rename = pb::UpdateMemberRequest {
        account_id: "acme".to_owned(),
        acting: acting(Actor(&admin)),
        user_id: ivy.clone(),
        display_name: Some("Dr. Ivy Zibbelkraut".to_owned()),
        email: Some(address("office")),
        ..Default::default()
    };
    usher.members().update_member(rename).await.unwrap();
    let change = pb::RequestEmailChangeRequest {
        user_id: ivy.clone(),
        new_email: address("home"),
        language: String::new(),
    };
    usher.sign_in().request_email_change(change).await.unwrap();
    let token = usher.mailbox.wait_for(&address("home")).await.token().to_owned();
    usher.sign_in().change_email(pb::ChangeEmailRequest { token }).await.unwrap();
    let reset = pb::RequestPasswordResetRequest { email: address("home"), language: String::new() };
    usher.sign_in().request_password_reset(reset).await.unwrap();
    assert!(usher.verify(&address("home"), "wrong, wrong, wrong").await.is_err());
    // An invitation that is still open, one that was mailed, and one whose link failed.
    invite(&usher, inviting("globex", &address("home"), "user")).await;
    let transfer = usher.accounts().open_ownership_transfer(opening("acme", &ivy, "sam")).await;
    let ticket = transfer.unwrap().into_inner().transfer.unwrap().id;
    usher.accounts().approve_ownership_transfer(approving("acme", &ticket, "pat")).await.unwrap();
    assert!(usher.database.dump().to_lowercase().matches(MARK).count() > 10, "there is something to erase");

    let erase = |user: &str| pb::EraseUserRequest { user_id: user.to_owned(), ..Default::default() };
    let needed = usher.users().erase_user(erase(&ivy)).await;
    refused(needed, Code::FailedPrecondition, "LAST_HOLDER");
    let back = usher.accounts().open_ownership_transfer(opening("acme", &cast.founder(), "sam")).await;
    let ticket = back.unwrap().into_inner().transfer.unwrap().id;
    usher.accounts().approve_ownership_transfer(approving("acme", &ticket, "pat")).await.unwrap();
    for user in [&ivy, &other.user_id] {
        usher.users().erase_user(erase(user)).await.unwrap();
    }
    let left: Vec<String> = usher
        .database
        .dump()
        .lines()
        .filter(|line| line.to_lowercase().contains(MARK))
        .map(str::to_owned)
        .collect();
    assert_eq!(left, [""; 0]);
    for account in ["acme", "globex"] {
        let stored = lookup::account(&usher.app.store, account).await;
        check_chain(&stored, &lookup::events(&usher.app.store, account).await);
    }
    // The address and the login are free again, for somebody else.
    let link = invite(&usher, linking("globex", Platform, &address("home"), "user")).await.accept_link;
    let new = usher.accept(&token_of(&link), identity("another", "zibbelkraut-login")).await.unwrap();
    assert_ne!(new.into_inner().member.unwrap().user_id, ivy);
    usher.stop().await;
}

async fn mails_to_prove_an_address_are_limited_however_it_is_written(engine: Engine) {
    let usher = Usher::start_with_manual_clock(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    let ivy = usher.join("acme", "ivy@people.example", "reader").await;
    let request = async |email: &str| {
        let request = pb::RequestEmailChangeRequest {
            user_id: ivy.clone(),
            new_email: email.to_owned(),
            language: String::new(),
        };
        usher.sign_in().request_email_change(request).await
    };
    let spellings = ["new@people.example", "NEW@people.example", "New@People.example", "nEw@people.example"];
    let mut sent = 0;
    let told = loop {
        match request(spellings[sent % spellings.len()]).await {
            Ok(_) => sent += 1,
            refusal => break refused(refusal, Code::ResourceExhausted, "MAIL_RATE"),
        }
        assert!(sent <= 10, "there is a limit");
    };
    assert!(sent >= 1 && told.retry_after.is_some_and(|after| after.as_secs() <= 3600));
    request("other@people.example").await.unwrap();
    usher.set_seconds(3601);
    request("new@people.example").await.unwrap();
    usher.stop().await;
}

/// A contact address was typed by somebody, and another account's invitation to it is for whoever has it.
async fn what_was_sent_to_a_contact_address_is_not_the_erased_persons(engine: Engine) {
    let usher = Usher::start(engine).await;
    usher.cast("acme", INTEGRATE_IO).await;
    usher.cast("globex", DATAIMPORTER).await;
    for user in ["una", "uma"] {
        let joins = pb::InviteUserRequest {
            email: "ivy@people.example".to_owned(),
            ..joining("acme", Platform, user, "reader")
        };
        invite(&usher, joins).await;
    }
    let (invitation, token) = usher.link("globex", Platform, "ivy@people.example", "user").await;
    let (of_acme, _) = usher.link("acme", Platform, "ivy@people.example", "editor").await;
    for user in ["una", "uma"] {
        let request = pb::EraseUserRequest { user_id: user.to_owned(), ..Default::default() };
        let erased = usher.users().erase_user(request).await.unwrap().into_inner();
        assert!(erased.accounts.iter().all(|account| account.revoked_invitation_ids.is_empty()));
    }
    for (account, id) in [("globex", &invitation.id), ("acme", &of_acme.id)] {
        let left = usher.invitation(account, id).await;
        assert_eq!((left.state(), &*left.email), (pb::InvitationState::Pending, "ivy@people.example"));
    }
    usher.accept(&token, new_password(PASSWORD)).await.unwrap();
    usher.stop().await;
}
