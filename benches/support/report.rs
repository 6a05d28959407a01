//! The line that a case prints.

use std::io::Write;

use serde::Serialize;

use super::load::Rate;
use super::{median, median_ratio};

/// What a case is held to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Its ratio is at least this.
    RatioAtLeast(f64),
    /// Its ratio is at most this.
    RatioAtMost(f64),
    /// Its figure is at least this.
    AtLeast(f64),
    /// Its figure is at most this.
    AtMost(f64),
    /// It is told for information.
    None,
}

/// One case.
#[derive(Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) bench: &'static str,
    pub(crate) case: &'static str,
    pub(crate) figure: f64,
    pub(crate) unit: &'static str,
    /// The same thing without what is measured, from the same run.
    pub(crate) reference: Option<f64>,
    /// The median of the rounds' own ratios, not the ratio of the medians.
    pub(crate) ratio: Option<f64>,
    pub(crate) goal: Option<String>,
    pub(crate) ok: bool,
    /// What must be known to read the figure.
    pub(crate) conditions: String,
}

impl Case {
    /// Returns a case without a reference.
    pub(crate) fn new(
        bench: &'static str,
        case: &'static str,
        figure: f64,
        unit: &'static str,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        Self {
            bench,
            case,
            figure: rounded(figure),
            unit,
            reference: None,
            ratio: None,
            goal: None,
            ok: true,
            conditions: format!("{cores} cores shared with the load generator"),
        }
    }

    /// Adds what it is compared with.
    pub(crate) fn against(mut self, reference: f64, ratio: f64) -> Self {
        self.reference = Some(rounded(reference));
        self.ratio = Some(rounded(ratio));
        self
    }

    /// Returns a case that compares closed loops, round by round.
    pub(crate) fn of_rates(
        bench: &'static str,
        case: &'static str,
        unit: &'static str,
        figures: &[Rate],
        references: &[Rate],
    ) -> Self {
        let column = |rates: &[Rate], of: fn(&Rate) -> f64| rates.iter().map(of).collect();
        let rate: fn(&Rate) -> f64 = |rate| rate.per_second;
        let cpu: fn(&Rate) -> f64 = |rate| rate.cpu_micros;
        let (own, other): (Vec<_>, Vec<_>) = (column(figures, rate), column(references, rate));
        let ratio = median_ratio(&own, &other);
        let (own_cpu, other_cpu) = (column(figures, cpu), column(references, cpu));
        Self::new(bench, case, median(own), unit)
            .against(median(other), ratio)
            .with(&format!(
                "{:.0} microseconds of CPU a call, reference {:.0}, client and upstream included",
                median(own_cpu),
                median(other_cpu)
            ))
    }

    /// Adds to the conditions.
    pub(crate) fn with(mut self, condition: &str) -> Self {
        self.conditions.push_str("; ");
        self.conditions.push_str(condition);
        self
    }

    /// Prints the line, held to `goal`.
    pub(crate) fn print(mut self, goal: Goal) -> anyhow::Result<()> {
        let ratio = self.ratio.unwrap_or(f64::NAN);
        let (text, ok) = match goal {
            Goal::RatioAtLeast(least) => (format!("ratio >= {least}"), ratio >= least),
            Goal::RatioAtMost(most) => (format!("ratio <= {most}"), ratio <= most),
            Goal::AtLeast(least) => (format!("figure >= {least}"), self.figure >= least),
            Goal::AtMost(most) => (format!("figure <= {most}"), self.figure <= most),
            Goal::None => (String::new(), true),
        };
        self.goal = (!text.is_empty()).then_some(text);
        self.ok = ok;
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &self)?;
        writeln!(out)?;
        Ok(())
    }
}

/// Four digits say all that such a figure knows.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}
