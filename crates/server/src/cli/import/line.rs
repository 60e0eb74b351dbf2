//! From fields to an account or a member.

use usher_domain::account::AccountState;
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, UserId};
use usher_domain::import::{Fault, ImportAccount, ImportIdentity, ImportLine, ImportMember};
use usher_domain::license::{PURCHASED_SEATS_MAX, Subscription};
use usher_domain::member::MemberState;
use usher_domain::text::{NAME_LENGTH_MAX, PLAN_LENGTH_MAX, line, required_line, username};

use super::fields::{Fields, Reader};

/// `None` when something is wrong with the line; `faults` says what.
pub(super) fn read(fields: Fields, issuers: &[String], faults: &mut Vec<Fault>) -> Option<ImportLine> {
    let before = faults.len();
    let mut reader = Reader::new(fields, faults);
    let account_id = reader.required("account_id", AccountId::parse);
    let is_member = reader.has("user_id");
    let line = if is_member {
        let member = member(&mut reader, issuers);
        reader.finish("a member");
        account_id.zip(member).map(|(account, member)| ImportLine::Member(account, member))
    } else {
        let account = account(&mut reader, account_id);
        reader.finish("an account, and this line has no `user_id`");
        account.map(ImportLine::Account)
    };
    line.filter(|_| faults.len() == before)
}

fn account(reader: &mut Reader<'_>, id: Option<AccountId>) -> Option<ImportAccount> {
    let name = reader.required("name", |text| required_line(text, NAME_LENGTH_MAX));
    let model = reader.required("model", |text| required_line(text, NAME_LENGTH_MAX));
    let purchased = reader.required("seats", seats);
    let subscription = subscription(reader);
    let allow_over_limit = reader.flag("allow_over_limit").unwrap_or(false);
    let over_limit_end_time = reader.time("over_limit_end_time");
    if over_limit_end_time.is_some() && !allow_over_limit {
        reader.fail::<()>("over_limit_end_time", "needs `allow_over_limit`");
    }
    let state = reader.optional("state", |text| match text {
        "active" => Ok(AccountState::Active),
        "suspended" => Ok(AccountState::Suspended),
        _ => Err("is neither `active` nor `suspended`"),
    });
    Some(ImportAccount {
        line: reader.line,
        create_time: reader.time("create_time"),
        id: id?,
        name: name?,
        model: model?,
        state: state.unwrap_or(AccountState::Active),
        purchased: purchased?,
        subscription: subscription?,
        allow_over_limit,
        over_limit_end_time,
        members: Vec::new(),
    })
}

fn subscription(reader: &mut Reader<'_>) -> Option<Subscription> {
    let plan = reader.optional("plan", |text| line(text, PLAN_LENGTH_MAX)).unwrap_or_default();
    let (expire, grace_end) = (reader.time("expire_time"), reader.time("grace_end_time"));
    match Subscription::new(plan, expire, grace_end) {
        Ok(subscription) => Some(subscription),
        Err(why) => reader.fail("grace_end_time", why),
    }
}

fn seats(text: &str) -> Result<Option<u32>, String> {
    if text == "unlimited" {
        return Ok(None);
    }
    let seats = text.parse::<u32>().ok().filter(|seats| *seats <= PURCHASED_SEATS_MAX);
    seats.map(Some).ok_or_else(|| format!("is neither a number up to {PURCHASED_SEATS_MAX} nor `unlimited`"))
}

fn member(reader: &mut Reader<'_>, issuers: &[String]) -> Option<ImportMember> {
    let user_id = reader.required("user_id", UserId::parse);
    let role = reader.required("role", |text| required_line(text, NAME_LENGTH_MAX));
    let email = reader.optional("email", EmailAddress::parse);
    let verified_email = reader.optional("verified_email", EmailAddress::parse);
    let display_name = reader.optional("display_name", |text| line(text, NAME_LENGTH_MAX));
    let state = reader.optional("state", |text| match text {
        "active" => Ok(MemberState::Active),
        "suspended" => Ok(MemberState::Suspended),
        _ => Err("is neither `active` nor `suspended`"),
    });
    let seat = reader.flag("seat");
    let join_time = reader.time("join_time");
    let mut identities: Vec<ImportIdentity> = Vec::new();
    if ["username", "subject", "issuer"].iter().any(|field| reader.has(field)) {
        identities.extend(identity(reader, issuers));
    }
    for login in reader.list("identities") {
        let mut login = reader.within(login);
        identities.extend(identity(&mut login, issuers));
        login.finish("a login");
    }
    Some(ImportMember {
        line: reader.line,
        user_id: user_id?,
        display_name: display_name.unwrap_or_default(),
        email,
        verified_email,
        role: role?,
        state: state.unwrap_or(MemberState::Active),
        seat,
        identities,
        join_time,
    })
}

fn identity(reader: &mut Reader<'_>, issuers: &[String]) -> Option<ImportIdentity> {
    let username = reader.required("username", username);
    let subject = reader.optional("subject", |text| required_line(text, NAME_LENGTH_MAX));
    let named = reader.text("issuer");
    let issuer = match &named {
        Some(named) => issuers.iter().find(|issuer| *issuer == named),
        None => issuers.first().filter(|_| issuers.len() == 1),
    };
    let given = reader.flag("given").unwrap_or(true);
    let issuer = match issuer {
        Some(issuer) => Some(issuer.clone()),
        None => {
            let configured = if issuers.is_empty() { "none".to_owned() } else { issuers.join(", ") };
            reader.fail(
                "issuer",
                format!(
                    "`{}` is no configured OAuth issuer; `oauth.issuers` has {configured}",
                    named.unwrap_or_default()
                ),
            )
        }
    };
    Some(ImportIdentity { issuer: issuer?, username: username?, subject, given })
}
