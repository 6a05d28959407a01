//! A failure of the inner service that a status alone does not tell.
//!
//! A service puts a [`ServiceFault`] into the extensions of its response, or lets
//! the body of its response end with one as the error. Either way the call was not
//! delivered, whatever the response's status says, and the payment is given back.
//! Without one, a status of 500 and above is the failure.

use http::StatusCode;

/// What went wrong, as the payer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ServiceFault {
    /// The status of the answer to the payer.
    pub status: StatusCode,
    /// A word for programs, such as `upstream_timeout`.
    pub code: &'static str,
    /// A sentence for a person.
    pub detail: &'static str,
}
