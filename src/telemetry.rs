//! Logs, on standard error only: standard output belongs to data.
//!
//! Lines for people on a terminal, one JSON object per line otherwise. The
//! variable `FERIA_LOG` takes the usual filter syntax, such as
//! `info,feria::relay=debug`; libraries are quieter than the node by default.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The variable that sets the filter.
pub const FILTER_VARIABLE: &str = "FERIA_LOG";

/// Libraries that say at `info` or below what only their authors want to know.
const QUIETER: &[&str] = &[
    "cdk=warn",
    "cdk_common=warn",
    "cdk_axum=warn",
    "cdk_sqlite=warn",
    "cashu=warn",
    "hyper=warn",
    "hyper_util=warn",
    "reqwest=warn",
    "rustls=warn",
    "tungstenite=warn",
    "tokio_tungstenite=warn",
    "tower_http=warn",
    "h2=warn",
];

/// Libraries that log secrets: `macaroon` the signatures that are credentials.
const SILENT: &[&str] = &["macaroon"];

/// What a process says when `FERIA_LOG` is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// A node that runs: what it does.
    Node,
    /// A single command: warnings.
    Command,
}

/// Starts logging for this process. A second call changes nothing.
pub fn init(verbosity: Verbosity) {
    let level = match verbosity {
        Verbosity::Node => "info",
        Verbosity::Command => "warn",
    };
    let chosen = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| level.to_owned());
    let filter = EnvFilter::new(directives(&chosen));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // An error only says that the embedding program, or a test, logs already.
    let _ = if std::io::stderr().is_terminal() {
        builder.compact().try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}

/// Returns `chosen` after the defaults for libraries, so that it overrides them,
/// and before what must never be logged, which overrides it.
fn directives(chosen: &str) -> String {
    let mut directives = QUIETER.join(",");
    // A directive for one of its modules would be more exact than ours, and win.
    let allowed = chosen.split(',').filter(|directive| {
        !SILENT
            .iter()
            .any(|library| directive.trim_start().starts_with(library))
    });
    for directive in allowed {
        directives.push(',');
        directives.push_str(directive);
    }
    directives.push(',');
    let silent: Vec<String> = SILENT
        .iter()
        .map(|library| format!("{library}=off"))
        .collect();
    directives.push_str(&silent.join(","));
    directives
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_filter_comes_after_the_defaults() {
        let directives = directives("debug,cdk=trace");

        assert!(directives.starts_with("cdk=warn,"));
        assert!(directives.ends_with(",debug,cdk=trace,macaroon=off"));
        assert!(EnvFilter::try_new(directives).is_ok());
    }

    #[test]
    fn what_logs_secrets_cannot_be_switched_on() {
        let directives = directives("info,macaroon=trace, macaroon::verifier=trace,feria=debug");

        assert!(directives.ends_with(",info,feria=debug,macaroon=off"));
    }
}
