//! A place in a JSON document, and the two ways to write it.

/// A path of field names or array indices.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path(pub Vec<Box<str>>);

impl Path {
    /// Of these steps.
    #[must_use]
    pub fn of(steps: &[&str]) -> Self {
        Self(steps.iter().map(|step| Box::from(*step)).collect())
    }

    /// A field's name, or a JSON Pointer (RFC 6901): `""` is the whole document, `/a/0` the first
    /// element of `a`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix('/') {
            Some(rest) => Self(
                rest.split('/')
                    .map(|step| step.replace("~1", "/").replace("~0", "~").into())
                    .collect(),
            ),
            None if text.is_empty() => Self(Vec::new()),
            None => Self::of(&[text]),
        }
    }
}
