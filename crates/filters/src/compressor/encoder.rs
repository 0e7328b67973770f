//! The codings, each behind the same three methods.

use std::fmt;
use std::io::{self, Write};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A content coding (RFC 9110 section 8.4.1; br: RFC 7932; zstd: RFC 8878).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    /// All, the best for answers made on the fly first.
    pub(super) const ALL: [Coding; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// Whether a client means this one by `name`.
    pub(super) fn is_named(self, name: &[u8]) -> bool {
        // RFC 9110 section 8.4.1.3.
        name.eq_ignore_ascii_case(self.name().as_bytes())
            || self == Self::Gzip && name.eq_ignore_ascii_case(b"x-gzip")
    }
}

/// How hard each coding tries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Levels {
    pub(super) gzip: u8,
    pub(super) brotli: u8,
    pub(super) zstd: u8,
}

/// Windows beyond these make pages hardly smaller, and each response that is being compressed holds one. The second is
/// a sixteenth of what decoders must take (RFC 9659).
const BROTLI_WINDOW_LOG: i32 = 18;
const ZSTD_WINDOW_LOG: u32 = 19;
/// What Brotli writes its output through; the output itself grows as needed.
const BROTLI_BUFFER: usize = 4 << 10;

/// A response that is being compressed.
pub(super) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    pub(super) fn new(coding: Coding, levels: Levels) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(
                Vec::new(),
                Compression::new(levels.gzip.into()),
            )),
            Coding::Brotli => {
                let params = BrotliEncoderParams {
                    quality: levels.brotli.into(),
                    lgwin: BROTLI_WINDOW_LOG,
                    ..BrotliEncoderParams::default()
                };
                let writer = CompressorWriter::with_params(Vec::new(), BROTLI_BUFFER, &params);
                Self::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), levels.zstd.into())?;
                encoder.window_log(ZSTD_WINDOW_LOG)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Takes bytes in.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Brotli(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    /// Gives out all that was taken in, compressed.
    pub(super) fn flush(&mut self) -> io::Result<Vec<u8>> {
        let output = match self {
            Self::Gzip(encoder) => {
                encoder.flush()?;
                encoder.get_mut()
            }
            Self::Brotli(encoder) => {
                encoder.flush()?;
                encoder.get_mut()
            }
            Self::Zstd(encoder) => {
                encoder.flush()?;
                encoder.get_mut()
            }
        };
        Ok(std::mem::take(output))
    }

    /// Gives out the rest, to its end.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip(_) => "Gzip",
            Self::Brotli(_) => "Brotli",
            Self::Zstd(_) => "Zstd",
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Read;

    use super::*;
    use crate::compressor::LEVELS;

    /// The bytes before they were compressed, as far as these go.
    pub(in crate::compressor) fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut reader: Box<dyn Read + '_> = match coding {
            Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
            Coding::Brotli => Box::new(brotli::Decompressor::new(bytes, 4_096)),
            Coding::Zstd => Box::new(zstd::Decoder::new(bytes).unwrap()),
        };
        let mut buffer = [0; 4_096];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            plain.extend_from_slice(&buffer[..count]);
        }
        plain
    }

    #[test]
    fn what_is_flushed_can_be_read_before_the_end() {
        for coding in Coding::ALL {
            let mut encoder = Encoder::new(coding, LEVELS).unwrap();
            let mut sent = Vec::new();
            let mut plain = Vec::new();
            for event in ["data: one\n\n", "", "data: two\n\n"] {
                encoder.write(event.as_bytes()).unwrap();
                sent.extend(encoder.flush().unwrap());
                plain.extend_from_slice(event.as_bytes());
                assert_eq!(decode(coding, &sent), plain, "{coding:?}");
            }
            sent.extend(encoder.finish().unwrap());
            assert_eq!(decode(coding, &sent), plain, "{coding:?}");
        }
    }

    #[test]
    fn every_level_gives_the_bytes_back() {
        let plain: Vec<u8> = (0..20_000_u32)
            .map(|number| format!("item {}\n", number.wrapping_mul(2_654_435_761)))
            .collect::<String>()
            .into_bytes();
        for (coding, levels) in [
            (Coding::Gzip, 1..=9_u8),
            (Coding::Brotli, 0..=6),
            (Coding::Zstd, 1..=9),
        ] {
            for level in levels {
                let levels = Levels {
                    gzip: level,
                    brotli: level,
                    zstd: level,
                };
                let mut encoder = Encoder::new(coding, levels).unwrap();
                encoder.write(&plain).unwrap();
                let sent = encoder.finish().unwrap();
                assert!(sent.len() < plain.len() * 2 / 3, "{coding:?} {level}");
                assert!(decode(coding, &sent) == plain, "{coding:?} {level}");
            }
        }
    }

    #[test]
    fn nothing_is_a_body_too() {
        for coding in Coding::ALL {
            let encoder = Encoder::new(coding, LEVELS).unwrap();
            let sent = encoder.finish().unwrap();
            assert!(!sent.is_empty());
            assert_eq!(decode(coding, &sent), b"");
        }
    }
}
