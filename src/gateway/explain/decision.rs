//! What is decided, written down: the decision, its reason, and the answer where Tidegate gives one.

use super::reasons::tell_reason;
use super::report::{AnswerReport, DecisionReport};
use super::secrets::Secrets;
use super::{Arrived, Decided, Explainer, describe};
use crate::body::Body;
use crate::gateway::decide::Decision;
use crate::gateway::touches::Touches;
use crate::metrics::{Action, Label as _};
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;

/// A decision without a reason.
pub(super) fn decided(action: Action, touches: Option<Touches>) -> Decided {
    let report = DecisionReport {
        decision: action.as_str(),
        ..DecisionReport::default()
    };
    Decided { report, touches }
}

impl Explainer {
    /// A decision, with the answer that it gives.
    pub(super) async fn tell(
        &self,
        arrived: &Arrived<'_>,
        plain: &Bytes,
        decision: Decision,
        touches: Touches,
    ) -> Decided {
        let object = describe::object_of(plain);
        let secrets = Secrets::of(&self.identity, &arrived.parts, object.as_ref());
        match decision {
            Decision::Acknowledge(ack) => {
                let response =
                    self.answers
                        .acknowledge(&arrived.parts, ack, arrived.request_id.clone());
                let mut decided = decided(Action::Acknowledged, Some(touches));
                decided.report.answer = Some(describe_answer(response, &secrets).await);
                decided
            }
            Decision::Forward(why, touches) => {
                let mut decided = decided(Action::Forwarded, Some(*touches));
                decided.report.reason = Some(why.as_str().to_owned());
                decided.report.detail = Some(secrets.hide(&tell_reason(&why)));
                decided
            }
            Decision::Refuse(refusal) => {
                let response = self.answers.refuse(&arrived.parts, &refusal);
                let mut decided = decided(Action::Refused, Some(touches));
                decided.report.reason = Some(refusal.as_str().to_owned());
                decided.report.detail = Some(secrets.hide(&refusal.to_string()));
                decided.report.answer = Some(describe_answer(response, &secrets).await);
                decided
            }
        }
    }
}

async fn describe_answer(response: Response<Body>, secrets: &Secrets) -> AnswerReport {
    let (head, body) = response.into_parts();
    // An answer of Tidegate's own is whole in memory.
    let body = body.collect().await.map(|body| body.to_bytes());
    let body = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), secrets.hide(&text))
    });
    AnswerReport {
        status: head.status.as_u16(),
        headers: headers.collect(),
        body: secrets.hide_in_json(&body),
    }
}
