//! What the benches share: one shop, load for it, and the line they print.
//!
//! Load generator, node and upstream run in one process on the same cores, so
//! figures are good as ratios only: each is measured in turns with its reference,
//! and the median of the rounds counts.

// Each bench uses its own part of this.
#![allow(dead_code)]

pub(crate) mod load;
pub(crate) mod report;
pub(crate) mod shop;

/// How the ledger of each bench is opened; part of every line.
pub(crate) const DURABILITY: &str = "ledger.db on disk, WAL, synchronous=FULL";

/// How long and how often to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Rounds of each case and its reference, in turns.
    pub(crate) rounds: usize,
    /// Multiplies what a round does; 1 is quick.
    pub(crate) factor: u64,
}

impl Scale {
    /// Reads `--quick`; what else cargo passes is ignored.
    pub(crate) fn from_arguments() -> Self {
        if std::env::args().any(|argument| argument == "--quick") {
            Self {
                rounds: 3,
                factor: 1,
            }
        } else {
            Self {
                rounds: 5,
                factor: 4,
            }
        }
    }
}

/// Returns whether the case `name` is asked for: all are, unless `FERIA_BENCH_CASE`
/// names a part of it.
pub(crate) fn is_wanted(name: &str) -> bool {
    std::env::var("FERIA_BENCH_CASE").is_ok_and(|part| name.contains(&part))
        || std::env::var_os("FERIA_BENCH_CASE").is_none()
}

/// Returns the median; 0 of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Returns the median of the ratios of `figures` to the `references` beside them.
pub(crate) fn median_ratio(figures: &[f64], references: &[f64]) -> f64 {
    let ratios = figures
        .iter()
        .zip(references)
        .map(|(figure, reference)| figure / reference);
    median(ratios.collect())
}
