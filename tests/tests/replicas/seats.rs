//! Seats on three servers: more people are invited than there are seats, answers are lost on the way, and a
//! server is killed in the middle.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;
use usher_storage::{ConnectOptions, Store};
use usher_tests::cast::{founding, inviting};
use usher_tests::lookup::{account, check_chain, events};
use usher_tests::pb::account_service_client::AccountServiceClient;
use usher_tests::pb::invite_user_response::Outcome;
use usher_tests::pb::license_service_client::LicenseServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::proxy::{Proxy, Whom};
use usher_tests::{INTEGRATE_IO, Platform, acting, pb};

use crate::ready;
use crate::scene::{REPLICAS, Scene, is_excused};

const SEATS: u32 = 50;
const INVITATIONS: usize = 300;
const ACCOUNT: &str = "acme";

/// How an invitation was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Invited(String),
    NoSeat,
    /// More seats are taken than there are: no right server says so here.
    OverLimit,
}

/// All answers to each invitation, by its number.
type Answers = HashMap<usize, Vec<Answer>>;

/// How far the invitations are.
#[derive(Default)]
struct Progress {
    answered: AtomicUsize,
    /// Attempts to which no answer came.
    cut: AtomicUsize,
}

impl Progress {
    async fn reaches(&self, answered: usize) {
        let waiting = async {
            while self.answered.load(Ordering::SeqCst) < answered {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("invitations are answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_seats_are_given_fifty_times() {
    if !ready() {
        return;
    }
    let rounds = if crate::is_long() { 10 } else { 1 };
    for round in 0..rounds {
        let scene = Arc::new(Scene::start(&[], None).await);
        let answers = invite_everybody(&scene, true, round).await;
        let problems = examine(&scene, &answers).await;
        assert!(problems.is_empty(), "round {round}: {problems:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examination_sees_seats_counted_before_the_lock() {
    if !ready() {
        return;
    }
    let scene = Arc::new(Scene::start(&[], Some("SeatsUnlocked")).await);
    let answers = invite_everybody(&scene, false, 0).await;
    let problems = examine(&scene, &answers).await;
    println!("{} problems seen; the first: {:?}", problems.len(), problems.first());
    assert!(problems.iter().any(|problem| problem.contains("open invitations for")), "{problems:?}");
}

/// Invites with the server of each request behind a network that loses answers; each request is repeated, on
/// another server, until it is answered, and once more after that.
async fn invite_everybody(scene: &Arc<Scene>, kill: bool, round: usize) -> Answers {
    let request = founding(ACCOUNT, INTEGRATE_IO, SEATS + 1);
    AccountServiceClient::new(scene.channel(0)).create_account(request).await.unwrap();
    let mut networks = Vec::new();
    for replica in 0..REPLICAS {
        networks.push(Proxy::start(scene.address(replica)).await);
    }
    let networks = Arc::new(networks);
    let progress = Arc::new(Progress::default());
    let calls: Vec<_> = (0..INVITATIONS)
        .map(|number| {
            let (scene, networks, progress) = (scene.clone(), networks.clone(), progress.clone());
            tokio::spawn(async move { invite_until_answered(&scene, &networks, &progress, number).await })
        })
        .collect();
    if kill {
        // The answers of one server are lost, then another server itself: while there are seats, or later.
        progress.reaches(5 + 10 * round).await;
        networks[1].deafen(Whom::All);
        progress.reaches(20 + 10 * round).await;
        scene.kill(2);
        let answered = progress.answered.load(Ordering::SeqCst);
        assert!(answered < INVITATIONS, "all was over before the server was killed");
        tokio::time::sleep(Duration::from_millis(300)).await;
        networks[1].cut();
        networks[1].heal();
        scene.launch(2);
    }
    let mut answers = Answers::new();
    for (number, call) in calls.into_iter().enumerate() {
        answers.insert(number, call.await.unwrap());
    }
    let cut = progress.cut.load(Ordering::SeqCst);
    println!("{cut} attempts got no answer");
    assert!(!kill || cut > 0, "nothing was repeated");
    answers
}

async fn invite_until_answered(
    scene: &Scene,
    networks: &[Proxy],
    progress: &Progress,
    number: usize,
) -> Vec<Answer> {
    let mut answers = Vec::new();
    for attempt in 0..400 {
        let replica = (number + attempt) % REPLICAS;
        // The first attempt goes through the network that fails.
        let channel = if attempt == 0 { lazy(&networks[replica]) } else { scene.channel(replica) };
        match invite(channel, number).await {
            Some(answer) => {
                progress.answered.fetch_add(usize::from(answers.is_empty()), Ordering::SeqCst);
                answers.push(answer);
            }
            None => {
                progress.cut.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50) * (1 + attempt.min(19) as u32)).await;
            }
        }
        // Asked again after the answer, elsewhere, it must say the same.
        if answers.len() == 2 {
            return answers;
        }
    }
    panic!("invitation {number} is never answered")
}

fn lazy(network: &Proxy) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", network.address)).unwrap();
    endpoint.timeout(Duration::from_secs(2)).connect_lazy()
}

/// `None` when there is no answer that counts.
async fn invite(channel: Channel, number: usize) -> Option<Answer> {
    let request = pb::InviteUserRequest {
        request_id: format!("invite-{number}"),
        ..inviting(ACCOUNT, Platform, &email(number), "reader")
    };
    match MemberServiceClient::new(channel).invite_user(request).await {
        Ok(invited) => match invited.into_inner().outcome {
            Some(Outcome::Invitation(invitation)) => Some(Answer::Invited(invitation.id)),
            other => panic!("invitation {number}: {other:?}"),
        },
        Err(status) if is_excused(&status) => None,
        Err(status) => {
            let details = status.get_error_details();
            match details.error_info().map(|info| info.reason.as_str()) {
                Some("NO_SEAT_AVAILABLE") => Some(Answer::NoSeat),
                Some("OVER_LIMIT") => Some(Answer::OverLimit),
                _ => panic!("invitation {number}: {status:?}"),
            }
        }
    }
}

fn email(number: usize) -> String {
    format!("p{number}@people.example")
}

/// What is wrong with the answers and with what the database holds.
async fn examine(scene: &Scene, answers: &Answers) -> Vec<String> {
    let mut problems = Vec::new();
    let open: HashSet<String> = scene
        .cluster
        .sql("SELECT id || ' ' || email FROM invitation WHERE state = 'pending'")
        .into_iter()
        .collect();
    if open.len() != SEATS as usize {
        problems.push(format!("{} open invitations for {SEATS} seats", open.len()));
    }
    let mut told = HashSet::new();
    for (number, answers) in answers {
        // A seat that was refused stays refused, because none comes free; so both answers are the same.
        if answers.windows(2).any(|pair| pair[0] != pair[1]) {
            problems.push(format!("invitation {number} has the answers {answers:?}"));
        }
        if answers.contains(&Answer::OverLimit) {
            problems.push(format!("invitation {number} met an account over its limit"));
        }
        if let Some(Answer::Invited(id)) = answers.last() {
            told.insert(format!("{id} {}", email(*number)));
        }
    }
    problems.extend(told.difference(&open).map(|lost| format!("acknowledged and not there: {lost}")));
    problems.extend(open.difference(&told).map(|more| format!("there and never acknowledged: {more}")));

    let request = pb::GetLicensesRequest {
        account_id: ACCOUNT.to_owned(),
        acting: acting(Platform),
        ..Default::default()
    };
    let figures =
        LicenseServiceClient::new(scene.channel(0)).get_licenses(request).await.unwrap().into_inner();
    let figures = figures.licenses.unwrap();
    if (figures.active, figures.reserved, figures.over_limit_by) != (1, SEATS, 0) {
        problems.push(format!("{figures:?}"));
    }
    let store = Store::connect(&ConnectOptions::new(scene.cluster.url())).await.unwrap();
    check_chain(&account(&store, ACCOUNT).await, &events(&store, ACCOUNT).await);
    store.close().await;
    problems
}
