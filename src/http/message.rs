//! A page that says one thing, and the one command that helps.

use askama::Template;

/// What both listeners show when there is nothing else to show.
#[derive(Template)]
#[template(path = "message.html")]
pub(crate) struct MessagePage {
    pub(crate) network: &'static str,
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
    /// May be empty.
    pub(crate) command: &'static str,
}
