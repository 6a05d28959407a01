//! Commands reach the running node through its API, with the token in the data folder.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;

use super::Context;
use super::fault::Fault;
use crate::app::{NODE_FILE, TOKEN_FILE};
use crate::client::{HttpClient, HttpError, HttpResponse, http_client};
use crate::config::NodeSeed;
use crate::http::admin::OPERATOR_LABEL;

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
        let unreachable = |error: &dyn std::fmt::Display| {
            Fault::new(
                "node_unreachable",
                format!("the node at {} does not answer: {error}", self.base),
            )
            .next("see what it says where it runs; start it again: feria up")
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

/// Returns the base URL of the API of the node that runs on `data_dir`. The file
/// alone does not say so: a node that was killed leaves it behind.
async fn running_at(data_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data_dir.join(NODE_FILE)).ok()?;
    let document: Value = serde_json::from_str(&text).ok()?;
    let mut address: SocketAddr = document.get("admin")?.as_str()?.parse().ok()?;
    if address.ip().is_unspecified() {
        // It listens everywhere; the listener answers to names of this machine only.
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    matches!(connected, Ok(Ok(_))).then(|| format!("http://{address}"))
}
