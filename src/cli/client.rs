//! Commands reach the running node through its API, with the token in the data folder.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;

use super::Context;
use super::fault::Fault;
use crate::client::{HttpClient, HttpError, HttpResponse, http_client};
use crate::config::{NodeSeed, TOKEN_FILE};
use crate::http::admin::OPERATOR_LABEL;
use crate::spend::{Client, ClientError, Reply, announced};

/// A purchase may take a while.
const TIMEOUT: Duration = Duration::from_secs(180);
/// How long a node on this machine may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The API of the running node.
pub(super) struct NodeClient {
    http: HttpClient,
    base: String,
    token: String,
}

impl NodeClient {
    /// Finds the node that runs on `data_dir`.
    pub(super) async fn open(data_dir: &Path) -> Result<Self, Fault> {
        match Self::find(data_dir).await? {
            Some(client) => Ok(client),
            None => Err(Fault::new(
                "node_unreachable",
                format!("no node is running on {}", data_dir.display()),
            )
            .next("start it: feria up")
            .next("or name the folder of the one that runs: --data-dir DIR")),
        }
    }

    /// Finds the node that runs on the folder of `context`, and speaks for its
    /// operator: with the key that derives from its seed.
    pub(super) async fn open_as_operator(context: &Context) -> Result<Self, Fault> {
        let config = context.config()?;
        let mut client = Self::open(&context.data_dir).await?;
        let seed = NodeSeed::load(&config.seed, &config.data_dir)?;
        client.token = hex::encode(seed.secret(OPERATOR_LABEL));
        Ok(client)
    }

    /// Finds the node that runs on `data_dir`; `None` when none does.
    pub(super) async fn find(data_dir: &Path) -> Result<Option<Self>, Fault> {
        let Some(base) = running_at(data_dir).await else {
            return Ok(None);
        };
        let path = data_dir.join(TOKEN_FILE);
        let token = std::fs::read_to_string(&path).map_err(|error| {
            Fault::new("token_missing", format!("{}: {error}", path.display()))
                .next("start the node again: it writes the file when it is missing")
        })?;
        let http = http_client(TIMEOUT).map_err(|error| Fault::from(anyhow::Error::new(error)))?;
        Ok(Some(Self {
            http,
            base,
            token: token.trim().to_owned(),
        }))
    }

    /// Has the node make a call and pass the answer on as it comes.
    pub(super) async fn stream(&self, request: Value) -> Result<Reply, Fault> {
        let client = Client::new(&self.base, &self.token)?;
        Ok(client.fetch(request).await?)
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> Fault {
        Fault::new(
            "node_unreachable",
            format!("the node at {} does not answer: {error}", self.base),
        )
        .next("see what it says where it runs; start it again: feria up")
    }

    /// Asks the node. `path` is given in its parts, so that a name stays one part.
    pub(super) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Value, Fault> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut()
                .extend_pairs(query.iter().map(|(name, value)| (name, value)));
        }
        let request = self.http.get(url).bearer_auth(&self.token);
        self.answer(request.send().await).await
    }

    /// Has the node do something.
    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Fault> {
        let request = self
            .http
            .post(self.url(path)?)
            .bearer_auth(&self.token)
            .json(body);
        self.answer(request.send().await).await
    }

    fn url(&self, path: &[&str]) -> Result<url::Url, Fault> {
        // The URL library drops these silently, and the rest would be another route.
        if let Some(part) = path.iter().find(|part| matches!(**part, "" | "." | "..")) {
            return Err(Fault::usage(format!("{part:?} is no name")));
        }
        let mut url: url::Url = format!("{}/api/v1", self.base)
            .parse()
            .map_err(|_| Fault::usage(format!("{} is no URL", self.base)))?;
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.extend(path);
        }
        Ok(url)
    }

    async fn answer(&self, response: Result<HttpResponse, HttpError>) -> Result<Value, Fault> {
        let unreachable = |error: &dyn std::fmt::Display| self.unreachable(error);
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

/// Returns the base URL of the API of the node that runs on `data_dir`. The file
/// alone does not say so: a node that was killed leaves it behind.
async fn running_at(data_dir: &Path) -> Option<String> {
    let base = announced(data_dir)?;
    let address = base.strip_prefix("http://")?.to_owned();
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    matches!(connected, Ok(Ok(_))).then_some(base)
}

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Problem(problem) => Self::of_problem(&problem),
            ClientError::BrokenOff => Self::new(error.code(), error.to_string()).next(
                "if it was paid for, repeat the call with the same --idempotency-key or --resume: it is not paid again",
            ),
            ClientError::NoNode(_) | ClientError::Unreachable(_) => {
                Self::new(error.code(), error.to_string()).next("start it: feria up")
            }
        }
    }
}
