//! `tidegate explain`: what would become of one call, and why. Nothing is sent, and nothing is kept.

use super::Failure;
use super::units::{millis, push_wrapped_after};
use crate::app::explain;
use crate::config::Config;
use crate::gateway::explain::AskedCall;
use crate::gateway::explain::report::{
    BodyReport, CallerReport, DecisionReport, EventReport, Explanation, HeadReport, ReadReport,
};
use crate::json::Object;
use crate::peer::Connection;
use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// A call, as the command line has it.
#[derive(Debug, clap::Args)]
pub(super) struct ExplainOptions {
    /// The method, as POST.
    #[arg(long)]
    method: String,
    /// The path, with its query if there is one.
    #[arg(long)]
    path: String,
    /// A header, as 'Name: value'; may be given again. Without Host it is localhost.
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// A file with the body; - is the standard input.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What is printed.
///
/// # Errors
/// The call can't be read, or its head can't be forwarded.
pub(super) async fn explain_call(
    config: &Config,
    options: ExplainOptions,
) -> Result<String, Failure> {
    let as_json = options.json;
    let call = read_call(options).map_err(Failure::Input)?;
    let explained = explain::explain(config, &call).await?;
    let explanation = explained.map_err(|error| {
        let (status, name) = (error.status().as_u16(), error.as_str());
        Failure::Input(format!(
            "the call would be refused with {status} {name}: {error}"
        ))
    })?;
    if as_json {
        let text = serde_json::to_string_pretty(&explanation).context("as JSON")?;
        return Ok(format!("{text}\n"));
    }
    Ok(print_text(&explanation))
}

fn read_call(options: ExplainOptions) -> Result<AskedCall, String> {
    let method: Method = options.method.parse().map_err(|_| {
        format!(
            "--method: found {:?}; allowed is a method, as POST",
            options.method
        )
    })?;
    let path = &options.path;
    let uri: Uri = path
        .parse()
        .map_err(|error| format!("--path: {error}; allowed is a path, as /api/x?a=1"))?;
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri) = (method, uri);
    for line in &options.headers {
        let (name, value) = read_header(line)?;
        parts.headers.append(name, value);
    }
    let has_host = parts.headers.contains_key(header::HOST) || parts.uri.authority().is_some();
    if !has_host {
        let host = HeaderValue::from_static("localhost");
        parts.headers.insert(header::HOST, host);
    }
    let body = match &options.body {
        None => Bytes::new(),
        Some(file) => {
            read_body(file).map_err(|error| format!("--body {}: {error}", file.display()))?
        }
    };
    if !body.is_empty() {
        parts
            .headers
            .insert(header::CONTENT_LENGTH, body.len().into());
    }
    let connection = Connection {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        secure: false,
    };
    Ok(AskedCall {
        parts,
        body,
        connection,
    })
}

/// The value of a header is not repeated in an error.
fn read_header(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = |what: &str| format!("--header: {what}; allowed is 'Name: value'");
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| wrong("found no colon"))?;
    let found: HeaderName = name
        .trim()
        .parse()
        .map_err(|_| wrong("found what is no name"))?;
    let value = HeaderValue::from_str(value.trim());
    let value = value.map_err(|_| wrong(&format!("the value of {found} can't be one")))?;
    Ok((found, value))
}

fn read_body(file: &PathBuf) -> std::io::Result<Bytes> {
    if file.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::stdin().lock().read_to_end(&mut body)?;
        return Ok(body.into());
    }
    std::fs::read(file).map(Bytes::from)
}

/// Lines of one stage: the first has its name.
struct Page(String);

impl Page {
    fn push(&mut self, stage: &str, text: &str) {
        push_wrapped_after(&mut self.0, &format!("{stage:<11}"), text);
    }
}

fn print_text(explanation: &Explanation) -> String {
    let mut page = Page(String::new());
    print_head(&mut page, &explanation.head);
    print_rules(&mut page, explanation);
    print_caller(&mut page, &explanation.caller);
    print_checks(&mut page, explanation);
    print_body(&mut page, &explanation.body);
    print_group(&mut page, explanation);
    if let Some(read) = &explanation.read {
        print_read(&mut page, read);
    }
    for event in &explanation.events {
        print_event(&mut page, event);
    }
    if let Some(touches) = &explanation.touches {
        if explanation.decision.decision != "acknowledged" && !touches.waits_for.is_empty() {
            let groups = touches.waits_for.join(", ");
            page.push(
                "order",
                &format!("goes after its user's events in {groups}"),
            );
        }
        if !touches.makes_old.is_empty() {
            page.push("makes old", &touches.makes_old.join(", "));
        }
    }
    print_decisions(&mut page, explanation);
    for (place, what) in explanation.unknown.iter().enumerate() {
        page.push(if place == 0 { "not known" } else { "" }, what);
    }
    page.0
}

fn print_head(page: &mut Page, head: &HeadReport) {
    let host = head.host.as_deref().unwrap_or("no host");
    let scheme = if head.https { "https" } else { "http" };
    page.push("call", &format!("{} {}", head.method, head.path));
    page.push(
        "head",
        &format!(
            "{scheme}, host {host}, from {}; headers {}",
            head.client,
            list(&head.headers)
        ),
    );
    if !head.parameters.is_empty() {
        page.push(
            "",
            &format!("parameters of the query: {}", list(&head.parameters)),
        );
    }
    if !head.taken_off.is_empty() {
        page.push("", &format!("taken off: {}", list(&head.taken_off)));
    }
}

fn print_rules(page: &mut Page, explanation: &Explanation) {
    let mut stage = "rule";
    for rule in &explanation.rules {
        let name = rule.name.as_deref().map(|name| format!(" ({name})"));
        let name = name.unwrap_or_default();
        let verdict = match &rule.why_not {
            None => "applies".to_owned(),
            Some(why) => format!("no: {why}"),
        };
        page.push(
            stage,
            &format!("{} {}{name}: {verdict}", rule.section, rule.path),
        );
        stage = "";
    }
    let others = match explanation.rules_of_other_paths {
        0 => String::new(),
        1 => "one rule is of another path".to_owned(),
        many => format!("{many} rules are of other paths"),
    };
    if explanation.rules.is_empty() {
        page.push(stage, "none has it");
        stage = "";
    }
    if !others.is_empty() {
        page.push(stage, &others);
    }
}

fn print_caller(page: &mut Page, caller: &CallerReport) {
    page.push(
        "caller",
        &format!("user {}", caller.user.as_deref().unwrap_or("-")),
    );
    let principal = if caller.is_nameless {
        "nothing but the client's address".to_owned()
    } else {
        list(&caller.principal)
    };
    page.push("", &format!("principal: {principal}"));
    for (key, names) in [("view", &caller.view), ("fingerprint", &caller.fingerprint)] {
        if !names.is_empty() {
            page.push("", &format!("{key}: that and {}", list(names)));
        }
    }
}

fn print_checks(page: &mut Page, explanation: &Explanation) {
    let checks = &explanation.checks;
    let asked = checks.asked.join(", ");
    let asked = if asked.is_empty() {
        "the built-in ones"
    } else {
        &asked
    };
    let text = match (&checks.fails, &checks.detail) {
        (Some(name), Some(detail)) => format!("fails: {name}, {detail}"),
        _ => format!("passed: {asked}"),
    };
    page.push("checks", &text);
}

fn print_body(page: &mut Page, body: &BodyReport) {
    if body.bytes == 0 {
        return page.push("body", "none");
    }
    let kind = body.media_type.as_deref().unwrap_or("no media type");
    let coding = match &body.coding {
        Some(coding) => format!(", {coding}: {} bytes without it", body.plain_bytes),
        None => String::new(),
    };
    page.push("body", &format!("{} bytes, {kind}{coding}", body.bytes));
    if let Some(members) = &body.members {
        page.push("", &format!("members: {}", list(members)));
    }
    if let Some(error) = &body.error {
        page.push("", error);
    }
    if !body.unmapped.is_empty() {
        page.push(
            "",
            &format!("left out of the batch: {}", list(&body.unmapped)),
        );
    }
}

fn print_group(page: &mut Page, explanation: &Explanation) {
    if let Some(mode) = &explanation.mode {
        let user = match (mode.for_user, mode.bucket) {
            (Some(done), Some(bucket)) => {
                format!("; this user is at {bucket} of 0 to 99: {done}")
            }
            _ => String::new(),
        };
        page.push("mode", &format!("{}{user}", mode.setting));
    }
    let Some(group) = &explanation.group else {
        return;
    };
    let to = match &group.path {
        Some(path) => format!("batches to {path}"),
        None => "single calls".to_owned(),
    };
    let shared = if group.is_shared {
        ", shared by users"
    } else {
        ""
    };
    page.push(
        "group",
        &format!(
            "{}: {to}{shared}; a window ends after {} or {} events",
            group.name,
            millis(group.window_ms),
            group.flush_at
        ),
    );
    if !group.key.is_empty() {
        let keep = if group.keeps_newest {
            "the newest"
        } else {
            "all"
        };
        page.push("", &format!("of each {} {keep} go", list(&group.key)));
    }
}

fn print_read(page: &mut Page, read: &ReadReport) {
    let part = match read.bypass {
        Some(why) => format!("passed by: {why}"),
        None => format!("looked up by {}", list(&read.key)),
    };
    page.push("cache", &part);
    let ttl = read.ttl_ms.map_or("as the answer says".to_owned(), millis);
    let force = if read.force {
        ", whatever the answer says"
    } else {
        ""
    };
    let public = if read.public { ", for all callers" } else { "" };
    page.push("", &format!("fresh for: {ttl}{force}{public}"));
    if !read.tags.is_empty() {
        page.push("", &format!("tags: {}", list(&read.tags)));
    }
    if !read.untold.is_empty() {
        page.push(
            "",
            &format!("tags that this call doesn't tell: {}", list(&read.untold)),
        );
    }
    if !read.waits_for.is_empty() {
        let (groups, barrier) = (list(&read.waits_for), millis(read.barrier_ms));
        page.push(
            "",
            &format!("pending events of its user in {groups} go first, for {barrier}"),
        );
    }
}

fn print_event(page: &mut Page, event: &EventReport) {
    let object = Object::parse(event.event.get()).ok();
    let members = object.iter().flat_map(Object::iter);
    for (place, (name, raw)) in members.enumerate() {
        page.push(
            if place == 0 { "event" } else { "" },
            &format!("{name}: {raw}"),
        );
    }
    let seals = if event.seals_at_once {
        "seals its window at once (flush_on)"
    } else {
        "waits in its window"
    };
    let key = if event.has_key {
        "; has its group's key"
    } else {
        ""
    };
    page.push(
        "",
        &format!("id {} (from: {}); {seals}{key}", event.id, event.id_from),
    );
    if let Some(left) = event.token_ms {
        page.push("", &format!("its token ends in {}", millis(left)));
    }
}

fn print_decisions(page: &mut Page, explanation: &Explanation) {
    if explanation.decision == explanation.unseen || differs_by_draw(explanation) {
        page.push("decision", &sentence_of(&explanation.decision));
    } else {
        let known = sentence_of(&explanation.decision);
        page.push(
            "decision",
            &format!("of a caller that was taken before: {known}"),
        );
        let unseen = sentence_of(&explanation.unseen);
        page.push("", &format!("of an unseen one: {unseen}"));
    }
    if let Some(answer) = &explanation.decision.answer {
        page.push("answer", &answer.status.to_string());
        for (name, value) in &answer.headers {
            page.push("", &format!("{name}: {value}"));
        }
        page.push("", &answer.body);
    }
    if let Some(other) = &explanation.in_coalesce {
        let text = sentence_of(&other.decision);
        page.push("coalesce", &format!("in that mode: {text}"));
        for event in &other.events {
            print_event(page, event);
        }
        if let Some(answer) = &other.decision.answer {
            page.push("answer", &format!("{} {}", answer.status, answer.body));
        }
    }
}

/// Both are the same, but for ids and times that are drawn.
fn differs_by_draw(explanation: &Explanation) -> bool {
    let (one, other) = (&explanation.decision, &explanation.unseen);
    one.decision == other.decision && one.reason == other.reason
}

fn sentence_of(decision: &DecisionReport) -> String {
    let mut text = decision.decision.to_owned();
    for more in [&decision.reason, &decision.detail].into_iter().flatten() {
        text.push_str(": ");
        text.push_str(more);
    }
    text
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(", ")
    }
}
