//! Whether checks notice that others sign in and invite at full rate, on the one core that the server
//! has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use usher_contract::v1 as pb;

use crate::generator::{Driven, Refusals, Until, drive};
use crate::load::{self, Shape, at};
use crate::process::Server;
use crate::report::{Report, Table, median};
use crate::{Bench, Result, data, say, usher};

const INVITE: &str = "usher.v1.MemberService/InviteUser";
const SIGN_IN: &str = "usher.v1.SignInService/VerifyPassword";
const ACCOUNTS: u64 = 16;
/// Sixteen callers that each ask 500 times a second at most: a busy service, not a full one.
const CHECKS: Shape = Shape::new(16, 1);
const PAUSE: Duration = Duration::from_millis(2);
/// What goes on beside the checks: its name, and how many sign-ins and invitations at once.
const MEANWHILE: [(&str, u32, u32); 4] =
    [("nothing", 0, 0), ("sign-ins", 4, 0), ("invitations", 0, 8), ("both", 4, 8)];

pub(crate) fn run(bench: &Bench, runtime: &Runtime, report: &mut Report) -> Result<()> {
    let directory = bench.directory("isolation")?;
    // Mails go nowhere: what is measured is the server.
    let server = usher::start(bench, &usher::sqlite(&directory), &[])?;
    let mut table = Table::new(
        "Checks at a fixed rate while others change and sign in (server on one core)",
        &["meanwhile", "", "checks/s", "p50 µs", "p99 µs", "p99 ratio", "meanwhile/s"],
    );
    runtime.block_on(async {
        let channel = data::connect(&server.url()).await?;
        data::fill(&channel, ACCOUNTS, 4).await?;
        let seconds = Duration::from_secs(5);
        let mut samples = MEANWHILE.map(|_| Vec::new());
        for round in 1..=bench.rounds() {
            say(&format!("   round {round}"));
            for ((_, sign_ins, invitations), samples) in MEANWHILE.into_iter().zip(&mut samples) {
                samples.push(together(&server, seconds, sign_ins, invitations).await?);
            }
        }
        let p99 = |samples: &[(Driven, f64)]| median(samples, |(checks, _)| at(&checks.times_us, 0.99));
        let alone = p99(&samples[0]);
        for ((name, ..), samples) in MEANWHILE.into_iter().zip(&samples) {
            let p99 = p99(samples);
            report.figure(&format!("p99 of checks while {name}, against alone"), p99 / alone, "ratio");
            table.row([
                name.to_owned(),
                String::new(),
                format!("{:.0}", median(samples, |(checks, _)| checks.rate)),
                format!("{:.0}", median(samples, |(checks, _)| at(&checks.times_us, 0.5))),
                format!("{p99:.0}"),
                format!("{:.2}", p99 / alone),
                format!("{:.0}", median(samples, |(_, others)| *others)),
            ]);
        }
        Result::Ok(())
    })?;
    report.table(table);
    Ok(())
}

/// The checks, and how many of the other calls there were in a second.
async fn together(server: &Server, time: Duration, sign_ins: u32, invitations: u32) -> Result<(Driven, f64)> {
    let check = |number: u64| {
        let account = number % ACCOUNTS;
        load::frame(&data::check(&data::account_id(account), &data::user_id(account, 3), ("job", "run")))
    };
    let checks = drive(server.port, data::CHECK, CHECKS, Until::Time(time), PAUSE, Refusals::Fail, check);
    let sign_ins = others(server, SIGN_IN, sign_ins, time, |number| {
        // An address that nobody has takes as long as any.
        load::frame(&pb::VerifyPasswordRequest {
            email: format!("nobody{number}@people.example"),
            password: "gravel orbit lantern".to_owned(),
        })
    });
    let invitations = others(server, INVITE, invitations, time, |number| {
        load::frame(&pb::InviteUserRequest {
            acting: Some(pb::invite_user_request::Acting::Platform(pb::Platform {})),
            account_id: data::account_id(number % ACCOUNTS),
            email: format!("guest{number}@people.example"),
            role: "reader".to_owned(),
            ..Default::default()
        })
    });
    let (checks, sign_ins, invitations) = tokio::join!(checks, sign_ins, invitations);
    Ok((checks?, sign_ins? + invitations?))
}

/// So many calls at once; the rate. A refused sign-in is an answer like any other.
async fn others(
    server: &Server,
    method: &str,
    at_once: u32,
    time: Duration,
    question: impl Fn(u64) -> Result<Vec<u8>>,
) -> Result<f64> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if at_once == 0 {
        return Ok(0.0);
    }
    let shape = Shape::new(1, at_once);
    let unique = |_| question(NEXT.fetch_add(1, Ordering::Relaxed));
    Ok(drive(server.port, method, shape, Until::Time(time), Duration::ZERO, Refusals::Count, unique)
        .await?
        .rate)
}
