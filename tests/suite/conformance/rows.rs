//! The rows, by chapter.

use super::origin::Reply;
use super::{Row, Step, Want};

type Fields = &'static [(&'static str, &'static str)];

/// A GET; the origin says 200 and nothing else.
fn get() -> Step {
    let reply = Reply {
        status: 200,
        headers: Vec::new(),
        body: "body",
        hangs_up: false,
        interim: None,
    };
    Step {
        method: "GET",
        at: "",
        sends: Vec::new(),
        reply,
        want: Want::Anything,
        pause: false,
        status: None,
        shows: Vec::new(),
        lacks: Vec::new(),
        text: None,
        older: None,
        told: Vec::new(),
        interim: None,
    }
}

/// A GET whose answer is fresh for long, and a pause.
fn fresh() -> Step {
    get()
        .with(&[("cache-control", "max-age=100000"), ("date", "@0")])
        .later()
}

/// A GET whose answer is stale after the pause.
fn brief(fields: Fields) -> Step {
    get()
        .with(&[("cache-control", "max-age=2")])
        .with(fields)
        .later()
}

impl Step {
    fn by(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    fn at(self, at: &'static str) -> Self {
        Self { at, ..self }
    }

    fn send(mut self, fields: Fields) -> Self {
        self.sends.extend(
            fields
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        self
    }

    /// Fields of the origin's answer.
    fn with(mut self, fields: Fields) -> Self {
        self.reply.headers.extend(
            fields
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        self
    }

    fn says(mut self, status: u16, body: &'static str) -> Self {
        (self.reply.status, self.reply.body) = (status, body);
        self
    }

    fn hangs_up(mut self) -> Self {
        self.reply.hangs_up = true;
        self
    }

    fn interim(mut self, status: u16, head: &'static str) -> Self {
        (self.interim, self.reply.interim) = (Some(status), Some(head));
        self
    }

    fn later(self) -> Self {
        Self {
            pause: true,
            ..self
        }
    }

    fn want(self, want: Want) -> Self {
        Self { want, ..self }
    }

    fn stored(self) -> Self {
        self.want(Want::Stored)
    }

    fn asked(self) -> Self {
        self.want(Want::Asked)
    }

    fn confirmed(self) -> Self {
        self.want(Want::Confirmed)
    }

    fn hears(self, status: u16) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    fn shows(mut self, fields: Fields) -> Self {
        self.shows.extend(
            fields
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        self
    }

    fn lacks(self, names: &[&'static str]) -> Self {
        Self {
            lacks: names.to_vec(),
            ..self
        }
    }

    fn reads(self, text: &'static str) -> Self {
        Self {
            text: Some(text),
            ..self
        }
    }

    fn older(self, than: u64) -> Self {
        Self {
            older: Some(than),
            ..self
        }
    }

    fn told(self, fields: &[(&'static str, &'static str)]) -> Self {
        Self {
            told: fields.to_vec(),
            ..self
        }
    }
}

#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn must(&mut self, rule: impl Into<String>, steps: impl Into<Vec<Step>>) {
        self.0.push(Row {
            required: true,
            rule: rule.into(),
            steps: steps.into(),
        });
    }

    fn may(&mut self, rule: impl Into<String>, steps: impl Into<Vec<Step>>) {
        self.0.push(Row {
            required: false,
            rule: rule.into(),
            steps: steps.into(),
        });
    }

    /// An answer with these fields, a pause, and the same request again.
    fn must_after(&mut self, want: Want, rule: &str, fields: Fields) {
        self.must(rule, [get().with(fields).later(), get().want(want)]);
    }

    fn may_after(&mut self, want: Want, rule: &str, fields: Fields) {
        self.may(rule, [get().with(fields).later(), get().want(want)]);
    }
}

pub fn all() -> Vec<Row> {
    let mut table = Table::default();
    ages(&mut table);
    credentials(&mut table);
    freshness(&mut table);
    directives(&mut table);
    targeted(&mut table);
    conditions(&mut table);
    expiry(&mut table);
    dates(&mut table);
    kept_fields(&mut table);
    guesses(&mut table);
    interim(&mut table);
    writes(&mut table);
    answers(&mut table);
    parts(&mut table);
    staleness(&mut table);
    statuses(&mut table);
    confirmations(&mut table);
    variants(&mut table);
    table.0
}

use Want::{Asked, Stored};

fn ages(table: &mut Table) {
    const HOUR: (&str, &str) = ("cache-control", "max-age=3600");
    let rows: [(Want, &str, Fields); 13] = [
        (Stored, "letters are no Age", &[HOUR, ("age", "abc")]),
        (Stored, "a negative Age is none", &[HOUR, ("age", "-7200")]),
        (Stored, "a fraction is no Age", &[HOUR, ("age", "7200.0")]),
        (Asked, "an Age below 2^31", &[HOUR, ("age", "2147483647")]),
        (Asked, "an Age of 2^31", &[HOUR, ("age", "2147483648")]),
        (Asked, "an Age above 2^31", &[HOUR, ("age", "2147483649")]),
        (
            Asked,
            "of a list of Ages the first, which is old",
            &[HOUR, ("age", "7200, 0")],
        ),
        (
            Stored,
            "of a list of Ages the first, which is young",
            &[HOUR, ("age", "0, 7200")],
        ),
        (
            Asked,
            "of two Age lines the first, which is old",
            &[HOUR, ("age", "7200"), ("age", "0")],
        ),
        (
            Stored,
            "of two Age lines the first, which is young",
            &[HOUR, ("age", "0"), ("age", "7200")],
        ),
        (
            Stored,
            "a list of the same young Age",
            &[HOUR, ("age", "0, 0")],
        ),
        (
            Stored,
            "two lines of the same young Age",
            &[HOUR, ("age", "0"), ("age", "0")],
        ),
        (
            Stored,
            "two lines of an Age that leaves time",
            &[
                ("cache-control", "max-age=10000"),
                ("age", "3600"),
                ("age", "3600"),
            ],
        ),
    ];
    for (want, rule, fields) in rows {
        table.must(
            format!("RFC 9111 §5.1: {rule}"),
            [
                get().with(&[("date", "@0")]).with(fields).later(),
                get().want(want),
            ],
        );
    }
}

fn credentials(table: &mut Table) {
    let authorized = || {
        get()
            .send(&[("authorization", "Basic Zm9v")])
            .told(&[("authorization", "Basic Zm9v")])
    };
    let shared = |control: Fields| [authorized().with(control).later(), get().stored()];
    table.must(
        "RFC 9111 §3.5: an authorized answer is not shared",
        [
            authorized()
                .with(&[("cache-control", "max-age=100000")])
                .later(),
            get().asked(),
        ],
    );
    table.may(
        "RFC 9111 §3.5: public shares an authorized answer",
        shared(&[("cache-control", "max-age=3600, public")]),
    );
    table.may(
        "RFC 9111 §3.5: must-revalidate shares an authorized answer",
        shared(&[("cache-control", "max-age=3600, must-revalidate")]),
    );
    table.may(
        "RFC 9111 §3.5: s-maxage shares an authorized answer",
        shared(&[("cache-control", "s-maxage=3600")]),
    );
}

fn freshness(table: &mut Table) {
    table.must_after(
        Asked,
        "RFC 9111 §4.2: max-age has passed",
        &[("cache-control", "max-age=2")],
    );
    table.must_after(
        Asked,
        "RFC 9111 §5.2.2.1: max-age=0",
        &[("cache-control", "max-age=0")],
    );
    table.must_after(
        Asked,
        "RFC 9111 §5.2.2.1: a negative max-age",
        &[("cache-control", "max-age=-3600")],
    );
    table.must_after(
        Asked,
        "RFC 9111 §4.2.3: Age above max-age",
        &[
            ("date", "@0"),
            ("cache-control", "max-age=3600"),
            ("age", "7200"),
        ],
    );
    table.must_after(
        Asked,
        "RFC 9111 §5.3: max-age=0 beside an Expires to come",
        &[
            ("expires", "@3600"),
            ("cache-control", "max-age=0"),
            ("date", "@0"),
        ],
    );
    table.must_after(
        Asked,
        "RFC 9111 §5.2.2.10: a short s-maxage behind a long max-age",
        &[("cache-control", "max-age=3600, s-maxage=1")],
    );
    table.must_after(
        Asked,
        "RFC 9111 §5.2.2.10: a short s-maxage before a long max-age",
        &[("cache-control", "s-maxage=1, max-age=3600")],
    );
    table.must_after(
        Asked,
        "RFC 9111 §5.2.2.10: a short s-maxage on a line of its own",
        &[
            ("cache-control", "max-age=3600"),
            ("cache-control", "s-maxage=1"),
        ],
    );
    table.must_after(
        Asked,
        "RFC 9111 §5.2: max-age in a quoted string before the real one",
        &[("cache-control", "ext=\"max-age=3600\", max-age=1")],
    );
    table.must_after(
        Asked,
        "RFC 9111 §5.2: max-age in a quoted string behind the real one",
        &[("cache-control", "max-age=1, ext=\"max-age=3600\"")],
    );
    table.must_after(
        Stored,
        "RFC 9111 §1.2.2: leading zeros",
        &[("cache-control", "max-age=003600")],
    );
    table.must_after(
        Asked,
        "RFC 9111 §5.2: single quotes are no quotes",
        &[("cache-control", "max-age='3600'")],
    );
    let optional: [(&str, Fields); 12] = [
        ("§5.2.2.1: max-age", &[("cache-control", "max-age=3600")]),
        (
            "§1.2.2: max-age below 2^31",
            &[("cache-control", "max-age=2147483647")],
        ),
        (
            "§1.2.2: max-age of 2^31",
            &[("cache-control", "max-age=2147483648")],
        ),
        (
            "§1.2.2: max-age above 2^31",
            &[("cache-control", "max-age=2147483649")],
        ),
        (
            "§1.2.2: max-age of eleven digits",
            &[("cache-control", "max-age=99999999999")],
        ),
        (
            "§5.3: max-age beside an Expires that has passed",
            &[
                ("cache-control", "max-age=3600"),
                ("expires", "@-7200"),
                ("date", "@0"),
            ],
        ),
        (
            "§5.3: max-age beside an Expires that is no date",
            &[
                ("cache-control", "max-age=3600"),
                ("expires", "0"),
                ("date", "@0"),
            ],
        ),
        (
            "§5.2.3: an unknown directive",
            &[("cache-control", "foobar, max-age=3600")],
        ),
        (
            "§5.2: a directive in any case",
            &[("cache-control", "MaX-aGe=3600")],
        ),
        ("§5.2.2.10: s-maxage", &[("cache-control", "s-maxage=3600")]),
        (
            "§5.2.2.10: a long s-maxage beside a short max-age",
            &[("cache-control", "max-age=1, s-maxage=3600")],
        ),
        (
            "§5.2.2.10: s-maxage beside max-age=0 and an Expires that has passed",
            &[
                ("expires", "@-10"),
                ("cache-control", "max-age=0, s-maxage=3600"),
            ],
        ),
    ];
    for (rule, fields) in optional {
        table.may_after(Stored, &format!("RFC 9111 {rule}"), fields);
    }
}

fn directives(table: &mut Table) {
    let rows: [(&str, Fields); 6] = [
        (
            "§5.2.2.7: private",
            &[("cache-control", "private, max-age=3600")],
        ),
        ("§5.2.2.5: no-store", &[("cache-control", "no-store")]),
        (
            "§5.2.2.5: no-store in any case",
            &[("cache-control", "No-StOrE")],
        ),
        (
            "§5.2.2.5: no-store beside max-age and Expires",
            &[
                ("cache-control", "max-age=10000, no-store"),
                ("expires", "@10000"),
                ("date", "@0"),
            ],
        ),
        (
            "§5.2.2.4: no-cache beside max-age and Expires",
            &[
                ("cache-control", "max-age=10000, no-cache"),
                ("expires", "@10000"),
                ("date", "@0"),
            ],
        ),
        (
            "§5.2.2.4: no-cache in any case",
            &[
                ("cache-control", "max-age=10000, No-CaChE"),
                ("expires", "@10000"),
                ("date", "@0"),
            ],
        ),
    ];
    for (rule, fields) in rows {
        table.must(
            format!("RFC 9111 {rule}"),
            [get().with(fields), get().asked()],
        );
    }
    for (rule, control) in [
        ("no-store", "no-store"),
        ("no-store with max-age=0", "no-store, max-age=0"),
    ] {
        let unused = Step {
            reply: Reply {
                headers: vec![("cache-control", control.to_owned())],
                ..get().reply
            },
            ..get()
        };
        table.must(
            format!(
                "RFC 9111 §4: what is fresh is used, though the origin would say {rule} by now"
            ),
            [
                get()
                    .with(&[
                        ("cache-control", "max-age=10000"),
                        ("date", "@0"),
                        ("a", "1"),
                    ])
                    .later(),
                unused.with(&[("a", "2")]).later(),
                get().stored().shows(&[("a", "1")]),
            ],
        );
    }
    let strict: Fields = &[
        ("cache-control", "max-age=2, must-revalidate"),
        ("etag", "\"abcd\""),
    ];
    table.must(
        "RFC 9111 §5.2.2.2: must-revalidate once it is stale",
        [
            get().with(strict),
            get().with(strict).stored().later(),
            get().confirmed(),
        ],
    );
    table.may(
        "RFC 9111 §5.2.2.2: must-revalidate while it is fresh",
        [
            get().with(&[
                ("cache-control", "max-age=10000, must-revalidate"),
                ("etag", "\"abcd\""),
            ]),
            get().stored(),
        ],
    );
    table.may(
        "RFC 9111 §5.2.2.4: no-cache is stored and confirmed",
        [
            get().with(&[("cache-control", "no-cache"), ("etag", "\"abcd\"")]),
            get().confirmed(),
        ],
    );
    table.may(
        "RFC 9111 §5.2.2.4: no-cache beside max-age is stored and confirmed",
        [
            get().with(&[
                ("cache-control", "max-age=10000, no-cache"),
                ("expires", "@10000"),
                ("etag", "\"abcd\""),
            ]),
            get().confirmed(),
        ],
    );
}

fn targeted(table: &mut Table) {
    const LONG: (&str, &str) = ("cdn-cache-control", "max-age=3600");
    const NONE: (&str, &str) = ("cdn-cache-control", "max-age=0");
    let required: [(Want, &str, Fields); 10] = [
        (
            Asked,
            "Age above its max-age",
            &[("date", "@0"), LONG, ("age", "7200")],
        ),
        (Asked, "its max-age=0", &[NONE]),
        (
            Asked,
            "its max-age=0 beside an Expires to come",
            &[NONE, ("expires", "@10000"), ("date", "@0")],
        ),
        (
            Asked,
            "its short max-age beside a long one",
            &[
                ("cache-control", "max-age=3600"),
                ("cdn-cache-control", "max-age=1"),
            ],
        ),
        (
            Asked,
            "its private",
            &[
                ("cdn-cache-control", "private"),
                ("cache-control", "max-age=10000"),
            ],
        ),
        (
            Asked,
            "its no-cache",
            &[
                ("cdn-cache-control", "no-cache"),
                ("cache-control", "max-age=10000"),
            ],
        ),
        (
            Asked,
            "its no-store",
            &[
                ("cdn-cache-control", "no-store"),
                ("cache-control", "max-age=10000"),
            ],
        ),
        (
            Stored,
            "its max-age over no-store",
            &[
                ("cache-control", "no-store"),
                ("cdn-cache-control", "max-age=10000"),
            ],
        ),
        (
            Asked,
            "one that can't be parsed is ignored",
            &[
                ("cdn-cache-control", "max-age=10000, &&&&&"),
                ("cache-control", "no-store"),
            ],
        ),
        (
            Asked,
            "one of a wrong type is ignored",
            &[
                ("cdn-cache-control", "max-age=\"10000\""),
                ("cache-control", "no-store"),
            ],
        ),
    ];
    for (want, rule, fields) in required {
        table.must_after(want, &format!("RFC 9213 §2: {rule}"), fields);
    }
    let optional: [(&str, Fields); 7] = [
        ("its max-age", &[LONG]),
        (
            "its max-age of 2^31",
            &[("cdn-cache-control", "max-age=2147483648")],
        ),
        (
            "its max-age of eleven digits",
            &[("cdn-cache-control", "max-age=99999999999")],
        ),
        (
            "an unknown directive",
            &[("cdn-cache-control", "foobar, max-age=3600")],
        ),
        (
            "its max-age beside an Expires that has passed",
            &[LONG, ("expires", "@-10000"), ("date", "@0")],
        ),
        (
            "its max-age beside an Expires that is no date",
            &[LONG, ("expires", "0"), ("date", "@0")],
        ),
        (
            "its long max-age beside a short one",
            &[("cache-control", "max-age=1"), LONG],
        ),
    ];
    for (rule, fields) in optional {
        table.may_after(Stored, &format!("RFC 9213 §2: {rule}"), fields);
    }
}

fn conditions(table: &mut Table) {
    let tagged = |tag: Fields| fresh().with(tag);
    let known = |condition: Fields| get().send(condition).stored().hears(304);
    table.must(
        "RFC 9110 §15.4.5: a 304 names the tag",
        [
            tagged(&[("etag", "\"abcdef\"")]),
            known(&[("if-none-match", "\"abcdef\"")]).shows(&[("etag", "\"abcdef\"")]),
        ],
    );
    table.must(
        "RFC 9110 §13.2.2: a tag decides before a date",
        [
            tagged(&[("last-modified", "@-5000"), ("etag", "\"abcdef\"")]),
            known(&[
                ("if-none-match", "\"abcdef\""),
                ("if-modified-since", "@-9000"),
            ]),
        ],
    );
    table.must(
        "RFC 9111 §4.3.1: a condition goes with the fields that the answer varies by",
        [
            brief(&[("etag", "\"abcdef\""), ("vary", "Abc")]).send(&[("abc", "123")]),
            get()
                .send(&[("abc", "123")])
                .confirmed()
                .told(&[("abc", "123")]),
        ],
    );
    let optional: [(&str, Fields, Fields); 5] = [
        (
            "a strong tag",
            &[("etag", "\"abcdef\"")],
            &[("if-none-match", "\"abcdef\"")],
        ),
        (
            "a weak tag",
            &[("etag", "W/\"abcdef\"")],
            &[("if-none-match", "W/\"abcdef\"")],
        ),
        (
            "the first of three tags",
            &[("etag", "\"abcdef\"")],
            &[("if-none-match", "\"abcdef\", \"1234\", \"5678\"")],
        ),
        (
            "the second of three tags",
            &[("etag", "\"abcdef\"")],
            &[("if-none-match", "\"1234\", \"abcdef\", \"5678\"")],
        ),
        (
            "the last of three tags",
            &[("etag", "\"abcdef\"")],
            &[("if-none-match", "\"1234\", \"5678\", \"abcdef\"")],
        ),
    ];
    for (rule, tag, condition) in optional {
        table.may(
            format!("RFC 9110 §13.1.2: {rule} is known"),
            [tagged(tag), known(condition)],
        );
    }
    table.may(
        "RFC 9111 §4.3.1: a strong tag is asked by",
        [
            brief(&[("etag", "\"abcdef\"")]),
            get().confirmed().told(&[("if-none-match", "\"abcdef\"")]),
        ],
    );
    table.may(
        "RFC 9111 §4.3.1: a weak tag is asked by",
        [
            brief(&[("etag", "W/\"abcdef\"")]),
            get().confirmed().told(&[("if-none-match", "W/\"abcdef\"")]),
        ],
    );
    let modified = || tagged(&[("last-modified", "@-3000")]);
    table.may(
        "RFC 9110 §13.1.3: the same date",
        [modified(), known(&[("if-modified-since", "@-3000")])],
    );
    table.may(
        "RFC 9110 §13.1.3: a later date",
        [modified(), known(&[("if-modified-since", "@-2000")])],
    );
    table.may(
        "RFC 9110 §5.6.7: the same date in RFC 850",
        [modified(), known(&[("if-modified-since", "850@-3000")])],
    );
    table.may(
        "RFC 9111 §4.3.3: the same date once it is stale, after it was confirmed",
        [
            brief(&[("last-modified", "@-3000")]),
            get()
                .send(&[("if-modified-since", "@-3000")])
                .confirmed()
                .hears(304),
        ],
    );
    table.may(
        "RFC 9111 §4.3.2: If-Modified-Since before the date of an answer without Last-Modified",
        [fresh(), known(&[("if-modified-since", "@-3000")])],
    );
}

fn expiry(table: &mut Table) {
    let required: [(&str, Fields); 6] = [
        (
            "Expires that has passed",
            &[("expires", "@-2592000"), ("date", "@0")],
        ),
        ("Expires that is Date", &[("expires", "@0"), ("date", "@0")]),
        (
            "Expires before Date, both ahead",
            &[("expires", "@300"), ("date", "@400")],
        ),
        (
            "Expires that is no date",
            &[("expires", "0"), ("date", "@0")],
        ),
        (
            "Age above Expires less a Date that is behind",
            &[("date", "@-10"), ("expires", "@10"), ("age", "25")],
        ),
        (
            "Age above Expires less a Date that is ahead",
            &[("date", "@10"), ("expires", "@20"), ("age", "15")],
        ),
    ];
    for (rule, fields) in required {
        table.must_after(Asked, &format!("RFC 9111 §5.3: {rule}"), fields);
    }
    table.may_after(
        Stored,
        "RFC 9111 §5.3: Expires to come",
        &[("expires", "@2592000"), ("date", "@0")],
    );
    table.may_after(
        Stored,
        "RFC 9111 §5.3: Expires beside a Date that is none",
        &[("date", "foo"), ("expires", "@10")],
    );
}

fn dates(table: &mut Table) {
    let required: [(&str, Fields); 9] = [
        (
            "UTC for GMT",
            &[("expires", "Thu, 18 Aug 2050 02:01:18 UTC")],
        ),
        (
            "another zone",
            &[("expires", "Thu, 18 Aug 2050 02:01:18 AEST")],
        ),
        (
            "a year of two digits",
            &[("expires", "Thu, 18 Aug 50 02:01:18 GMT")],
        ),
        ("no comma", &[("expires", "Thu 18 Aug 2050 02:01:18 GMT")]),
        (
            "two spaces",
            &[("expires", "Thu, 18  Aug  2050 02:01:18 GMT")],
        ),
        ("dashes", &[("expires", "Thu, 18-Aug-2050 02:01:18 GMT")]),
        (
            "full stops in the time",
            &[("expires", "Thu, 18 Aug 2050 02.01.18 GMT")],
        ),
        (
            "an hour of one digit",
            &[("expires", "Thu, 18 Aug 2050 2:01:18 GMT")],
        ),
        (
            "two dates that differ",
            &[
                ("expires", "Thu, 18 Aug 2050 02:01:18 GMT"),
                ("expires", "Thu, 18 Aug 2050 02:01:19 GMT"),
            ],
        ),
    ];
    for (rule, fields) in required {
        table.must_after(
            Asked,
            &format!("RFC 9110 §5.6.7: {rule} makes no date"),
            fields,
        );
    }
    let optional: [(&str, Fields); 7] = [
        (
            "of 32 bits",
            &[("expires", "Tue, 19 Jan 2038 14:14:08 GMT")],
        ),
        ("far away", &[("expires", "Sun, 21 Nov 2286 04:46:39 GMT")]),
        (
            "in RFC 850",
            &[("expires", "Thursday, 18-Aug-50 02:01:18 GMT")],
        ),
        (
            "in asctime, whatever its weekday",
            &[("expires", "Thu Aug  8 02:01:18 2050")],
        ),
        (
            "with a weekday in another case",
            &[("expires", "THU, 18 Aug 2050 02:01:18 GMT")],
        ),
        (
            "with a month in another case",
            &[("expires", "Thu, 18 AUG 2050 02:01:18 GMT")],
        ),
        (
            "with a zone in another case",
            &[("expires", "Thu, 18 Aug 2050 02:01:18 gMT")],
        ),
    ];
    for (rule, fields) in optional {
        table.may_after(Stored, &format!("RFC 9110 §5.6.7: a date {rule}"), fields);
    }
}

fn kept_fields(table: &mut Table) {
    table.must(
        "RFC 9111 §3.1: fields that Connection names are not kept",
        [
            fresh().with(&[
                ("connection", "a, b, close"),
                ("a", "1"),
                ("b", "2"),
                ("c", "3"),
            ]),
            get().stored().shows(&[("c", "3")]).lacks(&["a", "b"]),
        ],
    );
    let kept: [Fields; 19] = [
        &[("test-header", "stored")],
        &[("x-test-header", "stored")],
        &[("content-foo", "stored")],
        &[("x-content-foo", "stored")],
        &[("cache-control", "max-age=3600")],
        &[("content-encoding", "stored")],
        &[("content-length", "4")],
        &[("content-location", "/bar")],
        &[("content-md5", "N7UdGUp1E+RbVvZSTy1R8g==")],
        &[("content-range", "stored")],
        &[("content-security-policy", "default-src 'self' cdn.test")],
        &[("content-type", "text/plain;charset=utf-8")],
        &[("clear-site-data", "cookies")],
        &[("etag", "\"ghijkl\"")],
        &[("expires", "Mon, 11 Jan 2038 11:11:11 GMT")],
        &[("public-key-pins", "stored")],
        &[("set-cookie2", "a=c")],
        &[("x-frame-options", "sameorigin")],
        &[("x-xss-protection", "1; mode=block")],
    ];
    let long: Fields = &[("cache-control", "max-age=3600")];
    for field in kept {
        let name = field[0].0;
        let more = if name == "cache-control" { &[] } else { long };
        table.must(
            format!("RFC 9111 §3.1: {name} is kept"),
            [
                get().with(&[("date", "@0")]).with(field).with(more).later(),
                get().stored().shows(field),
            ],
        );
    }
    table.must(
        "RFC 9111 §7.3: Set-Cookie is kept",
        [
            get().with(&[("set-cookie", "a=c")]).with(long).later(),
            get().stored().shows(&[("set-cookie", "a=c")]),
        ],
    );
    let of_the_connection: [Fields; 9] = [
        &[("connection", "close, x-hop"), ("x-hop", "1")],
        &[("keep-alive", "timeout=1")],
        &[("proxy-authenticate", "Basic")],
        &[("proxy-authentication-info", "x=y")],
        &[("proxy-authorization", "Basic Zm9v")],
        &[("proxy-connection", "close")],
        &[("te", "trailers")],
        &[("transfer-encoding", "stored")],
        &[("upgrade", "h2c")],
    ];
    for field in of_the_connection {
        let (name, _) = field[field.len() - 1];
        let rule = field[0].0;
        table.must(
            format!("RFC 9111 §3.1: {rule} is not kept"),
            [
                get().with(field).with(long).later(),
                get().stored().lacks(&[name]),
            ],
        );
    }
}

fn guesses(table: &mut Table) {
    let said: Fields = &[("last-modified", "@-86400"), ("date", "@0")];
    for status in [201, 202, 403, 502, 503, 504, 599] {
        table.must(
            format!("RFC 9110 §15.1: no guess for {status}"),
            [
                get().says(status, "body").with(said),
                get().says(status, "body").asked().hears(status),
            ],
        );
    }
    for status in [200, 203, 204, 404, 405, 410, 414, 501] {
        let body = if status == 204 { "" } else { "body" };
        table.may(
            format!("RFC 9111 §4.2.2: a guess for {status}"),
            [
                get().says(status, body).with(said),
                get().says(status, body).stored().hears(status),
            ],
        );
    }
    table.may(
        "RFC 9111 §5.2.2.9: a guess for any status that is public",
        [
            get()
                .says(599, "body")
                .with(said)
                .with(&[("cache-control", "public")]),
            get().says(599, "body").stored().hears(599),
        ],
    );
}

fn interim(table: &mut Table) {
    const EARLY: &str =
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Early: 1\r\n\r\n";
    const WORKING: &str = "HTTP/1.1 102 Processing\r\n\r\n";
    table.must(
        "RFC 9110 §15.2: 103 is passed on and not stored",
        [fresh().interim(103, EARLY), get().stored().hears(200)],
    );
    table.may(
        "RFC 9110 §15.2: 102 is passed on",
        [fresh().interim(102, WORKING), get().stored()],
    );
    table.may(
        "RFC 9110 §15.2: 103 is passed on",
        [fresh().interim(103, EARLY), get().stored()],
    );
    table.may(
        "RFC 9110 §15.2: fields of 103 are not kept",
        [
            fresh().interim(103, EARLY),
            get().stored().lacks(&["x-early"]),
        ],
    );
}

fn writes(table: &mut Table) {
    for method in ["POST", "PUT", "DELETE", "M-SEARCH"] {
        table.must(
            format!("RFC 9111 §4.4: {method} makes its target old"),
            [fresh(), get().by(method).asked(), get().asked()],
        );
        table.may(
            format!("RFC 9111 §4.4: {method} that failed makes nothing old"),
            [
                fresh(),
                get().by(method).says(500, "").asked(),
                get().stored(),
            ],
        );
    }
    // The row's path is not known here; an empty reference with a query names the target itself.
    table.may(
        "RFC 9110 §9.3.3: an answer to POST that is its target's is used for GET",
        [
            get()
                .by("POST")
                .at("?self")
                .send(&[("content-type", "text/plain")])
                .with(&[
                    ("expires", "@2592000"),
                    ("content-location", "?self"),
                    ("date", "@0"),
                ])
                .later(),
            get().at("?self").stored(),
        ],
    );
}

fn answers(table: &mut Table) {
    table.must(
        "RFC 9111 §5.1: a stored answer says its Age",
        [fresh(), get().stored().older(2)],
    );
    table.must(
        "RFC 9111 §5.1: an Age that came grows under Expires",
        [
            get()
                .with(&[("expires", "@2592000"), ("date", "@0"), ("age", "30")])
                .later(),
            get().stored().older(32),
        ],
    );
    table.must(
        "RFC 9111 §5.1: an Age that came grows under max-age",
        [fresh().with(&[("age", "30")]), get().stored().older(32)],
    );
    table.must(
        "RFC 9110 §6.6.1: Date stays under max-age",
        [fresh(), get().stored().shows(&[("date", "@0")])],
    );
    table.must(
        "RFC 9110 §6.6.1: Date stays under Expires",
        [
            get()
                .with(&[("expires", "@2592000"), ("date", "@0")])
                .later(),
            get().stored().shows(&[("date", "@0")]),
        ],
    );
    table.must(
        "RFC 9111 §2: another query is another key",
        [fresh().at("?test=1"), get().at("?test=2").asked()],
    );
    table.may(
        "RFC 9111 §2: the same query is the same key",
        [fresh().at("?test=1"), get().at("?test=1").stored()],
    );
    table.may(
        "RFC 9111 §7.3: an answer that came with Set-Cookie is used",
        [fresh().with(&[("set-cookie", "a=b")]), get().stored()],
    );
    table.may(
        "RFC 9111 §4: an answer is used for a request with a cookie",
        [fresh(), get().send(&[("cookie", "a=b")]).stored()],
    );
}

fn parts(table: &mut Table) {
    let whole = || {
        get()
            .says(200, "01234567890")
            .with(&[("cache-control", "max-age=3600"), ("a", "1")])
    };
    let cut = |range: Fields| get().send(range).stored().hears(206);
    table.must(
        "RFC 9111 §3.4: a part of a stored answer has its fields",
        [
            whole(),
            cut(&[("range", "bytes=0-1")])
                .reads("01")
                .shows(&[("a", "1")]),
        ],
    );
    table.must(
        "RFC 9111 §3.4: a part of a stored answer is not asked for",
        [
            whole(),
            cut(&[("range", "bytes=0-1")])
                .with(&[("a", "2")])
                .reads("01"),
        ],
    );
    table.may(
        "RFC 9110 §14.2: a range is cut from the whole",
        [whole(), cut(&[("range", "bytes=0-1")]).reads("01")],
    );
    table.may(
        "RFC 9110 §14.2: an open range is cut from the whole",
        [whole(), cut(&[("range", "bytes=1-")]).reads("1234567890")],
    );
    table.may(
        "RFC 9110 §14.2: the last byte is cut from the whole",
        [whole(), cut(&[("range", "bytes=-1")]).reads("0")],
    );
    // Five bytes that say they are six, as the public suite has it.
    let odd = || {
        get()
            .send(&[("range", "bytes=-5")])
            .says(206, "01234")
            .with(&[
                ("cache-control", "max-age=3600"),
                ("content-range", "bytes 4-9/10"),
            ])
    };
    table.may(
        "RFC 9111 §3.3: a part is used for the same range",
        [odd(), cut(&[("range", "bytes=-5")]).reads("01234")],
    );
    table.may(
        "RFC 9111 §3.3: a part is used for a range in it",
        [odd(), cut(&[("range", "bytes=6-8")]).reads("234")],
    );
    table.may(
        "RFC 9111 §3.3: a part is used for its open end",
        [odd(), cut(&[("range", "bytes=6-")]).reads("234")],
    );
    table.may(
        "RFC 9111 §3.3: a part is used for its last byte",
        [odd(), cut(&[("range", "bytes=-1")]).reads("4")],
    );
    table.may(
        "RFC 9111 §3.4: a part without a validator is completed",
        [
            get()
                .send(&[("range", "bytes=-5")])
                .says(206, "01234")
                .with(&[
                    ("cache-control", "max-age=3600"),
                    ("content-range", "bytes 0-4/10"),
                ]),
            get().told(&[("range", "bytes=5-")]),
        ],
    );
}

fn staleness(table: &mut Table) {
    let window: Fields = &[
        ("cache-control", "max-age=1, stale-while-revalidate=4"),
        ("etag", "\"abc\""),
    ];
    table.must(
        "RFC 5861 §3: not after the time of stale-while-revalidate",
        [
            get().with(window).later(),
            get()
                .with(&[("cache-control", "no-cache"), ("etag", "\"def\"")])
                .stored()
                .later(),
            get().asked(),
        ],
    );
    table.may(
        "RFC 5861 §3: stale-while-revalidate",
        [
            get()
                .with(&[
                    ("cache-control", "max-age=1, stale-while-revalidate=3600"),
                    ("etag", "\"abc\""),
                ])
                .later(),
            get().stored(),
        ],
    );
    let strict: [(&str, Fields); 4] = [
        (
            "§5.2.2.2: must-revalidate",
            &[("cache-control", "max-age=2, must-revalidate")],
        ),
        (
            "§5.2.2.8: proxy-revalidate",
            &[("cache-control", "max-age=2, proxy-revalidate")],
        ),
        (
            "§5.2.2.4: no-cache",
            &[("cache-control", "max-age=2, no-cache")],
        ),
        (
            "§5.2.2.10: s-maxage",
            &[("cache-control", "max-age=2, s-maxage=2")],
        ),
    ];
    for (rule, fields) in strict {
        table.must(
            format!("RFC 9111 {rule} is never stale, though the origin hangs up"),
            [
                get().with(fields).later(),
                get().hangs_up().lacks(&["origin-call"]).hears(502),
            ],
        );
    }
}

fn statuses(table: &mut Table) {
    for status in [
        200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599,
    ] {
        let body = if status == 204 { "" } else { "body" };
        table.may(
            format!("RFC 9111 §3: a fresh {status}"),
            [
                fresh().says(status, body),
                get().says(status, body).stored().hears(status),
            ],
        );
        table.must(
            format!("RFC 9111 §4.2: a stale {status}"),
            [
                get().says(status, body).with(&[
                    ("expires", "@-5000"),
                    ("last-modified", "@-100000"),
                    ("date", "@0"),
                ]),
                get().says(200, body).asked().hears(200),
            ],
        );
    }
    let understood: Fields = &[("cache-control", "max-age=3600, no-store, must-understand")];
    table.must(
        "RFC 9111 §5.2.2.3: must-understand and an unknown status",
        [get().says(599, "body").with(understood), get().asked()],
    );
    table.may(
        "RFC 9111 §5.2.2.3: must-understand and a known status",
        [get().with(understood), get().stored()],
    );
}

fn confirmations(table: &mut Table) {
    const AGES_AGO: &str = "Wed, 01 Jan 2020 00:00:00 GMT";
    table.must(
        "RFC 9111 §3.2: a field that the 304 doesn't name stays",
        [
            brief(&[
                ("last-modified", AGES_AGO),
                ("date", "@0"),
                ("test-header", "a"),
            ]),
            get()
                .with(&[("last-modified", AGES_AGO), ("date", "@0")])
                .confirmed()
                .shows(&[("test-header", "a")]),
        ],
    );
    let fields: [(&str, Fields, Fields, Fields); 6] = [
        (
            "test-header is replaced",
            &[("test-header", "a")],
            &[("test-header", "b")],
            &[("test-header", "b")],
        ),
        (
            "x-test-header is replaced",
            &[("x-test-header", "a")],
            &[("x-test-header", "b")],
            &[("x-test-header", "b")],
        ),
        (
            "content-foo is replaced",
            &[("content-foo", "a")],
            &[("content-foo", "b")],
            &[("content-foo", "b")],
        ),
        (
            "x-content-foo is replaced",
            &[("x-content-foo", "a")],
            &[("x-content-foo", "b")],
            &[("x-content-foo", "b")],
        ),
        (
            "cache-control is replaced",
            &[("cache-control", "max-age=1")],
            &[("cache-control", "max-age=3600")],
            &[("cache-control", "max-age=3600")],
        ),
        (
            "content-length is not replaced",
            &[("content-length", "4")],
            &[("content-length", "10")],
            &[("content-length", "4")],
        ),
    ];
    let brief_life: Fields = &[("cache-control", "max-age=2")];
    for (rule, before, after, wanted) in fields {
        let more = if before[0].0 == "cache-control" {
            &[]
        } else {
            brief_life
        };
        let all = |field: Fields| {
            get()
                .with(&[("date", "@0"), ("etag", "\"1\"")])
                .with(field)
                .with(more)
        };
        table.must(
            format!("RFC 9111 §3.2: {rule}"),
            [
                all(before).later(),
                all(after).confirmed().shows(wanted),
                all(after).stored().shows(wanted),
            ],
        );
    }
}

fn variants(table: &mut Table) {
    const LONG: (&str, &str) = ("cache-control", "max-age=5000");
    const FOO: (&str, &str) = ("foo", "1");
    const BAR: (&str, &str) = ("bar", "abc");
    const BAZ: (&str, &str) = ("baz", "789");
    let stars: [(&str, Fields); 8] = [
        ("*", &[LONG, ("vary", "*")]),
        (
            "* with a date",
            &[
                LONG,
                ("last-modified", "@-3000"),
                ("date", "@0"),
                ("vary", "*"),
            ],
        ),
        ("*, *", &[LONG, ("vary", "*, *")]),
        ("* on two lines", &[LONG, ("vary", "*"), ("vary", "*")]),
        ("an empty member and *", &[LONG, ("vary", ", *")]),
        ("an empty line and *", &[LONG, ("vary", ""), ("vary", "*")]),
        ("* and a name", &[LONG, ("vary", "*, Foo")]),
        ("a name and *", &[LONG, ("vary", "Foo, *")]),
    ];
    for (rule, fields) in stars {
        table.must(
            format!("RFC 9111 §4.1: Vary of {rule}"),
            [
                get().send(&[FOO, BAZ]).with(fields),
                get().send(&[FOO, BAZ]).asked(),
            ],
        );
    }
    let one: Fields = &[LONG, ("vary", "Foo")];
    let two: Fields = &[LONG, ("vary", "Foo, Bar")];
    let three: Fields = &[LONG, ("vary", "Foo, Bar, Baz")];
    let required: [(&str, Fields, Fields, Fields); 7] = [
        ("another value", one, &[FOO], &[("foo", "2")]),
        ("none where the first had one", one, &[FOO], &[]),
        ("one where the first had none", one, &[], &[FOO]),
        (
            "another of two values",
            two,
            &[FOO, BAR],
            &[("foo", "2"), BAR],
        ),
        ("none of two values", two, &[FOO, BAR], &[]),
        (
            "another of three values",
            three,
            &[FOO, BAR, BAZ],
            &[("foo", "2"), BAR, BAZ],
        ),
        (
            "another of three values in another order",
            three,
            &[FOO, BAR, BAZ],
            &[FOO, BAZ, ("bar", "abcde")],
        ),
    ];
    for (rule, answer, first, second) in required {
        table.must(
            format!("RFC 9111 §4.1: {rule} is another variant"),
            [get().send(first).with(answer), get().send(second).asked()],
        );
    }
    let languages: Fields = &[LONG, ("vary", "Accept-Language")];
    let german: Fields = &[
        LONG,
        ("vary", "Accept-Language"),
        ("content-language", "de"),
    ];
    const EN_DE: (&str, &str) = ("accept-language", "en, de");
    let optional: [(&str, Fields, Fields, Fields); 11] = [
        ("the same value", one, &[FOO], &[FOO]),
        (
            "other fields are no part of it",
            one,
            &[FOO, ("other", "2")],
            &[FOO, ("other", "3")],
        ),
        ("the same two values", two, &[FOO, BAR], &[FOO, BAR]),
        (
            "the same three values",
            three,
            &[FOO, BAR, BAZ],
            &[FOO, BAR, BAZ],
        ),
        ("a field that neither has", three, &[FOO, BAZ], &[FOO, BAZ]),
        (
            "one line or two",
            one,
            &[("foo", "1, 2")],
            &[("foo", "1"), ("foo", "2")],
        ),
        (
            "spaces in a list",
            one,
            &[("foo", "1,2")],
            &[("foo", " 1, 2 ")],
        ),
        (
            "languages in another order",
            languages,
            &[EN_DE],
            &[("accept-language", "de, en")],
        ),
        (
            "languages in another case",
            languages,
            &[EN_DE],
            &[("accept-language", "eN, De")],
        ),
        (
            "languages with other spaces",
            languages,
            &[EN_DE],
            &[("accept-language", " en ,   de")],
        ),
        (
            "the language of an answer is one that is preferred",
            german,
            &[EN_DE],
            &[("accept-language", "fr;q=0.5, de;q=1.0")],
        ),
    ];
    for (rule, answer, first, second) in optional {
        table.may(
            format!("RFC 9111 §4.1: {rule}"),
            [get().send(first).with(answer), get().send(second).stored()],
        );
    }
    table.may(
        "RFC 9111 §4.1: variants stand side by side",
        [
            get().send(&[FOO]).says(200, "one").with(one),
            get()
                .send(&[("foo", "2")])
                .says(200, "two")
                .with(one)
                .asked(),
            get().send(&[FOO]).stored().reads("one"),
        ],
    );
}
