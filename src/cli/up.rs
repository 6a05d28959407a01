//! `feria up`: runs the node until it is told to stop.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::client::{NODE_FILE, TOKEN_FILE};
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::{Context, Output};
use crate::access::{IssueRequest, Permission, Request, Tier};
use crate::app::{Addresses, App, AppParts, Listeners, open_lightning};
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::config::NodeSeed;
use crate::lifecycle::Lifecycle;

#[derive(Debug, Args)]
pub(super) struct Arguments {}

impl Arguments {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
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
        let mut stop = signal(SignalKind::terminate())?;
        let addresses = app.start(listeners).await?;
        keep_token(&app, &data_dir).await?;
        write_private(
            &data_dir.join(NODE_FILE),
            &json!({
                "public": addresses.public.to_string(),
                "admin": addresses.admin.to_string(),
                "pid": std::process::id(),
            })
            .to_string(),
        )?;
        announce(&app, addresses, output)?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted?,
            _ = stop.recv() => {}
        }
        tracing::info!("stopping: open requests and payments are finished first");
        // The file only helps other commands; a stale one makes them say that nobody answers.
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
    ))
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
    write_private(&path, &issued.text)
}

/// Replaces the file as a whole, readable by its owner alone.
fn write_private(path: &Path, text: &str) -> Result<(), Fault> {
    let new = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    std::fs::rename(&new, path)?;
    Ok(())
}
