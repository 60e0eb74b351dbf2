//! A collector that keeps what it is sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Longer than anything takes to arrive on a busy machine.
const ARRIVE_MAX: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Kept {
    resource: Vec<KeyValue>,
    spans: Vec<Span>,
    /// As they print: only names and labels are looked for.
    metrics: Vec<(String, String)>,
}

#[derive(Clone)]
pub(super) struct Collector {
    kept: Arc<Mutex<Kept>>,
    pub(super) url: String,
}

impl Collector {
    /// It ends with the test's runtime.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self { kept: Arc::default(), url };
        let server = Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        collector
    }

    pub(super) fn resource(&self) -> Vec<KeyValue> {
        self.kept.lock().unwrap().resource.clone()
    }

    /// All spans, once they are as wanted.
    pub(super) async fn spans_until(&self, wanted: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let arriving = async {
            loop {
                let spans = self.kept.lock().unwrap().spans.clone();
                if wanted(&spans) {
                    return spans;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let arrived = tokio::time::timeout(ARRIVE_MAX, arriving).await;
        arrived.unwrap_or_else(|_| panic!("only these arrived: {:#?}", self.kept.lock().unwrap().spans))
    }

    /// Waits for a metric of this name with a label of this value.
    pub(super) async fn metric_until(&self, name: &str, label: &str) {
        let arriving = async {
            let is_it =
                |(known, shown): &(String, String)| known == name && shown.contains(&format!("{label:?}"));
            while !self.kept.lock().unwrap().metrics.iter().any(is_it) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let arrived = tokio::time::timeout(ARRIVE_MAX, arriving).await;
        arrived.unwrap_or_else(|_| panic!("no metric `{name}` with `{label}` arrived"));
    }
}

/// The attribute's text.
pub(super) fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        other => Some(format!("{other:?}")),
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.kept.lock().unwrap();
        for of_resource in request.into_inner().resource_spans {
            kept.resource = of_resource.resource.unwrap_or_default().attributes;
            kept.spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_metrics.into_iter().flat_map(|of| of.scope_metrics);
        let metrics = scopes.flat_map(|scope| scope.metrics);
        let shown = metrics.map(|metric| (metric.name.clone(), format!("{metric:?}")));
        self.kept.lock().unwrap().metrics.extend(shown);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
