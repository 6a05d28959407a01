//! gRPC over HTTP/2 through the gateway, framed by hand on both sides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use feria::lifecycle::Lifecycle;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};

use super::stand::{Stand, soon};

/// An empty gRPC message: not compressed, length 0.
const MESSAGE: &[u8] = &[0; 5];

/// How the service ends a call.
#[derive(Clone, Copy)]
enum End {
    /// A message, and the status in the trailers.
    Trailers(&'static str),
    /// The status in the head.
    Head(&'static str),
    /// A message, and no trailers.
    Missing,
    /// The stream was never looked at: a client may send it again.
    RefusedStream,
}

struct Service {
    url: String,
    calls: Arc<AtomicU64>,
    seen: Arc<Mutex<HeaderMap>>,
    lifecycle: Lifecycle,
}

impl Service {
    /// Ends one call after the other as `ends` say.
    async fn start(ends: &[End]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Self {
            url: format!("h2c://{}", listener.local_addr().unwrap()),
            calls: Arc::default(),
            seen: Arc::default(),
            lifecycle: Lifecycle::default(),
        };
        let ends = Arc::new(Mutex::new(ends.iter().copied().collect::<VecDeque<_>>()));
        let (calls, seen) = (Arc::clone(&service.calls), Arc::clone(&service.seen));
        let tasks = service.lifecycle.clone();
        service.lifecycle.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (calls, seen) = (Arc::clone(&calls), Arc::clone(&seen));
                let ends = Arc::clone(&ends);
                tasks.spawn(async move {
                    let mut connection = h2::server::handshake(socket).await.unwrap();
                    while let Some(Ok((request, answer))) = connection.accept().await {
                        calls.fetch_add(1, Ordering::SeqCst);
                        *seen.lock() = request.headers().clone();
                        let end = ends.lock().pop_front().unwrap();
                        end_call(answer, end);
                    }
                });
            }
        });
        service
    }
}

fn end_call(mut answer: SendResponse<Bytes>, end: End) {
    let status = |status| {
        HeaderMap::from_iter([
            (
                http::HeaderName::from_static("grpc-status"),
                http::HeaderValue::from_static(status),
            ),
            (
                http::HeaderName::from_static("grpc-message"),
                http::HeaderValue::from_static("said by the service"),
            ),
        ])
    };
    let mut head = Response::new(());
    head.headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    match end {
        End::RefusedStream => answer.send_reset(h2::Reason::REFUSED_STREAM),
        End::Head(code) => {
            head.headers_mut().extend(status(code));
            answer.send_response(head, true).unwrap();
        }
        End::Missing => {
            let mut body = answer.send_response(head, false).unwrap();
            body.send_data(Bytes::from_static(MESSAGE), true).unwrap();
        }
        End::Trailers(code) => {
            let mut body = answer.send_response(head, false).unwrap();
            body.send_data(Bytes::from_static(MESSAGE), false).unwrap();
            body.send_trailers(status(code)).unwrap();
        }
    }
}

/// What a gRPC client sees of a call.
#[derive(Debug)]
struct Seen {
    http_status: u16,
    head: HeaderMap,
    data: usize,
    trailers: Option<HeaderMap>,
}

impl Seen {
    /// The status, wherever it stands.
    fn grpc_status(&self) -> &str {
        let place = self.trailers.as_ref().unwrap_or(&self.head);
        place["grpc-status"].to_str().unwrap()
    }
}

/// Makes one call over a connection of its own, in HTTP/2 from the first byte.
async fn call(stand: &Stand, credential: Option<&str>) -> Seen {
    let socket = TcpStream::connect(stand.public).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = soon(client.ready()).await.unwrap();
    let mut request = Request::post(format!("http://{}/a/data", stand.public))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers");
    if let Some(credential) = credential {
        request = request.header("authorization", credential);
    }
    let request = request.body(()).unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(MESSAGE), true).unwrap();
    let answer = soon(answer).await.unwrap();
    let (parts, mut body) = answer.into_parts();
    let mut data = 0;
    while let Some(part) = soon(body.data()).await {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        data += part.len();
    }
    let trailers = soon(body.trailers()).await.unwrap();
    drop(client);
    connection.abort();
    Seen {
        http_status: parts.status.as_u16(),
        head: parts.headers,
        data,
        trailers,
    }
}

async fn stand(service: &Service) -> Stand {
    Stand::open(&service.url, |_, _| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_passes_with_its_trailers_and_is_paid_for() {
    let service = Service::start(&[End::Trailers("5")]).await;
    let stand = stand(&service).await;
    let credential = stand.buy("POST").await;

    let answered = call(&stand, Some(&credential)).await;
    let again = call(&stand, Some(&credential)).await;

    assert_eq!((answered.http_status, answered.data), (200, MESSAGE.len()));
    // NOT_FOUND: the service did its work.
    assert_eq!(answered.grpc_status(), "5");
    assert!(answered.head.contains_key("payment-receipt"));
    assert_eq!(service.seen.lock()["te"], "trailers");
    assert!(!service.seen.lock().contains_key("authorization"));
    assert!(again.head.contains_key("www-authenticate"), "{again:?}");
    assert_eq!(service.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_status_in_the_head_gives_the_payment_back() {
    let service = Service::start(&[End::Head("14"), End::Trailers("0")]).await;
    let stand = stand(&service).await;
    let credential = stand.buy("POST").await;

    let failed = call(&stand, Some(&credential)).await;
    let retried = call(&stand, Some(&credential)).await;

    assert_eq!((failed.http_status, failed.grpc_status()), (200, "14"));
    assert_eq!(failed.head["grpc-message"], "said by the service");
    assert!(failed.head.contains_key("payment-receipt"), "{failed:?}");
    assert_eq!((retried.grpc_status(), retried.data), ("0", MESSAGE.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_status_at_the_end_reaches_the_client_and_gives_the_payment_back() {
    for (end, code) in [(End::Trailers("13"), "13"), (End::Missing, "13")] {
        let service = Service::start(&[end, End::Trailers("0")]).await;
        let stand = stand(&service).await;
        let credential = stand.buy("POST").await;

        let failed = call(&stand, Some(&credential)).await;
        let retried = call(&stand, Some(&credential)).await;

        assert_eq!((failed.grpc_status(), failed.data), (code, MESSAGE.len()));
        assert!(failed.trailers.is_some(), "{failed:?}");
        assert_eq!((retried.grpc_status(), retried.data), ("0", MESSAGE.len()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stream_is_not_sent_again() {
    let service = Service::start(&[End::RefusedStream, End::Trailers("0")]).await;
    let stand = stand(&service).await;
    let credential = stand.buy("POST").await;

    // Without a body, so that the client could send it again.
    let failed = stand.call(&credential, "").await;

    failed.check_given_back(502, "upstream_failed");
    assert_eq!(service.calls.load(Ordering::SeqCst), 1);
}
