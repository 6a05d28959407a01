//! The lnd backend: against a server that plays an lnd and lies, and, run by
//! `tests/lightning/run`, against real ones.

mod bench;
mod fake;
mod lying;
mod net;
mod real;
