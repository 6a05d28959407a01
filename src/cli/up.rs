//! `feria up`: runs the node until it is told to stop.

use std::sync::Arc;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::{Context, Output, init, mint, stop_signal};
use crate::app::{Addresses, App, AppParts, Listeners};
use crate::clock::{SystemClock, SystemEntropy};
use crate::config::{CONFIG_FILE, NodeSeed, SAMPLE_RELAYS};
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
        let app = App::build(
            config,
            AppParts {
                seed,
                clock: Arc::new(SystemClock),
                entropy: Arc::new(SystemEntropy),
                lightning: Vec::new(),
                lifecycle: Lifecycle::default(),
            },
        )
        .await?;
        let stopped = stop_signal()?;
        let hang_ups = signal(SignalKind::hangup())?;
        let addresses = app.start(listeners).await?;
        app.admit_local_commands(addresses).await?;
        announce(&app, addresses, output)?;
        tokio::select! {
            () = stopped => {}
            () = reload_at(hang_ups, &app) => {}
        }
        tracing::info!("stopping: open requests and payments are finished first");
        app.dismiss_local_commands();
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

/// Reads the agents' files and the policies again at each SIGHUP; never ends.
async fn reload_at(mut hang_ups: Signal, app: &App) {
    while hang_ups.recv().await.is_some() {
        match app.node.reload_agents() {
            Ok(changed) => tracing::info!(
                changed = changed.len(),
                "the agents' files were read again; changed: {}",
                changed.join(", ")
            ),
            Err(error) => tracing::error!(%error, "the agents on sale stay as they were: {error}"),
        }
        match app.node.reload_policies() {
            Ok(names) => tracing::info!(
                policies = names.len(),
                "the policies were read again: {}",
                names.join(", ")
            ),
            Err(error) => tracing::error!(%error, "the policies stay as they were: {error}"),
        }
    }
    std::future::pending().await
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
