//! The embedded Lightning node, twice, with a channel between them on a chain that
//! this test mines. Needs the cargo feature `ldk`.

mod chain;
mod real;
