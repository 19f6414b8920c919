//! A batch as it goes on the wire: in the destination's format, compressed, within the limit.
//!
//! Stage: at the start of an export. Input: an encoded ExportTraceServiceRequest. Output: the request's body. Bound:
//! one copy in the format and one compressed, whose buffers are kept for the next batch.

use super::error::{ExportError, tame};
use super::retry::lock;
use crate::config::Compression;
use flate2::write::GzEncoder;
use spanlet::otlp::{TranscodeError, transcode_json};
use std::io::Write;
use std::sync::Mutex;

/// What a destination reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OTLP in protobuf: the batch as it is.
    Protobuf,
    /// OTLP in JSON.
    Json,
    /// A list of Zipkin's v2 spans.
    Zipkin,
    /// OTLP in protobuf behind the five bytes that gRPC puts in front of a message.
    #[cfg(feature = "grpc")]
    Grpc,
}

/// Format, compression and limit of a destination.
#[derive(Debug)]
pub(super) struct Packing {
    format: Format,
    compression: Compression,
    /// Largest body in bytes, before and after compression.
    limit: usize,
    spare: Mutex<Buffers>,
}

/// Kept between batches. Calls at the same time make some of their own.
#[derive(Debug, Default)]
struct Buffers {
    formatted: Vec<u8>,
    packed: Vec<u8>,
}

impl Packing {
    pub(super) fn new(format: Format, compression: Compression, limit: usize) -> Self {
        Packing {
            format,
            compression,
            limit,
            spare: Mutex::default(),
        }
    }

    /// Packs `body`, and has it sent by `send`.
    pub(super) fn with<T>(
        &self,
        body: &[u8],
        endpoint: &str,
        send: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, ExportError> {
        let mut buffers = core::mem::take(&mut *lock(&self.spare));
        let result = self.pack(body, &mut buffers, endpoint).map(send);
        *lock(&self.spare) = buffers;
        result
    }

    fn pack<'a>(
        &self,
        body: &'a [u8],
        buffers: &'a mut Buffers,
        endpoint: &str,
    ) -> Result<&'a [u8], ExportError> {
        let bad = |detail: String| ExportError::BadRequest {
            endpoint: endpoint.to_owned(),
            detail: tame(&detail),
        };
        let Buffers { formatted, packed } = buffers;
        let body = match self.format {
            Format::Protobuf => body,
            Format::Json => {
                let len = self
                    .transcode(body, formatted)
                    .map_err(|error| match error {
                        // It is over by at least one.
                        TranscodeError::Full => self.too_large(formatted.len() + 1, false),
                        error => bad(error.to_string()),
                    })?;
                &formatted[..len]
            }
            Format::Zipkin => {
                formatted.clear();
                super::zipkin::encode(body, formatted).map_err(|error| bad(error.to_string()))?;
                formatted
            }
            #[cfg(feature = "grpc")]
            Format::Grpc => body,
        };
        self.check(body.len(), false)?;
        let gzip = |to: &mut Vec<u8>| -> Result<(), ExportError> {
            let mut encoder = GzEncoder::new(core::mem::take(to), flate2::Compression::default());
            *to = encoder
                .write_all(body)
                .and_then(|()| encoder.finish())
                .map_err(|error| bad(error.to_string()))?;
            Ok(())
        };
        let is_gzip = self.compression == Compression::Gzip;
        packed.clear();
        match (self.format, is_gzip) {
            #[cfg(feature = "grpc")]
            (Format::Grpc, _) => {
                // SPEC: gRPC over HTTP/2, "Length-Prefixed-Message".
                packed.extend_from_slice(&[u8::from(is_gzip), 0, 0, 0, 0]);
                if is_gzip {
                    gzip(packed)?;
                } else {
                    packed.extend_from_slice(body);
                }
                let len = packed.len() - GRPC_PREFIX;
                self.check(len, is_gzip)?;
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                packed[1..GRPC_PREFIX].copy_from_slice(&len.to_be_bytes());
                Ok(packed)
            }
            (_, false) => Ok(body),
            (_, true) => {
                gzip(packed)?;
                self.check(packed.len(), true)?;
                Ok(packed)
            }
        }
    }

    /// JSON into a buffer that grows as far as the limit.
    fn transcode(&self, body: &[u8], to: &mut Vec<u8>) -> Result<usize, TranscodeError> {
        let guess = body.len().saturating_mul(4).saturating_add(1024);
        loop {
            let size = to.len().max(guess.min(self.limit));
            to.resize(size, 0);
            match transcode_json(body, to) {
                Err(TranscodeError::Full) if size < self.limit => {
                    to.resize(size.saturating_mul(2).min(self.limit), 0);
                }
                done => return done,
            }
        }
    }

    fn check(&self, bytes: usize, compressed: bool) -> Result<(), ExportError> {
        if bytes > self.limit {
            return Err(self.too_large(bytes, compressed));
        }
        Ok(())
    }
    fn too_large(&self, bytes: usize, compressed: bool) -> ExportError {
        ExportError::RequestTooLarge {
            bytes,
            limit: self.limit,
            compressed,
        }
    }
}

/// Bytes in front of a gRPC message.
#[cfg(feature = "grpc")]
const GRPC_PREFIX: usize = 5;
