//! Bodies watched on their way: the request's is hashed, a short response is kept.
//!
//! Nothing is held back for it. A response longer than the limit streams through
//! and is not kept; a shorter one is kept before its last frame goes out, so a
//! client that has seen the end can rely on the copy. A call that is decided at
//! the end of its answer is decided before the last frame goes out, too.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use crate::fault::ServiceFault;
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
    /// Its sender broke off, and may have said why.
    Broken(Option<ServiceFault>),
}

/// Reads `body` to its end, at most `max_bytes`.
pub(crate) async fn read_all(mut body: Body, max_bytes: usize) -> Result<Bytes, ReadFault> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ReadFault::Broken(error.downcast_ref().copied()))?;
        if let Some(data) = frame.data_ref() {
            if read.len() + data.len() > max_bytes {
                return Err(ReadFault::TooLong);
            }
            read.extend_from_slice(data);
        }
    }
    Ok(read.freeze())
}

/// How a watched body ended.
pub(crate) enum Ending {
    /// All of it was there.
    Whole {
        /// A copy, unless it is too long to be kept.
        copy: Option<Bytes>,
        /// What followed the body.
        trailers: Option<HeaderMap>,
    },
    /// Its sender broke off.
    Broken,
}

/// What is done at the end of a watched body, before its last frame goes out.
pub(crate) type AtEnd = Box<dyn FnOnce(Ending) -> BoxFuture<()> + Send>;
/// Runs a task beside the request.
pub(crate) type Spawn = Box<dyn FnOnce(BoxFuture<()>) + Send>;

/// What a watched body is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// A copy: a body longer than the limit streams on unwatched.
    Copy,
    /// Its end, however long it is.
    End,
}

/// Watches a response body of unknown length: `at_end` learns how it ended before
/// the last frame goes out. When the client leaves early, the rest is read beside
/// it, started with `spawn`.
pub(crate) fn watched(
    body: Body,
    watch: Watch,
    max_bytes: usize,
    at_end: AtEnd,
    spawn: Spawn,
) -> Body {
    Body::new(WatchedBody {
        inner: Some(body),
        watcher: Some(Watcher {
            watch,
            copy: Some(BytesMut::new()),
            trailers: None,
            max_bytes,
            at_end,
        }),
        spawn: Some(spawn),
        ending: None,
        last: None,
    })
}

struct Watcher {
    watch: Watch,
    /// `None` once the body is too long.
    copy: Option<BytesMut>,
    trailers: Option<HeaderMap>,
    max_bytes: usize,
    at_end: AtEnd,
}

impl Watcher {
    /// Notes `frame`. Returns false once there is nothing left to watch for.
    fn note(&mut self, frame: &Frame<Bytes>) -> bool {
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
        if let (Some(data), Some(copy)) = (frame.data_ref(), &mut self.copy) {
            if copy.len() + data.len() > self.max_bytes {
                self.copy = None;
            } else {
                copy.extend_from_slice(data);
            }
        }
        self.watch == Watch::End || self.copy.is_some()
    }

    fn whole(self) -> BoxFuture<()> {
        (self.at_end)(Ending::Whole {
            copy: self.copy.map(BytesMut::freeze),
            trailers: self.trailers,
        })
    }

    fn broken(self) -> BoxFuture<()> {
        (self.at_end)(Ending::Broken)
    }

    /// Reads what the client did not wait for.
    async fn read_on(mut self, mut rest: Body) {
        while let Some(frame) = rest.frame().await {
            match frame {
                Ok(frame) if self.note(&frame) => {}
                Ok(_) => return,
                Err(_) => return self.broken().await,
            }
        }
        self.whole().await;
    }
}

struct WatchedBody {
    /// `None` once the body has ended or failed.
    inner: Option<Body>,
    /// `None` once nobody waits for the end any more.
    watcher: Option<Watcher>,
    spawn: Option<Spawn>,
    ending: Option<BoxFuture<()>>,
    /// The last frame or the error, held until the end is dealt with.
    last: Option<Result<Frame<Bytes>, BoxError>>,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if let Some(ending) = &mut this.ending {
                ready!(ending.as_mut().poll(context));
                this.ending = None;
            }
            if let Some(last) = this.last.take() {
                return Poll::Ready(Some(last));
            }
            let Some(inner) = &mut this.inner else {
                return Poll::Ready(None);
            };
            match ready!(Pin::new(&mut *inner).poll_frame(context)) {
                Some(Ok(frame)) => {
                    let is_last = inner.is_end_stream() || frame.is_trailers();
                    let is_watched = this.watcher.as_mut().is_some_and(|w| w.note(&frame));
                    if !is_watched {
                        this.watcher = None;
                    }
                    if !is_last {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    this.inner = None;
                    this.last = Some(Ok(frame));
                    this.ending = this.watcher.take().map(Watcher::whole);
                }
                Some(Err(error)) => {
                    this.inner = None;
                    this.last = Some(Err(error));
                    this.ending = this.watcher.take().map(Watcher::broken);
                }
                None => {
                    this.inner = None;
                    this.ending = this.watcher.take().map(Watcher::whole);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none() && self.last.is_none() && self.ending.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        let task = match (self.ending.take(), self.inner.take(), self.watcher.take()) {
            (Some(ending), ..) => ending,
            (None, Some(rest), Some(watcher)) => Box::pin(watcher.read_on(rest)),
            _ => return,
        };
        if let Some(spawn) = self.spawn.take() {
            spawn(task);
        }
    }
}
