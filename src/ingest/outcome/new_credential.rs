//! A credential that takes the place of the one which a dead letter came with, since that one has
//! died. An operator has it from the user, or from the application; it is never made here.

use crate::event::{Raw, Said};
use http::{HeaderName, HeaderValue, header};
use std::collections::HashSet;

/// Header lines, one value each.
#[derive(Clone)]
pub struct NewCredential(Vec<(HeaderName, HeaderValue)>);

/// It shows no value.
impl std::fmt::Debug for NewCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

/// Lines that are no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// There is none.
    #[error("no line; wanted are header lines, such as Authorization: Bearer TOKEN")]
    None,
    /// The line of this number, from 1, is no header.
    #[error("line {0} is no header; wanted are lines such as Authorization: Bearer TOKEN")]
    NoHeader(usize),
    /// A header stands there twice.
    #[error("{0} stands there twice")]
    Twice(HeaderName),
}

impl NewCredential {
    /// Of header lines; empty ones are passed over.
    ///
    /// # Errors
    /// A line is no header, stands there twice, or there is none. No value is told.
    pub fn try_new(text: &str) -> Result<Self, LineError> {
        let mut lines: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let header = line.split_once(':').and_then(|(name, value)| {
                let mut value: HeaderValue = value.trim().parse().ok()?;
                value.set_sensitive(true);
                Some((name.trim().parse().ok()?, value))
            });
            let (name, value): (HeaderName, _) = header.ok_or(LineError::NoHeader(number))?;
            if lines.iter().any(|(other, _)| *other == name) {
                return Err(LineError::Twice(name));
            }
            lines.push((name, value));
        }
        if lines.is_empty() {
            return Err(LineError::None);
        }
        Ok(Self(lines))
    }

    /// Puts the values in place of those that stand there. What isn't there would not count as the
    /// caller's credential, or not be sent: that is an error.
    pub(super) fn replace_in<'a>(&'a self, said: &mut Said<'a>) -> Result<(), String> {
        for (name, value) in &self.0 {
            if *name == header::COOKIE {
                replace_in_order(&mut said.cookies, value)?;
                continue;
            }
            let places = said.headers.iter_mut();
            let mut places: Vec<_> = places.filter(|(other, _)| name == other).collect();
            match places.as_mut_slice() {
                [(_, place)] => *place = Raw(value.as_bytes()),
                [] => return Err(format!("it came without the header {name}")),
                _ => return Err(format!("it came with several lines of the header {name}")),
            }
        }
        Ok(())
    }
}

fn replace_in_order<'a>(cookies: &mut [&'a str], line: &'a HeaderValue) -> Result<(), String> {
    let line = line.to_str().map_err(|_| "the Cookie line is no text")?;
    let mut given = HashSet::new();
    for pair in line
        .split(';')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let name = |pair: &str| pair.split('=').next().unwrap_or_default().trim().to_owned();
        let wanted = name(pair);
        if !given.insert(wanted.clone()) {
            return Err(format!("the new credential has the cookie {wanted} twice"));
        }
        let places = cookies.iter_mut();
        let mut places: Vec<_> = places.filter(|place| name(place) == wanted).collect();
        match places.as_mut_slice() {
            [place] => **place = pair,
            [] => {
                return Err(format!(
                    "it came without a cookie {wanted} that is a part of its credential"
                ));
            }
            _ => return Err(format!("it came with the cookie {wanted} several times")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_header_lines_and_shows_no_value() {
        let made = NewCredential::try_new("Authorization: Bearer s3cret\n\nCookie: a=1; b=2\n");
        let shown = format!("{:?}", made.unwrap());
        assert_eq!(shown, "[\"authorization\", \"cookie\"]");
        for (text, wanted) in [
            ("", LineError::None),
            ("a: 1\nBearer s3cret", LineError::NoHeader(2)),
            ("a b: s3cret", LineError::NoHeader(1)),
            ("a: \u{7}", LineError::NoHeader(1)),
            ("a: 1\nA: 2", LineError::Twice(HeaderName::from_static("a"))),
        ] {
            let error = NewCredential::try_new(text).unwrap_err();
            assert!(!error.to_string().contains("s3cret"));
            assert_eq!(error, wanted, "{text}");
        }
    }

    #[test]
    fn a_cookie_takes_the_place_of_the_one_of_its_name_and_of_no_other() {
        let replaced = |there: &[&str], line: &str| {
            let mut cookies = there.to_vec();
            let line = HeaderValue::from_str(line).unwrap();
            replace_in_order(&mut cookies, &line).map(|()| cookies.join("; "))
        };
        assert_eq!(replaced(&["a=1", "b=2"], "b=3").unwrap(), "a=1; b=3");
        for (there, line, wanted) in [
            (&["a=1"][..], "b=3", "it came without a cookie b"),
            (
                &["a=1", "a=2"],
                "a=3",
                "it came with the cookie a several times",
            ),
            (
                &["a=1"],
                "a=2; a=3",
                "the new credential has the cookie a twice",
            ),
        ] {
            let error = replaced(there, line).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        }
    }
}
