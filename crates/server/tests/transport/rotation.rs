//! New certificates while calls run.

use std::sync::Arc;
use std::time::Duration;

use tonic::Code;
use usher_server::authenticate::config::CallersConfig;
use usher_server::transport::tls::{Tls, TlsError};

use crate::support::{Authority, Folder, Hands, NOW, Setup, ask, connect, serve, who};

fn gateway() -> CallersConfig {
    toml::from_str(r#"callers = [{ name = "gateway", scopes = ["check"], dns = "gateway.etl" }]"#).unwrap()
}

#[tokio::test]
async fn a_new_certificate_is_used_and_no_call_is_dropped() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let folder = Folder::new(&old.server(), None);
    let tls = folder.tls(None);
    let watching = tokio::spawn(Arc::clone(&tls).watch(Duration::from_millis(20)));
    let server = serve(Setup { tls: Some(tls), ..Setup::default() }).await;

    let mut client = connect(server.address, &old.pem(), None).await.unwrap();
    let mut busy = client.clone();
    let in_flight = tokio::spawn(async move { busy.check(ask("wait 400")).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    folder.replace(&new.server());
    tokio::time::sleep(Duration::from_millis(150)).await;

    assert!(connect(server.address, &old.pem(), None).await.is_err(), "the old certificate is gone");
    connect(server.address, &new.pem(), None).await.unwrap().check(ask("")).await.unwrap();
    assert!(in_flight.await.unwrap().is_ok());
    client.check(ask("")).await.unwrap();
    watching.abort();
}

#[tokio::test]
async fn callers_of_an_authority_that_was_taken_out_stay_out() {
    let (ours, old, new) = (Authority::new("ours"), Authority::new("old"), Authority::new("new"));
    let folder = Folder::new(&ours.server(), Some(&old.pem()));
    let tls = folder.tls(None);
    let authenticator = gateway().compile(Hands::new().clock()).unwrap();
    let setup = Setup { tls: Some(Arc::clone(&tls)), authenticator: Some(authenticator), ..Setup::default() };
    let server = serve(setup).await;
    let (before, after) = (old.issue(&["gateway.etl"], 2020, 2050), new.issue(&["gateway.etl"], 2020, 2050));

    let mut client = connect(server.address, &ours.pem(), Some(&before)).await.unwrap();
    assert_eq!(who(&mut client, ask("")).await, Ok("gateway".to_owned()));
    folder.write("ca.pem", &(old.pem() + &new.pem()));
    assert!(tls.reload().unwrap());
    for pair in [&before, &after] {
        let mut client = connect(server.address, &ours.pem(), Some(pair)).await.unwrap();
        assert_eq!(who(&mut client, ask("")).await, Ok("gateway".to_owned()), "both while they change over");
    }
    folder.write("ca.pem", &new.pem());
    assert!(tls.reload().unwrap());
    let refused = match connect(server.address, &ours.pem(), Some(&before)).await {
        Ok(mut client) => who(&mut client, ask("")).await.unwrap_err(),
        Err(_) => Code::Unavailable,
    };
    assert!(matches!(refused, Code::Unknown | Code::Unavailable), "{refused:?}");
    assert_eq!(who(&mut client, ask("")).await, Ok("gateway".to_owned()), "an open connection is kept");
}

#[tokio::test]
async fn a_file_that_does_not_fit_keeps_the_old_and_is_told_once() {
    let authority = Authority::new("ours");
    let good = authority.server();
    let folder = Folder::new(&good, Some(&authority.pem()));
    let tls = folder.tls(None);
    assert!(!tls.reload().unwrap(), "nothing changed");
    for (file, text) in [
        ("key.pem", authority.server().key.as_str()),
        ("key.pem", "no key"),
        ("cert.pem", "no certificate"),
        ("cert.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("ca.pem", ""),
    ] {
        let in_use = tls.current();
        folder.write(file, text);
        assert!(tls.reload().is_err(), "{file} {text:?}");
        assert!(!tls.reload().unwrap(), "told once: {file} {text:?}");
        assert!(Arc::ptr_eq(&in_use, &tls.current()));
        folder.replace(&good);
        folder.write("ca.pem", &authority.pem());
        assert!(tls.reload().unwrap(), "mended");
    }
    std::fs::remove_file(folder.path("cert.pem")).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Read(..))));
}

#[tokio::test]
async fn the_first_expiry_counts() {
    let authority = Authority::new("ours");
    let year_2050 = 2_524_608_000;
    let folder = Folder::new(&authority.server(), Some(&authority.pem()));
    assert_eq!(folder.tls(None).not_after(), year_2050);
    let year_2028 = 1_830_297_600;
    folder.replace(&authority.issue(&["localhost"], 2020, 2028));
    let tls = Tls::load(folder.files(None), Hands::new().clock()).unwrap();
    assert_eq!(tls.not_after(), year_2028);
    assert!(tls.not_after() > NOW);
}
