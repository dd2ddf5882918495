//! The token of the admin listener (`admin.token_file`): which requests need it, and whether one has
//! it (RFC 6750 §2.1).
//!
//! Kept is its hash under a key of this process. Hashes are compared in constant time, so that how
//! long an answer takes says nothing of the token.

use super::dashboard;
use super::reply::text;
use crate::body::Body;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Fewest characters of a token.
const FEWEST: usize = 16;
/// Most characters of a token; a file is not read further.
const MOST: usize = 4096;
/// What a token is, for errors.
const ALLOWED: &str = "allowed is one line of 16 to 4096 visible ASCII characters";

/// A token, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// As it goes into `Authorization: Bearer`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The token of a file.
    ///
    /// # Errors
    /// The file can't be read, or holds no token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let wrong = |problem: String| TokenError {
            path: path.to_owned(),
            problem,
        };
        let unreadable = |error: std::io::Error| wrong(format!("can't be read: {error}"));
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut content = Vec::new();
        // A line break may follow the token.
        let mut limited = std::io::Read::take(file, MOST as u64 + 3);
        std::io::Read::read_to_end(&mut limited, &mut content).map_err(unreadable)?;
        let content = String::from_utf8(content)
            .map_err(|_| wrong(format!("found bytes that are no text; {ALLOWED}")))?;
        content.parse().map_err(wrong)
    }

    /// Whether others than its owner may read or write the token's file.
    #[must_use]
    pub fn is_shared(path: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map(|found| found.permissions().mode());
        mode.is_ok_and(|mode| mode & 0o077 != 0)
    }
}

impl FromStr for Token {
    type Err = String;

    /// # Errors
    /// What was found instead of a token, which shows nothing of it, and what is allowed.
    fn from_str(content: &str) -> Result<Self, String> {
        let line = content.strip_suffix('\n').unwrap_or(content);
        let line = line.strip_suffix('\r').unwrap_or(line);
        match find_problem(line) {
            None => Ok(Self(line.to_owned())),
            Some(found) => Err(format!("{found}; {ALLOWED}")),
        }
    }
}

fn find_problem(line: &str) -> Option<String> {
    if line.contains(['\n', '\r']) {
        return Some(format!("found {} lines", line.split('\n').count()));
    }
    if let Some(place) = line.chars().position(|c| !c.is_ascii_graphic()) {
        return Some(format!("found another character at place {}", place + 1));
    }
    match line.len() {
        FEWEST..=MOST => None,
        count @ 0..FEWEST => Some(format!("found {count} characters")),
        _ => Some(format!("found more than {MOST} characters")),
    }
}

/// `admin.token_file` can't be used.
#[derive(Debug, thiserror::Error)]
#[error("admin.token_file {}: {problem}", path.display())]
pub struct TokenError {
    path: PathBuf,
    problem: String,
}

/// The hash of the file's token. A warning is logged if others than its owner may read it.
fn read_hash(path: &Path, key: &[u8; 32]) -> Result<blake3::Hash, TokenError> {
    let token = Token::read(path)?;
    if Token::is_shared(path) {
        tracing::warn!(
            path = %path.display(),
            "others than its owner may read or write admin.token_file; allowed is mode 0600"
        );
    }
    Ok(blake3::keyed_hash(key, token.0.as_bytes()))
}

/// What may be asked without a token where there is one.
#[derive(Debug)]
pub(crate) struct Guard {
    path: PathBuf,
    key: [u8; 32],
    // Written at a reload only.
    wanted: RwLock<blake3::Hash>,
    open_metrics: bool,
}

impl Guard {
    /// Of the token in this file; `open_metrics`: `/metrics` needs none.
    ///
    /// # Errors
    /// The file can't be read, or holds no token; or the system gives no random numbers.
    pub(crate) fn new(path: &Path, open_metrics: bool) -> Result<Self, TokenError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| TokenError {
            path: path.to_owned(),
            problem: format!("the system gave no random numbers: {error}"),
        })?;
        let wanted = read_hash(path, &key)?;
        Ok(Self {
            path: path.to_owned(),
            key,
            wanted: RwLock::new(wanted),
            open_metrics,
        })
    }

    /// Reads the file again: from here on its token is wanted.
    ///
    /// # Errors
    /// As for [`new`](Self::new); the token of before is wanted still.
    pub(crate) fn renew(&self) -> Result<(), TokenError> {
        let hash = read_hash(&self.path, &self.key)?;
        *self.wanted.write() = hash;
        Ok(())
    }

    /// Whether a request may go on. The dashboard's page and files may be had by all: they are
    /// the same in each copy of the program, and the page asks for the token.
    ///
    /// # Errors
    /// The answer instead, which is the same whatever was asked for.
    pub(super) fn check(&self, head: &Parts) -> Result<(), Response<Body>> {
        if self.is_open(&head.method, head.uri.path()) || self.has_token(head) {
            Ok(())
        } else {
            Err(refuse())
        }
    }

    fn is_open(&self, method: &Method, path: &str) -> bool {
        let is_open_path = match path {
            "/healthz" | "/readyz" => true,
            "/metrics" => self.open_metrics,
            path => dashboard::has_file(path),
        };
        is_open_path && matches!(*method, Method::GET | Method::HEAD)
    }

    fn has_token(&self, head: &Parts) -> bool {
        let mut lines = head.headers.get_all(header::AUTHORIZATION).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return false;
        };
        let Some((scheme, token)) = line.as_bytes().split_at_checked("Bearer ".len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"Bearer ")
            && blake3::keyed_hash(&self.key, token.trim_ascii()) == *self.wanted.read()
    }
}

fn refuse() -> Response<Body> {
    let mut response = text(
        StatusCode::UNAUTHORIZED,
        "the token of admin.token_file is needed: Authorization: Bearer TOKEN\n",
    );
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"tidegate admin\""),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use std::io::Write as _;

    const TOKEN: &str = "sixteen-letters!";

    fn file(content: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file
    }

    fn allows(guard: &Guard, asked: &str, headers: &[&str]) -> bool {
        let (method, path) = asked.split_once(' ').unwrap();
        let mut builder = Request::builder().method(method).uri(path);
        for value in headers {
            builder = builder.header("authorization", *value);
        }
        guard
            .check(&builder.body(()).unwrap().into_parts().0)
            .is_ok()
    }

    #[test]
    fn a_token_is_one_line_and_what_else_is_found_is_said_without_showing_it() {
        for content in [TOKEN, &format!("{TOKEN}\n"), &format!("{TOKEN}\r\n")] {
            assert_eq!(content.parse::<Token>().unwrap().as_str(), TOKEN);
        }
        let long = "x".repeat(MOST + 1);
        for (content, found) in [
            ("", "found 0 characters"),
            ("fifteen-letters", "found 15 characters"),
            (&*format!("{TOKEN}\n{TOKEN}\n"), "found 2 lines"),
            ("sixteen letters!", "found another character at place 8"),
            (
                "sixteen-letters\u{fc}",
                "found another character at place 16",
            ),
            (&long, "found more than 4096 characters"),
        ] {
            assert_eq!(
                content.parse::<Token>().unwrap_err(),
                format!("{found}; {ALLOWED}")
            );
        }
        let error = Token::read(file("short").path()).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("found 5 characters; {ALLOWED}")),
            "{error}"
        );
        assert!(error.starts_with("admin.token_file /"), "{error}");
        let missing = Token::read(Path::new("/nowhere/token")).unwrap_err();
        assert!(
            missing.to_string().contains("can't be read: No such file"),
            "{missing}"
        );
    }

    #[test]
    fn all_but_health_readiness_and_the_page_need_the_token_and_only_it_will_do() {
        let file = file(TOKEN);
        let guard = Guard::new(file.path(), false).unwrap();
        let right = format!("Bearer {TOKEN}");
        for asked in [
            "GET /healthz",
            "HEAD /readyz",
            "GET /",
            "GET /dashboard/main.js",
        ] {
            assert!(allows(&guard, asked, &[]), "{asked}");
        }
        for asked in [
            "GET /metrics",
            "GET /status",
            "POST /healthz",
            "GET /nothing",
            "GET /dashboard/nothing.js",
            "GET /live",
        ] {
            assert!(!allows(&guard, asked, &[]), "{asked}");
            assert!(allows(&guard, asked, &[&right]), "{asked}");
        }
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            TOKEN,
            "Basic sixteen-letters!",
            "Bearer sixteen-letters?",
            "Bearer sixteen-letters!!",
            "Bearer sixteen-letters",
        ] {
            assert!(!allows(&guard, "GET /status", &[wrong]), "{wrong}");
        }
        assert!(allows(&guard, "GET /status", &["bearer  sixteen-letters!"]));
        assert!(!allows(&guard, "GET /status", &[&right, "Bearer x"]));
        let open = Guard::new(file.path(), true).unwrap();
        assert!(allows(&open, "GET /metrics", &[]));
        assert!(!allows(&open, "POST /metrics", &[]));
    }

    #[test]
    fn a_file_that_holds_no_token_any_more_leaves_the_one_of_before() {
        let file = file(TOKEN);
        let guard = Guard::new(file.path(), false).unwrap();
        let [old, new] = [TOKEN, "another-token-of-today"].map(|token| format!("Bearer {token}"));
        std::fs::write(file.path(), "short").unwrap();
        assert!(guard.renew().is_err());
        assert!(allows(&guard, "GET /status", &[&old]));
        std::fs::write(file.path(), "another-token-of-today\n").unwrap();
        guard.renew().unwrap();
        assert!(!allows(&guard, "GET /status", &[&old]));
        assert!(allows(&guard, "GET /status", &[&new]));
    }
}
