use super::*;

const OWNER: RoleRules = RoleRules { uses_seat: true, holders: HolderRule::ExactlyOne, support_only: true };
const ADMIN: RoleRules = RoleRules { uses_seat: true, holders: HolderRule::AtLeastOne, support_only: false };
const GUEST: RoleRules = RoleRules { uses_seat: false, holders: HolderRule::Any, support_only: false };
const ROLES: [(&str, RoleRules); 3] = [("owner", OWNER), ("admin", ADMIN), ("guest", GUEST)];

fn account(id: &str, line: u64) -> ImportAccount {
    ImportAccount {
        line,
        id: AccountId::parse(id).unwrap(),
        name: id.to_owned(),
        model: "shop".to_owned(),
        state: AccountState::Active,
        purchased: Some(2),
        subscription: Subscription::new(String::new(), None, None).unwrap(),
        allow_over_limit: false,
        over_limit_end_time: None,
        create_time: None,
        members: Vec::new(),
    }
}

fn member(user: &str, role: &str, line: u64) -> ImportMember {
    ImportMember {
        line,
        user_id: UserId::parse(user).unwrap(),
        display_name: String::new(),
        email: None,
        verified_email: None,
        role: role.to_owned(),
        state: MemberState::Active,
        seat: None,
        identities: Vec::new(),
        join_time: None,
    }
}

fn with(members: Vec<ImportMember>) -> ImportAccount {
    ImportAccount { members, ..account("acme", 1) }
}

fn login(username: &str, subject: Option<&str>) -> ImportIdentity {
    ImportIdentity {
        issuer: "https://login.example".to_owned(),
        username: username.to_owned(),
        subject: subject.map(str::to_owned),
        given: true,
    }
}

fn check(account: &ImportAccount) -> Vec<(u64, String)> {
    let faults = check_account(account, &ROLES, |_| Some("admin".to_owned()));
    faults.into_iter().map(|fault| (fault.line, fault.wrong.to_string())).collect()
}

#[test]
fn an_account_that_keeps_the_rules_is_right() {
    let right = with(vec![member("o", "owner", 2), member("a", "admin", 3), member("g", "guest", 4)]);
    assert_eq!(check(&right), []);
    assert!(!right.members[2].holds_seat(GUEST), "the role uses none");
}

#[test]
fn somebody_must_hold_what_must_be_held() {
    let suspended = ImportMember { state: MemberState::Suspended, ..member("a", "admin", 3) };
    let seatless = ImportMember { seat: Some(false), ..member("o", "owner", 2) };
    let wrong = check(&with(vec![seatless, suspended]));
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].1.contains("exactly one") && wrong[1].1.contains("at least one"), "{wrong:?}");
    let two = check(&with(vec![
        member("o", "owner", 2),
        ImportMember { state: MemberState::Suspended, ..member("p", "owner", 3) },
        member("a", "admin", 4),
    ]));
    assert!(two[0].1.contains("2 have it, 1 of them so"), "{two:?}");
}

#[test]
fn seats_are_within_what_was_bought_unless_that_is_said() {
    let many = || vec![member("o", "owner", 2), member("a", "admin", 3), member("b", "admin", 4)];
    assert_eq!(check(&with(many())).len(), 1);
    assert_eq!(check(&ImportAccount { purchased: None, ..with(many()) }), []);
    assert_eq!(check(&ImportAccount { allow_over_limit: true, ..with(many()) }), []);
    let guest = ImportMember { seat: Some(true), ..member("g", "guest", 4) };
    let suspended =
        ImportMember { seat: Some(true), state: MemberState::Suspended, ..member("s", "admin", 5) };
    let seats = with(vec![member("o", "owner", 2), member("a", "admin", 3), guest, suspended]);
    let seats = check(&ImportAccount { purchased: None, ..seats });
    assert_eq!(
        seats,
        [(4, "the role `guest` uses no seat".to_owned()), (5, "a suspended member holds no seat".to_owned())]
    );
}

#[test]
fn an_unknown_role_comes_with_the_one_that_was_meant() {
    let wrong = check(&with(vec![member("o", "owner", 2), member("a", "admin", 3), member("x", "amdin", 9)]));
    assert_eq!(wrong, [(9, "`amdin` is no role of the model `shop`; did you mean `admin`?".to_owned())]);
}

#[test]
fn lines_come_in_any_order_and_each_once() {
    let acme = || AccountId::parse("acme").unwrap();
    let (accounts, faults) = assemble(vec![
        ImportLine::Member(acme(), member("o", "owner", 1)),
        ImportLine::Account(account("acme", 2)),
        ImportLine::Member(acme(), member("o", "admin", 3)),
        ImportLine::Account(account("acme", 4)),
        ImportLine::Member(AccountId::parse("globex").unwrap(), member("o", "admin", 5)),
    ]);
    assert_eq!(accounts.len(), 1);
    assert_eq!(accounts[0].members.len(), 1);
    let lines: Vec<_> = faults.iter().map(|fault| (fault.line, fault.field)).collect();
    assert_eq!(lines, [(4, "account_id"), (3, "user_id"), (5, "account_id")]);
}

#[test]
fn a_person_is_one_over_all_accounts() {
    let email = |text: &str| Some(EmailAddress::parse(text).unwrap());
    let one = |user: &str, line, address: &str| ImportMember {
        verified_email: email(address),
        ..member(user, "admin", line)
    };
    let of = |id: &str, members| ImportAccount { members, ..account(id, 1) };
    let (people, faults) = gather_people(&[
        of("acme", vec![one("ann", 2, "Ann@x.example"), one("bob", 3, "bob@x.example")]),
        of("globex", vec![one("ann", 4, "ann@x.example"), member("bob", "admin", 5)]),
    ]);
    assert_eq!(faults, []);
    assert_eq!(people.len(), 2);
    let (_, faults) = gather_people(&[
        of("acme", vec![one("ann", 2, "ann@x.example")]),
        of("globex", vec![one("ann", 3, "other@x.example"), one("eve", 4, "ANN@x.example")]),
    ]);
    let wrong: Vec<_> = faults.into_iter().map(|fault| (fault.line, fault.wrong)).collect();
    let ann = || UserId::parse("ann").unwrap();
    assert_eq!(
        wrong,
        [
            (3, ImportError::OtherEmail { user: ann(), first: 2 }),
            (4, ImportError::EmailTwice { user: ann(), first: 2 })
        ]
    );
}

#[test]
fn a_login_is_one_persons() {
    let one = |user: &str, line, identity| ImportMember {
        identities: vec![identity],
        ..member(user, "admin", line)
    };
    let lines = |members| gather_people(&[with(members)]).1.into_iter().map(|f| f.line).collect::<Vec<_>>();
    let same = [one("ann", 2, login("Ann", None)), one("bob", 3, login("ann", None))];
    assert_eq!(lines(same.to_vec()), [3], "usernames have no case");
    let subject = [one("ann", 2, login("ann", Some("7"))), one("bob", 3, login("bob", Some("7")))];
    assert_eq!(lines(subject.to_vec()), [3]);
    let twice = [one("ann", 2, login("ann", Some("7"))), one("ann", 3, login("ann2", Some("7")))];
    assert_eq!(lines(twice.to_vec()), [3], "one subject has one login");
    let other = [one("ann", 2, login("ann", Some("7"))), one("ann", 3, login("ann", Some("8")))];
    assert_eq!(lines(other.to_vec()), [3]);
    let (people, faults) = gather_people(&[with(vec![
        one("ann", 2, login("ann", None)),
        one("ann", 3, login("ann", Some("7"))),
    ])]);
    assert_eq!(faults, []);
    assert_eq!(people.values().next().unwrap().identities, [login("ann", Some("7"))]);
}
