//! Sample agents for the demo and the tests: what a seller puts the gateway in front of.
//!
//! | agent | answers |
//! |---|---|
//! | `data` | JSON that looks like a weather report; the same question, the same answer |
//! | `inference` | a text completion that repeats the question and says that it is a sample |
//! | `flaky` | status 500, after it has read the whole request |

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{SandboxError, listen};
use crate::lifecycle::Lifecycle;

/// Largest request body that is read.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How much of a prompt comes back.
const ECHO_CHARS: usize = 200;
/// What the invented report says of the sky.
const SKIES: [&str; 4] = ["clear", "cloudy", "rain", "snow"];

/// Which sample agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// Sells JSON data.
    Data,
    /// Sells text completions.
    Inference,
    /// Takes the request and fails.
    Flaky,
}

/// A running sample agent. It stops with its lifecycle.
#[derive(Debug, Clone)]
pub struct SampleUpstream {
    /// Its base URL, without trailing slash.
    pub url: String,
    calls: Arc<AtomicU64>,
}

impl SampleUpstream {
    /// Starts `sample` on a free loopback port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(sample: Sample, lifecycle: &Lifecycle) -> Result<Self, SandboxError> {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = listen(address).await?;
        let address = listener
            .local_addr()
            .map_err(|source| SandboxError::Listen { address, source })?;
        let calls = Arc::new(AtomicU64::new(0));
        let router = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state((sample, Arc::clone(&calls)));
        lifecycle.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "a sample agent stopped serving");
            }
        });
        Ok(Self {
            url: format!("http://{address}"),
            calls,
        })
    }

    /// Returns how many requests reached the agent.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn answer(
    State((sample, calls)): State<(Sample, Arc<AtomicU64>)>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
    match sample {
        Sample::Data => Json(report(&query.unwrap_or_default())).into_response(),
        Sample::Inference => Json(completion(&body)).into_response(),
        Sample::Flaky => (
            StatusCode::INTERNAL_SERVER_ERROR,
            Json(json!({"error": "this sample agent always fails", "call": call})),
        )
            .into_response(),
    }
}

fn report(query: &str) -> serde_json::Value {
    let digest = Sha256::digest(query.as_bytes());
    json!({
        "sample": true,
        "query": query,
        "temperature_c": i32::from(digest[0] % 45) - 10,
        "humidity_percent": u32::from(digest[1]) * 100 / 255,
        "sky": SKIES[usize::from(digest[2]) % SKIES.len()],
    })
}

fn completion(body: &[u8]) -> serde_json::Value {
    let prompt = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|body| body.get("prompt")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let echo: String = prompt.chars().take(ECHO_CHARS).collect();
    json!({
        "sample": true,
        "model": "feria-sample-echo",
        "completion": format!("This is a sample completion of: {echo}"),
        "prompt_words": prompt.split_whitespace().count(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Posts `body` and returns the whole response as text.
    async fn post(upstream: &SampleUpstream, body: &str) -> String {
        let address = upstream.url.trim_start_matches("http://");
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let request = format!(
            "POST /?city=Lisbon HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        socket.read_to_string(&mut response).await.unwrap();
        response
    }

    #[tokio::test]
    async fn each_sample_answers_in_its_way_and_counts() {
        let lifecycle = Lifecycle::default();
        for (sample, status, part) in [
            (Sample::Data, "200 OK", "\"query\":\"city=Lisbon\""),
            (Sample::Inference, "200 OK", "sample completion of: hello"),
            (Sample::Flaky, "500 Internal", "always fails"),
        ] {
            let upstream = SampleUpstream::start(sample, &lifecycle).await.unwrap();

            let first = post(&upstream, r#"{"prompt":"hello"}"#).await;
            let second = post(&upstream, r#"{"prompt":"hello"}"#).await;

            assert!(first.contains(status) && first.contains(part), "{first}");
            if sample != Sample::Flaky {
                assert_eq!(first.lines().last(), second.lines().last());
            }
            assert_eq!(upstream.calls(), 2);
        }
        assert!(lifecycle.shut_down(Duration::from_secs(5)).await);
    }
}
