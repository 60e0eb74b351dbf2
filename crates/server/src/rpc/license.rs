//! LicenseService.

use tonic::{Request, Response, Status};
use usher_contract::{v1 as pb, wire};
use usher_domain::license::{
    ChangeOutcome, LICENSE_CHANGES_MAX, PURCHASED_SEATS_MAX, SetPurchasedSeats, Subscription,
    SubscriptionState,
};
use usher_domain::text::{NOTE_LENGTH_MAX, PLAN_LENGTH_MAX};
use usher_domain::time::Time;

use super::convert::{licenses, subscription, timestamp};
use super::parse::{self, Parse, Parser, party};
use super::{Answer, Api, status, token_of};
use crate::app::App;
use crate::app::change::Changed;
use crate::app::check::Consistency;
use crate::app::licenses::{Licenses, get_licenses};
use crate::app::manage_licenses::{LicenseChange, ManageLicenses, ManageLicensesOutcome, manage_licenses};
use crate::app::members::Read;
use crate::error::Error;
use crate::guard;

#[tonic::async_trait]
impl pb::license_service_server::LicenseService for Api {
    async fn manage_licenses(
        &self,
        request: Request<pb::ManageLicensesRequest>,
    ) -> Result<Response<pb::ManageLicensesResponse>, Status> {
        self.serve(&guard::MANAGE_LICENSES, request, manage_licenses).await
    }

    async fn get_licenses(
        &self,
        request: Request<pb::GetLicensesRequest>,
    ) -> Result<Response<pb::GetLicensesResponse>, Status> {
        self.serve(&guard::GET_LICENSES, request, get_licenses).await
    }
}

impl Parse for pb::ManageLicensesRequest {
    type Command = ManageLicenses;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<ManageLicenses> {
        let acting = party!(self.acting, manage_licenses_request);
        let change = parser.change(&self.account_id, acting, &self.request_id);
        let note = parser.line("note", &self.note, NOTE_LENGTH_MAX);
        let count = self.changes.len();
        let changes = if (1..=LICENSE_CHANGES_MAX).contains(&count) {
            let parsed = self.changes.into_iter().enumerate();
            let parsed: Vec<_> =
                parsed.map(|(index, change)| license_change(parser, index, change)).collect();
            parsed.into_iter().collect()
        } else {
            parser.fail("changes", format!("holds {count} changes, not 1 to {LICENSE_CHANGES_MAX}"))
        };
        let mut change = change?;
        change.note = note?;
        Some(ManageLicenses {
            change,
            changes: changes?,
            validate_only: self.validate_only,
            expected_revision: self.expected_revision,
        })
    }
}

fn license_change(parser: &mut Parser, index: usize, change: pb::LicenseChange) -> Option<LicenseChange> {
    use pb::license_change::Change;
    let at = format!("changes[{index}]");
    match change.change {
        None => parser.fail(&at, "names no change; set one of its fields"),
        Some(Change::SetPurchasedSeats(set)) => {
            set_purchased(parser, &format!("{at}.set_purchased_seats"), set)
                .map(LicenseChange::SetPurchasedSeats)
        }
        Some(Change::UpdateSubscription(update)) => {
            let at = format!("{at}.update_subscription");
            let as_of_time = parser.time(&format!("{at}.as_of_time"), update.as_of_time);
            let subscription = parse_subscription(parser, &format!("{at}.subscription"), update.subscription);
            Some(LicenseChange::UpdateSubscription { subscription: subscription?, as_of_time: as_of_time? })
        }
        Some(Change::AssignSeat(assign)) => {
            parser.user(&format!("{at}.assign_seat.user_id"), &assign.user_id).map(LicenseChange::AssignSeat)
        }
        Some(Change::ReleaseSeat(release)) => parser
            .user(&format!("{at}.release_seat.user_id"), &release.user_id)
            .map(LicenseChange::ReleaseSeat),
    }
}

fn set_purchased(parser: &mut Parser, at: &str, set: pb::SetPurchasedSeats) -> Option<SetPurchasedSeats> {
    use pb::set_purchased_seats::Purchased;
    let purchased = match set.purchased {
        None => parser.fail(at, "names no number; set `seats` or `unlimited`"),
        Some(Purchased::Seats(seats)) => purchased_seats(parser, &format!("{at}.seats"), seats, 0).map(Some),
        Some(Purchased::Unlimited(true)) => Some(None),
        Some(Purchased::Unlimited(false)) => {
            parser.fail(format_args!("{at}.unlimited"), "can only be true; set `seats` instead")
        }
    };
    let end = parser.time(&format!("{at}.over_limit_end_time"), set.over_limit_end_time);
    let end = match end {
        Some(Some(_)) if !set.allow_over_limit => {
            parser.fail(format_args!("{at}.over_limit_end_time"), "needs `allow_over_limit`")
        }
        end => end,
    };
    let as_of_time = parser.time(&format!("{at}.as_of_time"), set.as_of_time);
    Some(SetPurchasedSeats {
        purchased: purchased?,
        expected_seats: set.expected_seats,
        allow_over_limit: set.allow_over_limit,
        over_limit_end_time: end?,
        as_of_time: as_of_time?,
    })
}

/// A number of seats to buy, `min` to the bound.
pub(super) fn purchased_seats(parser: &mut Parser, field: &str, seats: u32, min: u32) -> Option<u32> {
    if (min..=PURCHASED_SEATS_MAX).contains(&seats) {
        Some(seats)
    } else {
        parser.fail(field, format!("is not a number from {min} to {PURCHASED_SEATS_MAX}"))
    }
}

pub(super) fn parse_subscription(
    parser: &mut Parser,
    at: &str,
    subscription: Option<pb::Subscription>,
) -> Option<Subscription> {
    let Some(subscription) = subscription else { return parser.fail(at, "is missing") };
    let plan = parser.required_line(&format!("{at}.plan"), &subscription.plan, PLAN_LENGTH_MAX);
    let expire = parser.time(&format!("{at}.expire_time"), subscription.expire_time);
    let grace = parser.time(&format!("{at}.grace_end_time"), subscription.grace_end_time);
    let (plan, expire, grace) = (plan?, expire?, grace?);
    parser.take(format_args!("{at}.grace_end_time"), Subscription::new(plan, expire, grace))
}

impl Parse for pb::GetLicensesRequest {
    type Command = Read;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<Read> {
        let read = parser.read(&self.account_id, party!(self.acting, get_licenses_request));
        let consistency = self.consistency.map(wire_consistency);
        let at_least_as_fresh = match parse::consistency(parser, consistency.as_ref())? {
            Consistency::AtLeastAsFresh(token) => Some(token.to_owned()),
            Consistency::MinimizeLatency | Consistency::FullyConsistent => None,
        };
        Some(Read { at_least_as_fresh, ..read? })
    }
}

fn wire_consistency(consistency: pb::Consistency) -> wire::Consistency {
    use pb::consistency::Requirement as From;
    use wire::consistency::Requirement as To;
    let requirement = consistency.requirement.map(|requirement| match requirement {
        From::MinimizeLatency(value) => To::MinimizeLatency(value),
        From::AtLeastAsFresh(token) => To::AtLeastAsFresh(token.into()),
        From::FullyConsistent(value) => To::FullyConsistent(value),
    });
    wire::Consistency { requirement }
}

impl Answer<Changed<ManageLicensesOutcome>> for pb::ManageLicensesResponse {
    fn answer(app: &App, account: &str, changed: Changed<ManageLicensesOutcome>) -> Self {
        let results = changed.outcome.results.iter().map(|result| {
            let reason = match result {
                ChangeOutcome::Applied => pb::ChangeResultReason::Unspecified,
                ChangeOutcome::Unchanged => pb::ChangeResultReason::Unchanged,
                ChangeOutcome::OlderThanLast => pb::ChangeResultReason::OlderThanLast,
            };
            pb::ChangeResult { applied: *result == ChangeOutcome::Applied, reason: reason.into() }
        });
        Self {
            results: results.collect(),
            licenses: Some(licenses(changed.outcome.licenses)),
            revision: changed.revision,
            events: changed.outcome.events,
            consistency_token: token_of(app, account, changed.revision),
            subscription: changed.outcome.subscription.map(subscription),
        }
    }
}

impl Answer<Licenses> for pb::GetLicensesResponse {
    fn answer(app: &App, account: &str, read: Licenses) -> Self {
        let blocked = read.invitations_blocked.map(|refusal| status::reason(&Error::from(refusal)));
        let in_grace = read.subscription_state == SubscriptionState::InGrace;
        let notices = notices(
            read.grace_end_time.filter(|_| in_grace),
            read.licenses.seats.over_limit_by() > 0,
            read.licenses.over_limit_end_time,
        );
        Self {
            licenses: Some(licenses(read.licenses)),
            subscription: read.subscription.map(subscription),
            invitations_open: blocked.is_none(),
            invitations_blocked_reason: blocked.map_or(0, Into::into),
            next_change_time: read.next_change_time.map(timestamp),
            revision: read.revision,
            consistency_token: token_of(app, account, read.revision),
            notices,
        }
    }
}

/// The banners of an account: in grace until then, over the limit until then.
pub(super) fn notices(
    grace_end_time: Option<Time>,
    over_limit: bool,
    over_limit_end_time: Option<Time>,
) -> Vec<pb::Notice> {
    let in_grace = grace_end_time
        .map(|end| pb::Notice { kind: pb::NoticeKind::InGrace.into(), end_time: Some(timestamp(end)) });
    let over_limit = over_limit.then(|| pb::Notice {
        kind: pb::NoticeKind::OverLimit.into(),
        end_time: over_limit_end_time.map(timestamp),
    });
    in_grace.into_iter().chain(over_limit).collect()
}
