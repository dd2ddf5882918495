//! Templates: text with `{source.path}` placeholders (design §4), compiled when the configuration
//! is read.
//!
//! `{body.a|body.b|'none'}` takes the first alternative that finds something; JSON literals
//! (`null`, `true`, `12`, `'text'`) always do. A JSON `null` that was found counts as nothing, an
//! empty string is a value. `{{` and `}}` stand for braces. As in JavaScript, `{body.list.length}`
//! is the number of an array's elements.
//!
//! | file | holds |
//! |---|---|
//! | `path` | a place in a JSON document |
//! | `source` | where a placeholder looks, and what it finds |
//! | `placeholder` | one placeholder and its alternatives |
//! | `text` | a template for a text |
//! | `document` | a template for a JSON document |
//! | `mapping` | the named templates that an event is written by |

mod document;
mod mapping;
mod path;
mod placeholder;
mod source;
mod text;

pub use document::{JsonTemplate, Quoted, WholePlaceholder};
pub use mapping::{Field, MappingError, ObjectTemplate};
pub use path::Path;
pub use placeholder::TemplateError;
pub use source::{Found, Lookup, Source};
pub use text::Template;

#[cfg(test)]
mod tests;
