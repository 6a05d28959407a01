//! The mints that this node trusts with money, and how they are doing.

use axum::Json;
use serde::Serialize;

use super::Answer;
use crate::http::admin::guard::{About, Caller};
use crate::wallet::MintHealth;

#[derive(Serialize)]
pub(in crate::http::admin) struct Mints {
    items: Vec<MintView>,
}

#[derive(Serialize)]
struct MintView {
    url: String,
    /// The most that it should hold.
    cap_sat: u64,
    /// What it holds, in all wallets.
    held_sat: u64,
    health: MintHealth,
}

pub(in crate::http::admin) async fn list(caller: Caller) -> Answer<Mints> {
    let node = caller.admit(About::default()).await?;
    let holdings = node.wallets.holdings().await?;
    let mut items = Vec::new();
    for mint in node.wallets.mints() {
        let held = holdings.iter().filter(|(_, url, _)| *url == mint.url);
        items.push(MintView {
            cap_sat: mint.cap.as_u64(),
            held_sat: held.map(|(_, _, held)| held.as_u64()).sum(),
            health: node.wallets.mint_health(&mint.url)?,
            url: mint.url,
        });
    }
    Ok(Json(Mints { items }))
}
