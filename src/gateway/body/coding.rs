//! `Content-Encoding`: a body that comes compressed, a bounded piece at a time.
//!
//! Whoever reads says how much there may be of what comes out. What goes in, and how far it may
//! swell, is bounded here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{HeaderMap, header};
use futures_util::Stream;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use tokio::io::AsyncReadExt as _;
use tokio_util::bytes::BytesMut;
use tokio_util::io::StreamReader;

use super::super::problem::Problem;

/// How much memory a zstd stream may ask for, as a power of two: 8 MiB, what RFC 9659 lets a
/// sender count on. The library itself would give sixteen times as much.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Bytes that are unpacked at a time.
const PIECE_BYTES: usize = 32 << 10;
/// How many times as large as what came a body may become..
const SWELL_MAX: u64 = 256;
/// .. beyond these bytes. Real batches become 5 to 50 times as large; a bomb 1,000 (gzip) to
/// 30,000 times (zstd).
const SWELL_FREE_BYTES: u64 = 64 << 20;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Coding {
    /// As it is.
    Plain,
    /// RFC 1952, of one member or several.
    Gzip,
    /// RFC 8878, of one frame or several.
    Zstd,
}

/// Why a body does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Broken {
    /// The connection, or the framing of the request.
    Ended,
    /// What came is not what `Content-Encoding` says, or not all of it.
    Corrupt,
    /// It becomes so much larger than what came that it can only be meant to hurt.
    Swollen,
}

/// A body, unpacked as it is read.
pub(in super::super) enum Source {
    Plain(Body),
    Packed(Box<Packed>),
}

/// A body that is being unpacked.
pub(in super::super) struct Packed {
    unpacking: Unpacking,
    piece: BytesMut,
    unpacked_bytes: u64,
}

enum Unpacking {
    Gzip(GzipDecoder<StreamReader<Wire, Bytes>>),
    Zstd(ZstdDecoder<StreamReader<Wire, Bytes>>),
}

/// What comes over the connection.
struct Wire {
    body: Body,
    bytes: u64,
    has_ended: bool,
}

impl Coding {
    /// What the headers say.
    pub(in super::super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = values.next() else { return Ok(Self::Plain) };
        let name = value.to_str().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            _ if values.next().is_some() || name.contains(',') => Err(Problem::unknown_coding(
                "Several Content-Encodings on top of each other are not taken; send gzip, zstd, \
                 or the body as it is",
            )),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            "" | "identity" => Ok(Self::Plain),
            _ => Err(Problem::unknown_coding(
                "This Content-Encoding is not taken; send gzip, zstd, or the body as it is",
            )),
        }
    }
}

impl Source {
    /// A body that is packed so.
    pub(in super::super) fn new(body: Body, coding: Coding) -> Self {
        let reader = |body| StreamReader::new(Wire { body, bytes: 0, has_ended: false });
        let unpacking = match coding {
            Coding::Plain => return Self::Plain(body),
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(reader(body));
                decoder.multiple_members(true);
                Unpacking::Gzip(decoder)
            }
            Coding::Zstd => {
                let bound = [DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX)];
                let mut decoder = ZstdDecoder::with_params(reader(body), &bound);
                decoder.multiple_members(true);
                Unpacking::Zstd(decoder)
            }
        };
        Self::Packed(Box::new(Packed { unpacking, piece: BytesMut::new(), unpacked_bytes: 0 }))
    }

    /// The next piece; none at the end. May be dropped and called again.
    pub(in super::super) async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        match self {
            Self::Plain(body) => loop {
                match body.frame().await?.map(Frame::into_data) {
                    Ok(Ok(data)) => return Some(Ok(data)),
                    // Trailers.
                    Ok(Err(_)) => {}
                    Err(_) => return Some(Err(Broken::Ended)),
                }
            },
            Self::Packed(packed) => packed.next().await,
        }
    }

    /// What has not come yet, as it comes.
    pub(in super::super) fn into_rest(self) -> Body {
        match self {
            Self::Plain(body) => body,
            Self::Packed(packed) => match packed.unpacking {
                Unpacking::Gzip(decoder) => decoder.into_inner().into_inner().body,
                Unpacking::Zstd(decoder) => decoder.into_inner().into_inner().body,
            },
        }
    }
}

impl Packed {
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        self.piece.reserve(PIECE_BYTES);
        let read = match &mut self.unpacking {
            Unpacking::Gzip(decoder) => decoder.read_buf(&mut self.piece).await,
            Unpacking::Zstd(decoder) => decoder.read_buf(&mut self.piece).await,
        };
        let wire = match &self.unpacking {
            Unpacking::Gzip(decoder) => decoder.get_ref().get_ref(),
            Unpacking::Zstd(decoder) => decoder.get_ref().get_ref(),
        };
        match read {
            Ok(0) => None,
            Ok(bytes) => {
                self.unpacked_bytes += bytes as u64;
                if self.unpacked_bytes > SWELL_FREE_BYTES + SWELL_MAX * wire.bytes {
                    return Some(Err(Broken::Swollen));
                }
                Some(Ok(self.piece.split().freeze()))
            }
            Err(_) if wire.has_ended => Some(Err(Broken::Ended)),
            Err(_) => Some(Err(Broken::Corrupt)),
        }
    }
}

impl Stream for Wire {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(_)) => {
                    self.has_ended = true;
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
                }
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if !data.is_empty() {
                        self.bytes += data.len() as u64;
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }
}
