//! L402: a macaroon and the preimage of a Lightning invoice, over HTTP 402.
//!
//! The server half issues and verifies ([`Issuer`], [`check()`]) and reads
//! `Authorization` ([`header`]); the client half reads every dialect of
//! `WWW-Authenticate` ([`challenge`]) and refuses unsafe invoices ([`invoice`]).
//! Nothing here talks to Lightning or remembers what was used: [`Verdict`] says
//! which limits hold ([`limit`]), and counting is the caller's.
//!
//! The crate `macaroon` logs signatures at debug level under the target
//! `macaroon`: a program that turns on debug logging must switch that target off.
//!
//! <https://github.com/lightninglabs/L402/blob/master/protocol-specification.md>

pub mod caveat;
pub mod challenge;
pub mod check;
pub mod header;
pub mod identifier;
pub mod invoice;
pub mod issuer;
pub mod limit;
pub mod macaroon;

pub use caveat::{Caveat, Terms};
pub use challenge::Challenge;
pub use check::{CallContext, Verdict, check};
pub use header::Authorization;
pub use identifier::Identifier;
pub use invoice::{CheckedInvoice, InvoiceRefusal, check_invoice};
pub use issuer::{Issuer, Reject, VerifiedMacaroon};
pub use limit::{Limit, LimitUnit, Remaining};
pub use macaroon::{Macaroon, MacaroonError};
