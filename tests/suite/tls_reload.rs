//! The public listener's certificate changes while calls come.

use crate::support::certificates::Authority;
use crate::support::{Http, in_time};
use crate::tls::{Served, post, serve_after};
use http::{Method, StatusCode, Version};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// The certificate that a new connection is shown.
async fn shown(served: &Served) -> Vec<u8> {
    let stream = served.connect(&["http/1.1"]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn first_of(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}

async fn reload(served: &Served) -> (StatusCode, String) {
    let answer = Http::default()
        .try_call(
            served.process.admin,
            Method::POST,
            "/config/reload",
            &[],
            "",
        )
        .await
        .unwrap();
    (
        answer.status,
        String::from_utf8_lossy(&answer.body).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_without_a_failed_call_and_open_connections_go_on() {
    let served = Arc::new(serve_after("true", &[]).await);
    let before = shown(&served).await;
    let mut open = served.connect(&["http/1.1"]).await.unwrap();
    let (ends, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let load = tokio::spawn({
        let (served, ends, calls) = (Arc::clone(&served), Arc::clone(&ends), Arc::clone(&calls));
        async move {
            while !ends.load(Ordering::SeqCst) {
                let stream = served.connect(&["h2"]).await.unwrap();
                let (status, _) = post(stream, Version::HTTP_2, "/other", "{}").await;
                assert_eq!(status, StatusCode::OK);
                calls.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let made = async |more: usize| {
        let wanted = calls.load(Ordering::SeqCst) + more;
        while calls.load(Ordering::SeqCst) < wanted {
            assert!(!load.is_finished(), "a call has failed");
            tokio::task::yield_now().await;
        }
    };
    made(5).await;
    let new = served.root.sign();
    new.write(served.directory.path(), "server");
    let (status, said) = reload(&served).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    assert_eq!(shown(&served).await, first_of(&new.cert));
    assert_ne!(shown(&served).await, before);
    made(5).await;
    // And by its files alone.
    let newest = served.root.sign();
    newest.write(served.directory.path(), "server");
    let followed = async {
        while shown(&served).await != first_of(&newest.cert) {
            tokio::task::yield_now().await;
        }
    };
    in_time("the newest certificate", followed).await;
    made(5).await;
    ends.store(true, Ordering::SeqCst);
    load.await.unwrap();
    open.write_all(b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut heard = String::new();
    open.read_to_string(&mut heard).await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_new_files_change_nothing_and_are_told() {
    let served = serve_after("export RUST_LOG=tidegate=info", &[]).await;
    let before = shown(&served).await;
    let (cert, key) = ("server.pem", "server.key");
    let stranger = Authority::new("another").sign();
    for (file, text, wanted) in [
        (
            key,
            &*stranger.key,
            "the private key doesn't belong to the first certificate",
        ),
        (cert, "no certificate", "found no certificate"),
    ] {
        std::fs::write(served.directory.path().join(file), text).unwrap();
        let told = async {
            while !served.process.said().contains(wanted) {
                tokio::task::yield_now().await;
            }
        };
        in_time("a line of the log", told).await;
        let (status, said) = reload(&served).await;
        assert!(
            status.is_client_error() && said.contains("server.tls."),
            "{status} {said}"
        );
        assert_eq!(shown(&served).await, before);
    }
    assert!(served.process.said().contains("the one before stays"));
    // What is right again is taken.
    stranger.write(served.directory.path(), "server");
    let (status, said) = reload(&served).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    assert!(
        served.connect(&["h2"]).await.is_err(),
        "another authority's is believed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_new_certificate_is_served_with_a_warning() {
    let served = serve_after("export RUST_LOG=tidegate=info", &[]).await;
    served
        .root
        .sign_for(&["localhost"], (2020, 2021))
        .write(served.directory.path(), "server");
    let told = async {
        while !served
            .process
            .said()
            .contains("the certificate has expired at 2021")
        {
            tokio::task::yield_now().await;
        }
    };
    in_time("a line of the log", told).await;
}
