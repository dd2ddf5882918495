//! Storing what the application has answered: whether it may be stored, and in which form.

use super::Read;
use super::answer::{self, with_status};
use super::ask::Ask;
use super::complete::Missing;
use super::fetch_plan::FetchState;
use crate::body::Body;
use crate::cache::fill::{Fill, Filling};
use crate::cache::policy::control::CacheControl;
use crate::cache::policy::fields::{self, CACHE_STATUS};
use crate::cache::policy::freshness::Terms;
use crate::cache::policy::parts::ContentRange;
use crate::cache::policy::storable::{self, Asked, Audience, Declared, NotStored};
use crate::cache::policy::vary;
use crate::cache::store::{Entry, Origins};
use crate::memory::Share;
use crate::peer::Peer;
use crate::upstream::CloseDelimited;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use std::sync::Arc;

impl Read {
    /// Whether an answer may be stored, and how long it is fresh.
    pub(super) fn judge_storable(
        &self,
        fetch: &FetchState<'_>,
        conditional: bool,
        status: StatusCode,
        response: &HeaderMap,
    ) -> Result<Terms, NotStored> {
        let FetchState { route, ask, .. } = fetch;
        // P8: what a route declares of its callers' own answers doesn't speak for callers without a
        // name. Nor is their answers' freshness guessed, unless nothing of the call could name its
        // caller.
        let speaks = route.public || ask.audience == Audience::Personal;
        let declared = Declared {
            ttl: route.ttl.filter(|_| speaks),
            force: route.force && speaks,
            only_said: !(speaks || ask.is_plain),
            longest_guess: route.longest_guess,
            stale_while_revalidate: route.stale_while_revalidate,
            stale_if_error: route.stale_if_error,
        };
        let asked = Asked {
            method: &fetch.method,
            headers: &fetch.headers,
            audience: ask.audience,
            conditional,
            begins_session: self.identity.begins_session(&fetch.headers, response),
        };
        storable::storable(asked, status, response, declared, fetch.times)
    }

    /// An entry without its body.
    pub(super) fn draft_entry(
        &self,
        fetch: &FetchState<'_>,
        status: StatusCode,
        response: &HeaderMap,
        terms: Terms,
    ) -> Entry {
        let control =
            CacheControl::targeted(response).unwrap_or_else(|| CacheControl::of(response));
        let mut headers = fields::kept(response, &control, fetch.times.answered);
        let mut asked = fetch.fields.read_values(&fetch.headers, fetch.peer);
        // Without [cors], or for an origin that it doesn't name, nothing would put it back; then
        // origins are kept apart.
        let origins = if self.identity.settings().cors.is_some() && !fetch.ask.is_foreign {
            headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            Origins::Any
        } else if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            answer::add_origin_to_vary(&mut headers);
            Origins::Own(asked(&header::ORIGIN))
        } else {
            Origins::OwnOrNone(asked(&header::ORIGIN))
        };
        // What every hit sets has its place already, so that no copy of the head grows.
        headers.insert(header::AGE, HeaderValue::from(0));
        headers.insert(CACHE_STATUS, HeaderValue::from_static("tidegate"));
        let names = vary::names(response).unwrap_or_default();
        Entry {
            status,
            headers,
            body: Bytes::new(),
            parts: None,
            generations: fetch.generations.clone(),
            stored_at: self.clock.instant(),
            terms,
            vary: names
                .into_iter()
                .map(|name| (name.clone(), asked(&name)))
                .collect(),
            origins,
        }
    }

    /// A stored response that the application has confirmed (RFC 9111 §4.3.3, §3.2).
    pub(super) fn confirm_stored(
        &self,
        fetch: &FetchState<'_>,
        stored: &Entry,
        response: &Response<Body>,
    ) -> Response<Body> {
        let mut merged = fields::merged(&stored.headers, response.headers());
        if !response.headers().contains_key(header::DATE) {
            // RFC 9110 §6.6.1: it is as old as its arrival, not as what it confirms.
            merged.remove(header::DATE);
        }
        let judged = self.judge_storable(fetch, false, stored.status, &merged);
        let terms = judged.unwrap_or(Terms {
            stale_if_error: std::time::Duration::ZERO,
            ..stored.terms
        });
        let entry = Entry {
            body: stored.body.clone(),
            ..self.draft_entry(fetch, stored.status, &merged, terms)
        };
        let reason = fetch.plan.reason;
        let word = match judged {
            Err(why) => {
                self.store.remove(&fetch.ask.key);
                format!("; detail={}", why.as_str())
            }
            Ok(_) if !self.is_current(&entry, &fetch.ask.reader.tags) => {
                "; detail=invalidated".to_owned()
            }
            Ok(terms) => {
                self.store.put(&fetch.ask.key, entry.clone());
                self.note_storable(fetch.ask, Ok(terms));
                "; stored".to_owned()
            }
        };
        let status = format!("tidegate; fwd={reason}; fwd-status=304{word}");
        let age = entry.age(self.clock.instant());
        let mut answer = self.answer_stored(&fetch.method, &fetch.headers, &entry, age, status);
        // What the 304 brings for this client alone.
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            answer
                .headers_mut()
                .append(header::SET_COOKIE, cookie.clone());
        }
        answer
    }

    /// Stores a response on its way to the client, if it may be.
    pub(super) fn store_answer(
        &self,
        fetch: FetchState<'_>,
        response: Response<Body>,
    ) -> Response<Body> {
        let (reason, ask) = (fetch.plan.reason, fetch.ask);
        let (head, body) = response.into_parts();
        let conditional = ask.conditional && !fetch.validating;
        let judged = self.judge_storable(&fetch, conditional, head.status, &head.headers);
        self.note_storable(ask, judged);
        let terms = match judged {
            Ok(terms) => terms,
            Err(why) => {
                // The application has said something else since: what was stored stands in for it
                // no longer.
                if !head.status.is_server_error() && fetch.plan.stored.is_some() {
                    self.store.remove(&ask.key);
                }
                let response = Response::from_parts(head, body);
                return with_status(
                    response,
                    &format!("tidegate; fwd={reason}; detail={}", why.as_str()),
                );
            }
        };
        let entry = self.draft_entry(&fetch, head.status, &head.headers, terms);
        let is_part = head.status == StatusCode::PARTIAL_CONTENT;
        let why = if !self.is_current(&entry, &ask.reader.tags) {
            "invalidated"
        } else if head.extensions.get::<CloseDelimited>().is_some() {
            "close-delimited"
        } else if !self.store.takes(body.size_hint().exact()) {
            self.store.shun(&ask.key, self.clock.instant());
            "too-large"
        } else {
            let fill = Fill {
                store: Arc::clone(&self.store),
                key: ask.key.clone(),
                tags: Arc::clone(&self.tags),
                names: ask.reader.tags.clone(),
                entry,
                part: if is_part {
                    ContentRange::of(&head.headers)
                } else {
                    None
                },
                lead: fetch.plan.lead,
                share: self.share(ask, fetch.peer),
            };
            let response = Response::from_parts(head, Filling::body(body, fill));
            return with_status(response, &format!("tidegate; fwd={reason}; stored"));
        };
        with_status(
            Response::from_parts(head, body),
            &format!("tidegate; fwd={reason}; detail={why}"),
        )
    }

    /// What was missing of a stored response has come (RFC 9111 §3.4): both together are the
    /// answer.
    pub(super) fn complete_stored(
        &self,
        fetch: FetchState<'_>,
        missing: &Missing,
        response: Response<Body>,
    ) -> Response<Body> {
        let (mut head, rest) = response.into_parts();
        let mut merged = fields::merged(&missing.stored.headers, &head.headers);
        merged.remove(header::CONTENT_RANGE);
        merged.insert(header::CONTENT_LENGTH, HeaderValue::from(missing.total));
        let judged = self.judge_storable(&fetch, false, StatusCode::OK, &merged);
        self.note_storable(fetch.ask, judged);
        let body = missing.around(rest);
        head.status = StatusCode::OK;
        let reason = fetch.plan.reason;
        let (body, word) = match judged {
            Err(why) => {
                self.store.remove(&fetch.ask.key);
                (body, format!("; detail={}", why.as_str()))
            }
            Ok(terms) => {
                let entry = self.draft_entry(&fetch, StatusCode::OK, &merged, terms);
                if self.is_current(&entry, &fetch.ask.reader.tags)
                    && self.store.takes(u64::try_from(missing.total).ok())
                {
                    let fill = Fill {
                        store: Arc::clone(&self.store),
                        key: fetch.ask.key.clone(),
                        tags: Arc::clone(&self.tags),
                        names: fetch.ask.reader.tags.clone(),
                        entry,
                        part: None,
                        lead: fetch.plan.lead,
                        share: self.share(fetch.ask, fetch.peer),
                    };
                    (Filling::body(body, fill), "; stored".to_owned())
                } else {
                    (body, String::new())
                }
            }
        };
        // The stored head's own marks are no part of this answer.
        for name in [header::AGE, CACHE_STATUS] {
            merged.remove(&name);
            for value in head.headers.get_all(&name) {
                merged.append(name.clone(), value.clone());
            }
        }
        head.headers = merged;
        with_status(
            Response::from_parts(head, body),
            &format!("tidegate; fwd={reason}; fwd-status=206{word}"),
        )
    }

    /// Readers of a key wait for one another only if what one gets may serve the others.
    fn note_storable(&self, ask: &Ask, judged: Result<Terms, NotStored>) {
        match judged {
            Ok(terms) if terms.lifetime > terms.initial_age && !terms.no_cache => {
                self.store.welcome(&ask.key)
            }
            Err(NotStored::RequestNoStore) => {}
            Err(_) if ask.conditional => {}
            Ok(_) | Err(_) => self.store.shun(&ask.key, self.clock.instant()),
        }
    }

    /// What a reader may take of the memory of bodies.
    pub(super) fn share(&self, ask: &Ask, peer: &Peer) -> Share {
        self.callers
            .memory_share(ask.reader.keys.principal, peer.client)
    }
}
