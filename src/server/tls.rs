//! TLS on the public listener: its certificate, which is read again when its files change, and the
//! handshake.
//!
//! ```text
//! read at the start ──▶ served ◀── read anew ── the files have changed
//!                          │            └─ wrong: what is served stays, and the log says why
//!                          └─ taken by each handshake; open connections keep what they have
//! ```
//!
//! A handshake has the time of a head, and its place like a connection that waits for its client:
//! `phase.rs` counts it as a part of the first head.

use super::stream::WatchedStream;
use crate::tls::{
    FileError, HTTP_1_1, HTTP_2, KeyFiles, OutOfTime, bad_certificate, find_out_of_time, provider,
};
use parking_lot::{Mutex, RwLock};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::server::TlsStream;

/// How often it is looked whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Bytes of one connection that are ready and lie beside the kernel's, encrypted or not.
const MAX_BUFFER: usize = 32 << 10;

/// A listener's TLS; clones share it.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
}

/// The certificate that is served, and where it comes from.
#[derive(Debug)]
struct Certificate {
    files: KeyFiles,
    /// Locked for a clone of the `Arc` by each handshake, for a swap by a reload.
    served: RwLock<Arc<CertifiedKey>>,
    /// The files as they were when they were last read, right or wrong. Locked while they are read,
    /// so that two readers don't swap in turn.
    seen: Mutex<[Stamp; 2]>,
}

/// What tells a file from what it was; none of one that isn't there.
type Stamp = Option<(i64, i64, u64, u64)>;

impl ServerTls {
    /// Reads both files. Blocks on the disk.
    ///
    /// # Errors
    /// One of them can't be used, or they don't belong together.
    pub fn try_new(files: KeyFiles) -> Result<Self, FileError> {
        let seen = stamps(&files);
        let certificate = Arc::new(Certificate {
            served: RwLock::new(Arc::new(files.read()?)),
            seen: Mutex::new(seen),
            files,
        });
        let resolver = Resolver(Arc::clone(&certificate));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| bad_certificate(&certificate.files.cert, error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate,
        })
    }

    /// The certificate that is served is out of its time: clients refuse it.
    #[must_use]
    pub fn out_of_time(&self) -> Option<OutOfTime> {
        find_out_of_time(&self.certificate.served.read().cert)
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &KeyFiles {
        &self.certificate.files
    }

    /// Reads the files again if they have changed. Blocks on the disk. A wrong file changes
    /// nothing, and is told in the log.
    pub fn reload(&self) {
        let Certificate {
            files,
            served,
            seen,
        } = &*self.certificate;
        let mut seen = seen.lock();
        let now = stamps(files);
        if now == *seen {
            return;
        }
        // ORDER: before they are read: what changes while they are read is read again.
        *seen = now;
        match files.read() {
            Ok(read) => {
                *served.write() = Arc::new(read);
                let path = files.cert.display();
                tracing::info!(%path, "the certificate was read anew");
                self.warn_if_out_of_time();
            }
            Err(error) => {
                tracing::error!(%error, "the new certificate can't be used; the one before stays");
            }
        }
    }

    /// Says in the log that clients refuse the certificate.
    pub fn warn_if_out_of_time(&self) {
        if let Some(out_of_time) = self.out_of_time() {
            let path = self.files().cert.display();
            tracing::warn!(%path, "the certificate {out_of_time}");
        }
    }

    /// Looks for changes of the files for ever.
    pub async fn follow_files(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let tls = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || tls.reload()).await {
                tracing::error!(%error, "the certificate's files could not be looked at");
            }
        }
    }

    /// A connection's handshake.
    ///
    /// # Errors
    /// The client speaks no TLS, none that is spoken here, or went.
    pub(super) async fn shake_hands(
        &self,
        stream: WatchedStream,
    ) -> io::Result<TlsStream<WatchedStream>> {
        self.acceptor
            .accept_with(stream, |session| session.set_buffer_limit(Some(MAX_BUFFER)))
            .await
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerTls").field(self.files()).finish()
    }
}

/// Gives each handshake the certificate that is served at that moment, whatever name it asks for.
#[derive(Debug)]
struct Resolver(Arc<Certificate>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.served.read()))
    }
}

fn stamps(files: &KeyFiles) -> [Stamp; 2] {
    [stamp(&files.cert), stamp(&files.key)]
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
}
