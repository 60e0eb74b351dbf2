//! `usher account create`: founding an account without a server, as `CreateAccount` does.

use clap::{Args, Subcommand};
use usher_domain::caller::Acting;
use usher_domain::email::EmailAddress;
use usher_domain::id::{AccountId, UserId};
use usher_domain::invitation::ExternalUsername;
use usher_domain::license::{PURCHASED_SEATS_MAX, Subscription};
use usher_domain::text::{NAME_LENGTH_MAX, PLAN_LENGTH_MAX, line, required_line, username};
use usher_domain::time::Time;

use super::{BaseOptions, caller, say, say_error};
use crate::app::change::Change;
use crate::app::create_account::{CreateAccount, Founder, create_account, new_account_id};
use crate::clock::Clock;
use crate::lifecycle::{StartError, build_app};

#[derive(Subcommand)]
pub(super) enum Account {
    /// Found an account. Prints its id.
    Create(Box<Create>),
}

#[derive(Args)]
pub(super) struct Create {
    /// The account's name.
    #[arg(long)]
    name: String,
    /// Its role model.
    #[arg(long, value_name = "ID")]
    model: String,
    /// How many seats are purchased, or `unlimited`.
    #[arg(long)]
    seats: String,
    /// Your own id for it; without one it gets one.
    #[arg(long)]
    id: Option<String>,
    /// The name of the plan.
    #[arg(long, default_value = "")]
    plan: String,
    /// When the subscription expires, as 2027-01-31T00:00:00Z; without it, never.
    #[arg(long, value_name = "TIME")]
    expire_time: Option<String>,
    #[command(flatten)]
    founder: Who,
    /// The founder's name.
    #[arg(long, default_value = "")]
    display_name: String,
    /// The founder's address for contact.
    #[arg(long, value_name = "EMAIL")]
    contact_email: Option<String>,
    /// Your own id for the founder, if they are new to Usher.
    #[arg(long, value_name = "USER")]
    new_user_id: Option<String>,
    /// The OAuth issuer of `--founder-username`, if several are configured.
    #[arg(long, value_name = "URL", default_value = "")]
    issuer: String,
    /// The language of the mail, such as `de`.
    #[arg(long, default_value = "")]
    language: String,
    #[command(flatten)]
    options: BaseOptions,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// The founder by address: a mail with a link to set a password goes there.
    #[arg(long, value_name = "EMAIL")]
    founder_email: Option<String>,
    /// The founder by the id of a user who is there already.
    #[arg(long, value_name = "USER")]
    founder_id: Option<String>,
    /// The founder by login name at an OAuth provider.
    #[arg(long, value_name = "NAME")]
    founder_username: Option<String>,
}

pub(super) async fn account(account: &Account) -> Result<(), StartError> {
    let Account::Create(create) = account;
    let command = create.command()?;
    let config = create.options.load()?;
    let app = build_app(&config, Clock::system()).await?;
    let mailed = match &command.founder {
        Founder::Email(email) => Some(email.as_str().to_owned()),
        Founder::User(_) | Founder::Identity(_) => None,
    };
    let created = create_account(app.clone(), caller(), command).await;
    app.store.wake_others().await;
    app.store.clone().close().await;
    let outcome = created?.outcome;
    // Alone on stdout, for scripts.
    say(outcome.account.id.as_str());
    if let Some(email) = mailed.filter(|_| !outcome.member.member.email_verified) {
        say_error(&format!("a mail to set a password goes to `{email}` as soon as a server runs"));
    }
    Ok(())
}

impl Create {
    fn command(&self) -> Result<CreateAccount, StartError> {
        let id = match &self.id {
            Some(id) => flag("id", id, AccountId::parse)?,
            None => new_account_id()?,
        };
        let expire_time =
            self.expire_time.as_deref().map(|text| flag("expire-time", text, time)).transpose()?;
        let plan = flag("plan", &self.plan, |text| line(text, PLAN_LENGTH_MAX))?;
        let contact = self.contact_email.as_deref();
        let user = self.new_user_id.as_deref();
        Ok(CreateAccount {
            change: Change {
                account_id: id,
                acting: Acting::Platform,
                request_id: String::new(),
                digest: String::new(),
                note: String::new(),
            },
            is_id_made: self.id.is_none(),
            name: flag("name", &self.name, |text| required_line(text, NAME_LENGTH_MAX))?,
            model: self.model.clone(),
            purchased: flag("seats", &self.seats, seats)?,
            subscription: Subscription::new(plan, expire_time, None).map_err(|e| StartError(e.to_owned()))?,
            founder: self.founder()?,
            new_user_id: user.map(|id| flag("new-user-id", id, UserId::parse)).transpose()?,
            contact_email: contact
                .map(|text| flag("contact-email", text, EmailAddress::parse))
                .transpose()?,
            display_name: flag("display-name", &self.display_name, |text| line(text, NAME_LENGTH_MAX))?,
            language: self.language.clone(),
        })
    }

    fn founder(&self) -> Result<Founder, StartError> {
        let who = &self.founder;
        match (&who.founder_email, &who.founder_id, &who.founder_username) {
            (Some(email), _, _) => flag("founder-email", email, EmailAddress::parse).map(Founder::Email),
            (_, Some(id), _) => flag("founder-id", id, UserId::parse).map(Founder::User),
            (_, _, Some(name)) => {
                let username = flag("founder-username", name, username)?;
                Ok(Founder::Identity(ExternalUsername { issuer: self.issuer.clone(), username }))
            }
            // The arguments are declared so that one is there.
            (None, None, None) => Err(StartError("`--founder-email` is missing".to_owned())),
        }
    }
}

/// A flag's value, or what is wrong with it.
fn flag<T, E: std::fmt::Display>(
    name: &str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, StartError> {
    parse(text).map_err(|error| StartError(format!("`--{name}`: `{text}` {error}")))
}

fn seats(text: &str) -> Result<Option<u32>, String> {
    if text == "unlimited" {
        return Ok(None);
    }
    let seats = text.parse::<u32>().ok().filter(|seats| (1..=PURCHASED_SEATS_MAX).contains(seats));
    seats
        .map(Some)
        .ok_or_else(|| format!("is neither a number from 1 to {PURCHASED_SEATS_MAX} nor `unlimited`"))
}

fn time(text: &str) -> Result<Time, &'static str> {
    let time = chrono::DateTime::parse_from_rfc3339(text);
    let time = time.map_err(|_| "is no time such as 2027-01-31T00:00:00Z")?;
    Ok(Time::from_micros(time.timestamp_micros()))
}
