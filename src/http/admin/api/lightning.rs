//! The channels of Lightning nodes that run inside this one.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use feria_paywall::amount::Sat;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Answer;
use crate::http::admin::extract::Input;
use crate::http::admin::guard::{About, Caller};
use crate::http::{Node, Problem};
use crate::lightning::{ChannelControl, Closing, OwnNode};

/// Lists the backends, and which of them have channels to look after.
pub(in crate::http::admin) async fn list(caller: Caller) -> Answer<Value> {
    let node = caller.admit(About::default()).await?;
    let items: Vec<Value> = node
        .lightning
        .iter()
        .map(|backend| json!({"name": backend.name(), "is_embedded": backend.channels().is_some()}))
        .collect();
    Ok(Json(json!({"items": items})))
}

pub(in crate::http::admin) async fn show(
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<OwnNode> {
    let node = caller.admit(About::default()).await?;
    Ok(Json(channels(&node, &name)?.status().await?))
}

pub(in crate::http::admin) async fn address(
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<Value> {
    let node = caller.admit(About::default()).await?;
    let address = channels(&node, &name)?.funding_address().await?;
    Ok(Json(json!({"address": address})))
}

#[derive(Deserialize)]
pub(in crate::http::admin) struct NewChannel {
    /// Written `key@host:port`.
    peer: String,
    amount_sat: u64,
}

pub(in crate::http::admin) async fn open(
    caller: Caller,
    Path(name): Path<String>,
    Input(new): Input<NewChannel>,
) -> Answer<Value> {
    let node = caller.admit(About::default()).await?;
    let channels = channels(&node, &name)?;
    let id = channels
        .open_channel(&new.peer, Sat::new(new.amount_sat))
        .await?;
    Ok(Json(json!({"channel": id})))
}

#[derive(Deserialize)]
pub(in crate::http::admin) struct Close {
    #[serde(default)]
    force: bool,
}

pub(in crate::http::admin) async fn close(
    caller: Caller,
    Path((name, id)): Path<(String, String)>,
    Input(close): Input<Close>,
) -> Answer<Value> {
    let node = caller.admit(About::default()).await?;
    let how = if close.force {
        Closing::Forced
    } else {
        Closing::Agreed
    };
    channels(&node, &name)?.close_channel(&id, how).await?;
    Ok(Json(json!({"channel": id})))
}

fn channels<'a>(node: &'a Node, name: &str) -> Result<&'a dyn ChannelControl, Problem> {
    let backend = node
        .lightning
        .find(name)
        .ok_or_else(|| Problem::not_found(format!("there is no Lightning backend {name}")))?;
    backend.channels().ok_or_else(|| {
        Problem::new(
            StatusCode::CONFLICT,
            "no_own_channels",
            format!("{name} is no node of ours: it has tools of its own for its channels"),
        )
    })
}
