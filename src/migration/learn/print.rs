//! Writes a proposal as TOML. Every line that is proposed says how many exchanges it rests on.

use super::ack::Line;
use super::batches::Endpoint;
use super::credential::Credential;
use super::draft::{Draft, GroupDraft, exchanges};
use super::reads::Read;
use super::taken::RecordingFacts;
use super::toml_text::{Out, key, quoted, written};
use super::{NotProposed, Unknown};
use serde_json::Value;

/// What is written.
pub(super) struct Sheet<'a> {
    pub(super) seen: usize,
    /// The host whose exchanges were looked into; `None`: all were.
    pub(super) host: Option<&'a str>,
    pub(super) recorded: Option<RecordingFacts>,
    pub(super) upstream: &'a str,
    pub(super) upstream_note: &'a str,
    pub(super) user: &'a [(String, usize)],
    pub(super) keys: &'a [(String, usize)],
    pub(super) credential: &'a Credential,
    pub(super) groups: &'a [GroupDraft],
    pub(super) drafts: &'a [Draft],
    pub(super) endpoints: &'a [Endpoint],
    pub(super) reads: &'a [Read],
    pub(super) not_proposed: &'a [NotProposed],
    pub(super) unknown: &'a [Unknown],
}

impl Sheet<'_> {
    pub(super) fn write(&self) -> String {
        let mut out = Out(String::new());
        let of = match (self.recorded, self.host) {
            (Some(facts), _) => format!(" that were forwarded in {} s", facts.seconds),
            (None, None | Some("")) => ", of which those of no host were looked into".to_owned(),
            (None, Some(host)) => format!(", of which those of {host} were looked into"),
        };
        out.comment(&format!(
            "Proposed by `tidegate learn` from {}{of}. It is a beginning: read it, then try it.",
            exchanges(self.seen),
        ));
        out.comment("Behind each line: how many exchanges it rests on.");
        out.section("[upstream]");
        out.line("url", &quoted(self.upstream), self.upstream_note);
        self.write_identity(&mut out);
        self.write_cors(&mut out);
        for group in self.groups {
            self.write_group(&mut out, group);
            for draft in group
                .drafts
                .iter()
                .filter_map(|index| self.drafts.get(*index))
            {
                write_event(&mut out, draft, &group.name);
            }
        }
        self.write_reads(&mut out);
        self.write_rest(&mut out);
        out.0
    }

    fn write_identity(&self, out: &mut Out) {
        let credential = self.credential;
        let nothing = self.user.is_empty() && self.keys.is_empty() && credential.require.is_empty();
        if nothing && credential.changing.is_empty() && credential.rolling.is_empty() {
            return;
        }
        out.section("[identity]");
        out.comment("By default everything counts that a caller could be judged by; named is only what must be there.");
        if !self.user.is_empty() {
            let templates: Vec<_> = self.user.iter().map(|(name, _)| name.as_str()).collect();
            let calls: usize = self
                .user
                .iter()
                .map(|(_, calls)| calls)
                .max()
                .copied()
                .unwrap_or(0);
            out.line(
                "user",
                &quoted(&format!("{{{}}}", templates.join("|"))),
                &exchanges(calls),
            );
        }
        if !self.keys.is_empty() {
            let parts: Vec<_> = self
                .keys
                .iter()
                .map(|(name, _)| quoted(&format!("query:{name}")))
                .collect();
            let calls = self.keys.iter().map(|(_, calls)| calls).sum::<usize>();
            out.line(
                "principal",
                &format!("[{}]", parts.join(", ")),
                &exchanges(calls),
            );
        }
        let of = credential.calls;
        if !credential.require.is_empty() {
            let parts: Vec<_> = credential
                .require
                .iter()
                .map(|one| quoted(&one.what))
                .collect();
            let counts: Vec<_> = credential
                .require
                .iter()
                .map(|one| format!("{} {} of {of}", one.what, one.calls))
                .collect();
            out.line(
                "require",
                &format!("[{}]", parts.join(", ")),
                &counts.join(", "),
            );
        }
        if let Some((cookie, header, calls)) = &credential.double_submit {
            let parts = [
                quoted(&format!("cookie:{cookie}")),
                quoted(&format!("header:{header}")),
            ];
            out.line(
                "double_submit",
                &format!("[{}]", parts.join(", ")),
                &format!("{calls} of {of}"),
            );
        }
        for one in &credential.changing {
            out.comment(&format!(
                "{} differs in nearly each of {} calls: no two events share a batch. If the application doesn't \
                 judge by it:",
                one.what, one.calls
            ));
            out.comment(&format!(
                "ignore = [{}]",
                quoted(&format!("header:{}", one.what))
            ));
        }
        for one in &credential.rolling {
            out.comment(&format!(
                "{} of {of} answers set the cookie {}. If that renews a session:",
                one.calls, one.what
            ));
            out.comment(&format!(
                "rolling = [{}]",
                quoted(&format!("cookie:{}", one.what))
            ));
        }
    }

    fn write_cors(&self, out: &mut Out) {
        let credential = self.credential;
        if credential.origins.is_empty() {
            return;
        }
        out.section("[cors]");
        let origins: Vec<_> = credential
            .origins
            .iter()
            .map(|one| quoted(&one.what))
            .collect();
        let calls: usize = credential.origins.iter().map(|one| one.calls).sum();
        let count = format!("{calls} of {}", credential.calls);
        out.line("origins", &format!("[{}]", origins.join(", ")), &count);
        if credential.cors_credentials {
            out.line("credentials", "true", &count);
        }
        if !credential.expose.is_empty() {
            let names: Vec<_> = credential.expose.iter().map(|name| quoted(name)).collect();
            out.line("expose", &format!("[{}]", names.join(", ")), &count);
        }
    }

    fn write_group(&self, out: &mut Out, group: &GroupDraft) {
        let drafts = || {
            group
                .drafts
                .iter()
                .filter_map(|index| self.drafts.get(*index))
        };
        let good: usize = drafts().map(|draft| draft.good).sum();
        out.section(&format!("[batch.{}]", group.name));
        match group.endpoint.and_then(|index| self.endpoints.get(index)) {
            Some(endpoint) => {
                let seen = format!(
                    "{} with {} events",
                    exchanges(endpoint.calls),
                    endpoint.events
                );
                out.line("path", &quoted(&endpoint.path), &seen);
                match endpoint.wrapper.as_deref() {
                    Some("events") => {}
                    None => out.line("envelope", "\"{events}\"", &exchanges(endpoint.calls)),
                    Some(name) => {
                        let envelope = format!("{{ {} = \"{{events}}\" }}", quoted(name));
                        out.line("envelope", &envelope, &exchanges(endpoint.calls));
                    }
                }
            }
            None => {
                out.line(
                    "form",
                    "\"single\"",
                    &format!("{}; no batch endpoint was seen", exchanges(good)),
                );
                out.comment("If each call carries a whole state, of which only the newest counts:");
                out.comment("keep = \"newest\"");
            }
        }
        out.line("id_field", &quoted(&group.id_field), &exchanges(good));
        out.line("time_field", &quoted(&group.time_field), &exchanges(good));
        if let Some(missing) = group.missing_id {
            let note = match missing {
                "hash" => {
                    "no call has an id; each has a time that grows, so an equal one is a repetition"
                }
                _ => "not all calls have an id: such a call that is made again is delivered again",
            };
            out.line(
                "missing_id",
                &quoted(missing),
                &format!("{}; {note}", exchanges(good)),
            );
        }
        if !self.reads.is_empty() {
            out.comment(&format!(
                "With a [[cache]] below: invalidates = [\"{}:{{user}}\"]",
                group.name
            ));
        }
    }

    fn write_reads(&self, out: &mut Out) {
        if self.reads.is_empty() {
            return;
        }
        out.gap();
        out.comment("Reads that one caller repeated. Which events change what they show can't be seen: choose the tags.");
        for read in self.reads {
            out.comment("[[cache]]");
            out.comment(&format!(
                "path = {}  # {}",
                quoted(&read.path),
                exchanges(read.calls)
            ));
            out.comment("ttl = \"30s\"");
            if read.forbidden {
                out.comment("force = true  # the application says no-store or private");
            }
            let tags: Vec<_> = self
                .groups
                .iter()
                .map(|group| quoted(&format!("{}:{{user}}", group.name)))
                .collect();
            out.comment(&format!("tags = [{}]", tags.join(", ")));
        }
    }

    fn write_rest(&self, out: &mut Out) {
        if !self.not_proposed.is_empty() {
            out.gap();
            out.comment("Not proposed, and forwarded as it comes:");
            for one in self.not_proposed {
                out.comment(&format!(
                    "  {}: {} ({})",
                    one.route,
                    one.reason.explain(),
                    exchanges(one.exchanges)
                ));
            }
        }
        let whole: Vec<_> = self
            .unknown
            .iter()
            .filter(|one| one.route.is_empty())
            .collect();
        if !whole.is_empty() {
            out.gap();
            out.comment("Not known:");
            for one in whole {
                out.comment(&format!("  {}: {}", one.subject, one.text));
            }
        }
    }
}

fn write_event(out: &mut Out, draft: &Draft, group: &str) {
    out.section("[[event]]");
    let others = draft.seen - draft.good.min(draft.seen);
    let mut seen = format!("{} of {} succeeded", draft.good, exchanges(draft.seen));
    if others > 0 && !draft.refusals.is_empty() {
        let statuses: Vec<_> = draft.refusals.iter().map(u16::to_string).collect();
        seen.push_str(&format!("; others: {}", statuses.join(", ")));
    }
    out.line("path", &quoted(&draft.path), &seen);
    if draft.method != "POST" {
        out.line("method", &quoted(&draft.method), &exchanges(draft.seen));
    }
    out.line("batch", &quoted(group), &exchanges(draft.good));
    if draft.is_sure() {
        out.line("mode", "\"coalesce\"", &exchanges(draft.good));
    } else {
        out.line(
            "mode",
            "\"off\"",
            &format!("{}; not known:", exchanges(draft.good)),
        );
        for (subject, text) in &draft.doubts {
            out.comment(&format!("  {subject}: {text}"));
        }
    }
    out.header("[event.event]");
    for field in &draft.mapping.fields {
        let note = format!("{} of {}{}", field.calls, draft.good, field.note);
        out.line(&key(&field.key), &quoted(&field.template), &note);
    }
    if draft.mapping.rest {
        out.line(
            "\"...\"",
            "\"{body.*}\"",
            &format!("{} of {}", draft.good, draft.good),
        );
    }
    write_ack(out, draft);
}

fn write_ack(out: &mut Out, draft: &Draft) {
    let ack = &draft.ack;
    let all = ack.answers + ack.repetitions + ack.others;
    out.header("[event.ack]");
    out.line(
        "status",
        &ack.status.to_string(),
        &format!("{} of {all}", all - ack.others),
    );
    for line in ack.body.iter().filter(|line| line.steps.is_empty()) {
        out.line("body", &written(&line.value), &said_of(line, ack.answers));
    }
    if !ack.duplicate.is_empty() {
        let members = Value::Object(ack.duplicate.clone());
        out.line(
            "duplicate",
            &written(&members),
            &format!("{} repetitions", ack.repetitions),
        );
    }
    if !ack.headers.is_empty() {
        out.header("[event.ack.headers]");
        for (name, value) in &ack.headers {
            out.line(
                &key(name),
                &quoted(value),
                &format!("{0} of {0}", ack.answers),
            );
        }
    }
    let mut tables: Vec<&[String]> = Vec::new();
    for line in &ack.body {
        if let Some((_, table)) = line.steps.split_last()
            && !tables.contains(&table)
        {
            tables.push(table);
        }
    }
    tables.sort_by_key(|table| table.len());
    for table in tables {
        let steps: String = table.iter().map(|step| format!(".{}", key(step))).collect();
        out.header(&format!("[event.ack.body{steps}]"));
        for line in &ack.body {
            if let Some((name, above)) = line.steps.split_last()
                && above == table
            {
                out.line(
                    &key(name),
                    &written(&line.value),
                    &said_of(line, ack.answers),
                );
            }
        }
    }
}

fn said_of(line: &Line, answers: usize) -> String {
    match line.doubt {
        None => format!("{} of {answers}", line.holds),
        Some(doubt) => format!("{} of {answers}; to be filled in: {doubt}", line.holds),
    }
}
