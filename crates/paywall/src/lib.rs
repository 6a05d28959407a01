//! A tower layer that charges per call: L402 and Cashu NUT-24 behind one 402.
//!
//! # How to use it
//!
//! 1. Say what costs what: a closure from the request's head to
//!    [`price::Terms`], or `None` for what is free.
//! 2. Bring a [`journal::Journal`] (claims each payment once, durably), an
//!    [`scheme::InvoiceMaker`] and, for ecash, a [`scheme::Redeemer`]. For a first
//!    try the feature `testing` has in-memory ones.
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
//! The layer answers 402, 400, 401, 409, 429 and 503 by itself and puts a
//! [`verdict::Outcome`] into every response. It gives a payment back when the
//! service fails, and strips payment headers before the service sees them.
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
//! - `xcashu`: payment requests, tokens and the check that takes a locked token
//!   without asking its mint (feature `cashu`, on by default).
//! - [`throttle`]: the limit per client that challenges are counted by.
//!
//! All but the last are pure: they do no IO, read no clock and remember nothing.

pub mod amount;
pub mod challenge;
#[cfg(feature = "cashu")]
pub mod ecash;
pub mod fault;
pub mod journal;
pub mod l402;
pub mod layer;
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
mod offer;
mod paid;
mod quote;
mod replay;
mod reuse;
mod trial;
mod unpaid;
