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
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};
use tokio_util::bytes::BytesMut;
use tokio_util::io::StreamReader;

use super::super::body_memory::{FREE_BYTES, Reserved, WINDOWS};
use super::super::problem::Problem;
use super::zstd_window;

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
    /// There is no memory to unpack it.
    NoRoom,
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
    /// What the decoder keeps of what it has unpacked, and how much that may become.
    window: Reserved,
    window_bytes_max: usize,
}

type Reader = StreamReader<Wire, Bytes>;

enum Unpacking {
    /// Of zstd, as long as nothing has come; there is none for a moment only.
    Unbegun(Option<Reader>),
    Gzip(GzipDecoder<Reader>),
    Zstd(ZstdDecoder<Reader>),
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
            Coding::Zstd => Unpacking::Unbegun(Some(reader(body))),
        };
        let window = Reserved::none_of(&WINDOWS);
        let (piece, unpacked_bytes) = (BytesMut::new(), 0);
        let packed = Packed { unpacking, piece, unpacked_bytes, window, window_bytes_max: 0 };
        Self::Packed(Box::new(packed))
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
            Self::Packed(packed) => {
                let reader = match packed.unpacking {
                    Unpacking::Unbegun(reader) => reader,
                    Unpacking::Gzip(decoder) => Some(decoder.into_inner()),
                    Unpacking::Zstd(decoder) => Some(decoder.into_inner()),
                };
                reader.map_or_else(Body::empty, |reader| reader.into_inner().body)
            }
        }
    }
}

impl Packed {
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        let read = self.read().await;
        let (came_bytes, has_ended) =
            self.unpacking.wire().map_or((0, true), |wire| (wire.bytes, wire.has_ended));
        match read {
            Ok(0) => None,
            Ok(bytes) => {
                self.unpacked_bytes += bytes as u64;
                if self.unpacked_bytes > SWELL_FREE_BYTES + SWELL_MAX * came_bytes {
                    return Some(Err(Broken::Swollen));
                }
                let unpacked_bytes = usize::try_from(self.unpacked_bytes).unwrap_or(usize::MAX);
                // A window costs something once it is written to.
                let kept_bytes = unpacked_bytes.min(self.window_bytes_max);
                if kept_bytes > FREE_BYTES && self.window.grow_to(kept_bytes).is_err() {
                    return Some(Err(Broken::NoRoom));
                }
                Some(Ok(self.piece.split().freeze()))
            }
            Err(_) if has_ended => Some(Err(Broken::Ended)),
            Err(_) => Some(Err(Broken::Corrupt)),
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        if let Unpacking::Unbegun(reader) = &mut self.unpacking
            && let Some(first) = reader
        {
            let log = zstd_window::log(first.fill_buf().await?);
            self.window_bytes_max = 1 << log;
            if let Some(reader) = reader.take() {
                let bound = [DParameter::window_log_max(log)];
                let mut decoder = ZstdDecoder::with_params(reader, &bound);
                decoder.multiple_members(true);
                self.unpacking = Unpacking::Zstd(decoder);
            }
        }
        self.piece.reserve(PIECE_BYTES);
        match &mut self.unpacking {
            Unpacking::Unbegun(_) => Ok(0),
            Unpacking::Gzip(decoder) => decoder.read_buf(&mut self.piece).await,
            Unpacking::Zstd(decoder) => decoder.read_buf(&mut self.piece).await,
        }
    }
}

impl Unpacking {
    fn wire(&self) -> Option<&Wire> {
        let reader = match self {
            Self::Unbegun(reader) => reader.as_ref()?,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
        };
        Some(reader.get_ref())
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
