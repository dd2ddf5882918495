//! `[identity]` and `[cors]`: which parts of a call say something of its caller, and what a call
//! must have for Tidegate to answer it (design §4).

use super::lists::{self, Kind};
use super::verify::TokenVerifier;
use crate::template::{Path, Template};
use http::{HeaderName, header};
use std::sync::Arc;
use std::time::Duration;

/// A place of a call where something of its caller stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// `header:NAME`.
    Header(HeaderName),
    /// `cookie:NAME`.
    Cookie(Box<str>),
    /// `body:NAME`: a member of the body, or a JSON Pointer into it.
    Body(Path),
    /// `query:NAME`: a parameter of the query.
    Query(Box<str>),
}

/// A part that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "found {0:?}; allowed are \"header:NAME\", \"cookie:NAME\", and in credentials \"body:NAME\" \
     and \"query:NAME\""
)]
pub struct PartError(String);

impl Part {
    /// `header:NAME` or `cookie:NAME`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, PartError> {
        let wrong = || PartError(text.to_owned());
        match text.split_once(':') {
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| wrong()),
            Some(("cookie", name))
                if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                Ok(Self::Cookie(name.into()))
            }
            _ => Err(wrong()),
        }
    }

    /// Any part: what [`parse`](Self::parse) takes, and `body:NAME` and `query:NAME`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse_any(text: &str) -> Result<Self, PartError> {
        match text.split_once(':') {
            Some(("body", name)) if !name.is_empty() => Ok(Self::Body(Path::parse(name))),
            Some(("query", name)) if !name.is_empty() => Ok(Self::Query(name.into())),
            _ => Self::parse(text),
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Body(path) => match path.0.as_slice() {
                [name] if !name.contains('/') => write!(f, "body:{name}"),
                steps => {
                    let steps = steps
                        .iter()
                        .map(|step| step.replace('~', "~0").replace('/', "~1"));
                    write!(f, "body:/{}", steps.collect::<Vec<_>>().join("/"))
                }
            },
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Part(part) => part.fmt(f),
            Self::Jwt => f.write_str("a JWT"),
        }
    }
}

/// What a call must have to be answered by Tidegate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// This header or cookie, not empty.
    Part(Part),
    /// A well-formed JSON Web Token.
    Jwt,
}

/// A part that makes a call the application's to judge, unless another is there too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbid {
    /// This header or cookie, not empty.
    pub part: Part,
    /// With this one it may stand.
    pub unless: Option<Part>,
}

impl Forbid {
    /// `header:a`, or `header:a unless header:b`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, PartError> {
        let (part, unless) = text
            .split_once(" unless ")
            .map_or((text, None), |(part, unless)| (part, Some(unless)));
        Ok(Self {
            part: Part::parse(part.trim())?,
            unless: unless.map(|one| Part::parse(one.trim())).transpose()?,
        })
    }
}

/// Whether an unknown credential's calls are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// At once; a bad credential shows with its first batch.
    Optimistic,
    /// Only after a call of it has succeeded at the application.
    Proven,
}

/// `[cors]`.
#[derive(Debug, Clone)]
pub struct Cors {
    /// Allowed origins, lower case.
    pub origins: Vec<Box<str>>,
    /// `Access-Control-Allow-Credentials`.
    pub credentials: bool,
    /// `Access-Control-Expose-Headers`.
    pub expose: Vec<Box<str>>,
}

/// Which parts of a call say something of its caller, and what (design §4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// By the built-in lists; else only what is listed counts.
    pub by_default: bool,
    /// Headers whose kind was configured, or that are listed.
    pub headers: Vec<(HeaderName, Kind)>,
    /// Cookies, likewise.
    pub cookies: Vec<(Box<str>, Kind)>,
    /// `header:cookie` is listed: every cookie counts as the built-in list says.
    pub all_cookies: bool,
    /// `body:` and `query:` parts.
    pub named: Vec<Part>,
}

impl Selection {
    /// What a header says of its caller.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Kind {
        if let Some((_, kind)) = self.headers.iter().find(|(known, _)| known == name) {
            return *kind;
        }
        match lists::header(name.as_str()) {
            kind if kind.counts() && !self.by_default => Kind::Passing,
            kind => kind,
        }
    }

    /// What a cookie says of its caller.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Kind {
        if let Some((_, kind)) = self.cookies.iter().find(|(known, _)| **known == *name) {
            return *kind;
        }
        match lists::cookie(name) {
            kind if kind.counts() && !self.by_default && !self.all_cookies => Kind::Passing,
            kind => kind,
        }
    }

    /// The operator says that this header says nothing: its latest value travels.
    #[must_use]
    pub fn ignores_header(&self, name: &HeaderName) -> bool {
        self.headers
            .iter()
            .any(|(known, kind)| known == name && *kind == Kind::Passing)
    }

    /// The operator says that this cookie says nothing.
    #[must_use]
    pub fn ignores_cookie(&self, name: &str) -> bool {
        self.cookies
            .iter()
            .any(|(known, kind)| **known == *name && *kind == Kind::Passing)
    }

    /// Whether this part is the same for all calls of one fingerprint.
    #[must_use]
    pub fn counts(&self, part: &Part) -> bool {
        match part {
            Part::Header(name) if *name == header::COOKIE => self.by_default || self.all_cookies,
            Part::Header(name) => self.header(name).counts(),
            Part::Cookie(name) => self.cookie(name).counts(),
            named => self.named.contains(named),
        }
    }

    /// Whether this part says who calls, a cookie as far as its name tells.
    #[must_use]
    pub fn names_caller(&self, part: &Part) -> bool {
        match part {
            Part::Header(name) if *name == header::COOKIE => self.counts(part),
            Part::Header(name) => self.header(name) == Kind::Principal,
            Part::Cookie(name) => {
                self.cookie(name) == Kind::Principal && lists::may_be_a_credential(name)
            }
            named => self.named.contains(named),
        }
    }

    /// By the built-in lists.
    #[must_use]
    pub fn built_in() -> Self {
        Self {
            by_default: true,
            ..Self::default()
        }
    }

    /// Of these parts only. Each has the kind that the built-in list gives it, and one that the
    /// list knows nothing of is a scope.
    #[must_use]
    pub fn listed(parts: &[Part]) -> Self {
        let mut out = Self::default();
        for part in parts {
            match part {
                Part::Header(name) if *name == header::COOKIE => out.all_cookies = true,
                Part::Header(name) => {
                    let kind = Some(lists::header(name.as_str())).filter(|kind| kind.counts());
                    out.headers
                        .push((name.clone(), kind.unwrap_or(Kind::Scope)));
                }
                Part::Cookie(name) => {
                    let kind = Some(lists::cookie(name)).filter(|kind| kind.counts());
                    out.cookies
                        .push((name.clone(), kind.unwrap_or(Kind::Principal)));
                }
                named => out.named.push(named.clone()),
            }
        }
        out
    }

    /// Gives a part another kind. `body:` and `query:` parts say who calls, whatever is said of
    /// them.
    pub fn set(&mut self, part: &Part, kind: Kind) {
        match part {
            Part::Header(name) => {
                self.headers.retain(|(known, _)| known != name);
                self.headers.push((name.clone(), kind));
            }
            Part::Cookie(name) => {
                self.cookies.retain(|(known, _)| known != name);
                self.cookies.push((name.clone(), kind));
            }
            named if !self.named.contains(named) => self.named.push(named.clone()),
            _ => {}
        }
    }
}

/// `[identity]` and `[cors]`.
#[derive(Debug, Clone)]
pub struct IdentitySettings {
    /// What makes two calls the same credential.
    pub selection: Selection,
    /// Claims that, where a token has them, must have one of these values for Tidegate to answer.
    pub claims: Vec<(Box<str>, Vec<serde_json::Value>)>,
    /// One call of a principal is forwarded so often, for sessions that live by answers (ruling
    /// 24).
    pub refresh: Option<Duration>,
    /// Who the user is.
    pub user: Template,
    /// Users are put in lower case, since a group does so with the field that names them.
    pub lowercase_user: bool,
    /// Each entry: alternatives of which one must be there.
    pub require: Vec<Vec<Need>>,
    /// Calls with one of these are the application's to judge.
    pub forbid: Vec<Forbid>,
    /// Must be equal on unsafe methods.
    pub double_submit: Option<(Part, Part)>,
    /// Where a JWT is looked for; Authorization counts with the Bearer scheme only. Where two are
    /// found that differ, or one beside an Authorization of another form, the application judges.
    pub token: Vec<Part>,
    /// Verifies tokens; `None`: the application does. Copies of the settings share it.
    pub jwt: Option<Arc<TokenVerifier>>,
    /// Unknown credentials.
    pub admit: Admit,
    /// How long a proof lasts.
    pub proof_ttl: Duration,
    /// Allowed origins; `None`: any, and no CORS headers are set.
    pub cors: Option<Cors>,
}

impl IdentitySettings {
    /// Whether a header may have any value without changing what its call's head says of the
    /// caller.
    pub(super) fn is_free(&self, name: &HeaderName) -> bool {
        let is_it = |part: &Part| matches!(part, Part::Header(found) if found == name);
        let needs = |need: &Need| matches!(need, Need::Part(part) if is_it(part));
        let forbids = |rule: &Forbid| is_it(&rule.part) || rule.unless.as_ref().is_some_and(is_it);
        // Whatever is selected: whether Tidegate may answer goes by these.
        let is_looked_at = || {
            matches!(
                *name,
                header::ORIGIN | header::AUTHORIZATION | header::COOKIE
            ) || self.token.iter().any(is_it)
                || self.require.iter().flatten().any(needs)
                || self.forbid.iter().any(forbids)
                || self
                    .double_submit
                    .as_ref()
                    .is_some_and(|(first, second)| is_it(first) || is_it(second))
        };
        let says_nothing = matches!(self.selection.header(name), Kind::Passing | Kind::PerCall);
        (says_nothing || *name == header::CONTENT_LENGTH) && !is_looked_at()
    }
}
