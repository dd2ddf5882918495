//! Tokens and keys of RFC 7515 (appendix A), a key of RFC 8037 (appendix A.2), and tokens made here.

use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};

fn encode(text: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn by_set(text: &str) -> TokenVerifier {
    let verifier = TokenVerifier::by_published_keys("https://issuer.test/keys".parse().unwrap());
    verifier.renew_keys(text.as_bytes()).unwrap();
    verifier
}

fn verifies(verifier: &TokenVerifier, token: &str) -> bool {
    let first = verifier.verify(token, &Verified::default());
    // As the cache of tokens has it, and as the head has it.
    let remembered = Verified::default();
    for _ in 0..2 {
        assert_eq!(verifier.verify(token, &remembered), first);
    }
    first
}

/// A token under a secret.
fn by_hmac(algorithm: ring::hmac::Algorithm, name: &str, secret: &[u8], claims: &str) -> String {
    let text = format!(
        "{}.{}",
        encode(format!("{{\"alg\":\"{name}\"}}")),
        encode(claims)
    );
    let key = ring::hmac::Key::new(algorithm, secret);
    let signature = ring::hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", encode(signature))
}

/// A P-256 key that was made here, and its member of a key set.
struct Issuer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Self {
            pair: pair.unwrap(),
            random,
        }
    }

    /// `more`: other members, each with a comma before it.
    fn jwk(&self, more: &str) -> String {
        let point = &self.pair.public_key().as_ref()[1..];
        let (x, y) = (encode(&point[..32]), encode(&point[32..]));
        format!("{{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"{x}\",\"y\":\"{y}\"{more}}}")
    }

    fn sign(&self, header: &str) -> String {
        let text = format!("{}.{}", encode(header), encode("{\"sub\":\"u\"}"));
        let signature = self.pair.sign(&self.random, text.as_bytes()).unwrap();
        format!("{text}.{}", encode(signature))
    }
}

fn set_of(keys: &[String]) -> String {
    format!("{{\"keys\":[{}]}}", keys.join(","))
}

const RFC_7515_A1: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const RFC_7515_A1_KEY: &str =
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const RFC_7515_A2_KEY: &str = "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}";
const RFC_7515_A2: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const RFC_7515_A3_KEY: &str = "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}";
const RFC_7515_A3: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const RFC_8037_KEY: &str =
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}";

#[test]
fn tokens_of_the_standards_are_verified_and_those_of_another_signature_are_not() {
    let secret = BASE64_URL_SAFE_NO_PAD.decode(RFC_7515_A1_KEY).unwrap();
    let by_secret = TokenVerifier::by_secret(&secret).unwrap();
    for (verifier, token) in [
        (&by_secret, RFC_7515_A1),
        (&by_set(&set_of(&[RFC_7515_A2_KEY.into()])), RFC_7515_A2),
        (&by_set(&set_of(&[RFC_7515_A3_KEY.into()])), RFC_7515_A3),
    ] {
        assert!(verifies(verifier, token), "{token}");
        // Another character of the signature, and of the claims.
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (head, claims) = signed.split_once('.').unwrap();
        let other = signature.replacen(signature.chars().next().unwrap(), "_", 1);
        let renamed = claims.replace("eyJpc3MiOiJqb2UiL", "eyJpc3MiOiJqb3UiL");
        assert_ne!(claims, renamed);
        for wrong in [
            format!("{signed}.{other}"),
            format!("{head}.{renamed}.{signature}"),
            format!("{signed}."),
            signed.to_owned(),
            format!("{token}.{signature}"),
            String::new(),
            "an opaque token".to_owned(),
        ] {
            assert!(!verifies(verifier, &wrong), "{wrong}");
        }
    }
}

#[test]
fn a_token_does_not_choose_how_it_is_verified() {
    // A public key is no secret: by it as one, anybody could sign.
    let issuer = Issuer::new();
    let jwk = issuer.jwk("");
    let point = issuer.pair.public_key().as_ref();
    let claims = "{\"sub\":\"u\"}";
    for set in [
        set_of(std::slice::from_ref(&jwk)),
        set_of(&[jwk.clone(), "{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}".into()]),
    ] {
        let verifier = by_set(&set);
        for secret in [point, jwk.as_bytes(), b"", b"secret"] {
            let forged = by_hmac(ring::hmac::HMAC_SHA256, "HS256", secret, claims);
            assert!(!verifies(&verifier, &forged));
        }
        assert!(verifies(&verifier, &issuer.sign("{\"alg\":\"ES256\"}")));
        for header in [
            "{\"alg\":\"none\"}",
            "{\"alg\":\"HS256\"}",
            "{\"alg\":\"ES384\"}",
            "{\"alg\":\"RS256\"}",
            "{}",
            // What must be understood, and isn't (RFC 7515 §4.1.11).
            "{\"alg\":\"ES256\",\"crit\":[\"exp\"],\"exp\":1}",
        ] {
            assert!(!verifies(&verifier, &issuer.sign(header)), "{header}");
        }
    }
    // A curve of its own.
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let x = encode(pair.public_key());
    let verifier = by_set(&set_of(&[format!(
        "{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{x}\"}}"
    )]));
    for (header, is_right) in [
        ("{\"alg\":\"EdDSA\"}", true),
        ("{\"alg\":\"ES256\"}", false),
    ] {
        let text = format!("{}.{}", encode(header), encode(claims));
        let token = format!("{text}.{}", encode(pair.sign(text.as_bytes())));
        assert_eq!(verifies(&verifier, &token), is_right);
    }
    // Nor is a secret anything but one.
    let secret = TokenVerifier::by_secret(point).unwrap();
    assert!(!verifies(&secret, &issuer.sign("{\"alg\":\"ES256\"}")));
    let none = format!("{}.{}.", encode("{\"alg\":\"none\"}"), encode(claims));
    assert!(!verifies(&secret, &none));
    for (algorithm, name) in [
        (ring::hmac::HMAC_SHA256, "HS256"),
        (ring::hmac::HMAC_SHA384, "HS384"),
        (ring::hmac::HMAC_SHA512, "HS512"),
    ] {
        assert!(verifies(&secret, &by_hmac(algorithm, name, point, claims)));
        assert!(!verifies(
            &secret,
            &by_hmac(algorithm, name, b"other", claims)
        ));
    }
}

#[test]
fn a_key_is_found_by_its_name_and_its_use() {
    let (first, second) = (Issuer::new(), Issuer::new());
    let named = |name: &str| format!("{{\"alg\":\"ES256\",\"kid\":\"{name}\"}}");
    let verifier = by_set(&set_of(&[
        first.jwk(",\"kid\":\"a\",\"use\":\"sig\",\"alg\":\"ES256\""),
        second.jwk(",\"kid\":\"b\",\"key_ops\":[\"verify\"]"),
        // What isn't known is left out, not the set (RFC 7517 §5).
        "{\"kty\":\"new\",\"kid\":\"c\"}".into(),
        "{\"kty\":\"EC\",\"crv\":\"P-256\"}".into(),
        "7".into(),
    ]));
    assert_eq!(verifier.count_keys(), 2);
    assert!(verifies(&verifier, &first.sign(&named("a"))));
    assert!(verifies(&verifier, &second.sign(&named("b"))));
    assert!(
        verifies(&verifier, &second.sign("{\"alg\":\"ES256\"}")),
        "any"
    );
    assert!(!verifies(&verifier, &second.sign(&named("a"))), "another's");
    for not_for_this in [
        ",\"use\":\"enc\"",
        ",\"key_ops\":[\"encrypt\"]",
        ",\"alg\":\"RSA-OAEP\"",
        ",\"alg\":\"ES384\"",
    ] {
        let set = set_of(&[first.jwk(not_for_this), second.jwk("")]);
        let token = first.sign("{\"alg\":\"ES256\"}");
        assert!(!verifies(&by_set(&set), &token), "{not_for_this}");
        assert!(verifies(&by_set(&set), &second.sign("{\"alg\":\"ES256\"}")));
    }
}

#[test]
fn a_document_that_is_no_key_set_changes_nothing_and_one_without_keys_withdraws_them() {
    let issuer = Issuer::new();
    let verifier = by_set(&set_of(&[issuer.jwk("")]));
    let told = |document: &str| {
        verifier
            .renew_keys(document.as_bytes())
            .unwrap_err()
            .to_string()
    };
    for (document, wanted) in [
        ("<html>", "it is no JSON Web Key Set: "),
        ("{}", "it is no JSON Web Key Set: missing field `keys`"),
    ] {
        assert!(told(document).starts_with(wanted), "{}", told(document));
    }
    let token = issuer.sign("{\"alg\":\"ES256\"}");
    assert!(verifies(&verifier, &token));
    let short = "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}";
    let other_curve = issuer.jwk("").replace("P-256", "P-521");
    for (document, keys) in [
        ("{\"keys\":[]}".to_owned(), 0),
        (set_of(&["{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}".into()]), 1),
        (set_of(&[short.into(), other_curve]), 2),
    ] {
        let error = told(&document);
        let wanted = format!("of its {keys} keys none verifies signatures");
        assert!(error.starts_with(&wanted), "{error}");
        assert_eq!(verifier.count_keys(), 0);
    }
    assert!(!verifies(&verifier, &token));
}

#[test]
fn what_the_claims_hold_says_nothing_of_the_signature() {
    let verifier = TokenVerifier::by_secret(b"secret").unwrap();
    for claims in [
        "{\"sub\":{\"a\":1}}",
        "{\"sub\":[1],\"exp\":\"soon\"}",
        "{\"exp\":1,\"exp\":2}",
    ] {
        let token = by_hmac(ring::hmac::HMAC_SHA256, "HS256", b"secret", claims);
        assert!(verifies(&verifier, &token), "{claims}");
    }
}

#[tokio::test]
async fn what_was_found_out_holds_as_long_as_the_keys_and_a_missing_one_is_told_of() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let named = |name: &str| format!("{{\"alg\":\"ES256\",\"kid\":\"{name}\"}}");
    let (of_old, of_new) = (old.sign(&named("old")), new.sign(&named("new")));
    let (old, new) = (
        set_of(&[old.jwk(",\"kid\":\"old\"")]),
        set_of(&[new.jwk(",\"kid\":\"new\"")]),
    );
    let verifier = by_set(&old);
    let (first, second) = (Verified::default(), Verified::default());
    assert!(verifier.verify(&of_old, &first));
    assert!(!verifier.verify(&of_new, &second));
    verifier.missing_key().await;
    verifier.renew_keys(new.as_bytes()).unwrap();
    assert!(!verifier.verify(&of_old, &first), "its key was withdrawn");
    assert!(verifier.verify(&of_new, &second));
    // The same keys once more: nothing is verified anew.
    let version = verifier.keys.load().version;
    verifier.renew_keys(new.as_bytes()).unwrap();
    assert_eq!(verifier.keys.load().version, version);
    let secret = TokenVerifier::by_secret(b"secret").unwrap();
    assert!(!secret.verify(&of_new, &Verified::default()));
    let told = std::pin::pin!(secret.missing_key());
    assert!(futures_util::FutureExt::now_or_never(told).is_none());
}

#[test]
fn neither_a_secret_nor_a_key_is_shown() {
    let verifier = TokenVerifier::by_secret(b"MARKER7741").unwrap();
    assert!(!format!("{verifier:?}").contains("MARKER7741"));
    assert!(TokenVerifier::by_secret(b"").is_none());
    let shown = format!("{:?}", by_set(&set_of(&[RFC_8037_KEY.into()])));
    assert!(
        shown.contains("issuer.test") && !shown.contains("11qYAYKx"),
        "{shown}"
    );
}
