//! The streaming proxy to an agent's upstream.
//!
//! Bodies and trailers stream both ways at once, and nothing of them is held
//! back. A call is tried once: whether to repeat it is the payer's to say. Each
//! wait has an end of its own, and each failure its own answer ([`fault`]); the
//! paywall gives the payment back for all of them.
//!
//! | phase | limit | too long is | otherwise failed is |
//! |---|---|---|---|
//! | connect, with TLS verified | `connect_timeout_secs` | 504 `upstream_connect_timeout` | 502 `upstream_unreachable` |
//! | request sent → head of the answer | `upstream_timeout_secs`, from the last part of the request that went | 504 `upstream_timeout` | 502 `upstream_failed` |
//! | a pause of the client before that head | `pause_timeout_secs` | 408 `request_stalled` | 400 `request_broken_off`, 413 `body_too_large` |
//! | a pause of the upstream after it | `pause_timeout_secs` | 504 `upstream_stalled` | 502 `upstream_failed` |
//! | all of it | `call_timeout_secs` | 504 `call_timeout` | |
//!
//! What breaks after the call was committed breaks off the answer: its head, with
//! another status, is long with the client.
//!
//! What becomes of a paid call whose client goes away:
//!
//! | the client goes | the upstream | the payment |
//! |---|---|---|
//! | within its request's body | sees a request that breaks off | is given back |
//! | after it, before the head of the answer | is waited for | is taken or given back as for any client; the answer is kept for the repeat |
//! | within an answer that is short enough to keep | is read to the end | stays taken; the answer is kept for the repeat |
//! | within a longer one | sees its connection closed | stays taken, nothing is kept |
//! | before its WebSocket is there | sees its connection closed | stays taken, nothing is kept |
//!
//! | file | does |
//! |---|---|
//! | `upstream` | where calls go, with which deadlines and headers |
//! | `headers` | what ends here and what is added |
//! | `body`, `watch` | the two bodies, and what they know of each other |
//! | `fault` | what failed, as the payer is told |
//! | `grpc` | success and failure by `grpc-status` |
//! | `tunnel` | WebSockets |

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use feria_paywall::fault::ServiceFault;
use feria_paywall::service::{Body, BoxError};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::OnUpgrade;
use tokio::time::{Sleep, sleep, timeout};
use tower::Service;

use super::routes::Matched;
use crate::lifecycle::Lifecycle;

mod body;
mod fault;
mod grpc;
mod headers;
mod tunnel;
mod upstream;
mod watch;

pub(super) use grpc::GrpcCall;
pub(super) use upstream::Upstreams;

use body::{Download, Upload};
use upstream::Upstream;
use watch::CallWatch;

/// Sends a matched request to its upstream. Clones share everything.
#[derive(Clone)]
pub(super) struct Forward {
    upstreams: Arc<Upstreams>,
    lifecycle: Lifecycle,
}

/// One call on its way.
struct Call {
    agent: String,
    target: url::Url,
    upstream: Arc<Upstream>,
    watch: Arc<CallWatch>,
    grpc: Option<GrpcCall>,
    /// The client's end of a WebSocket that it asks for.
    websocket: Option<OnUpgrade>,
}

impl Forward {
    pub(super) const fn new(upstreams: Arc<Upstreams>, lifecycle: Lifecycle) -> Self {
        Self {
            upstreams,
            lifecycle,
        }
    }

    #[tracing::instrument(name = "gateway.request.forward", skip_all, fields(agent))]
    async fn forward(&self, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let Some(Matched(route)) = parts.extensions.get().cloned() else {
            return empty(StatusCode::NOT_FOUND);
        };
        let agent = route.agent().to_owned();
        tracing::Span::current().record("agent", &agent);
        let Some(upstream) = self.upstreams.find(&agent) else {
            return fault::answer(fault::NO_UPSTREAM);
        };
        let call = Call {
            target: route.target(&parts.uri),
            watch: Arc::default(),
            grpc: parts.extensions.get().cloned(),
            websocket: tunnel::requested(&mut parts).filter(|_| !upstream.is_http2),
            agent,
            upstream,
        };
        call.run(parts, body, &self.lifecycle).await
    }
}

impl Service<Request<Body>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.forward(request).await) })
    }
}

impl Call {
    async fn run(self, parts: Parts, body: Body, lifecycle: &Lifecycle) -> Response<Body> {
        let mut end = Box::pin(sleep(self.upstream.patience.call));
        let request = self.request(parts, body);
        let answer = match self.head_of_answer(request, end.as_mut()).await {
            Ok(answer) => answer,
            Err(fault) => {
                tracing::warn!(
                    agent = self.agent,
                    code = fault.code,
                    "A call of {} failed: {fault}",
                    self.agent
                );
                return fault::answer(fault);
            }
        };
        self.watch.set_answered();
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return self.stream(answer, end);
        }
        match self.websocket {
            Some(client) if tunnel::is_agreed(&answer) => {
                let patience = self.upstream.patience;
                let mut head = tunnel::start(client, answer, patience, lifecycle);
                self.upstream.edit_response(head.headers_mut());
                head.map(|()| nothing())
            }
            _ => fault::answer(fault::UNASKED_SWITCH),
        }
    }

    /// Makes the client's request the upstream's.
    fn request(&self, mut parts: Parts, body: Body) -> reqwest::RequestBuilder {
        let Upstream {
            client,
            is_http2,
            patience,
            ..
        } = &*self.upstream;
        headers::rewrite_request(&mut parts, *is_http2);
        if self.websocket.is_some() {
            tunnel::ask(&mut parts.headers);
        }
        self.upstream.edit_request(&mut parts.headers);
        let request = client
            .request(parts.method, self.target.clone())
            .headers(parts.headers);
        if body.is_end_stream() {
            return request;
        }
        let upload = Upload::new(body, Arc::clone(&self.watch), patience.pause);
        request.body(reqwest::Body::wrap(upload))
    }

    /// Sends `request` and waits for the head of the answer, but not past `end`.
    async fn head_of_answer(
        &self,
        request: reqwest::RequestBuilder,
        end: Pin<&mut Sleep>,
    ) -> Result<reqwest::Response, ServiceFault> {
        let waiting = async {
            let mut sending = pin!(request.send());
            loop {
                let uploaded = self.watch.uploaded();
                match timeout(self.upstream.patience.head, sending.as_mut()).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => return Err(self.failure(error)),
                    // It has been sent to all the while, so it had no time to answer.
                    Err(_) if self.watch.uploaded() != uploaded => {}
                    Err(_) => return Err(fault::SILENT),
                }
            }
        };
        tokio::select! {
            biased;
            answer = waiting => answer,
            () = end => Err(fault::TOO_SLOW),
        }
    }

    fn failure(&self, error: reqwest::Error) -> ServiceFault {
        let fault = fault::of_send(&error, &self.watch);
        let error = error.without_url();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::debug!(agent = self.agent, %error, cause, "An upstream gave no answer");
        fault
    }

    /// Returns the upstream's answer as the client gets it.
    fn stream(&self, answer: reqwest::Response, end: Pin<Box<Sleep>>) -> Response<Body> {
        let patience = self.upstream.patience.pause;
        let mut response = Response::from(answer).map(|inner| {
            let watch = Arc::clone(&self.watch);
            Body::new(Download::new(inner, watch, patience, end))
        });
        headers::remove_hop_by_hop(response.headers_mut());
        self.upstream.edit_response(response.headers_mut());
        match &self.grpc {
            Some(grpc) => grpc.judge(response),
            None => response,
        }
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(nothing());
    *response.status_mut() = status;
    response
}

fn nothing() -> Body {
    Body::new(Empty::new().map_err(|never| -> BoxError { match never {} }))
}
