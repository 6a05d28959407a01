//! Cashu NUT-24: payment requests and tokens in the `X-Cashu` header.
//!
//! [`request`] writes and reads what a server asks for, [`header`] finds the
//! token of a request, [`token`] looks into it, and [`strict`] decides whether
//! it can be taken without asking its mint. Nothing here contacts a mint or
//! remembers a token: data in, verdict out.
//!
//! <https://github.com/cashubtc/nuts/blob/main/24.md>

pub mod header;
mod lock;
pub mod request;
pub mod strict;
pub mod token;

#[doc(no_inline)]
pub use cashu;
pub use header::token_of;
pub use request::{CashuTerms, RequestError};
pub use strict::{
    KeysetInfo, MintInfo, OfflineProofs, OfflineVerdict, Policy, RefuseReason, SwapReason,
};
pub use token::{ParsedToken, TokenError};
