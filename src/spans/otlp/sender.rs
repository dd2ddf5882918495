//! The way to the collector: OTLP over HTTP, on hyper as everything else here.

use crate::spans::Encoding;
use crate::spans::TraceSettings;
use crate::tls;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use std::io;
use std::time::Duration;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Sends spans to the collector.
pub(super) type Exporter = opentelemetry_otlp::SpanExporter;

/// How long the head of the collector's answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why no span can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No root certificate can be had.
    #[error("the system's root certificates can't be read: {0}")]
    Roots(#[from] io::Error),
    /// TLS can't be spoken.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The exporter can't be made.
    #[error("the exporter can't be set up: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// An exporter of these settings; nothing is connected yet.
pub(super) fn exporter_of(
    settings: &TraceSettings,
    resource: &Resource,
) -> Result<Exporter, StartError> {
    let tls = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()?;
    let tls = if settings.endpoint.scheme_str() == Some("https") {
        tls.with_native_roots()?.with_no_client_auth()
    } else {
        tls.with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    };
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    let protocol = match settings.encoding {
        Encoding::Protobuf => Protocol::HttpBinary,
        Encoding::Json => Protocol::HttpJson,
    };
    let headers = settings.headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        // The exporter takes them for percent-encoded.
        Some((name.as_str().to_owned(), value.replace('%', "%25")))
    });
    let endpoint = settings.endpoint.to_string();
    let mut exporter = Exporter::builder()
        .with_http()
        .with_http_client(HyperClient::new(connector, TIMEOUT, None))
        .with_protocol(protocol)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(TIMEOUT)
        .with_headers(headers.collect())
        .build()?;
    exporter.set_resource(resource);
    Ok(exporter)
}
