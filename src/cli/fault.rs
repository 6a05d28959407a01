//! How a command fails: one word, one sentence, one exit code.

use std::fmt;

use serde_json::{Value, json};

use super::exit::ExitCode;
use crate::config::ConfigError;
use crate::store::StoreError;

/// A command that did not do as asked.
#[derive(Debug)]
pub(super) struct Fault {
    code: String,
    message: String,
    next_steps: Vec<String>,
    exit: ExitCode,
}

/// What a command ends with.
pub(super) type Outcome = Result<ExitCode, Fault>;

impl Fault {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            next_steps: Vec::new(),
            exit: ExitCode::of_problem(code),
        }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new("bad_request", message)
    }

    pub(super) fn next(mut self, step: impl Into<String>) -> Self {
        self.next_steps.push(step.into());
        self
    }

    /// Reads a problem of the node's API.
    pub(super) fn of_problem(problem: &Value) -> Self {
        let text = |key: &str| problem.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut fault = Self::new(text("code"), text("detail"));
        if let Some(steps) = problem.get("next_steps").and_then(Value::as_array) {
            fault.next_steps = steps
                .iter()
                .filter_map(|step| step.as_str().map(str::to_owned))
                .collect();
        }
        fault
    }

    /// Returns the code for the system.
    pub(super) fn exit(&self) -> ExitCode {
        self.exit
    }

    /// Returns the fault as programs read it from standard error.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "error": true,
            "code": self.code,
            "message": self.message,
            "next_steps": self.next_steps,
            "exit_code": self.exit.number(),
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        for step in &self.next_steps {
            write!(f, "\n  {step}")?;
        }
        Ok(())
    }
}

impl From<ConfigError> for Fault {
    fn from(error: ConfigError) -> Self {
        Self::new("bad_config", error.to_string())
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::from(anyhow::Error::new(error))
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::new("io", error.to_string())
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        Self::new("general", format!("{error:#}"))
    }
}
