//! Named places where a crash test kills the process.
//!
//! Compiled only with the feature `crash-points`: a release has none of it.

/// Ends the process here, as a power cut would, when the variable `FERIA_CRASH_AT` names this point.
#[inline]
pub(crate) fn point(name: &str) {
    #[cfg(feature = "crash-points")]
    if std::env::var("FERIA_CRASH_AT").is_ok_and(|at| at == name) {
        std::process::abort();
    }
    let _ = name;
}
