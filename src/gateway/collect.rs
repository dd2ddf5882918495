//! Bodies of event calls: gathered within bounds, unpacked within bounds.

use crate::body::{Body, BodyError};
use crate::ingest::refusal::Refusal;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use std::io::Read as _;
use std::time::Duration;

/// How much of an oversized body is read and thrown away, so that the client hears the 413 instead of a reset.
const DRAIN_BYTES: usize = 4 << 20;
/// And for how long.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// A body, as far as it could be gathered.
#[derive(Debug)]
pub enum Gathered {
    /// All of it.
    Whole(Bytes),
    /// It can't be looked at: as it comes, from its first byte on.
    Streamed(Body, Unread),
}

/// Why a body was not gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It is larger than the limit.
    TooLarge,
    /// It ends with trailers, which no batch could carry.
    Trailers,
}

/// Gathers a body of at most `most` bytes within `within`.
///
/// # Errors
/// Too slow, or cut off.
pub async fn gather(mut body: Body, most: usize, within: Duration) -> Result<Gathered, Refusal> {
    if body.size_hint().lower() > most as u64 {
        return Ok(Gathered::Streamed(body, Unread::TooLarge));
    }
    let mut whole = Bytes::new();
    let read = async {
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::Incomplete)?;
            let size = first.as_ref().map_or(0, Bytes::len) + rest.len() + frame.data_ref().map_or(0, Bytes::len);
            let data = match frame.into_data() {
                Ok(data) if size <= most => data,
                Ok(data) => return Ok(Some((first, rest, Frame::data(data), Unread::TooLarge))),
                Err(trailers) => return Ok(Some((first, rest, trailers, Unread::Trailers))),
            };
            match &first {
                // The common case, one frame, is not copied.
                None => first = Some(data),
                Some(start) if rest.is_empty() => {
                    rest.extend_from_slice(start);
                    rest.extend_from_slice(&data);
                    first = Some(Bytes::new());
                }
                Some(_) => rest.extend_from_slice(&data),
            }
        }
        whole = if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() };
        Ok(None)
    };
    match tokio::time::timeout(within, read).await.map_err(|_| Refusal::TooSlow)?? {
        None => Ok(Gathered::Whole(whole)),
        Some((first, rest, next, why)) => {
            let begun = [first.unwrap_or_default(), rest.freeze()].into_iter().filter(|bytes| !bytes.is_empty());
            let begun: Vec<_> = begun.map(Frame::data).chain([next]).map(Ok::<_, BodyError>).collect();
            let rest = stream::unfold(body, |mut body| async move { body.frame().await.map(|frame| (frame, body)) });
            Ok(Gathered::Streamed(Body::boxed(StreamBody::new(stream::iter(begun).chain(rest))), why))
        }
    }
}

/// Reads a body that is refused, within bounds, so that its client hears the answer instead of a reset.
pub async fn drain(mut body: Body) {
    let read = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
            left = rest;
        }
    };
    if tokio::time::timeout(DRAIN_TIME, read).await.is_err() {
        tracing::debug!("an oversized body was still coming when its time was over");
    }
}

/// Takes the content coding off (RFC 9110 §8.4), at most `most` bytes.
///
/// # Errors
/// An unknown coding, a broken stream, or too much in it.
pub fn unpack(headers: &HeaderMap, body: Bytes, most: usize) -> Result<Bytes, Refusal> {
    let mut lines = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(line) = lines.next() else { return Ok(body) };
    let coding = line.to_str().unwrap_or("?").trim().to_ascii_lowercase();
    if lines.next().is_some() {
        return Err(Refusal::UnknownCoding("more than one".into()));
    }
    match coding.as_str() {
        "" | "identity" => Ok(body),
        "gzip" | "x-gzip" => read_all(flate2::read::MultiGzDecoder::new(&*body), most),
        "deflate" => read_all(flate2::read::ZlibDecoder::new(&*body), most),
        "br" => read_all(brotli_decompressor::Decompressor::new(&*body, 4096), most),
        "zstd" => read_all(zstd::stream::read::Decoder::new(&*body).map_err(|error| broken(&error))?, most),
        _ => Err(Refusal::UnknownCoding(coding.into())),
    }
}

fn read_all(reader: impl std::io::Read, most: usize) -> Result<Bytes, Refusal> {
    let mut out = Vec::new();
    reader.take(most as u64 + 1).read_to_end(&mut out).map_err(|error| broken(&error))?;
    if out.len() > most { Err(Refusal::TooLarge(most)) } else { Ok(out.into()) }
}

fn broken(error: &std::io::Error) -> Refusal {
    Refusal::BadCoding(error.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use std::io::Write as _;

    fn coded(coding: &'static str, body: Vec<u8>, most: usize) -> Result<Bytes, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        unpack(&headers, body.into(), most)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn codings_are_taken_off_and_their_limit_is_counted_unpacked() {
        assert_eq!(coded("gzip", gzip(b"{}"), 2).unwrap(), "{}");
        assert_eq!(coded("zstd", zstd::encode_all(&b"{}"[..], 0).unwrap(), 2).unwrap(), "{}");
        assert_eq!(coded("identity", b"{}".to_vec(), 2).unwrap(), "{}");
        assert_eq!(coded("gzip", gzip(&[b' '; 100_000]), 99_999), Err(Refusal::TooLarge(99_999)));
        assert!(matches!(coded("gzip", b"no gzip".to_vec(), 99), Err(Refusal::BadCoding(_))));
        assert!(matches!(coded("br", vec![0xff; 9], 99), Err(Refusal::BadCoding(_))));
        assert_eq!(coded("lzma", b"x".to_vec(), 99), Err(Refusal::UnknownCoding("lzma".into())));
    }
}
