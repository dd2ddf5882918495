//! The CORS headers of Tidegate's own answers (Fetch §3.2), prepared when the configuration is
//! read.

use super::settings::Cors;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What `[cors]` says, as headers.
#[derive(Debug)]
pub(super) struct CorsHeaders {
    /// Of every answer.
    fixed: Vec<(HeaderName, HeaderValue)>,
    /// Allowed origins, lower case, each as its header.
    origins: Vec<(Box<str>, HeaderValue)>,
}

impl CorsHeaders {
    pub(super) fn new(cors: &Cors) -> Self {
        let mut fixed = vec![(header::VARY, HeaderValue::from_static("Origin"))];
        if cors.credentials {
            fixed.push((
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            ));
        }
        if let Ok(expose) = HeaderValue::try_from(cors.expose.join(", "))
            && !cors.expose.is_empty()
        {
            fixed.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, expose));
        }
        let origin = |origin: &str| Some((origin.into(), HeaderValue::try_from(origin).ok()?));
        Self {
            fixed,
            origins: cors.origins.iter().filter_map(|one| origin(one)).collect(),
        }
    }

    /// The header of the request's one origin, if that is allowed.
    pub(super) fn allowed_origin(&self, headers: &HeaderMap) -> Option<&HeaderValue> {
        let mut lines = headers.get_all(header::ORIGIN).iter();
        let origin = lines.next()?.to_str().ok()?;
        if lines.next().is_some() {
            return None;
        }
        self.origins
            .iter()
            .find(|(allowed, _)| allowed.eq_ignore_ascii_case(origin))
            .map(|(_, value)| value)
    }

    /// For an answer to a request with these headers.
    pub(super) fn for_request(
        &self,
        headers: &HeaderMap,
    ) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let origin = self
            .allowed_origin(headers)
            .map(|value| (header::ACCESS_CONTROL_ALLOW_ORIGIN, value.clone()));
        self.fixed.iter().cloned().chain(origin)
    }
}
