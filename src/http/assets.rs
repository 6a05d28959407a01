//! The style sheet, the icon, the one script, and the headers that keep pages to themselves.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};

const STYLE: &str = include_str!("../../templates/style.css");
const PAY_SCRIPT: &str = include_str!("../../templates/pay.js");
const ICON: &str = include_str!("../../templates/icon.svg");

/// No script, nothing from another host, no frame around it.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// Renders `template` as a page that asks no other host for anything.
pub(crate) fn page<T: askama::Template>(template: &T) -> Response {
    page_with_status(StatusCode::OK, template)
}

/// Renders `template` with another status than 200.
pub(crate) fn page_with_status<T: askama::Template>(status: StatusCode, template: &T) -> Response {
    let mut response = match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) async fn style() -> impl IntoResponse {
    (
        [
            (CONTENT_TYPE, "text/css; charset=utf-8"),
            (CACHE_CONTROL, "max-age=300"),
        ],
        STYLE,
    )
}

/// The script of the page of a 402.
pub(crate) async fn pay_script() -> impl IntoResponse {
    (
        [
            (CONTENT_TYPE, "text/javascript; charset=utf-8"),
            (CACHE_CONTROL, "max-age=300"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ],
        PAY_SCRIPT,
    )
}

pub(crate) async fn icon() -> impl IntoResponse {
    (
        [
            (CONTENT_TYPE, "image/svg+xml"),
            (CACHE_CONTROL, "max-age=86400"),
        ],
        ICON,
    )
}
