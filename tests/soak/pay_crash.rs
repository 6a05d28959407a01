//! The buyer's process is killed in the middle of a purchase and started again.
//!
//! The buyer is a child process on a data folder; the seller, the mints and the
//! Lightning network live on in the parent. After each death the buyer is started
//! again, repeats the purchase under the same idempotency key, and settles what is
//! open; then it must be over, at most one payment must have been made for it, and
//! every satoshi that left the buyer must be the seller's income or a fee.

// Written out, because this file is a module of two binaries.
#[path = "pay_crash/child.rs"]
mod child;
#[path = "pay_crash/kills.rs"]
mod kills;
#[path = "pay_crash/parent.rs"]
mod parent;

pub(super) use self::child::child;
pub(super) use self::kills::kills;
pub(super) use self::parent::{check, run};
