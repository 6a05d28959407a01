//! The streaming proxy to an agent's upstream.
//!
//! Bodies stream both ways. Hop-by-hop headers end here, and payment headers ended
//! in the paywall. A call is tried once: whether to repeat it is the payer's to
//! say. What goes wrong becomes a 502 or a 504, and the paywall gives the payment back.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use feria_paywall::service::BoxError;
use http::header::{
    CONNECTION, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyDataStream, BodyExt, Empty};
use tokio::time::Sleep;
use tower::Service;

use super::Body;
use super::routes::Matched;

/// A response may stream for a day; each pause in it is limited far shorter.
const MAX_STREAM: Duration = Duration::from_secs(86_400);

/// Headers that concern one connection only.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Sends a matched request to its upstream.
#[derive(Debug, Clone)]
pub(super) struct Forward {
    client: reqwest::Client,
    /// For the head of the response, and for each pause in its body.
    patience: Duration,
}

impl Forward {
    pub(super) const fn new(client: reqwest::Client, patience: Duration) -> Self {
        Self { client, patience }
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
        let Self { client, patience } = self.clone();
        Box::pin(async move { Ok(forward(&client, patience, request).await) })
    }
}

#[tracing::instrument(name = "gateway.request.forward", skip_all, fields(agent))]
async fn forward(
    client: &reqwest::Client,
    patience: Duration,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Some(Matched(route)) = parts.extensions.get() else {
        return empty(StatusCode::NOT_FOUND);
    };
    let agent = route.agent();
    tracing::Span::current().record("agent", agent);
    let mut headers = parts.headers;
    remove_hop_by_hop(&mut headers);
    headers.remove(HOST);
    headers.remove(EXPECT);
    let mut call = client
        .request(parts.method, route.target(&parts.uri))
        .headers(headers)
        .timeout(MAX_STREAM);
    if !body.is_end_stream() {
        call = call.body(reqwest::Body::wrap_stream(BodyDataStream::new(body)));
    }
    match tokio::time::timeout(patience, call.send()).await {
        Ok(Ok(response)) => {
            let mut response = Response::from(response).map(|inner| {
                Body::new(Patient {
                    inner: inner.map_err(Into::into).boxed_unsync(),
                    patience,
                    pause: None,
                })
            });
            remove_hop_by_hop(response.headers_mut());
            response
        }
        Ok(Err(error)) => {
            // The address of the upstream is the seller's own business, but the log is his too.
            tracing::warn!(agent, error = %error.without_url(), "The upstream of {agent} failed");
            empty(StatusCode::BAD_GATEWAY)
        }
        Err(_) => {
            tracing::warn!(agent, "The upstream of {agent} did not answer in time");
            empty(StatusCode::GATEWAY_TIMEOUT)
        }
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::new(Empty::new().map_err(|never| match never {})));
    *response.status_mut() = status;
    response
}

/// Takes out what ends here: the fixed list, and what `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

/// A body whose sender may not pause for longer than `patience`.
struct Patient {
    inner: Body,
    patience: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

/// The upstream stopped in the middle of its answer.
#[derive(Debug, thiserror::Error)]
#[error("read the next part of the answer in time")]
struct Stalled;

impl HttpBody for Patient {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            this.pause = None;
            return Poll::Ready(frame);
        }
        let patience = this.patience;
        let pause = this
            .pause
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(pause.as_mut().poll(context));
        Poll::Ready(Some(Err(Stalled.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_connection_end_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-once, close"),
            ("x-once", "1"),
            ("keep-alive", "5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("accept", "*/*"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }

        remove_hop_by_hop(&mut headers);

        assert_eq!(headers.len(), 1);
        assert!(headers.contains_key("accept"));
    }
}
