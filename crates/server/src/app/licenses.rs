//! The figures of the billing page.

use usher_domain::caller::Caller;
use usher_domain::license::SubscriptionState;
use usher_domain::refusal::Refusal;
use usher_domain::time::Time;
use usher_storage::Tx;

use super::App;
use super::access::Access;
use super::members::Read;
use super::view::{LicensesView, SubscriptionView, invitations_blocked, licenses_view};
use crate::error::Error;
use crate::guard;

pub struct Licenses {
    pub licenses: LicensesView,
    pub subscription: Option<SubscriptionView>,
    pub subscription_state: SubscriptionState,
    pub grace_end_time: Option<Time>,
    pub invitations_blocked: Option<Refusal>,
    /// When the clock next changes a figure.
    pub next_change_time: Option<Time>,
    pub revision: i64,
}

/// # Errors
/// See the contract's `GetLicenses`.
pub async fn get_licenses(app: App, _caller: Caller, command: Read) -> Result<Licenses, Error> {
    let now = app.clock.now();
    let licenses = app
        .store
        .read(async |tx: &Tx| {
            let account = tx.account_fetch(&command.account_id).await?;
            let access = Access::open(app.roles, now, tx, account, &command.acting).await?;
            access.require("license.view")?;
            read(tx, &access).await
        })
        .await?;
    command.require_revision(&app, licenses.revision)?;
    Ok(licenses)
}

async fn read(tx: &Tx, access: &Access<'_>) -> Result<Licenses, Error> {
    let (account, now) = (&access.account, access.now);
    let seats = tx.seats(account, now).await?;
    let subscription = &account.license.subscription;
    let by_clock = [
        tx.reservation_next_expiry(&account.id, now).await?,
        subscription.expire_time,
        subscription.grace_end_time,
        account.license.over_limit_end_time.filter(|_| seats.over_limit_by() > 0),
    ];
    let shown = access.may(guard::SUBSCRIPTION_VIEW);
    Ok(Licenses {
        licenses: licenses_view(account, seats),
        subscription: shown.then(|| SubscriptionView { subscription: subscription.clone(), as_of: now }),
        subscription_state: subscription.state(now),
        grace_end_time: subscription.grace_end_time,
        invitations_blocked: invitations_blocked(account, seats, now),
        next_change_time: by_clock.into_iter().flatten().filter(|time| *time > now).min(),
        revision: account.revision,
    })
}
