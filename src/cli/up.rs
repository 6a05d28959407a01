//! `feria up`: runs the node until it is told to stop.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::client::{NODE_FILE, TOKEN_FILE};
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::{Context, Output, init, mint, stop_signal};
use crate::access::{IssueRequest, Permission, Request, Tier};
use crate::app::{Addresses, App, AppParts, Listeners, open_lightning};
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::config::{CONFIG_FILE, NodeSeed, SAMPLE_RELAYS, write_private};
use crate::lifecycle::Lifecycle;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Set up the data folder first, if it is not there yet (for containers).
    #[arg(long)]
    init: bool,
}

impl Arguments {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        if self.init && !context.data_dir.join(CONFIG_FILE).exists() {
            init::set_up(context, init::NetworkName::Mainnet, SAMPLE_RELAYS)?;
        }
        let mut config = context.config()?;
        let seed = NodeSeed::load(&config.seed, &config.data_dir)?;
        let listeners = Listeners::bind(&mut config)
            .await
            .map_err(|error| Fault::new("bad_config", format!("{error:#}")))?;
        let lightning = open_lightning(&config, Arc::new(SystemClock), Arc::new(SystemEntropy))
            .map_err(|error| Fault::new("bad_config", format!("{error:#}")))?;
        let data_dir = config.data_dir.clone();
        let app = App::build(
            config,
            AppParts {
                seed,
                clock: Arc::new(SystemClock),
                entropy: Arc::new(SystemEntropy),
                lightning,
                lifecycle: Lifecycle::default(),
            },
        )
        .await?;
        let stopped = stop_signal()?;
        let addresses = app.start(listeners).await?;
        keep_token(&app, &data_dir).await?;
        write_private(
            &data_dir.join(NODE_FILE),
            &format!(
                "{}\n",
                json!({
                    "public": addresses.public.to_string(),
                    "admin": addresses.admin.to_string(),
                    "pid": std::process::id(),
                })
            ),
        )?;
        announce(&app, addresses, output)?;
        stopped.await;
        tracing::info!("stopping: open requests and payments are finished first");
        // The file only helps other commands; a stale one is seen as such.
        let _ = std::fs::remove_file(data_dir.join(NODE_FILE));
        if app.shut_down().await {
            Ok(ExitCode::Ok)
        } else {
            Err(Fault::new(
                "general",
                "some work did not end in time; it is resolved at the next start",
            ))
        }
    }
}

fn announce(app: &App, addresses: Addresses, output: &mut Output<'_>) -> Result<(), Fault> {
    let dashboard = format!(
        "http://{}{}",
        addresses.admin,
        app.node.new_dashboard_link()
    );
    let document = json!({
        "network": app.config.network.as_str(),
        "public_url": app.config.public.url,
        "public": addresses.public.to_string(),
        "admin": addresses.admin.to_string(),
        "dashboard": dashboard,
        "recovered": app.recovered,
    });
    if output.is_json() {
        // One line, so that a program can read it while the node runs on.
        return output.line(&document.to_string());
    }
    output.line(&format!(
        "Network    {}\nMarket     {}\nDashboard  {dashboard}\n           (this link works once, within an hour)",
        app.config.network.as_str(),
        app.config.public.url,
    ))?;
    for line in app.recovered.lines() {
        output.note(&format!("Resolved from before: {line}"));
    }
    if app.config.mints.is_empty() {
        output.note(mint::NONE_TRUSTED);
    }
    if app.config.relays.is_empty() {
        output.note("No relay is configured, so nothing is found: add one to relays.toml.");
    }
    output.note("Ctrl-C stops the node.");
    Ok(())
}

/// Writes a token for the commands of this machine, unless there is a good one.
async fn keep_token(app: &App, data_dir: &Path) -> Result<(), Fault> {
    let path = data_dir.join(TOKEN_FILE);
    if let Ok(token) = std::fs::read_to_string(&path) {
        let request = Request::new(Permission::Browse, SystemClock.now());
        if app.access.verify(token.trim(), &request).await.is_ok() {
            return Ok(());
        }
    }
    let issued = app
        .access
        .issue(IssueRequest {
            label: "commands of this machine".to_owned(),
            ..IssueRequest::new(Tier::AgentCommerce)
        })
        .await
        .map_err(|error| Fault::from(anyhow::Error::new(error)))?;
    write_private(&path, &format!("{}\n", issued.text))?;
    Ok(())
}
