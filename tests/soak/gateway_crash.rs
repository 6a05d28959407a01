//! The gateway's process is killed in the middle of paid calls and started again.
//!
//! The seller is a child process on a data folder; its mint, its Lightning network,
//! its upstream and its buyers live on in the parent. After each death the buyer
//! repeats his request with the same payment until somebody says something final,
//! and then tries to get the value once more.
//!
//! *Lost*: a payment that bought no answer and came back in full (less what mints
//! took) neither. *Served twice*: a buyer who holds two different answers, or an
//! answer and a refund, for one payment. An upstream that worked twice for one
//! payment is neither, as long as nobody saw the first answer: it is counted apart.

// Written out, because this file is a module of two binaries.
#[path = "gateway_crash/child.rs"]
mod child;
#[path = "gateway_crash/kills.rs"]
mod kills;
#[path = "gateway_crash/parent.rs"]
mod parent;

pub(super) use self::child::child;
pub(super) use self::kills::kills;
pub(super) use self::parent::{check, run};
