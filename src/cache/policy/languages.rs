//! Accept-Language as it is compared (RFC 9110 §12.5.4, RFC 9111 §4.1).
//!
//! The field is a set of language ranges with weights: the same ranges with the same weights mean
//! the same in any order, in any letter case, and however a weight of one is written. Applications
//! that negotiate nevertheless take the first of several ranges of one weight. So a stored answer
//! that says its language (Content-Language) is used for another order of equal weights only where
//! that order can't have led such an application to another language.

/// What a client accepts, heaviest first; ranges of one weight in the client's order.
#[derive(Debug, PartialEq, Eq)]
struct Accepted(Vec<Range>);

#[derive(Debug, PartialEq, Eq)]
struct Range {
    /// Lower case.
    tag: String,
    /// Thousandths, 0 to 1,000.
    weight: u16,
}

/// The value for comparison: ranges in lower case, heaviest first, `tag;weight` of each. Equal
/// values mean the same even to an application that heeds the order of equal weights. `None`: it is
/// no list of ranges, and nothing is known of it.
#[must_use]
pub fn normal(lines: &[&[u8]]) -> Option<Vec<u8>> {
    let mut ranges = Vec::new();
    for line in lines {
        let text = std::str::from_utf8(line).ok()?;
        for member in text
            .split(',')
            .map(trim)
            .filter(|member| !member.is_empty())
        {
            ranges.push(read_range(member)?);
        }
    }
    // A stable sort: ranges of one weight stay in their order.
    ranges.sort_by_key(|range| std::cmp::Reverse(range.weight));
    Some(write(&ranges))
}

/// Whether an answer that was chosen for one list is right for another. Both are normal values.
#[must_use]
pub fn agree(stored: &[u8], asked: &[u8], content_language: Option<&[u8]>) -> bool {
    if stored == asked {
        return true;
    }
    let (Some(stored), Some(asked)) = (read(stored), read(asked)) else {
        return false;
    };
    if sorted(&stored) != sorted(&asked) {
        return false;
    }
    let Some(language) = content_language else {
        return true;
    };
    let Ok(language) = std::str::from_utf8(language).map(|text| trim(text).to_ascii_lowercase())
    else {
        return false;
    };
    // What is asked for before this language was asked for before it then, too, and was not what
    // came.
    let before = |list: &Accepted| -> Option<Vec<String>> {
        let at = list
            .0
            .iter()
            .position(|range| is_in(&language, &range.tag))?;
        Some(
            list.0
                .iter()
                .take(at)
                .map(|range| range.tag.clone())
                .collect(),
        )
    };
    match (before(&stored), before(&asked)) {
        (Some(then), Some(now)) => now.iter().all(|tag| then.contains(tag)),
        // A language that the list doesn't name: what is named isn't there, or the answer isn't
        // negotiated.
        (None, None) => true,
        _ => false,
    }
}

/// RFC 4647 §3.3.1: `en-gb` is in `en`.
fn is_in(language: &str, range: &str) -> bool {
    language
        .strip_prefix(range)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn sorted(list: &Accepted) -> Vec<(&str, u16)> {
    let mut pairs: Vec<_> = list
        .0
        .iter()
        .map(|range| (range.tag.as_str(), range.weight))
        .collect();
    pairs.sort_unstable();
    pairs
}

fn write(ranges: &[Range]) -> Vec<u8> {
    let texts: Vec<_> = ranges
        .iter()
        .map(|range| format!("{};{}", range.tag, range.weight))
        .collect();
    texts.join(",").into_bytes()
}

fn read(normal: &[u8]) -> Option<Accepted> {
    let text = std::str::from_utf8(normal).ok()?;
    let range = |member: &str| {
        let (tag, weight) = member.split_once(';')?;
        Some(Range {
            tag: tag.to_owned(),
            weight: weight.parse().ok()?,
        })
    };
    text.split(',')
        .filter(|member| !member.is_empty())
        .map(range)
        .collect::<Option<_>>()
        .map(Accepted)
}

fn read_range(member: &str) -> Option<Range> {
    let mut parts = member.split(';').map(trim);
    let tag = parts.next()?;
    let is_tag = !tag.is_empty()
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'*'));
    let weight = match (parts.next(), parts.next()) {
        (None, _) => 1_000,
        (Some(weight), None) => read_weight(weight)?,
        (Some(_), Some(_)) => return None,
    };
    is_tag.then(|| Range {
        tag: tag.to_ascii_lowercase(),
        weight,
    })
}

/// `q=0.5` in thousandths (RFC 9110 §12.4.2).
fn read_weight(text: &str) -> Option<u16> {
    let number = text
        .strip_prefix("q=")
        .or_else(|| text.strip_prefix("Q="))?;
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{rest:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1_000),
        _ => None,
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}
