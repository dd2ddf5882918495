use super::*;
use crate::event::{Raw, Said};
use std::io::Write as _;

fn context() -> Context {
    let keys = Keys {
        fingerprint: Fingerprint([4; 16]),
        view: View([5; 16]),
        principal: Principal([6; 16]),
        realm: Realm(7),
        nameless: true,
    };
    let said = Said {
        host: Some("app.example:8443"),
        https: true,
        headers: vec![("authorization", Raw(b"Bearer secret-token"))],
        cookies: vec!["a=1", "b=2"],
        named: vec![("body:api_key", "\"k\"")],
    };
    Context::new(keys, &said)
}

fn vault(key: &[u8]) -> Vault {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(key).unwrap();
    Vault::new(Some(file.path()), &[]).unwrap()
}

#[test]
fn a_sealed_credential_opens_with_its_key_and_fingerprint_only() {
    let (mine, other) = (vault(&[1; 32]), vault(&[2; 32]));
    let sealed = mine.seal(&context()).unwrap();
    assert!(!sealed.windows(6).any(|window| window == b"secret"));
    let opened = mine.open(Fingerprint([4; 16]), &sealed).unwrap();
    assert_eq!(opened, context());
    let headers = opened.said().header_map(0);
    assert!(headers.len() == 1 && headers.values().all(http::HeaderValue::is_sensitive));
    assert!(matches!(
        other.open(Fingerprint([4; 16]), &sealed),
        Err(VaultError::KeyWrong)
    ));
    assert!(matches!(
        mine.open(Fingerprint([5; 16]), &sealed),
        Err(VaultError::KeyWrong)
    ));
    let none = Vault::new(None, &[]).unwrap();
    assert!(matches!(
        none.open(Fingerprint([4; 16]), &sealed),
        Err(VaultError::KeyMissing)
    ));
}

#[test]
fn without_a_key_it_is_stored_as_it_is_and_a_key_set_later_still_reads_it() {
    let stored = Vault::new(None, &[]).unwrap().seal(&context()).unwrap();
    assert_eq!(
        vault(&[1; 32]).open(Fingerprint([4; 16]), &stored).unwrap(),
        context()
    );
    assert!(matches!(
        Vault::new(None, &[])
            .unwrap()
            .open(Fingerprint([4; 16]), &[]),
        Err(VaultError::Damaged)
    ));
}

#[test]
fn what_an_older_key_sealed_is_opened_with_it_and_sealed_anew_with_todays() {
    let (old, new) = ([1; 32], [2; 32]);
    let files = [old, new].map(|key| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&key).unwrap();
        file
    });
    let paths = files.each_ref().map(|file| file.path().to_owned());
    let both = Vault::new(Some(&paths[1]), &[paths[0].clone()]).unwrap();
    let (only_old, only_new) = (vault(&old), vault(&new));
    for vault in [Vault::default(), only_old] {
        let Draft { flags, body } = vault.draft(b"secret".to_vec());
        let is_sealed = flags.has(Flags::SEALED);
        assert_eq!(
            both.open_record(is_sealed, &body).unwrap(),
            (b"secret"[..].into(), false)
        );
        let context = vault.seal(&context()).unwrap();
        assert!(!both.is_sealed_as_today(Fingerprint([4; 16]), &context));
        let mut stored = Vec::new();
        record::put_keyed(&mut stored, 7, &body);
        let frame = Frame {
            kind: Kind::Event,
            flags: flags.with(Flags::COPY),
            number: 1,
            synced: 0,
            body: &stored,
        };
        let (flags, anew) = both.sealed_anew(&frame).unwrap();
        let (key, body) = record::keyed(&anew).unwrap();
        assert!(key == 7 && flags.has(Flags::SEALED));
        assert_eq!(
            only_new.open_record(true, body).unwrap(),
            (b"secret"[..].into(), true)
        );
        assert_eq!(
            both.sealed_anew(&Frame {
                flags,
                body: &anew,
                ..frame
            }),
            None,
            "once"
        );
    }
}

#[test]
fn a_key_is_32_bytes_or_64_digits() {
    assert!(vault("00ff".repeat(16).as_bytes()).seals);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"short").unwrap();
    let error = Vault::new(Some(file.path()), &[]).unwrap_err().to_string();
    assert!(
        error.contains("found 5 bytes; allowed are 32 bytes, or 64 hexadecimal digits"),
        "{error}"
    );
}
