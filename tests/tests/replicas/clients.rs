//! Who revokes and grants, and who asks, while servers and networks fail.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tonic::{Response, Status};
use usher_tests::pb::authorization_service_client::AuthorizationServiceClient;
use usher_tests::pb::consistency::Requirement;
use usher_tests::pb::license_change::Change as Licence;
use usher_tests::pb::license_service_client::LicenseServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::pb::{self, subject};
use usher_tests::{Platform, acting};

use crate::history::{Answer, At, Change, Check, History, Mode, Who};
use crate::scene::{Dice, REPLICAS, Scene, is_excused, user_name};

pub(crate) const ACCOUNTS: usize = 3;
/// Members whose right changes, in each account; they are dealt out to the account's writers.
pub(crate) const USERS: usize = 6;
const WRITERS: usize = 2;
/// How often a change is asked for before it is given up: for longer than any fault lasts.
const ATTEMPTS: usize = 400;

/// What writers and checkers share.
pub(crate) struct Run {
    pub(crate) scene: Scene,
    history: Mutex<History>,
    /// The newest acknowledged revision and its token, of each account.
    tokens: Vec<Mutex<(i64, String)>>,
    revisions: Vec<AtomicI64>,
    is_over: AtomicBool,
}

pub(crate) fn account_name(account: usize) -> String {
    format!("account-{account}")
}

/// How a right is taken, and given back.
#[derive(Clone, Copy)]
enum Way {
    Role,
    Suspension,
    Seat,
}

impl Run {
    /// Founds the accounts; everybody may run jobs.
    pub(crate) async fn prepare(scene: Scene, staleness_max: Duration) -> Arc<Self> {
        let mut history =
            History { staleness_max: At::try_from(staleness_max.as_micros()).unwrap(), ..History::default() };
        for account in 0..ACCOUNTS {
            let revision = scene.found(&account_name(account), USERS + 1).await;
            history.first.insert(account, revision);
        }
        Arc::new(Self {
            scene,
            history: Mutex::new(history),
            tokens: (0..ACCOUNTS).map(|_| Mutex::default()).collect(),
            revisions: (0..ACCOUNTS).map(|_| AtomicI64::new(0)).collect(),
            is_over: AtomicBool::new(false),
        })
    }

    /// Starts writers and checkers.
    pub(crate) fn begin(self: &Arc<Self>) -> Vec<tokio::task::JoinHandle<()>> {
        let mut tasks = Vec::new();
        for account in 0..ACCOUNTS {
            for writer in 0..WRITERS {
                tasks.push(tokio::spawn(self.clone().write(account, writer)));
            }
        }
        for replica in 0..REPLICAS {
            for checker in 0..2 {
                tasks.push(tokio::spawn(self.clone().ask(replica, checker)));
            }
        }
        tasks
    }

    /// Lets everybody finish.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    pub(crate) fn history(&self) -> History {
        self.history.lock().unwrap().clone()
    }

    /// Takes rights and gives them back, one at a time, and reads each change on every server.
    async fn write(self: Arc<Self>, account: usize, writer: usize) {
        let mut dice = Dice::new((account * WRITERS + writer + 1) as u64);
        let mut taken: [Option<Way>; USERS] = [None; USERS];
        while !self.is_over() {
            let user = dice.below(USERS / WRITERS) * WRITERS + writer;
            let way = match taken[user].take() {
                Some(way) => way,
                None => {
                    let way = [Way::Role, Way::Suspension, Way::Seat][dice.below(3)];
                    taken[user] = Some(way);
                    way
                }
            };
            let grants = taken[user].is_none();
            let who = Who { account, user };
            let request_id = format!("change-{}", self.scene.number());
            if self.change(who, way, grants, &request_id, dice.below(REPLICAS)).await {
                let replica = dice.below(REPLICAS);
                let token = self.token(account);
                for replica in 0..REPLICAS {
                    self.check(replica, who, Some(&token), false).await;
                }
                self.check(replica, who, None, true).await;
            } else {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20 + dice.below(80) as u64)).await;
        }
    }

    /// The change that a fault is waiting for, of a member whom no writer touches.
    pub(crate) async fn change_last(&self, grants: bool, request_id: &str, replica: usize) -> bool {
        self.change(Who { account: 0, user: USERS }, Way::Role, grants, request_id, replica).await
    }

    /// Asks one server after another until the change is acknowledged.
    async fn change(&self, who: Who, way: Way, grants: bool, request_id: &str, first: usize) -> bool {
        let start = self.scene.now();
        let mut acknowledged = None;
        for attempt in 0..ATTEMPTS {
            let replica = (first + attempt) % REPLICAS;
            match self.attempt(who, way, grants, request_id, replica).await {
                Ok((revision, token)) => {
                    let at = self.scene.now();
                    acknowledged = Some((at, revision));
                    let mut newest = self.tokens[who.account].lock().unwrap();
                    if revision > newest.0 {
                        *newest = (revision, token);
                        self.revisions[who.account].store(revision, Ordering::SeqCst);
                    }
                    break;
                }
                Err(status) if is_excused(&status) => tokio::time::sleep(Duration::from_millis(30)).await,
                Err(status) => panic!("{who:?} {request_id}: {status:?}"),
            }
        }
        self.history.lock().unwrap().changes.push(Change { who, grants, start, acknowledged });
        acknowledged.is_some()
    }

    async fn attempt(
        &self,
        who: Who,
        way: Way,
        grants: bool,
        request_id: &str,
        replica: usize,
    ) -> Result<(i64, String), Status> {
        let account_id = account_name(who.account);
        let user_id = user_name(&account_id, who.user);
        let request_id = request_id.to_owned();
        let channel = self.scene.channel(replica);
        let mut members = MemberServiceClient::new(channel.clone());
        match (way, grants) {
            (Way::Role, _) => {
                let role = if grants { "editor" } else { "reader" }.to_owned();
                let acting = acting(Platform);
                let request = pb::ChangeRoleRequest { account_id, user_id, request_id, acting, role };
                told(members.change_role(request), |m| (m.revision, m.consistency_token)).await
            }
            (Way::Suspension, false) => {
                let acting = acting(Platform);
                let request = pb::SuspendMemberRequest {
                    account_id,
                    user_id,
                    request_id,
                    acting,
                    ..Default::default()
                };
                told(members.suspend_member(request), |m| (m.revision, m.consistency_token)).await
            }
            (Way::Suspension, true) => {
                let acting = acting(Platform);
                let request = pb::ReactivateMemberRequest { account_id, user_id, request_id, acting };
                told(members.reactivate_member(request), |m| (m.revision, m.consistency_token)).await
            }
            (Way::Seat, _) => {
                let change = match grants {
                    true => Licence::AssignSeat(pb::AssignSeat { user_id }),
                    false => Licence::ReleaseSeat(pb::ReleaseSeat { user_id }),
                };
                let changes = vec![pb::LicenseChange { change: Some(change) }];
                let acting = acting(Platform);
                let request = pb::ManageLicensesRequest {
                    account_id,
                    request_id,
                    acting,
                    changes,
                    ..Default::default()
                };
                let mut licenses = LicenseServiceClient::new(channel);
                told(licenses.manage_licenses(request), |m| (m.revision, m.consistency_token)).await
            }
        }
    }

    fn token(&self, account: usize) -> (i64, String) {
        self.tokens[account].lock().unwrap().clone()
    }

    /// Asks one server in all ways. Every tenth answer's own token goes into the next request, so that
    /// revisions never go back.
    async fn ask(self: Arc<Self>, replica: usize, checker: usize) {
        let mut dice = Dice::new((100 + replica * 10 + checker) as u64);
        let mut session: [(i64, String); ACCOUNTS] = Default::default();
        while !self.is_over() {
            let who = Who { account: dice.below(ACCOUNTS), user: dice.below(USERS + 1) };
            match dice.below(20) {
                0 => drop(self.check(replica, who, None, true).await),
                1 | 2 => {
                    let token = self.token(who.account);
                    self.check(replica, who, Some(&token), false).await;
                }
                3 | 4 => {
                    let before = session[who.account].clone();
                    // The session goes from server to server.
                    if let Some(told) = self.check(dice.below(REPLICAS), who, Some(&before), false).await {
                        session[who.account] = told;
                    }
                }
                _ => drop(self.check(replica, who, None, false).await),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// One check, into the history; the revision and token of its answer, if there was one.
    async fn check(
        &self,
        replica: usize,
        who: Who,
        token: Option<&(i64, String)>,
        full: bool,
    ) -> Option<(i64, String)> {
        let (mode, requirement) = match token {
            Some((revision, token)) if !token.is_empty() => {
                (Mode::AtLeast(*revision), Some(Requirement::AtLeastAsFresh(token.clone())))
            }
            _ if full => (Mode::Full, Some(Requirement::FullyConsistent(true))),
            _ => (Mode::Latency, None),
        };
        let account = account_name(who.account);
        let request = pb::CheckPermissionRequest {
            subject: Some(pb::Subject { kind: Some(subject::Kind::UserId(user_name(&account, who.user))) }),
            account_id: account,
            action: "run".to_owned(),
            resource: Some(pb::Resource { r#type: "job".to_owned(), ..Default::default() }),
            consistency: requirement.map(|requirement| pb::Consistency { requirement: Some(requirement) }),
            ..Default::default()
        };
        let mut client = AuthorizationServiceClient::new(self.scene.channel(replica));
        let start = self.scene.now();
        let answer = client.check_permission(request).await;
        let end = self.scene.now();
        let (answer, told) = match answer.map(Response::into_inner) {
            Ok(told) => {
                let allow = told.decision() == pb::Decision::Allow;
                let answer = Answer::Told { allow, revision: told.revision, stale: told.stale };
                (answer, Some((told.revision, told.consistency_token)))
            }
            Err(status) if is_excused(&status) => (Answer::None, None),
            Err(status) => (Answer::Refused(format!("{status:?}")), None),
        };
        self.history.lock().unwrap().checks.push(Check { replica, who, mode, start, end, answer });
        told
    }

    /// Whether each server answers from the newest revision of each account, at once and from memory.
    pub(crate) async fn is_settled(&self) -> bool {
        for replica in 0..REPLICAS {
            for account in 0..ACCOUNTS {
                let newest = self.revisions[account].load(Ordering::SeqCst);
                let told = self.check(replica, Who { account, user: 0 }, None, false).await;
                if told.is_none_or(|(revision, _)| revision < newest) {
                    return false;
                }
            }
        }
        true
    }
}

async fn told<R>(
    call: impl Future<Output = Result<Response<R>, Status>>,
    read: impl FnOnce(R) -> (i64, String),
) -> Result<(i64, String), Status> {
    Ok(read(call.await?.into_inner()))
}
