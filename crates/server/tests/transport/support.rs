//! A small server with every layer that matters, certificates, tokens and clients for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, date_time_ymd};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_stream::Stream;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use usher_server::authenticate::Authenticator;
use usher_server::transport::WallClock;
use usher_server::transport::accept::Door;
use usher_server::transport::guarded::Connection;
use usher_server::transport::limits::Limits;
use usher_server::transport::outcome::{Method, Observer, OutcomeLayer};
use usher_server::transport::tls::{ClientCertificates, Tls, TlsFiles};

/// 2027-01-15, the present of every test.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const CHECK: &str = "grpc.health.v1.Health/Check";
pub(crate) const WATCH: &str = "grpc.health.v1.Health/Watch";

pub(crate) fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A clock that only moves when told.
#[derive(Clone)]
pub(crate) struct Hands(Arc<AtomicU64>);

impl Hands {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NOW)))
    }

    pub(crate) fn clock(&self) -> WallClock {
        let hands = self.clone();
        Arc::new(move || hands.0.load(Ordering::SeqCst))
    }

    pub(crate) fn turn(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// What was reported, in order.
#[derive(Clone, Default)]
pub(crate) struct Recorded {
    calls: Arc<Mutex<Vec<(&'static str, Code)>>>,
    panics: Arc<AtomicU64>,
}

impl Recorded {
    pub(crate) fn calls(&self) -> Vec<(&'static str, Code)> {
        self.calls.lock().clone()
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::SeqCst)
    }

    /// Waits until `count` calls are reported, and a little for one too many.
    pub(crate) async fn settled(&self, count: usize) -> Vec<(&'static str, Code)> {
        eventually(|| self.calls().len() >= count).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.calls()
    }
}

impl Observer for Recorded {
    fn call(&self, _: usize, method: &'static str, code: Code, _: Duration) {
        self.calls.lock().push((method, code));
    }

    fn panic(&self, _: &'static str) {
        self.panics.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not happen within 5 s");
}

/// Does what the name of the asked service says.
#[derive(Clone)]
struct Actor {
    authenticator: Arc<Authenticator>,
}

type Answers = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: ServingStatus::Serving.into() }
}

#[tonic::async_trait]
impl Health for Actor {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let connection = request.extensions().get::<Connection>().cloned();
        let headers: &HeaderMap = request.metadata().as_ref();
        let caller = self.authenticator.authenticate(headers, connection.as_ref()).await?;
        match request.get_ref().service.split_once(' ') {
            Some(("wait", ms)) => tokio::time::sleep(Duration::from_millis(ms.parse().unwrap())).await,
            Some(("panic", text)) => panic!("{}", text.to_owned()),
            Some(("fail", _)) => return Err(Status::not_found("no such thing")),
            _ => {}
        }
        let mut response = Response::new(serving());
        response.metadata_mut().insert("caller", caller.name.parse().unwrap());
        Ok(response)
    }

    type WatchStream = Answers;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Answers>, Status> {
        let what = request.into_inner().service;
        let two = tokio_stream::iter([Ok(serving()), Ok(serving())]);
        Ok(Response::new(match what.as_str() {
            "fail" => Box::pin(two.chain(tokio_stream::once(Err(Status::data_loss("gone"))))),
            "endless" => Box::pin(two.chain(tokio_stream::pending())),
            "panic" => Box::pin(two.map(|_| panic!("in the stream"))),
            _ => Box::pin(two),
        }))
    }
}

/// How a test server is set up.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) authenticator: Option<Authenticator>,
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) door: Door,
    pub(crate) recorded: Recorded,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) fn stop(&mut self) {
        self.stop.take();
    }

    pub(crate) async fn plain(&self) -> HealthClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        HealthClient::new(endpoint.connect().await.unwrap())
    }
}

pub(crate) fn methods() -> [Method; 2] {
    [(CHECK, false), (WATCH, true)].map(|(name, streaming)| Method { name, streaming, logged: true })
}

pub(crate) async fn serve(setup: Setup) -> Running {
    install_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let recorded = Recorded::default();
    let layer = OutcomeLayer::new(&setup.limits, methods(), recorded.clone());
    let authenticator = Arc::new(setup.authenticator.unwrap_or_else(Authenticator::open));
    let mut server = setup.limits.apply(Server::builder()).layer(layer);
    let door = Door::new(setup.limits, setup.tls);
    let incoming = door.incoming(listener);
    let (stop, stopped) = oneshot::channel::<()>();
    let router = server.add_service(HealthServer::new(Actor { authenticator }));
    let task = tokio::spawn(async move {
        let signal = async { drop(stopped.await) };
        router.serve_with_incoming_shutdown(incoming, signal).await.unwrap();
    });
    Running { address, door, recorded, stop: Some(stop), task }
}

pub(crate) fn ask(what: &str) -> Request<HealthCheckRequest> {
    Request::new(HealthCheckRequest { service: what.to_owned() })
}

pub(crate) fn ask_with_token(token: &str) -> Request<HealthCheckRequest> {
    let mut request = ask("");
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// The name of the caller that the server took us for.
pub(crate) async fn who(
    client: &mut HealthClient<Channel>,
    request: Request<HealthCheckRequest>,
) -> Result<String, Code> {
    let response = client.check(request).await.map_err(|status| status.code())?;
    Ok(response.metadata().get("caller").unwrap().to_str().unwrap().to_owned())
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// An authority made for one test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2050, 1, 1);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn server(&self) -> Pair {
        self.issue(&["localhost"], 2020, 2050)
    }

    pub(crate) fn issue(&self, names: &[&str], from_year: i32, to_year: i32) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("gateway.etl"));
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.contains("://") {
                true => SanType::URI((*name).try_into().unwrap()),
                false => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        params.not_before = date_time_ymd(from_year, 1, 1);
        params.not_after = date_time_ymd(to_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// The files of a server, replaced as a mounted secret would be.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new(server: &Pair, client_ca: Option<&str>) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.replace(server);
        if let Some(pem) = client_ca {
            folder.write("ca.pem", pem);
        }
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn replace(&self, server: &Pair) {
        self.write("cert.pem", &server.certificate);
        self.write("key.pem", &server.key);
    }

    pub(crate) fn files(&self, wanted: Option<ClientCertificates>) -> TlsFiles {
        let ca = self.path("ca.pem");
        TlsFiles {
            certificate_file: self.path("cert.pem"),
            key_file: self.path("key.pem"),
            client_ca_file: Path::exists(&ca).then_some(ca),
            client_certificates: wanted,
        }
    }

    pub(crate) fn tls(&self, wanted: Option<ClientCertificates>) -> Arc<Tls> {
        Tls::load(self.files(wanted), Hands::new().clock()).unwrap()
    }
}

/// A client that trusts `authority` and shows `pair`.
pub(crate) async fn connect(
    address: SocketAddr,
    authority: &str,
    pair: Option<&Pair>,
) -> Result<HealthClient<Channel>, tonic::transport::Error> {
    install_provider();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let connect = tower::service_fn(move |_: http::Uri| {
        let connector = connector.clone();
        async move {
            let socket = TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            connector.connect(name, socket).await.map(TokioIo::new)
        }
    });
    Ok(HealthClient::new(Endpoint::from_static("http://localhost").connect_with_connector(connect).await?))
}

/// A check over plain HTTP/2: tonic's own client would keep the deadline that it sends.
pub(crate) async fn check_with_timeout(address: SocketAddr, what: &str, timeout: &str) -> Code {
    use hyper_util::rt::TokioExecutor;
    let socket = TcpStream::connect(address).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let message = prost::Message::encode_to_vec(&HealthCheckRequest { service: what.to_owned() });
    let mut body = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
    body.extend_from_slice(&message);
    let request = http::Request::post(format!("http://{address}/{CHECK}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", timeout)
        .body(http_body_util::Full::new(hyper::body::Bytes::from(body)))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    response.headers().get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}
