//! Content codings (RFC 9110 §8.4.1) of event calls and of answers to deliveries, and what each may ask
//! for.
//!
//! | coding | window at most | members or frames at most |
//! |---|---|---|
//! | gzip | 32 KiB (RFC 1952) | [`MOST_MEMBERS`] |
//! | deflate | 32 KiB (RFC 1950) | 1 |
//! | br | 16 MiB (RFC 7932; no large windows) | 1 |
//! | zstd | 8 MiB (RFC 9659) | [`MOST_MEMBERS`] |
//!
//! A window is memory that a few bytes can ask for, and a member costs time though it holds
//! nothing. What is unpacked is counted as it comes out.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::Bytes;
use flate2::bufread::{GzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use std::io::Read;
use thiserror::Error;

/// Members of a gzip body, or frames of a zstd body. Clients write one.
const MOST_MEMBERS: usize = 16;
/// The largest window of a zstd frame, as a power of two (RFC 9659 §3).
const ZSTD_WINDOW: u32 = 23;
/// Bytes that brotli gives out at a time.
const PIECE: usize = 16 << 10;

/// Why a body is not read without its coding.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CodingError {
    /// Its coding is not known, or it has several.
    #[error("the content coding {0:?} is unknown; gzip, deflate, br and zstd are accepted")]
    Unknown(Box<str>),
    /// It holds more than so many bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It is not what its coding says, or asks for more than the table allows.
    #[error("the body could not be decoded: {0}")]
    Broken(Box<str>),
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// The coding that a head names; `None`: the body is as it is.
    ///
    /// # Errors
    /// It names one that is not known, or several.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, CodingError> {
        let mut lines = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(line) = lines.next() else {
            return Ok(None);
        };
        if lines.next().is_some() {
            return Err(CodingError::Unknown("more than one".into()));
        }
        let coding = line.to_str().unwrap_or("?").trim().to_ascii_lowercase();
        match coding.as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "deflate" => Ok(Some(Self::Deflate)),
            "br" => Ok(Some(Self::Brotli)),
            "zstd" => Ok(Some(Self::Zstd)),
            _ => Err(CodingError::Unknown(coding.into())),
        }
    }

    /// At most `most` bytes of what a body holds.
    ///
    /// # Errors
    /// The body is broken, holds more, or asks for more than the table allows.
    pub(crate) fn unpack(self, packed: &[u8], most: usize) -> Result<Bytes, CodingError> {
        if packed.is_empty() {
            return Err(broken("it is empty"));
        }
        let mut unpacked = Unpacked {
            bytes: Vec::new(),
            most,
        };
        match self {
            Self::Gzip => unpacked.read_gzip(packed),
            Self::Deflate => unpacked.read_deflate(packed),
            Self::Brotli => unpacked.read_brotli(packed),
            Self::Zstd => unpacked.read_zstd(packed),
        }?;
        Ok(unpacked.bytes.into())
    }
}

/// What has come out of a body so far: never more than `most` bytes.
struct Unpacked {
    bytes: Vec<u8>,
    most: usize,
}

impl Unpacked {
    fn read_gzip(&mut self, mut packed: &[u8]) -> Result<(), CodingError> {
        for _ in 0..MOST_MEMBERS {
            self.read_all(GzDecoder::new(&mut packed))?;
            if packed.is_empty() {
                return Ok(());
            }
        }
        Err(broken("it has too many members"))
    }

    fn read_deflate(&mut self, mut packed: &[u8]) -> Result<(), CodingError> {
        self.read_all(ZlibDecoder::new(&mut packed))?;
        if packed.is_empty() {
            Ok(())
        } else {
            Err(broken("something follows its end"))
        }
    }

    fn read_zstd(&mut self, mut packed: &[u8]) -> Result<(), CodingError> {
        for _ in 0..MOST_MEMBERS {
            let decoder = zstd::stream::read::Decoder::with_buffer(&mut packed).map_err(broken)?;
            let mut decoder = decoder.single_frame();
            decoder.window_log_max(ZSTD_WINDOW).map_err(broken)?;
            self.read_all(decoder)?;
            if packed.is_empty() {
                return Ok(());
            }
        }
        Err(broken("it has too many frames"))
    }

    fn read_brotli(&mut self, packed: &[u8]) -> Result<(), CodingError> {
        let (bytes, words, codes) = (
            StandardAlloc::default(),
            StandardAlloc::default(),
            StandardAlloc::default(),
        );
        let mut state = BrotliState::new_strict(bytes, words, codes);
        let (mut left, mut place, mut sum) = (packed.len(), 0, 0);
        let mut piece = vec![0; PIECE];
        loop {
            let (mut room, mut written) = (piece.len(), 0);
            let said = BrotliDecompressStream(
                &mut left,
                &mut place,
                packed,
                &mut room,
                &mut written,
                &mut piece,
                &mut sum,
                &mut state,
            );
            self.read_all(piece.get(..written).unwrap_or_default())?;
            match said {
                BrotliResult::NeedsMoreOutput => {}
                BrotliResult::ResultSuccess if left == 0 => return Ok(()),
                BrotliResult::ResultSuccess => return Err(broken("something follows its end")),
                BrotliResult::NeedsMoreInput => return Err(broken("it ends early")),
                BrotliResult::ResultFailure => {
                    return Err(broken("it is no brotli of a window up to 16 MiB"));
                }
            }
        }
    }

    /// Reads to the end, or to one byte too many.
    fn read_all(&mut self, reader: impl Read) -> Result<(), CodingError> {
        let room = self.most.saturating_sub(self.bytes.len()).saturating_add(1);
        reader
            .take(room as u64)
            .read_to_end(&mut self.bytes)
            .map_err(broken)?;
        if self.bytes.len() > self.most {
            Err(CodingError::TooLarge(self.most))
        } else {
            Ok(())
        }
    }
}

pub(crate) fn broken(why: impl ToString) -> CodingError {
    CodingError::Broken(why.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use http::HeaderValue;
    use std::io::Write as _;

    /// 414 bytes whose header asks for a window of 1 GiB.
    const LARGE_WINDOW: &[u8] = include_bytes!("../tests/data/large-window.br");

    fn head(coding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(coding))])
    }

    fn unpack(coding: &'static str, body: &[u8], most: usize) -> Result<Bytes, CodingError> {
        Coding::of(&head(coding)).map(|coding| coding.unwrap().unpack(body, most))?
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8], window: u32) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window).unwrap();
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// `{}` as one stored metablock, under a window of 16 bits.
    const BROTLI: &[u8] = b"\x10\x00\x10{}\x03";

    #[test]
    fn codings_are_taken_off_and_their_limit_is_counted_unpacked() {
        let bodies = [
            ("gzip", gzip(b"{}")),
            ("deflate", deflate(b"{}")),
            ("zstd", zstd(b"{}", 20)),
            ("br", BROTLI.to_vec()),
        ];
        for (coding, body) in bodies {
            assert_eq!(unpack(coding, &body, 2).unwrap(), "{}", "{coding}");
            assert_eq!(
                unpack(coding, &body, 1),
                Err(CodingError::TooLarge(1)),
                "{coding}"
            );
            // Whether a deflate stream is whole its reader doesn't say; what came out must be whole
            // JSON.
            let cut = if coding == "deflate" {
                &[][..]
            } else {
                &body[..body.len() - 1]
            };
            for wrong in [
                cut,
                &[body.as_slice(), b"x"].concat(),
                b"",
                b"\xff\xff\xff\xff\xff",
            ] {
                let refused = unpack(coding, wrong, 99);
                assert!(
                    matches!(refused, Err(CodingError::Broken(_))),
                    "{coding} {wrong:?}: {refused:?}"
                );
            }
        }
        assert_eq!(Coding::of(&head("identity")), Ok(None));
        assert_eq!(
            unpack("lzma", b"x", 99),
            Err(CodingError::Unknown("lzma".into()))
        );
    }

    #[test]
    fn a_window_that_is_larger_than_its_coding_allows_is_refused_before_anything_comes_out() {
        assert!(matches!(
            unpack("br", LARGE_WINDOW, 1 << 20),
            Err(CodingError::Broken(_))
        ));
        // A frame that doesn't say how large it is takes its whole window.
        let text = vec![b' '; 1 << 20];
        assert_eq!(
            unpack("zstd", &zstd(&text, 23), 1 << 20).unwrap().len(),
            1 << 20
        );
        for window in [24, 27] {
            let refused = unpack("zstd", &zstd(&text, window), 1 << 20);
            assert!(
                matches!(refused, Err(CodingError::Broken(_))),
                "{window}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_body_of_many_members_is_refused_though_they_hold_nothing() {
        for (coding, member) in [("gzip", gzip(b"")), ("zstd", zstd(b"", 20))] {
            assert_eq!(
                unpack(coding, &member.repeat(MOST_MEMBERS), 99).unwrap(),
                "",
                "{coding}"
            );
            for count in [MOST_MEMBERS + 1, 20_000] {
                let refused = unpack(coding, &member.repeat(count), 99);
                assert!(
                    matches!(refused, Err(CodingError::Broken(_))),
                    "{coding} {count}: {refused:?}"
                );
            }
        }
        let two = [gzip(b"{"), gzip(b"}")].concat();
        assert_eq!(unpack("gzip", &two, 2).unwrap(), "{}");
        assert_eq!(unpack("gzip", &two, 1), Err(CodingError::TooLarge(1)));
    }
}
