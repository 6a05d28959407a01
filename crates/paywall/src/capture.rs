//! Bodies watched on their way: the request's is hashed, a short response is kept.
//!
//! Nothing is held back for it. A response longer than the limit streams through
//! and is not kept; a shorter one is kept before its last frame goes out, so a
//! client that has seen the end can rely on the copy.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use crate::scheme::BoxFuture;
use crate::service::{Body, BoxError};

/// The hash of a body, once all of it was read.
pub(crate) type BodyHash = Arc<OnceLock<[u8; 32]>>;

/// Wraps `body` so that `hash` is set when it was read to its end.
pub(crate) fn hashed(body: Body) -> (Body, BodyHash) {
    let hash = BodyHash::default();
    if body.is_end_stream() {
        let _ = hash.set(Sha256::digest([]).into());
        return (body, hash);
    }
    let watched = HashedBody {
        inner: body,
        hasher: Sha256::new(),
        hash: Arc::clone(&hash),
    };
    (Body::new(watched), hash)
}

struct HashedBody {
    inner: Body,
    hasher: Sha256,
    hash: BodyHash,
}

impl HttpBody for HashedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.hasher.update(data);
        }
        // A reader that knows the length does not ask again after the last frame.
        if frame.is_none() || self.inner.is_end_stream() {
            let digest = self.hasher.clone().finalize().into();
            let _ = self.hash.set(digest);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body that could not be read whole.
#[derive(Debug)]
pub(crate) enum ReadFault {
    /// It is longer than allowed.
    TooLong,
    /// Its sender broke off.
    Broken,
}

/// Reads `body` to its end, at most `max_bytes`.
pub(crate) async fn read_all(mut body: Body, max_bytes: usize) -> Result<Bytes, ReadFault> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ReadFault::Broken)?;
        if let Some(data) = frame.data_ref() {
            if read.len() + data.len() > max_bytes {
                return Err(ReadFault::TooLong);
            }
            read.extend_from_slice(data);
        }
    }
    Ok(read.freeze())
}

/// What becomes of a captured body.
type Keep = Box<dyn FnOnce(Bytes) -> BoxFuture<()> + Send>;
/// Runs a task beside the request.
type Spawn = Box<dyn FnOnce(BoxFuture<()>) + Send>;

/// Wraps a response body of unknown length: when it ends within `max_bytes`,
/// `keep` gets a copy before the last frame goes out. When the client leaves
/// early, the rest is read beside it, started with `spawn`.
pub(crate) fn captured(body: Body, max_bytes: usize, keep: Keep, spawn: Spawn) -> Body {
    Body::new(CapturedBody {
        inner: Some(body),
        capture: Some((BytesMut::new(), keep, spawn)),
        max_bytes,
        keeping: None,
        last: None,
    })
}

struct CapturedBody {
    /// `None` once the body has ended or failed.
    inner: Option<Body>,
    /// `None` once the copy was given up or is being kept.
    capture: Option<(BytesMut, Keep, Spawn)>,
    max_bytes: usize,
    keeping: Option<BoxFuture<()>>,
    /// The last frame, held until the copy is kept.
    last: Option<Frame<Bytes>>,
}

impl CapturedBody {
    fn note(&mut self, frame: &Frame<Bytes>) {
        let Some(data) = frame.data_ref() else { return };
        let Some((copy, ..)) = &mut self.capture else {
            return;
        };
        if copy.len() + data.len() > self.max_bytes {
            self.capture = None;
        } else {
            copy.extend_from_slice(data);
        }
    }

    fn start_keeping(&mut self) {
        if let Some((copy, keep, _)) = self.capture.take() {
            self.keeping = Some(keep(copy.freeze()));
        }
    }
}

impl HttpBody for CapturedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if let Some(keeping) = &mut this.keeping {
                ready!(keeping.as_mut().poll(context));
                this.keeping = None;
            }
            if let Some(last) = this.last.take() {
                return Poll::Ready(Some(Ok(last)));
            }
            let Some(inner) = &mut this.inner else {
                return Poll::Ready(None);
            };
            match ready!(Pin::new(&mut *inner).poll_frame(context)) {
                Some(Ok(frame)) => {
                    let is_last = inner.is_end_stream();
                    this.note(&frame);
                    if !is_last {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    this.inner = None;
                    this.last = Some(frame);
                    this.start_keeping();
                }
                Some(Err(error)) => {
                    this.inner = None;
                    this.capture = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.inner = None;
                    this.start_keeping();
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none() && self.last.is_none() && self.keeping.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for CapturedBody {
    fn drop(&mut self) {
        let keeping = self.keeping.take();
        match (self.inner.take(), self.capture.take()) {
            (Some(inner), Some((mut copy, keep, spawn))) => {
                let left = self.max_bytes.saturating_sub(copy.len());
                spawn(Box::pin(async move {
                    if let Ok(rest) = read_all(inner, left).await {
                        copy.extend_from_slice(&rest);
                        keep(copy.freeze()).await;
                    }
                }));
            }
            // The copy is on its way into the journal: without a runner it is lost,
            // which costs the client a repeat and no money.
            _ => drop(keeping),
        }
    }
}
