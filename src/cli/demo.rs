//! `feria demo`: the whole market in one process, with play money.

#[cfg(feature = "sandbox")]
use std::io::Write;
use std::path::PathBuf;
#[cfg(feature = "sandbox")]
use std::time::Duration;

use clap::Args;

use super::Output;
#[cfg(feature = "sandbox")]
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};

/// How long an interrupted demo may take to put its things away.
#[cfg(feature = "sandbox")]
const STOP_PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Play the script and end, instead of keeping the pages open.
    #[arg(long)]
    once: bool,
}

impl Arguments {
    #[cfg(feature = "sandbox")]
    pub(super) async fn execute(
        self,
        data_dir: Option<PathBuf>,
        output: &mut Output<'_>,
    ) -> Outcome {
        use crate::lifecycle::Lifecycle;
        use crate::sandbox::demo::{DemoOptions, Narrator, run};

        let options = DemoOptions {
            once: self.once,
            data_dir,
            // A closed standard error is no reason to stop.
            narrator: Narrator::new(|line| drop(writeln!(std::io::stderr(), "{line}"))),
        };
        let lifecycle = Lifecycle::default();
        let stopped = super::stop_signal()?;
        let mut playing = Box::pin(run(options, lifecycle.clone()));
        let report = tokio::select! {
            report = &mut playing => report?,
            () = stopped => {
                lifecycle.shut_down(Duration::ZERO).await;
                tokio::time::timeout(STOP_PATIENCE, playing).await.map_err(|_| {
                    Fault::new("general", "stopped in the middle of the script")
                })??
            }
        };
        let value = serde_json::to_value(&report)
            .map_err(|error| Fault::from(anyhow::Error::new(error)))?;
        output.show(&value, |_| report.to_string())?;
        Ok(if report.ok {
            ExitCode::Ok
        } else {
            ExitCode::General
        })
    }

    #[cfg(not(feature = "sandbox"))]
    pub(super) async fn execute(
        self,
        _data_dir: Option<PathBuf>,
        _output: &mut Output<'_>,
    ) -> Outcome {
        Err(Fault::usage(
            "this program was built without the demo: build it with the feature `sandbox`",
        ))
    }
}
