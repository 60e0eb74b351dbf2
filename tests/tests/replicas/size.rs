//! Many accounts and members: every statement finds its rows by an index. PostgreSQL itself says how it ran
//! each statement of the real server; none is copied here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::Channel;
use usher_tests::cluster::Cluster;
use usher_tests::harness::channel;
use usher_tests::pb::account_service_client::AccountServiceClient;
use usher_tests::pb::audit_service_client::AuditServiceClient;
use usher_tests::pb::authorization_service_client::AuthorizationServiceClient;
use usher_tests::pb::consistency::Requirement;
use usher_tests::pb::license_change::Change as Licence;
use usher_tests::pb::license_service_client::LicenseServiceClient;
use usher_tests::pb::member_service_client::MemberServiceClient;
use usher_tests::pb::sign_in_service_client::SignInServiceClient;
use usher_tests::process::usher;
use usher_tests::{Platform, Process, acting, cast, pb};

use crate::{is_long, ready};

/// The plan of every statement, with what it read, goes to the log as JSON.
const EXPLAIN: [&str; 8] = [
    "session_preload_libraries=auto_explain",
    "auto_explain.log_min_duration=0",
    "auto_explain.log_analyze=on",
    "auto_explain.log_timing=off",
    "auto_explain.log_format=json",
    "auto_explain.log_level=log",
    "log_line_prefix=",
    "shared_buffers=256MB",
];

/// The most rows that one step of a plan may look at: what a page, or the members of one account, need.
const ROWS_MAX: f64 = 1100.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_size_every_statement_finds_its_rows_by_an_index() {
    if !ready() {
        return;
    }
    // In the short form an index must serve even where reading the whole small table would be cheaper.
    let (accounts, members) = if is_long() { (10_000, 1_000_000) } else { (200, 20_000) };
    let mut settings = EXPLAIN.to_vec();
    if !is_long() {
        settings.push("enable_seqscan=off");
    }
    let cluster = Cluster::start(&settings);
    let directory = TempDir::new().unwrap();
    let url = cluster.url();
    let migrated = usher(&["migrate", "--database-url", &url]);
    assert!(migrated.status.success(), "{migrated:?}");
    let started = Instant::now();
    let (count, people) = (accounts.to_string(), members.to_string());
    let filled = ["load-demo", "--accounts", &count, "--members", &people, "--database-url", &url];
    let loaded = usher(&filled);
    assert!(loaded.status.success(), "{loaded:?}");
    println!("{members} members in {accounts} accounts written in {:?}", started.elapsed());
    let again = usher(&filled);
    assert!(String::from_utf8_lossy(&again.stderr).contains("`--yes`"), "{again:?}");
    // One account in which paging goes deep.
    let moved = if is_long() { 100_000 } else { 5_000 };
    cluster.sql(&format!(
        "UPDATE member SET account_id = 'demo-1' WHERE user_id IN \
         (SELECT m.user_id FROM member m JOIN account a ON a.id = m.account_id JOIN account b ON b.model = a.model \
          WHERE b.id = 'demo-1' AND a.id <> 'demo-1' AND m.user_id NOT LIKE '%-u1' ORDER BY m.user_id LIMIT {moved})"
    ));
    cluster.sql("UPDATE account SET purchased = 1000000 WHERE id = 'demo-1'");
    cluster.sql("ANALYZE");

    let server = Process::serve(&url, directory.path());
    let connection = channel(&server.url).await;
    let before = cluster.log().len();
    use_everything(&connection, "demo-3").await;
    page_to_the_end(&connection, "demo-1").await;
    // The pollers and workers have their turn too.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(server.terminate(), Some(0));
    let log = cluster.log();
    let plans = plans(&log[before..]);
    println!("{} different statements", plans.len());
    assert!(plans.len() > 50, "too few statements to mean anything: {}", plans.len());
    for needed in ["FROM account WHERE chg_xid >=", "LEFT JOIN member m", "INSERT INTO \"event\"", "outbox"] {
        assert!(plans.keys().any(|text| text.contains(needed)), "no statement has `{needed}`");
    }
    let slow: Vec<String> = plans.iter().flat_map(|(text, plan)| problems(text, plan)).collect();
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}

/// Calls that between them run the statements that matter.
async fn use_everything(connection: &Channel, account: &str) {
    let account_id = account.to_owned();
    let mut checks = AuthorizationServiceClient::new(connection.clone());
    for consistency in [None, Some(Requirement::FullyConsistent(true))] {
        let request = pb::CheckPermissionRequest {
            account_id: account_id.clone(),
            subject: Some(pb::Subject { kind: Some(pb::subject::Kind::UserId(format!("{account}-u2"))) }),
            action: "view".to_owned(),
            resource: Some(pb::Resource { r#type: "job".to_owned(), ..Default::default() }),
            consistency: consistency.map(|requirement| pb::Consistency { requirement: Some(requirement) }),
            ..Default::default()
        };
        checks.check_permission(request).await.unwrap();
    }
    let request = pb::ListPermissionsRequest {
        account_id: account_id.clone(),
        subject: Some(pb::Subject { kind: Some(pb::subject::Kind::UserId(format!("{account}-u2"))) }),
        ..Default::default()
    };
    checks.list_permissions(request).await.unwrap();

    let mut members = MemberServiceClient::new(connection.clone());
    let invited = cast::inviting(account, Platform, "new@people.example", "reader");
    members.invite_user(invited).await.unwrap();
    members.invite_user(cast::joining(account, Platform, "joiner", "reader")).await.unwrap();
    let list = pb::ListInvitationsRequest {
        account_id: account_id.clone(),
        acting: acting(Platform),
        ..Default::default()
    };
    members.list_invitations(list).await.unwrap();
    let user_id = format!("{account}-u4");
    let change = pb::ChangeRoleRequest {
        account_id: account_id.clone(),
        acting: acting(Platform),
        user_id: user_id.clone(),
        role: "editor".to_owned(),
        ..Default::default()
    };
    members.change_role(change).await.unwrap();
    let suspend = pb::SuspendMemberRequest {
        account_id: account_id.clone(),
        acting: acting(Platform),
        user_id: user_id.clone(),
        ..Default::default()
    };
    members.suspend_member(suspend).await.unwrap();
    let reactivate = pb::ReactivateMemberRequest {
        account_id: account_id.clone(),
        acting: acting(Platform),
        user_id: user_id.clone(),
        ..Default::default()
    };
    members.reactivate_member(reactivate).await.unwrap();
    let get = pb::GetMemberRequest {
        account_id: account_id.clone(),
        acting: acting(Platform),
        user_id: user_id.clone(),
    };
    members.get_member(get).await.unwrap();
    let remove = pb::RemoveMemberRequest {
        account_id: account_id.clone(),
        acting: acting(Platform),
        user_id: user_id.clone(),
        ..Default::default()
    };
    members.remove_member(remove).await.unwrap();

    let mut licenses = LicenseServiceClient::new(connection.clone());
    let change = Licence::ReleaseSeat(pb::ReleaseSeat { user_id: format!("{account}-u5") });
    let manage = pb::ManageLicensesRequest {
        account_id: account_id.clone(),
        acting: acting(Platform),
        changes: vec![pb::LicenseChange { change: Some(change) }],
        request_id: "once".to_owned(),
        ..Default::default()
    };
    licenses.manage_licenses(manage.clone()).await.unwrap();
    licenses.manage_licenses(manage).await.unwrap();
    let get = pb::GetLicensesRequest {
        account_id: account_id.clone(),
        acting: acting(Platform),
        ..Default::default()
    };
    licenses.get_licenses(get).await.unwrap();

    let get = pb::GetAccountRequest { account_id: account_id.clone(), acting: acting(Platform) };
    AccountServiceClient::new(connection.clone()).get_account(get).await.unwrap();
    let mut audit = AuditServiceClient::new(connection.clone());
    let events = pb::ListEventsRequest { account_id, acting: acting(Platform), ..Default::default() };
    audit.list_events(events).await.unwrap();

    let mut sign_in = SignInServiceClient::new(connection.clone());
    let wrong = pb::VerifyPasswordRequest {
        email: format!("{account}-u2@people.example"),
        password: "not the one, and long enough".to_owned(),
    };
    let _ = sign_in.verify_password(wrong).await;
    let whose = pb::ListMembershipsRequest { user_id: format!("{account}-u2"), ..Default::default() };
    sign_in.list_memberships(whose).await.unwrap();
}

/// Reads all members of an account page by page, and says how long the first and the last pages took.
async fn page_to_the_end(connection: &Channel, account: &str) {
    let mut members = MemberServiceClient::new(connection.clone());
    let mut token = String::new();
    let mut times = Vec::new();
    let mut count = 0;
    loop {
        let request = pb::ListMembersRequest {
            account_id: account.to_owned(),
            acting: acting(Platform),
            page_size: 100,
            page_token: token,
            ..Default::default()
        };
        let started = Instant::now();
        let page = members.list_members(request).await.unwrap().into_inner();
        times.push(started.elapsed());
        count += page.members.len();
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let middle = |times: &[Duration]| {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    let tenth = (times.len() / 10).max(1);
    let (first, last) = (middle(&times[..tenth]), middle(&times[times.len() - tenth..]));
    println!("{count} members in pages of 100: median {first:?} for the first tenth, {last:?} for the last");
}

/// Of each statement, the plans that were logged, by its text.
fn plans(log: &str) -> BTreeMap<String, Vec<Value>> {
    let mut plans: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for entry in log.split("LOG:  duration: ").skip(1) {
        let Some(start) = entry.find('{') else { continue };
        let mut values = serde_json::Deserializer::from_str(&entry[start..]).into_iter::<Value>();
        let Some(Ok(value)) = values.next() else { panic!("not a plan: {entry}") };
        let text = value["Query Text"].as_str().unwrap_or_default().to_owned();
        plans.entry(text).or_default().push(value["Plan"].clone());
    }
    plans
}

/// What is slow in the plans of a statement.
fn problems(text: &str, plans: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for plan in plans {
        walk(plan, &mut |step| {
            let kind = step["Node Type"].as_str().unwrap_or_default();
            let table = step["Relation Name"].as_str().unwrap_or_default();
            if table.is_empty() || SMALL.contains(&table) {
                return;
            }
            let number = |name: &str| step[name].as_f64().unwrap_or(0.0);
            let removed = number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
            let rows = (number("Actual Rows") + removed) * number("Actual Loops").max(1.0);
            // Seats are counted under the account's lock, by an index, whatever their number.
            let counts = text.contains("COUNT(");
            if kind == "Seq Scan" && !is_empty_scan(step) || rows > ROWS_MAX && !counts {
                problems.push(format!("{kind} on {table}, {rows} rows: {text}"));
            }
        });
    }
    problems.sort();
    problems.dedup();
    problems
}

/// A few rows, whatever the size of the rest.
const SMALL: [&str; 4] = ["meta", "role_model", "seaql_migrations", "sign_in_failure"];

/// A table that is empty, or nearly, is read whole by the best of plans.
fn is_empty_scan(step: &Value) -> bool {
    let number = |name: &str| step[name].as_f64().unwrap_or(0.0);
    number("Actual Rows") + number("Rows Removed by Filter") < 20.0
}

fn walk(step: &Value, look: &mut impl FnMut(&Value)) {
    look(step);
    for inner in step["Plans"].as_array().into_iter().flatten() {
        walk(inner, look);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_reads_too_much_is_seen() {
        let log = "LOG:  duration: 1.0 ms  plan:\n\t{\n\t \"Query Text\": \"SELECT 1\",\n\t \"Plan\": {\"Node Type\": \
                   \"Limit\", \"Plans\": [{\"Node Type\": \"Seq Scan\", \"Relation Name\": \"member\", \
                   \"Actual Rows\": 1, \"Actual Loops\": 1, \"Rows Removed by Filter\": 20000}]}\n\t}\n";
        let plans = plans(log);
        let (text, plan) = plans.first_key_value().unwrap();
        assert_eq!(problems(text, plan), ["Seq Scan on member, 20001 rows: SELECT 1"]);
    }
}
