//! Commands reach the running node through its API, with the token in the data folder.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::fault::Fault;
use crate::client::{HttpClient, HttpError, HttpResponse, http_client};

/// The file with the addresses of the running node.
pub(super) const NODE_FILE: &str = "node.json";
/// The file with the token for its API.
pub(super) const TOKEN_FILE: &str = "admin.macaroon";
/// A purchase may take a while.
const TIMEOUT: Duration = Duration::from_secs(180);

/// The API of the running node.
pub(super) struct NodeClient {
    http: HttpClient,
    base: String,
    token: String,
}

impl NodeClient {
    /// Finds the node that runs on `data_dir`.
    pub(super) fn open(data_dir: &Path) -> Result<Self, Fault> {
        let base = running_at(data_dir).ok_or_else(|| {
            Fault::new(
                "node_unreachable",
                format!("no node is running on {}", data_dir.display()),
            )
            .next("start it: feria up")
        })?;
        let path = data_dir.join(TOKEN_FILE);
        let token = std::fs::read_to_string(&path).map_err(|error| {
            Fault::new("token_missing", format!("{}: {error}", path.display()))
                .next("start the node again: it writes the file when it is missing")
        })?;
        let http = http_client(TIMEOUT).map_err(|error| Fault::from(anyhow::Error::new(error)))?;
        Ok(Self {
            http,
            base,
            token: token.trim().to_owned(),
        })
    }

    /// Asks the node.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Fault> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut()
                .extend_pairs(query.iter().map(|(name, value)| (name, value)));
        }
        let request = self.http.get(url).bearer_auth(&self.token);
        self.answer(request.send().await).await
    }

    /// Has the node do something.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Fault> {
        let request = self
            .http
            .post(self.url(path)?)
            .bearer_auth(&self.token)
            .json(body);
        self.answer(request.send().await).await
    }

    fn url(&self, path: &str) -> Result<url::Url, Fault> {
        format!("{}/api/v1/{path}", self.base)
            .parse()
            .map_err(|_| Fault::usage(format!("{path:?} cannot be part of a URL")))
    }

    async fn answer(&self, response: Result<HttpResponse, HttpError>) -> Result<Value, Fault> {
        let unreachable = |error: &dyn std::fmt::Display| {
            Fault::new(
                "node_unreachable",
                format!("the node at {} does not answer: {error}", self.base),
            )
            .next("is it running? feria up")
        };
        let response = response.map_err(|error| unreachable(&error))?;
        let is_success = response.status().is_success();
        let body: Value = response.json().await.map_err(|error| unreachable(&error))?;
        if is_success {
            Ok(body)
        } else {
            Err(Fault::of_problem(&body))
        }
    }
}

/// Returns the base URL of the API of the node that runs on `data_dir`.
pub(super) fn running_at(data_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data_dir.join(NODE_FILE)).ok()?;
    let document: Value = serde_json::from_str(&text).ok()?;
    Some(format!("http://{}", document.get("admin")?.as_str()?))
}
