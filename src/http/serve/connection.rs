//! One connection of a client, from its first byte to its last answer.
//!
//! ```text
//! opened ──▶ idle ◀──▶ answering ──▶ closed
//!             └─ too long: asked to close, then cut off
//! ```
//!
//! Idle is a connection without an open request, whatever it sends: a head that
//! never ends, an HTTP/2 preface that never ends, pings.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::socket::Socket;
use crate::lifecycle::Lifecycle;

/// The largest head of an HTTP/2 request: a token may be a long header.
const MAX_HTTP2_HEAD_BYTES: u32 = 128 * 1024;
/// Requests that one HTTP/2 connection may have open.
const MAX_HTTP2_STREAMS: u32 = 128;
/// How often an HTTP/2 client is asked whether it is there, and may take to answer.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// How long a connection that was asked to close may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// Answers connections with a router. Clones share it.
#[derive(Clone)]
pub(super) struct Server {
    router: Router,
    builder: Builder<Tasks>,
    header_patience: Duration,
    lifecycle: Lifecycle,
}

/// Runs the streams of HTTP/2 connections.
#[derive(Clone)]
struct Tasks(Lifecycle);

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn_draining(task);
    }
}

impl Server {
    pub(super) fn new(router: Router, header_patience: Duration, lifecycle: Lifecycle) -> Self {
        let mut builder = Builder::new(Tasks(lifecycle.clone()));
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(header_patience);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HTTP2_HEAD_BYTES)
            .max_concurrent_streams(MAX_HTTP2_STREAMS)
            .adaptive_window(true)
            .keep_alive_interval(HTTP2_PING)
            .keep_alive_timeout(HTTP2_PING);
        Self {
            router,
            builder,
            header_patience,
            lifecycle,
        }
    }

    /// Answers what comes over `socket`. With shutdown, open requests end first.
    pub(super) async fn serve(self, socket: Socket, client: SocketAddr) {
        let (open, mut is_open) = watch::channel(0);
        let router = self.router;
        let answer = service_fn(move |request: hyper::Request<Incoming>| {
            let counted = Open::count(&open);
            let router = router.clone();
            async move {
                let mut request: Request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(client));
                let answered = router.oneshot(request).await;
                answered.map(|response| counted.until_end_of(response))
            }
        });
        let connection = self
            .builder
            .serve_connection_with_upgrades(TokioIo::new(socket), answer);
        let mut connection = pin!(connection);
        let mut stopping = pin!(self.lifecycle.stopping());
        tokio::select! {
            _ = connection.as_mut() => return,
            () = &mut stopping => {
                connection.as_mut().graceful_shutdown();
                // Who has sent half a head is not waited for longer than anybody else.
                tokio::select! {
                    _ = connection.as_mut() => {}
                    () = idle(&mut is_open, self.header_patience) => {}
                }
                return;
            }
            () = idle(&mut is_open, self.header_patience) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(CLOSE_PATIENCE, connection).await;
    }
}

/// Resolves when there has been no open request for `limit`.
async fn idle(open: &mut watch::Receiver<usize>, limit: Duration) {
    loop {
        if open.wait_for(|open| *open == 0).await.is_err() {
            // Nobody counts any more: the connection has become something else.
            return std::future::pending().await;
        }
        tokio::select! {
            () = sleep(limit) => return,
            changed = open.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
            }
        }
    }
}

/// Counts one request while it is open.
struct Open(watch::Sender<usize>);

impl Open {
    fn count(open: &watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open.clone())
    }

    fn until_end_of(self, response: Response) -> Response {
        response.map(|inner| Body::new(Counted { inner, _open: self }))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

/// A response's body; its request is open until it is dropped.
struct Counted {
    inner: Body,
    _open: Open,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
