//! A tower layer that charges per call: L402, MPP and Cashu NUT-24 behind one 402.
//!
//! # How to use it
//!
//! 1. Say what costs what: a closure from the request's head to
//!    [`price::Terms`], or `None` for what is free.
//! 2. Bring a [`journal::Journal`] (claims each payment once, durably), an
//!    [`scheme::InvoiceMaker`] and, for ecash, a [`scheme::Redeemer`]. For a first
//!    try the feature `testing` has in-memory ones of each.
//! 3. Build a [`layer::PaywallLayer`] and put it in front of any tower service.
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # fn build() {
//! use std::sync::Arc;
//!
//! use feria_paywall::amount::Msat;
//! use feria_paywall::layer::PaywallLayer;
//! use feria_paywall::price::Terms;
//! use feria_paywall::testing::{MemoryJournal, MemoryWorld};
//!
//! let world = Arc::new(MemoryWorld::at(1_700_000_000));
//! let pricing = |request: &http::request::Parts| {
//!     (request.uri.path() == "/translate").then(|| Terms {
//!         description: "Translates a text".into(),
//!         ..Terms::new("translate", "text", Msat::new(21_000))
//!     })
//! };
//! let layer = PaywallLayer::builder(
//!     &[7; 32],
//!     Arc::new(pricing),
//!     Arc::new(MemoryJournal::default()),
//!     world.clone(),
//! )
//! .invoices(world)
//! .build();
//! # let _ = layer;
//! # }
//! ```
//!
//! `examples/seller.rs` is an axum service sold over both rails.
//!
//! # How it decides
//!
//! | request | answer |
//! |---|---|
//! | without terms | passes untouched |
//! | `HEAD`, or `Prefer: price-only` | 402 with the price, no invoice, nothing claimed |
//! | no payment, or one that is expired, used up or for something else | 402 with a fresh challenge and a `reason` |
//! | a credential that cannot be read, was changed, or has a wrong preimage | 401 |
//! | a token of a foreign mint, too small, or locked in a way we could lose | 400, the token untouched |
//! | a token that was spent | 400 with `token_already_spent` |
//! | the same request again after it was paid | the kept response, without a second call |
//! | the same request while it is being served | 409 |
//! | too many challenges or bad tokens from one client | 429 |
//! | Lightning, the mint or the journal is down | 503: never served free |
//! | a good payment | claimed once, then the service |
//!
//! L402 is checked first, then MPP, then ecash. A credential that is merely used up
//! or expired does not stand in the way of the next; one that is forged does.
//! What a gRPC caller gets instead of a status is in `grpc.rs`.
//!
//! A paid call is *claimed* in the journal, then served. Below status 500 it is
//! *committed*, at the head of the answer or at its end as the terms say
//! ([`price::CommitAt`]); on a 5xx, an error, a panic or a body that breaks off
//! before that it is *released*, and the payment is the payer's again: a Lightning use and a token
//! taken offline pay for the retry, a swapped token comes back as a fresh one in
//! `X-Cashu`. This runs on a task of its own, so a client who hangs up leaves
//! nothing undecided; what dies with the process, the journal resolves at the next
//! start ([`journal`] draws the states).
//!
//! Every response carries its [`verdict::Outcome`] in its extensions.
//!
//! # What you bring
//!
//! | trait | what it is | what it must keep |
//! |---|---|---|
//! | [`price::Pricing`] | the terms of a request | answers from memory |
//! | [`journal::Journal`] | who paid for what | each claim durable and atomic, once per use and per proof, whatever dies; no answer, no service |
//! | [`scheme::World`] | time, randomness, tasks | a started task runs to its end |
//! | [`scheme::InvoiceMaker`] | a Lightning node | invoices over the exact amount, with payment hashes never used before |
//! | [`scheme::Redeemer`] | a Cashu wallet | a swap is idempotent by its token, a pay-out by its call |
//! | [`challenge::ChallengePage`] | the 402 as a page | escapes what others wrote |
//!
//! The secret of [`layer::PaywallLayer::builder`] makes every credential: whoever has
//! it is served free, and with another one all that were sold are worthless.
//!
//! # Headers
//!
//! | header | in | means |
//! |---|---|---|
//! | `WWW-Authenticate: L402 …` | 402 | macaroon and invoice; always the first such line |
//! | `WWW-Authenticate: Payment …` | 402 | the same invoice by MPP, if [`mpp()`](layer::PaywallBuilder::mpp) was asked for and a payment buys one call |
//! | `X-Cashu: creqA…` | 402 | the payment request for ecash (NUT-18) |
//! | `Authorization: L402` or `LSAT` | request | `<macaroon>:<preimage>` |
//! | `Authorization: Payment` | request | the echo of the challenge and the preimage |
//! | `X-Cashu: cashuA…`, `cashuB…`, or `Authorization: Cashu` | request | a token (NUT-24) |
//! | `Idempotency-Key` | request | names one call of a payment: repeated, it is never made twice |
//! | `Prefer: price-only` | request | the price, please, and no invoice |
//! | `X-Price-Msat`, `Preference-Applied` | 402 | the answer to that |
//! | `Payment-Receipt` | paid answer | the call's name; by MPP a receipt in base64url JSON |
//! | `X-Uses-Remaining`, `X-Balance-Msat` | paid answer | calls, or money, left of a Lightning payment |
//! | `X-Cost-Msat` | paid answer | what a metered call cost |
//! | `Feria-Settlement` | paid answer | how a token was taken: `offline` or `swap` |
//! | `X-Cashu: cashuB…` | paid or failed answer | change, or the refund |
//! | `Retry-After` | 409, 429, 503 | seconds |
//! | `Link` | 402 | [`price::Terms::links`] |
//!
//! Payment headers never reach the service, and it cannot forge those of the answer.
//!
//! # What it never does
//!
//! It keeps no row for an unpaid challenge, holds no lock over an await, reads no
//! clock of its own, and serves nothing whose payment was not claimed.
//!
//! # Parts without the layer
//!
//! - [`amount`] and [`payment`]: amounts with their unit, payment hashes, preimages.
//! - [`l402`]: macaroons, challenges, credentials and the check of invoices.
//! - [`mpp`]: challenges and credentials of the scheme `Payment`.
//! - `xcashu`: payment requests, tokens and the check that takes a locked token
//!   without asking its mint (feature `cashu`, on by default).
//! - [`throttle`]: the limit per client that challenges are counted by.
//!
//! All but the last are pure: they do no IO, read no clock and remember nothing.

pub mod amount;
pub mod challenge;
#[cfg(feature = "cashu")]
pub mod ecash;
mod failed;
pub mod fault;
pub mod journal;
pub mod l402;
pub mod layer;
pub mod mpp;
pub mod payment;
pub mod price;
pub mod scheme;
pub mod service;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod throttle;
pub mod verdict;
#[cfg(feature = "cashu")]
pub mod xcashu;

mod admit;
mod ask;
mod capture;
mod client;
mod grpc;
mod offer;
mod paid;
mod quote;
mod replay;
mod reuse;
mod streaming;
mod trial;
mod unpaid;
