//! Copies of what was read, for those who keep it: a header's value or a small body is a slice of the
//! buffer that a connection read, which lives as long as any slice of it.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

/// Up to so many bytes are copied.
const SMALL: usize = 32 << 10;

/// Bytes that a head takes.
#[must_use]
pub fn size_of(headers: &HeaderMap) -> usize {
    let line = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 64;
    headers.iter().map(line).sum()
}

/// The same bytes. A few are copied: the buffer that they were read into may be far larger.
#[must_use]
pub fn copy_bytes(bytes: &Bytes) -> Bytes {
    if bytes.len() <= SMALL {
        Bytes::copy_from_slice(bytes)
    } else {
        bytes.clone()
    }
}

/// The same URI, out of the buffer that it was read into.
#[must_use]
pub fn copy_uri(uri: &Uri) -> Uri {
    let text = uri.to_string();
    Uri::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| uri.clone())
}

/// The same headers, out of the buffer that they were read into: their values in one piece of
/// memory.
#[must_use]
pub fn copy_headers(headers: &HeaderMap) -> HeaderMap {
    let bytes: usize = headers.values().map(HeaderValue::len).sum();
    let mut values = BytesMut::with_capacity(bytes);
    headers
        .values()
        .for_each(|value| values.extend_from_slice(value.as_bytes()));
    let mut values = values.freeze();
    let copy = |(name, value): (&HeaderName, &HeaderValue)| {
        let bytes = values.split_to(value.len());
        let copy = HeaderValue::from_maybe_shared(bytes).unwrap_or_else(|_| value.clone());
        (name.clone(), copy)
    };
    let mut copied = HeaderMap::with_capacity(headers.len());
    headers.iter().map(copy).for_each(|(name, value)| {
        copied.append(name, value);
    });
    copied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_equal_and_share_nothing_with_what_was_read() {
        let read = Bytes::from(vec![b'x'; 64 << 10]);
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_static("x-many");
        for place in [0, 10, 20] {
            let value = HeaderValue::from_maybe_shared(read.slice(place..place + 5)).unwrap();
            headers.append(name.clone(), value);
        }
        headers.append("x-empty", HeaderValue::from_static(""));
        let copied = copy_headers(&headers);
        assert_eq!(copied, headers);
        let is_inside = |bytes: &[u8]| read.as_ptr_range().contains(&bytes.as_ptr());
        assert!(
            headers
                .get(&name)
                .is_some_and(|value| is_inside(value.as_bytes()))
        );
        assert!(!copied.values().any(|value| is_inside(value.as_bytes())));
        let small = read.slice(3..9);
        assert!(copy_bytes(&small) == small && !is_inside(&copy_bytes(&small)));
        assert!(is_inside(&copy_bytes(&read)));
        for uri in ["/a/b?c=d", "http://h:1/a", "*"] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(copy_uri(&uri), uri);
        }
        assert!(size_of(&headers) > 15);
    }
}
