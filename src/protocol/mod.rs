//! Pure Nostr data of the marketplace: kinds, tags, prices, listings, profiles.
//!
//! Nothing here does IO, reads a clock or panics, whatever an event contains.
//! Reading is lenient and bounded: what cannot be read is left out, what is too
//! much is cut. Writing is strict: the shapes that every known client accepts.
//!
//! A listing is written once and projected into several kinds ([`dialect`]); what
//! others publish is read from as many ([`dialect::read`]).

pub mod deletion;
pub mod dialect;
pub mod handler;
pub mod kinds;
pub mod listing;
pub mod net;
pub mod price;
pub mod profile;
pub mod schema;
pub mod tags;
pub mod text;

pub use dialect::{ProjectionContext, project, read};
pub use listing::{CatalogOffer, Listing, Offer};
