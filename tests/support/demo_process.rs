//! The demo as a child process: run to its end, or killed on the way.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// How one run ended.
pub(crate) struct Ended {
    /// Whether the process ended by itself with status 0.
    pub(crate) success: bool,
    /// The document on its standard output, if it got that far.
    pub(crate) report: Option<Value>,
    /// What it said on standard error, for a failing assertion.
    pub(crate) stderr: String,
}

fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_feria"));
    command
        .args(["demo", "--once", "--json", "--data-dir"])
        .arg(data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn spawn(data_dir: &Path) -> Child {
    command(data_dir).spawn().expect("start the demo")
}

/// Runs the demo on `data_dir` to its end.
pub(crate) fn run_to_end(data_dir: &Path) -> Ended {
    run_with(data_dir, &[])
}

/// Runs the demo on `data_dir` to its end, with these environment variables.
pub(crate) fn run_with(data_dir: &Path, variables: &[(&str, &str)]) -> Ended {
    let run = || {
        command(data_dir)
            .envs(variables.iter().copied())
            .output()
            .expect("run the demo")
    };
    let mut output = run();
    for _ in 0..5 {
        // A folder keeps its ports, and somebody else may have one of them just now.
        if !String::from_utf8_lossy(&output.stderr).contains("Address already in use") {
            break;
        }
        output = run();
    }
    Ended {
        success: output.status.success(),
        report: serde_json::from_slice(&output.stdout).ok(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Starts the demo on `data_dir` and kills it with SIGKILL after `patience`,
/// unless it ended before. Returns whether it was killed.
pub(crate) fn kill_after(data_dir: &Path, patience: Duration) -> bool {
    let mut child = spawn(data_dir);
    std::thread::sleep(patience);
    let was_running = child.try_wait().expect("look at the demo").is_none();
    child.kill().ok();
    // The pipes are drained, or a full one would have stopped the child early.
    child.wait_with_output().expect("wait for the demo");
    was_running
}

/// Asserts that a finished run's books add up, over it and every run before.
#[track_caller]
pub(crate) fn assert_conserved(ended: &Ended) {
    let report = ended
        .report
        .as_ref()
        .unwrap_or_else(|| panic!("no report: {}", ended.stderr));
    let ledger = &report["ledger"];
    assert_eq!(ledger["imbalance_msat"], 0, "{ledger}");
    assert_eq!(ledger["difference_msat"], 0, "{ledger}");
    assert_eq!(ledger["book_faults"], Value::Array(Vec::new()), "{ledger}");
    assert_eq!(report["ok"], true, "{:#}", report["faults"]);
    assert!(ended.success, "{}", ended.stderr);
}
