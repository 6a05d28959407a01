//! A front before an honest mint, which breaks, stalls and lies as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use feria::client::{HttpClient, http_client};
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::kept_port::KeptPort;

/// What becomes of a request.
#[derive(Clone, Copy)]
pub(crate) enum Lie {
    /// The mint never sees it, and the connection breaks.
    Drop,
    /// The mint does the work, and the connection breaks.
    DropAfter,
    /// The mint does the work, and nobody answers.
    HoldAfter,
    /// The mint never sees it; this is the answer.
    Say(u16, &'static str),
    /// The mint does the work, and this is the answer.
    SayAfter(u16, &'static str),
    /// The mint does the work, and its answer is so long.
    HugeAfter(usize),
    /// The mint does the work, and its answer is changed.
    Rewrite(fn(&mut Value)),
}

/// A lie about requests whose path contains `path`, after the first `honest` ones.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) path: &'static str,
    pub(crate) honest: usize,
    pub(crate) lie: Lie,
}

struct Inner {
    mint: String,
    http: HttpClient,
    rules: Mutex<Vec<Rule>>,
    reached: Notify,
    asked: AtomicU64,
}

/// The front. It is closed when dropped.
pub(crate) struct Front {
    pub(crate) url: String,
    inner: Arc<Inner>,
    server: Mutex<Option<JoinHandle<()>>>,
    port: KeptPort,
}

impl Front {
    pub(crate) async fn before(mint: &str) -> Self {
        let inner = Arc::new(Inner {
            mint: mint.to_owned(),
            http: http_client(Duration::from_secs(600)).unwrap(),
            rules: Mutex::default(),
            reached: Notify::new(),
            asked: AtomicU64::new(0),
        });
        let port = KeptPort::new();
        Self {
            url: format!("http://{}", port.address()),
            server: Mutex::new(Some(serve(port.listen(), Arc::clone(&inner)))),
            inner,
            port,
        }
    }

    /// Lies from now on, and about nothing else than `rules` say.
    pub(crate) fn lie(&self, rules: &[Rule]) {
        *self.inner.rules.lock() = rules.to_vec();
    }

    /// How many requests came.
    pub(crate) fn asked(&self) -> u64 {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// Waits until a request was held.
    pub(crate) async fn reached(&self) {
        self.inner.reached.notified().await;
    }

    /// Refuses connections from now on.
    pub(crate) async fn close(&self) {
        let server = self.server.lock().take();
        if let Some(server) = server {
            server.abort();
            server.await.ok();
        }
    }

    pub(crate) async fn open(&self) {
        *self.server.lock() = Some(serve(self.port.listen(), Arc::clone(&self.inner)));
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(server) = self.server.get_mut() {
            server.abort();
        }
    }
}

fn serve(listener: TcpListener, inner: Arc<Inner>) -> JoinHandle<()> {
    let router = Router::new().fallback(answer).with_state(inner);
    tokio::spawn(async move {
        axum::serve(listener, router).await.unwrap();
    })
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    inner.asked.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    let lie = inner.lie_about(&path);
    let mut response = match lie {
        Some(Lie::Drop) => broken(),
        Some(Lie::Say(status, text)) => said(status, text.into()),
        _ => {
            let (status, body) = inner.ask_mint(&path, request).await;
            match lie {
                Some(Lie::DropAfter) => broken(),
                Some(Lie::SayAfter(status, text)) => said(status, text.into()),
                Some(Lie::HugeAfter(bytes)) => said(200, vec![b' '; bytes].into()),
                Some(Lie::Rewrite(change)) => {
                    let mut document = serde_json::from_slice(&body).unwrap();
                    change(&mut document);
                    said(status, document.to_string().into())
                }
                Some(Lie::HoldAfter) => {
                    inner.reached.notify_one();
                    std::future::pending().await
                }
                _ => said(status, body),
            }
        }
    };
    // Else a connection that is kept open would outlive a front that is closed.
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

impl Inner {
    fn lie_about(&self, path: &str) -> Option<Lie> {
        let mut rules = self.rules.lock();
        let rule = rules.iter_mut().find(|rule| path.contains(rule.path))?;
        if rule.honest > 0 {
            rule.honest -= 1;
            return None;
        }
        Some(rule.lie)
    }

    async fn ask_mint(&self, path: &str, request: Request) -> (u16, Bytes) {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = self
            .http
            .request(parts.method, format!("{}{path}", self.mint))
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    }
}

fn said(status: u16, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer that breaks off at once.
fn broken() -> Response {
    let broken = futures_util::stream::once(std::future::ready(Err::<Bytes, _>(
        std::io::Error::other("cut"),
    )));
    Response::new(Body::from_stream(broken))
}
