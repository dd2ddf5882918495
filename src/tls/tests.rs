use super::*;
use rcgen::{CertificateParams, KeyPair};
use std::path::Path;
use tempfile::TempDir;

/// Files of one directory, by name.
struct Files(TempDir);

impl Files {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn files() -> Files {
    Files(tempfile::tempdir().unwrap())
}

/// A certificate that signs itself, valid in these years, and its key.
fn certificate(years: (i32, i32)) -> (String, String) {
    let mut params = CertificateParams::new(vec!["app.test".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, String> {
    let files = KeyFiles {
        cert: cert.to_owned(),
        key: key.to_owned(),
    };
    files.read().map_err(|error| error.to_string())
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_was_found_and_what_is_allowed() {
    let files = files();
    let (cert, key) = certificate((2020, 2120));
    let (other_cert, other_key) = certificate((2020, 2120));
    let good = files.write("cert.pem", &cert);
    let good_key = files.write("key.pem", &key);
    files.write("two.pem", &format!("{cert}{other_cert}"));
    files.write("other.pem", &other_key);
    files.write("empty.pem", "");
    files.write("cut.pem", cert.split_at(cert.len() / 2).0);
    files.write("locked.pem", &key.replace("PRIVATE", "ENCRYPTED PRIVATE"));
    let noise = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    files.write("noise.pem", noise);
    files.write(
        "noise-cert.pem",
        &noise.replace("PRIVATE KEY", "CERTIFICATE"),
    );
    assert_eq!(read(&good, &good_key).unwrap().cert.len(), 1);
    assert_eq!(
        read(&files.path("two.pem"), &good_key).unwrap().cert.len(),
        2
    );
    for (cert, key, wanted) in [
        (
            "gone.pem",
            "key.pem",
            "gone.pem: the file can't be read: No such file",
        ),
        (
            "empty.pem",
            "key.pem",
            "empty.pem: found no certificate; allowed is a PEM file",
        ),
        ("key.pem", "key.pem", "key.pem: found no certificate"),
        ("cut.pem", "key.pem", "cut.pem: the PEM text is damaged"),
        (
            "noise-cert.pem",
            "key.pem",
            "noise-cert.pem: found a certificate that can't be used",
        ),
        ("cert.pem", "gone.pem", "gone.pem: the file can't be read"),
        (
            "cert.pem",
            "cert.pem",
            "cert.pem: found no private key; allowed is a PEM file",
        ),
        ("cert.pem", "locked.pem", "locked.pem: found no private key"),
        (
            "cert.pem",
            "noise.pem",
            "noise.pem: found a private key that can't be used",
        ),
        (
            "cert.pem",
            "other.pem",
            "other.pem: the private key doesn't belong to the first",
        ),
    ] {
        let said = read(&files.path(cert), &files.path(key)).unwrap_err();
        assert!(said.contains(wanted), "{cert}, {key}: {said}");
    }
}

#[test]
fn a_certificate_out_of_its_time_is_told_with_the_time() {
    let told = |years| {
        let files = files();
        let (cert, _) = certificate(years);
        let chain = read_certificates(&files.write("cert.pem", &cert)).unwrap();
        find_out_of_time(&chain).map(|found| found.to_string())
    };
    assert_eq!(told((2020, 2120)), None);
    assert_eq!(
        told((2020, 2021)).as_deref(),
        Some("has expired at 2021-01-01T00:00:00Z")
    );
    assert_eq!(
        told((2110, 2120)).as_deref(),
        Some("is not valid before 2110-01-01T00:00:00Z")
    );
}
