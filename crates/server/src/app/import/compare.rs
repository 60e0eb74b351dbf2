//! Whether an account that is there already is the one that a file has.

use std::collections::HashMap;

use usher_domain::email::EmailAddress;
use usher_domain::id::UserId;
use usher_domain::import::{Fault, ImportAccount, ImportError, ImportMember, ImportPeople};
use usher_domain::member::MemberState;
use usher_domain::text::username_key;

/// Where they differ. Times that the file does not say do not count, nor what Usher knows of a person
/// beyond the file.
pub(super) fn differences(file: &ImportAccount, stored: &ImportAccount, all: &ImportPeople) -> Vec<Fault> {
    let mut faults = Vec::new();
    let differs = |field| {
        let why = format!("the account `{}` is there already, with another `{field}`", file.id);
        Fault { line: file.line, field, wrong: ImportError::Conflict(why) }
    };
    let mut require = |same: bool, field| {
        if !same {
            faults.push(differs(field));
        }
    };
    require(file.name == stored.name, "name");
    require(file.model == stored.model, "model");
    require(file.state == stored.state, "state");
    require(file.purchased == stored.purchased, "seats");
    require(file.subscription.plan == stored.subscription.plan, "plan");
    require(file.subscription.expire_time == stored.subscription.expire_time, "expire_time");
    require(file.subscription.grace_end_time == stored.subscription.grace_end_time, "grace_end_time");
    require(file.create_time.is_none() || file.create_time == stored.create_time, "create_time");
    let mut there: HashMap<&UserId, &ImportMember> =
        stored.members.iter().map(|member| (&member.user_id, member)).collect();
    for member in &file.members {
        let wrong = match there.remove(&member.user_id) {
            Some(stored) => member_differs(member, stored, all).map(|field| {
                let why = format!("`{}` is there already, with another `{field}`", member.user_id);
                (field, why)
            }),
            None => Some((
                "user_id",
                format!(
                    "the account `{}` is there already, without the member `{}`",
                    file.id, member.user_id
                ),
            )),
        };
        faults.extend(wrong.map(|(field, why)| Fault {
            line: member.line,
            field,
            wrong: ImportError::Conflict(why),
        }));
    }
    let mut more: Vec<&UserId> = there.into_keys().collect();
    more.sort_unstable();
    faults.extend(more.into_iter().map(|user| Fault {
        line: file.line,
        field: "",
        wrong: ImportError::Conflict(format!(
            "the account `{}` is there already, with the member `{user}`, whom the file lacks",
            file.id
        )),
    }));
    faults
}

fn member_differs(file: &ImportMember, stored: &ImportMember, all: &ImportPeople) -> Option<&'static str> {
    let key = |email: &Option<EmailAddress>| email.as_ref().map(EmailAddress::key);
    let person = all.get(&file.user_id);
    let verified = person.and_then(|person| person.verified_email.clone());
    let unsaid_seat = file.seat.is_none() && file.state == MemberState::Active;
    let differences = [
        ("display_name", file.display_name != stored.display_name),
        ("role", file.role != stored.role),
        ("state", file.state != stored.state),
        ("seat", !unsaid_seat && file.seat.unwrap_or(false) != stored.seat.unwrap_or(false)),
        ("email", file.contact() != stored.contact()),
        ("verified_email", verified.is_some() && key(&verified) != key(&stored.verified_email)),
        ("username", given(file) != given(stored) || !has_logins(stored, all)),
        ("join_time", file.join_time.is_some() && file.join_time != stored.join_time),
    ];
    differences.into_iter().find(|(_, differs)| *differs).map(|(field, _)| field)
}

/// The logins that the account gave.
fn given(member: &ImportMember) -> Vec<(&str, String)> {
    let given = member.identities.iter().filter(|login| login.given);
    let mut given: Vec<_> =
        given.map(|login| (login.issuer.as_str(), username_key(&login.username))).collect();
    given.sort_unstable();
    given
}

/// Whether a stored person has all logins that the file says.
fn has_logins(stored: &ImportMember, all: &ImportPeople) -> bool {
    let wanted = all.get(&stored.user_id).map(|person| person.identities.as_slice()).unwrap_or_default();
    wanted.iter().all(|wanted| {
        stored.identities.iter().any(|login| {
            login.issuer == wanted.issuer
                && username_key(&login.username) == username_key(&wanted.username)
                && (wanted.subject.is_none() || wanted.subject == login.subject)
        })
    })
}
