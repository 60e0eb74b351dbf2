//! What every call has in common: id, outcome, deadline, panics, shedding.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use usher_server::transport::limits::Limits;
use usher_server::transport::outcome::{OTHER, OutcomeLayer};

use crate::support::{CHECK, Recorded, Setup, WATCH, ask, check_with_timeout, methods, serve};

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test]
async fn outcomes_are_reported_once_with_their_code() {
    let server = serve(Setup::default()).await;
    let mut client = server.plain().await;
    client.check(ask("")).await.unwrap();
    client.check(ask("fail now")).await.unwrap_err();
    let answers = client.watch(ask("")).await.unwrap().into_inner();
    assert_eq!(answers.filter(Result::is_ok).collect::<Vec<_>>().await.len(), 2);
    let answers = client.watch(ask("fail")).await.unwrap().into_inner();
    assert_eq!(answers.filter(Result::is_err).collect::<Vec<_>>().await.len(), 1);
    let calls = server.recorded.settled(4).await;
    assert_eq!(
        calls,
        [(CHECK, Code::Ok), (CHECK, Code::NotFound), (WATCH, Code::Ok), (WATCH, Code::DataLoss)]
    );
}

#[tokio::test]
async fn methods_that_nobody_has_share_one_name() {
    let server = serve(Setup::default()).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let mut client = tonic::client::Grpc::new(channel.connect().await.unwrap());
    for path in ["/made.up/Name", "/grpc.health.v1.Health/Made", "/x"] {
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        let status = client.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
    }
    assert_eq!(server.recorded.settled(3).await, [(OTHER, Code::Unimplemented); 3]);
}

#[tokio::test]
async fn a_call_that_its_caller_gives_up_is_reported_once_as_cancelled() {
    let server = serve(Setup::default()).await;
    let mut client = server.plain().await;
    let given_up = tokio::time::timeout(Duration::from_millis(100), client.check(ask("wait 3000"))).await;
    assert!(given_up.is_err());
    assert_eq!(server.recorded.settled(1).await, [(CHECK, Code::Cancelled)]);

    let mut answers = client.watch(ask("endless")).await.unwrap().into_inner();
    answers.next().await.unwrap().unwrap();
    drop(answers);
    assert_eq!(server.recorded.settled(2).await[1..], [(WATCH, Code::Cancelled)]);
}

#[tokio::test]
async fn a_panic_is_internal_for_its_call_only() {
    let server = serve(Setup::default()).await;
    let mut client = server.plain().await;
    let mut other = client.clone();
    let neighbour = tokio::spawn(async move { other.check(ask("wait 200")).await });
    let mut request = ask("panic with-a-secret");
    request.metadata_mut().insert("x-request-id", "my-id".parse().unwrap());
    let status = client.check(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "INTERNAL"));
    assert_eq!(status.message(), "internal error, request id `my-id`");
    assert_eq!(status.metadata().get("x-request-id").unwrap(), "my-id");
    neighbour.await.unwrap().unwrap();

    let answers = client.watch(ask("panic")).await.unwrap().into_inner();
    let answers: Vec<_> = answers.collect().await;
    assert_eq!(answers.last().unwrap().as_ref().unwrap_err().code(), Code::Internal);
    client.check(ask("")).await.unwrap();
    assert_eq!(server.door.figures().accepted, 1, "the connection lives");
    assert_eq!(server.recorded.panics(), 2);
    let mut calls = server.recorded.settled(4).await;
    calls.sort_by_key(|(method, code)| (*method, *code as i32));
    let expected = [(CHECK, Code::Ok), (CHECK, Code::Ok), (CHECK, Code::Internal), (WATCH, Code::Internal)];
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn a_late_call_is_deadline_exceeded() {
    let deadlines_ms = BTreeMap::from([(CHECK.to_owned(), 200)]);
    let server =
        serve(Setup { limits: Limits { deadlines_ms, ..Limits::default() }, ..Setup::default() }).await;
    let mut client = server.plain().await;
    let begun = Instant::now();
    let status = client.check(ask("wait 3000")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert!(begun.elapsed() < Duration::from_secs(1));
    client.check(ask("wait 50")).await.unwrap();

    let mut answers = client.watch(ask("endless")).await.unwrap().into_inner();
    let silent = tokio::time::timeout(Duration::from_millis(400), async {
        while answers.next().await.unwrap().is_ok() {}
    });
    assert!(silent.await.is_err(), "a stream has no deadline");
    assert_eq!(server.recorded.calls(), [(CHECK, Code::DeadlineExceeded), (CHECK, Code::Ok)]);
}

#[tokio::test]
async fn the_callers_own_deadline_counts_if_it_is_shorter() {
    let deadlines_ms = BTreeMap::from([(CHECK.to_owned(), 500)]);
    let server =
        serve(Setup { limits: Limits { deadlines_ms, ..Limits::default() }, ..Setup::default() }).await;
    for (timeout, at_most) in
        [("100m", 400), ("20m", 300), ("3m", 300), ("1n", 300), ("10S", 900), ("bogus", 900)]
    {
        let begun = Instant::now();
        let code = check_with_timeout(server.address, "wait 3000", timeout).await;
        assert_eq!(code, Code::DeadlineExceeded, "{timeout}");
        assert!(begun.elapsed() < Duration::from_millis(at_most), "{timeout} {:?}", begun.elapsed());
    }
    let calls = server.recorded.settled(6).await;
    assert_eq!(calls, [(CHECK, Code::DeadlineExceeded); 6]);
}

#[tokio::test]
async fn too_many_calls_at_once_are_refused_with_a_time_to_wait() {
    let limits = Limits { concurrent_calls: 4, concurrent_streams: 1, ..Limits::default() };
    let server = serve(Setup { limits, ..Setup::default() }).await;
    let client = server.plain().await;
    let calls = (0..10).map(|_| {
        let mut client = client.clone();
        tokio::spawn(async move { client.check(ask("wait 300")).await })
    });
    let mut refused = 0;
    for call in calls.collect::<Vec<_>>() {
        if let Err(status) = call.await.unwrap() {
            assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
            assert_eq!(status.get_details_error_info().unwrap().domain, "usher.v1");
            assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
            refused += 1;
        }
    }
    assert_eq!(refused, 6);
    let mut client = client.clone();
    client.check(ask("")).await.unwrap();

    let stream = client.watch(ask("endless")).await.unwrap();
    assert_eq!(client.watch(ask("endless")).await.unwrap_err().code(), Code::ResourceExhausted);
    client.check(ask("")).await.unwrap();
    drop(stream);
    server.recorded.settled(14).await;
    client.watch(ask("endless")).await.unwrap();
}

#[tokio::test]
async fn every_answer_carries_the_request_id() {
    let server = serve(Setup::default()).await;
    let mut client = server.plain().await;
    let mut id = async |sent: Option<&str>| {
        let mut request = ask("");
        if let Some(sent) = sent {
            request.metadata_mut().insert("x-request-id", sent.parse().unwrap());
        }
        let response = client.check(request).await.unwrap();
        response.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(id(Some("a.b:c_d-1")).await, "a.b:c_d-1");
    assert_ne!(id(Some("not fit")).await, "not fit");
    assert_ne!(id(None).await, id(None).await);
}

#[test]
fn a_deadline_for_what_is_not_served_is_found() {
    let deadlines_ms = BTreeMap::from([("typo".to_owned(), 1), (CHECK.to_owned(), 1), (WATCH.to_owned(), 1)]);
    let limits = Limits { deadlines_ms, ..Limits::default() };
    let layer = OutcomeLayer::new(&limits, methods(), Recorded::default());
    assert_eq!(layer.deadlines_unused(&limits), [WATCH, "typo"]);
}
