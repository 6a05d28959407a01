//! The two bodies of a call on their way: nothing is held back, every wait has an end.
//!
//! Trailers pass both ways, but for those that speak about payments, which are
//! the paywall's, and those that frame a message.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use feria_paywall::service::{Body, BoxError};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep};

use super::fault::{self, STALLED, TOO_SLOW, UPLOAD_STALLED};
use super::headers::clean_trailers;
use super::watch::CallWatch;

/// The request's body. Before the head of the answer the client may pause only so
/// long; why it ended early is told to the [`CallWatch`].
pub(super) struct Upload {
    /// The outgoing client wants to share what it sends; nobody else ever locks it.
    inner: Mutex<Body>,
    watch: Arc<CallWatch>,
    patience: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    pub(super) fn new(inner: Body, watch: Arc<CallWatch>, patience: Duration) -> Self {
        Self {
            inner: Mutex::new(inner),
            watch,
            patience,
            pause: None,
        }
    }

    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<BoxError> {
        if self.watch.is_answered() {
            self.pause = None;
            return Poll::Pending;
        }
        let patience = self.patience;
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(pause.as_mut().poll(context));
        if self.watch.is_answered() {
            self.pause = None;
            return Poll::Pending;
        }
        self.watch.set_upload_fault(UPLOAD_STALLED);
        Poll::Ready(UPLOAD_STALLED.into())
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(this.inner.get_mut()).poll_frame(context) else {
            return this.poll_pause(context).map(|error| Some(Err(error)));
        };
        this.pause = None;
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                this.watch.count_upload();
                Some(Ok(without_foreign_trailers(frame)))
            }
            Some(Err(error)) => {
                this.watch.set_upload_fault(fault::of_upload(&*error));
                Some(Err(error))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.lock().size_hint()
    }
}

/// The answer's body. The upstream may pause only so long, unless it is being
/// sent to, and the whole call has an end.
pub(super) struct Download<B> {
    /// `None` once it has ended or failed.
    inner: Option<B>,
    watch: Arc<CallWatch>,
    patience: Duration,
    /// With what had been sent to the upstream when the pause began.
    pause: Option<(Pin<Box<Sleep>>, u64)>,
    end: Pin<Box<Sleep>>,
}

impl<B> Download<B> {
    pub(super) const fn new(
        inner: B,
        watch: Arc<CallWatch>,
        patience: Duration,
        end: Pin<Box<Sleep>>,
    ) -> Self {
        Self {
            inner: Some(inner),
            watch,
            patience,
            pause: None,
            end,
        }
    }

    /// Resolves when the upstream has paused for too long.
    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let (watch, patience) = (&self.watch, self.patience);
            let (pause, uploaded) = self
                .pause
                .get_or_insert_with(|| (Box::pin(sleep(patience)), watch.uploaded()));
            ready!(pause.as_mut().poll(context));
            if *uploaded == watch.uploaded() {
                return Poll::Ready(());
            }
            self.pause = None;
        }
    }
}

impl<B> HttpBody for Download<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        // First, so that an upstream which never pauses does not stream for ever.
        if this.end.as_mut().poll(context).is_ready() {
            this.inner = None;
            return Poll::Ready(Some(Err(TOO_SLOW.into())));
        }
        let Poll::Ready(frame) = Pin::new(inner).poll_frame(context) else {
            ready!(this.poll_pause(context));
            this.inner = None;
            return Poll::Ready(Some(Err(STALLED.into())));
        };
        this.pause = None;
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(without_foreign_trailers(frame))),
            Some(Err(error)) => {
                this.inner = None;
                let told = this.watch.upload_fault();
                Some(Err(told.map_or_else(|| error.into(), BoxError::from)))
            }
            None => {
                this.inner = None;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

fn without_foreign_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            clean_trailers(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}
