//! The relay link and the node as a relay, over real sockets on loopback.
//!
//! | file | what it tries |
//! |---|---|
//! | `support.rs` | a served endpoint, a scripted hostile relay, a raw client |
//! | `link.rs` | our link against our endpoint |
//! | `reading.rs` | reading a market to the end, over breaks |
//! | `hostile.rs` | our link against relays that lie, flood or fall silent |
//! | `endpoint.rs` | the endpoint's answers, message by message |
//! | `sdk.rs` | the endpoint against an independent client |
//! | `strangers.rs` | relays that others name |

mod endpoint;
mod hostile;
mod link;
mod reading;
mod sdk;
mod strangers;
pub(crate) mod support;
