//! Bodies and queries of the API, whose faults are problems like all others.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts};

use crate::http::Problem;
use crate::protocol::text::clean;

/// What is said of a fault; the words in it may be the caller's.
const MAX_DETAIL_CHARS: usize = 300;

/// A JSON body.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Problem))]
pub(super) struct Input<T>(pub(super) T);

/// The query of the URL.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub(super) struct Parameters<T>(pub(super) T);

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let mut problem = Self::bad_request(clean(&rejection.body_text(), MAX_DETAIL_CHARS));
        problem.status = rejection.status().as_u16();
        problem
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(clean(&rejection.body_text(), MAX_DETAIL_CHARS))
    }
}
