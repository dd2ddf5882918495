//! `identity.jwt`: tokens are verified before Tidegate answers for the application.

use crate::support::calls::{BY_LISTS, EXPLAIN, bearer};
use crate::support::upstream::{FakeUpstream, answer};
use crate::support::{Sidecar, in_time};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use std::io::Write as _;

const SECRET: &[u8] = b"a secret that both have, of more than 32 bytes";

fn encode(text: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

/// A token under a secret, with its scheme.
fn signed(secret: &[u8], claims: &Value) -> String {
    let text = format!(
        "{}.{}",
        encode("{\"alg\":\"HS256\"}"),
        encode(claims.to_string())
    );
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let signature = ring::hmac::sign(&key, text.as_bytes());
    format!("Bearer {text}.{}", encode(signature))
}

async fn start(jwt: &str) -> Sidecar {
    let lines = format!("[identity]\njwt = {{ {jwt} }}\n");
    Sidecar::start(&[BY_LISTS, EXPLAIN, ("[identity]\n", &lines)]).await
}

fn secret_file(text: &[u8]) -> (tempfile::NamedTempFile, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    let line = format!("secret_file = {:?}", file.path().display().to_string());
    (file, line)
}

#[tokio::test]
async fn a_call_with_a_token_that_nobody_signed_is_forwarded_and_not_answered() {
    let (_file, line) = secret_file(&[SECRET, b"\n"].concat());
    let sidecar = start(&line).await;
    let claims = json!({ "sub": "u" });
    let good = signed(SECRET, &claims);
    // The same one after it was verified, and over connections of their own.
    for id in ["a", "b"] {
        sidecar.taken(&[("authorization", &good)], "u", id).await;
    }
    let mut forged = vec![
        bearer(&claims),
        signed(b"another secret", &claims),
        "Bearer an-opaque-token".to_owned(),
        format!("{good}x"),
    ];
    // Another user's claims under a signature that was good for these.
    let (_, signature) = good.rsplit_once('.').unwrap();
    let other = signed(SECRET, &json!({ "sub": "v" }));
    forged.push(format!("{}.{signature}", other.rsplit_once('.').unwrap().0));
    for (at, token) in forged.iter().enumerate() {
        for _ in 0..2 {
            let headers = [("authorization", token.as_str())];
            let heard = sidecar.send(&headers, "u", &format!("f{at}")).await;
            assert_eq!(
                (heard.status, heard.header("tidegate-forwarded")),
                (StatusCode::OK, "unverified_token"),
                "{token}"
            );
            let read = sidecar
                .call(Method::GET, "/progress?user=u", &headers, "")
                .await;
            assert!(
                read.header("cache-status")
                    .contains("detail=unverified_token"),
                "{token}: {read:?}"
            );
        }
    }
    assert_eq!(
        sidecar.declined("unverified_token").await,
        2 * forged.len() as u64
    );
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 2).await;
    assert_eq!(sidecar.upstream.batches(), [["a", "b"]]);
}

#[tokio::test]
async fn a_call_without_a_token_is_asked_for_none_unless_the_configuration_does() {
    let (_file, line) = secret_file(SECRET);
    let sidecar = start(&line).await;
    sidecar.taken(&[], "u", "a").await;
    let basic = [("authorization", "Basic dTpw")];
    sidecar.taken(&basic, "u", "b").await;
    // Some applications read a token there all the same.
    for odd in ["JWT x.y.z", "Bearer\tx.y.z", "x.y.z"] {
        let heard = sidecar.send(&[("authorization", odd)], "u", "c").await;
        assert_eq!(
            heard.header("tidegate-forwarded"),
            "unverified_token",
            "{odd}"
        );
    }
    let lines = format!("[identity]\nrequire = [\"jwt\"]\njwt = {{ {line} }}\n");
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, ("[identity]\n", &lines)]).await;
    let heard = sidecar.send(&[], "u", "a").await;
    assert_eq!(heard.header("tidegate-forwarded"), "requirement");
}

#[tokio::test]
async fn an_audience_may_be_one_of_several() {
    let lines = "[identity]\nclaims = { aud = [\"learning\"] }\n";
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, ("[identity]\n", lines)]).await;
    for (audience, reason) in [
        (json!(["other", "learning"]), ""),
        (json!("learning"), ""),
        (json!(["other"]), "claim"),
        (json!("other"), "claim"),
    ] {
        let token = bearer(&json!({ "sub": "u", "aud": audience }));
        let heard = sidecar
            .send(
                &[("authorization", &token)],
                "u",
                &audience.to_string().len().to_string(),
            )
            .await;
        assert_eq!(heard.header("tidegate-forwarded"), reason, "{audience}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_an_issuer_publishes_count_once_they_are_fetched() {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
    let text = format!(
        "{}.{}",
        encode("{\"alg\":\"ES256\",\"kid\":\"k1\"}"),
        encode("{\"sub\":\"u\"}")
    );
    let signature = pair.sign(&random, text.as_bytes()).unwrap();
    let token = format!("Bearer {text}.{}", encode(signature));

    let point = &pair.public_key().as_ref()[1..];
    let key = json!({
        "kty": "EC", "crv": "P-256", "kid": "k1",
        "x": encode(&point[..32]), "y": encode(&point[32..]),
    });
    let issuer = FakeUpstream::start().await;
    // A first answer that is none: the keys come with the second.
    let mut is_first = true;
    issuer.answer_with(move |_| {
        Some(if std::mem::take(&mut is_first) {
            answer(503, json!({}))
        } else {
            answer(200, json!({ "keys": [key] }))
        })
    });
    issuer.close_gate();
    let sidecar = start(&format!("jwks_url = \"http://{}/keys\"", issuer.address)).await;
    let headers = [("authorization", token.as_str())];
    let heard = sidecar.send(&headers, "u", "a").await;
    assert_eq!(heard.header("tidegate-forwarded"), "unverified_token");
    issuer.open_gate();
    sidecar
        .until_counter("tidegate_jwt_key_fetches_total{result=\"fetched\"}", 1)
        .await;
    let failed = sidecar.counter("tidegate_jwt_key_fetches_total{result=\"failed\"}");
    assert_eq!(failed.await, 1);
    sidecar.taken(&headers, "u", "b").await;
    let forged = format!("{}x", &token[..token.len() - 1]);
    let heard = sidecar.send(&[("authorization", &forged)], "u", "c").await;
    assert_eq!(heard.header("tidegate-forwarded"), "unverified_token");
    in_time("the stop", sidecar.running.stop()).await;
    let asked = issuer.seen();
    assert!(asked.iter().all(|seen| seen.path == "/keys"));
    assert_eq!(asked[0].header("authorization"), "");
}
