//! Random changes by two clients at once, against a simple model in memory: after each step there is an order
//! of the two in which the model says what the product said, and both have the same account.
//!
//! A failure says its seed and how to run that one alone. `USHER_TEST_LONG` runs many.

mod ops;
mod state;

use usher_domain::invitation::InvitationState;
use usher_domain::member::MemberState;
use usher_domain::time::Time;
use usher_server::clock::Clock;
use usher_storage::{Error, InvitationFilter, MemberFilter, Tx};
use usher_tests::harness::START;
use usher_tests::lookup::{self, account_id, check_chain};
use usher_tests::{DATAIMPORTER, Engine, INTEGRATE_IO, Usher, both_engines};

use ops::{ACCOUNT, Links, Op, Random, Told, draw};
use state::{DAY, Fate, State};

both_engines!(two_clients_and_a_model_agree);

const SEED: &str = "USHER_TEST_MODEL_SEED";
const LONG: &str = "USHER_TEST_LONG";
/// Longer than a call takes on a busy machine: what a call that was given up has done, nobody knows.
const DEADLINE_MS: u64 = 60_000;

/// Where a run is; says how to see it again if it fails there, in whatever way.
struct Place {
    engine: Engine,
    seed: u64,
    step: usize,
}

impl Drop for Place {
    #[expect(clippy::print_stderr, reason = "a seed that fails must be known")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { engine, seed, step } = self;
            let again = "cargo test -p usher-tests --test e2e model:: -- --nocapture";
            eprintln!("model: seed {seed} failed on {engine:?} at step {step}; again: {SEED}={seed} {again}");
        }
    }
}

async fn two_clients_and_a_model_agree(engine: Engine) {
    let is_long = std::env::var_os(LONG).is_some();
    let (runs, steps) = if is_long { (30, 250) } else { (2, 45) };
    match std::env::var(SEED).ok().map(|seed| seed.parse().expect("a number")) {
        Some(seed) => run(engine, seed, 250).await,
        None => {
            for seed in 1..=runs {
                run(engine, seed, steps).await;
            }
        }
    }
}

async fn run(engine: Engine, seed: u64, steps: usize) {
    let mut place = Place { engine, seed, step: 0 };
    let clock = Clock::manual(Time::from_seconds(START));
    let usher = Usher::start_with(engine, clock, |config| config.limits.deadline_ms = DEADLINE_MS).await;
    let mut random = Random(seed);
    let is_single = seed.is_multiple_of(2);
    let (model, roles): (_, &[&str]) = if is_single {
        (INTEGRATE_IO, &["admin", "editor", "reader", "owner", "editor", "admin"])
    } else {
        (DATAIMPORTER, &["user", "admin", "user"])
    };
    let cast = usher.found(ACCOUNT, model, 6).await;
    let mut state = if is_single {
        State::new(&cast.founder(), "owner", (Some("owner"), None), &["owner", "admin"], 6)
    } else {
        State::new(&cast.founder(), "admin", (None, Some("admin")), &["admin"], 6)
    };
    state.name = lookup::account(&usher.app.store, ACCOUNT).await.name;
    let mut links = Links::new();
    for step in 0..steps {
        place.step = step;
        if random.below(12) == 0 {
            state.now += DAY * i64::try_from(random.below(5)).unwrap();
            usher.set_seconds(state.now);
        }
        let ops = [0, 1].map(|_| draw(&mut random, &state, &links, roles, step));
        let role = if is_single { "" } else { "admin" };
        let told = tokio::join!(ops[0].make(&usher, step, role), ops[1].make(&usher, step, role));
        let told = [told.0, told.1];
        let actual = Actual::read(&usher).await;
        state = explain(&state, &ops, &told, &actual).unwrap_or_else(|why| panic!("step {step}: {why}"));
        for told in told.iter().filter(|told| !told.token.is_empty()) {
            links.insert((told.id.clone(), state.invited[&told.id].link), told.token.clone());
        }
        actual.check(&state);
    }
    let account = lookup::account(&usher.app.store, ACCOUNT).await;
    check_chain(&account, &lookup::events(&usher.app.store, ACCOUNT).await);
    usher.stop().await;
}

/// The state after the two, in the order that explains what was told.
fn explain(before: &State, ops: &[Op; 2], told: &[Told; 2], actual: &Actual) -> Result<State, String> {
    let mut tried = Vec::new();
    for order in [[0, 1], [1, 0]] {
        let mut state = before.clone();
        let mut wrong = Vec::new();
        for at in order.into_iter().filter(|at| !told[*at].gave_way()) {
            let verdict = state.apply(ops[at].actor.as_ref(), &ops[at].what, &told[at]);
            let agrees = match (&verdict, &told[at].refused) {
                (Ok(_), None) => told[at].revision == state.revision,
                (Err(reasons), Some(reason)) => reasons.contains(reason.as_str()),
                _ => false,
            };
            if !agrees {
                wrong.push(format!(
                    "{:?}: the model says {verdict:?} at {}, the product {:?}",
                    ops[at], state.revision, told[at]
                ));
            }
        }
        wrong.extend(actual.differs(&state));
        if wrong.is_empty() {
            return Ok(state);
        }
        tried.push(wrong.join("\n  "));
    }
    Err(format!("\n  {}\nor the other way round\n  {}\nbefore: {before:#?}", tried[0], tried[1]))
}

/// What the database holds.
struct Actual {
    purchased: Option<u32>,
    seats: (u32, u32),
    revision: i64,
    /// User, role, active, seat.
    people: Vec<(String, String, bool, bool)>,
    /// Who sponsors them tells apart two who invite the same person at once.
    invited: Vec<Invited>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Invited {
    id: String,
    email: String,
    role: String,
    open: bool,
    sponsor: Option<String>,
}

impl Actual {
    async fn read(usher: &Usher) -> Self {
        let (id, now) = (account_id(ACCOUNT), usher.clock.now());
        let read = usher.app.store.read(async |tx: &Tx| {
            let account = tx.account_fetch(&id).await?.ok_or(Error::Internal("no account".into()))?;
            let (members, _) = tx.member_list(&id, &MemberFilter::default(), None, 500).await?;
            let (invited, _) = tx.invitation_list(&id, &InvitationFilter::default(), now, None, 500).await?;
            let seats = tx.seats(&account, now).await?;
            Ok::<_, Error>((account, members, invited, seats))
        });
        let (account, members, invited, seats) = read.await.expect("the store");
        let mut people: Vec<_> = members
            .into_iter()
            .map(|member| {
                let active = member.state == MemberState::Active;
                (member.user_id.to_string(), member.role, active, member.seat)
            })
            .collect();
        people.sort_unstable();
        // Those by username are accepted from the start and are no matter of the model.
        let mut invited: Vec<_> = invited
            .into_iter()
            .filter(|invitation| invitation.identity.is_none())
            .map(|i| Invited {
                id: i.id.to_string(),
                email: i.email,
                role: i.role,
                open: i.stored_state == InvitationState::Pending && now < i.expire_time,
                sponsor: i.invited_by.map(|id| id.to_string()),
            })
            .collect();
        invited.sort_unstable();
        Self {
            purchased: account.license.purchased,
            seats: (seats.active, seats.reserved),
            revision: account.revision,
            people,
            invited,
        }
    }

    fn differs(&self, state: &State) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut require = |same: bool, what: String| {
            if !same {
                wrong.push(what);
            }
        };
        require(self.revision == state.revision, format!("revision {} ≠ {}", self.revision, state.revision));
        require(self.purchased == Some(state.purchased), format!("purchased {:?}", self.purchased));
        require(self.seats == state.seats(), format!("seats {:?} ≠ {:?}", self.seats, state.seats()));
        let people: Vec<_> =
            state.people.iter().map(|(id, p)| (id.clone(), p.role.clone(), p.active, p.seat)).collect();
        require(self.people == people, format!("people {:?} ≠ {people:?}", self.people));
        let invited: Vec<_> = state
            .invited
            .iter()
            .map(|(id, i)| Invited {
                id: id.clone(),
                email: i.email.clone(),
                role: i.role.clone(),
                open: state.is_open(i),
                sponsor: i.sponsor.clone(),
            })
            .collect();
        require(self.invited == invited, format!("invited {:?} ≠ {invited:?}", self.invited));
        wrong
    }

    /// What holds whatever the model says.
    fn check(&self, state: &State) {
        let (active, reserved) = self.seats;
        let held = |role: &str| {
            let with_role = self.people.iter().filter(|(_, of, _, _)| of == role);
            (with_role.clone().count(), with_role.filter(|(_, _, active, seat)| *active && *seat).count())
        };
        if state.single.is_some() {
            assert_eq!(held("owner"), (1, 1), "{:?}", self.people);
        }
        if let Some(needed) = state.needed {
            assert!(held(needed).1 >= 1, "{:?}", self.people);
        }
        assert!(self.people.iter().all(|(_, _, active, seat)| *active || !seat), "{:?}", self.people);
        let mut open: Vec<_> = self.invited.iter().filter(|i| i.open).map(|i| &i.email).collect();
        assert_eq!(usize::try_from(reserved).unwrap(), open.len());
        open.sort_unstable();
        let all = open.len();
        open.dedup();
        assert_eq!(open.len(), all, "one open invitation of an address: {:?}", self.invited);
        let pending = state.invited.values().filter(|i| i.state == Fate::Pending).count();
        assert!(pending >= all);
        // Only who was allowed to go over the limit is over it, which the model's figures decide.
        assert_eq!((active, reserved), state.seats());
    }
}
