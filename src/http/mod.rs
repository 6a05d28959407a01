//! The only HTTP server: a public listener and one for the owner.
//!
//! | listener | serves |
//! |---|---|
//! | public | the paid gateway, the node as a relay, pages and files for machines |
//! | admin | the API, each route behind a tier, and the dashboard |
//!
//! A handler reads the request, calls one function of another part and renders
//! the answer. It holds no rule about money.

pub mod admin;
pub mod proxy;
pub mod public;
pub mod relay_endpoint;
pub mod state;

mod assets;
mod message;
mod problem;
mod serve;
mod view;

pub(crate) use message::MessagePage;
pub use problem::{Money, Problem};
pub use serve::{serve_admin, serve_public};
pub use state::{Agents, Node};
