//! `feria proxy`: any HTTP client sends its calls through it, and has them paid.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::call::Limits;
use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::{Context, Output, stop_signal};
use crate::http::proxy::{ProxyParts, serve};
use crate::lifecycle::Lifecycle;
use crate::spend::Client;

/// How long calls under way have when the proxy is told to stop.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    limits: Limits,
    /// Where to listen; port 0 takes any free port. Beyond this machine only with
    /// --require-token.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 7404)))]
    listen: SocketAddr,
    /// Take only requests with a token of the node's API in Proxy-Authorization; the
    /// token decides what may be paid.
    #[arg(long)]
    require_token: bool,
}

impl Arguments {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        if !self.listen.ip().is_loopback() && !self.require_token {
            return Err(Fault::usage(format!(
                "{} can be reached by others, who would spend the wallet's money",
                self.listen
            ))
            .next("listen on 127.0.0.1, or add --require-token"));
        }
        // Says at once when no node runs, instead of at the first call.
        NodeClient::open(&context.data_dir).await?;
        let client = Client::open(&context.data_dir)?;
        let listener = tokio::net::TcpListener::bind(self.listen)
            .await
            .map_err(|error| Fault::usage(format!("cannot listen on {}: {error}", self.listen)))?;
        let stop = stop_signal()?;
        let lifecycle = Lifecycle::default();
        let document = json!({ "proxy": format!("http://{}", listener.local_addr()?) });
        let parts = ProxyParts {
            client,
            terms: self.limits.to_json(),
            needs_token: self.require_token,
        };
        serve(parts, listener, &lifecycle);
        output.show(&document, render)?;
        stop.await;
        lifecycle.shut_down(PATIENCE).await;
        Ok(ExitCode::Ok)
    }
}

fn render(document: &Value) -> String {
    let url = document["proxy"].as_str().unwrap_or_default();
    format!(
        "{url}\n\
         for http targets:  http_proxy={url} curl http://HOST/PATH\n\
         for https targets: curl {url}/https://HOST/PATH"
    )
}
