//! Who may do what through the node's own API.
//!
//! A token is a macaroon that names a [`Tier`] and, optionally, an agent, an end,
//! hosts, rails and a largest amount. Its holder narrows it offline with
//! [`attenuate`] and hands the copy on; nobody can widen it. A row per issued
//! token makes it revocable, with all copies narrowed from it.
//!
//! [`Access::verify`] decides and nothing else: the HTTP and MCP sides say which
//! [`Permission`] a route needs. An unknown caveat fails closed. A token with a
//! window is counted: [`Access::reserve`] before a call that spends,
//! [`Access::settle`] after it.

mod caveat;
mod inspect;
mod request;
mod tier;
mod token;

#[cfg(test)]
mod tests;

pub use caveat::{CAVEATS, ParseRestrictionError, Restriction, Window};
pub use inspect::{Inspection, attenuate, inspect};
pub use request::{Denied, Grant, Request};
pub use tier::{ParseTierError, Permission, Tier, permits};
pub use token::{Access, AccessError, IssueRequest, IssuedToken, TokenTextError};
