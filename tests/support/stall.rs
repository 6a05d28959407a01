//! A gateway behind a real socket, and a buyer that calls it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use feria::client::{HttpClient, HttpError, http_client};
use feria::gateway::{ClientAddr, Gateway, RefundOutcome};
use feria::lifecycle::Lifecycle;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

/// Longer than the gateway waits for any mint or upstream, also where time is
/// moved by hand.
const PATIENCE: Duration = Duration::from_secs(600);
/// Where a shop sells.
const SOLD: &str = "/a/data/v1/query";

/// Serves `gateway` on a free port, with `more` beside it; returns its address.
pub(crate) async fn serve(gateway: Gateway, more: Router, lifecycle: &Lifecycle) -> String {
    let router = Router::new()
        .route("/a/{agent}/{*path}", any(sell))
        .route("/v1/refund", post(refund))
        .with_state(gateway)
        .merge(more);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    lifecycle.spawn(async move {
        axum::serve(listener, service).await.unwrap();
    });
    url
}

async fn sell(
    State(gateway): State<Gateway>,
    Path((agent, _path)): Path<(String, String)>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    request.extensions_mut().insert(ClientAddr(client.ip()));
    let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    gateway
        .handle(&agent, request)
        .await
        .map(axum::body::Body::new)
}

/// The token's fate as the node's public listener tells it.
async fn refund(State(gateway): State<Gateway>, token: String) -> Response {
    let status = match gateway.refund(&token).await {
        RefundOutcome::Token { token, amount, .. } => {
            let body = json!({"token": token, "amount_sat": amount.as_u64()});
            return axum::Json(body).into_response();
        }
        RefundOutcome::NotFound => StatusCode::NOT_FOUND,
        RefundOutcome::NothingOwed => StatusCode::GONE,
        RefundOutcome::InProgress => StatusCode::TOO_EARLY,
        RefundOutcome::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        RefundOutcome::Malformed => StatusCode::BAD_REQUEST,
    };
    status.into_response()
}

/// A buyer's end of the line.
#[derive(Clone)]
pub(crate) struct Caller {
    http: HttpClient,
    pub(crate) url: String,
}

/// An answer as it came over the socket.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The word for programs; empty if the answer has none.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// What the answer says of money; empty if nothing.
    pub(crate) fn money(&self) -> String {
        self.json()["money"].as_str().unwrap_or_default().to_owned()
    }
}

impl Caller {
    pub(crate) fn of(url: String) -> Self {
        Self {
            http: http_client(PATIENCE).unwrap(),
            url,
        }
    }

    /// Calls what is sold.
    pub(crate) async fn call(
        &self,
        headers: &[(&str, String)],
        body: &str,
    ) -> Result<Seen, HttpError> {
        self.post(SOLD, headers, body).await
    }

    /// Asks back what was paid with `token`.
    pub(crate) async fn refund(&self, token: &str) -> Result<Seen, HttpError> {
        self.post("/v1/refund", &[], token).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
    ) -> Result<Seen, HttpError> {
        let mut request = self.http.post(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.body(body.to_owned()).send().await?;
        Ok(Seen {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.text().await?,
        })
    }
}
