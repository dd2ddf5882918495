//! What tests hold every page to.

/// It asks for nothing from elsewhere, and every tag is closed.
pub(in crate::cli) fn assert_stands_alone(page: &str) {
    for outside in ["http", "//", "src=", "href", "@import", "url(", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let body = page.strip_prefix("<!DOCTYPE html>").unwrap();
    let mut open = Vec::new();
    for tag in body.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap();
        assert!(!text.contains('>'), "{text}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{open:?}");
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
        assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
}
