//! `feria index`: whether the index is what its events say, and making it so again.
//!
//! Both work on the file. `verify` only reads and may run beside the node; `rebuild`
//! holds the file all the while, so it wants the node stopped.

use std::future::Future;

use clap::Subcommand;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::{Context, Output};
use crate::app::lock_data_dir;
use crate::market::indexer::{rebuild_index, verify_index};
use crate::store::StoreError;
use crate::store::index::{Index, Progress};

/// Notes of progress in a whole run.
const STEPS: u64 = 20;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check every event again and make the rest of the index from the good ones.
    Rebuild,
    /// Compare the index with what its events say; change nothing.
    Verify,
}

impl Command {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        context.config()?;
        match self {
            Self::Rebuild => rebuild(context, output).await,
            Self::Verify => verify(context, output).await,
        }
    }
}

async fn rebuild(context: &Context, output: &mut Output<'_>) -> Outcome {
    if NodeClient::find(&context.data_dir).await?.is_some() {
        return Err(Fault::usage("the node runs, and takes events meanwhile")
            .next("stop it, rebuild, start it again: feria up"));
    }
    let _lock = lock_data_dir(&context.data_dir)?;
    let index = Index::open(&context.data_dir.join("index.db"))?;
    let (report, progress) = watch::channel(Progress::default());
    let work = rebuild_index(&index, move |step| tell(&report, step));
    let done = watched(work, progress, "read", output).await?;
    output.show(&json!(done), |done| {
        let mut lines = vec![format!(
            "{} events read again, {} offers in the catalog.",
            done["events"], done["rows"]
        )];
        for (fault, count) in done["removed"].as_object().into_iter().flatten() {
            lines.push(format!("{count} events removed: {fault}"));
        }
        lines.join("\n")
    })?;
    Ok(ExitCode::Ok)
}

async fn verify(context: &Context, output: &mut Output<'_>) -> Outcome {
    let index = Index::open(&context.data_dir.join("index.db"))?;
    let (report, progress) = watch::channel(Progress::default());
    let work = verify_index(&index, move |step| tell(&report, step));
    let found = watched(work, progress, "checked", output).await?;
    let mut shown = json!(found);
    shown["ok"] = json!(found.is_clean());
    output.show(&shown, render)?;
    if found.is_clean() {
        return Ok(ExitCode::Ok);
    }
    Err(
        Fault::new("general", "the index is not what its events say")
            .next("make it again: feria index rebuild"),
    )
}

fn tell(report: &watch::Sender<Progress>, step: Progress) {
    // Nobody listens any more when the command was stopped.
    let _ = report.send(step);
}

/// Waits for `work` and tells how far it has come.
async fn watched<T>(
    work: impl Future<Output = Result<T, StoreError>>,
    mut progress: watch::Receiver<Progress>,
    verb: &str,
    output: &mut Output<'_>,
) -> Result<T, Fault> {
    tokio::pin!(work);
    let mut told = 0;
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done?),
            Ok(()) = progress.changed() => {
                let Progress { done, total } = *progress.borrow_and_update();
                let step = done.saturating_mul(STEPS).checked_div(total).unwrap_or(0);
                if step > told {
                    told = step;
                    output.note(&format!("{verb} {done} of {total} events"));
                }
            }
        }
    }
}

fn render(found: &Value) -> String {
    let mut lines = vec![format!(
        "{} events and {} offers checked.",
        found["events"], found["rows"]
    )];
    for (fault, count) in found["faults"].as_object().into_iter().flatten() {
        lines.push(format!("! {count} times {fault}"));
    }
    for example in found["examples"].as_array().into_iter().flatten() {
        let word = |at: usize| example[at].as_str().unwrap_or_default();
        lines.push(format!("  {}: {}", word(0), word(1)));
    }
    if found["ok"].as_bool() == Some(true) {
        lines.push("The index is what its events say.".to_owned());
    }
    lines.join("\n")
}
