//! Which own invoices were settled, in lnd's order.
//!
//! lnd's subscription sends first what was settled after an index, then goes on for
//! ever without saying where the past ends. So it is read until it is quiet; what
//! comes later is found by the next reader, who starts at the last index.
//!
//! It sends no past at all for the index 0. Until something is settled, the
//! invoices are listed instead, from the first that can still be settled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use feria_paywall::amount::Msat;

use super::rest::{Fault, Rest};
use super::wire::{InvoicePage, OwnInvoice};
use crate::lightning::SettledInvoice;

/// How long the subscription must be silent to count as read.
const QUIET: Duration = Duration::from_secs(1);
/// Lines read from one subscription at most; unpaid invoices have lines too.
const MAX_LINES: usize = 10_000;
/// Settled invoices returned at most.
const MAX_SETTLED: usize = 1_000;
/// Invoices on one page of a list, and pages read at once.
const PAGE: u64 = 500;
const MAX_PAGES: usize = 20;

/// Where the list of invoices is read from: everything up to here is final.
#[derive(Debug, Default)]
pub(super) struct FinalUpTo(AtomicU64);

/// Returns what was settled after `index`, oldest first.
pub(super) async fn settled_since(
    rest: &Rest,
    final_up_to: &FinalUpTo,
    index: u64,
) -> Result<Vec<SettledInvoice>, Fault> {
    if index > 0 {
        return subscribe(rest, index).await;
    }
    let (mut found, is_all) = list(rest, final_up_to).await?;
    if !is_all {
        // A long history: what the list shows of it has gaps, except for the start.
        found.retain(|one| one.index == 1);
        found.extend(subscribe(rest, 1).await?);
    }
    found.truncate(MAX_SETTLED);
    Ok(found)
}

async fn subscribe(rest: &Rest, index: u64) -> Result<Vec<SettledInvoice>, Fault> {
    // An lnd that is away would be as silent as one without news.
    let _: serde_json::Value = rest.get("/v1/state").await?;
    let path = format!("/v1/invoices/subscribe?settle_index={index}");
    let mut found = Vec::new();
    let opened = tokio::time::timeout(QUIET, rest.open(&path, None)).await;
    let Ok(lines) = opened else {
        return Ok(found);
    };
    let mut lines = lines?;
    for _ in 0..MAX_LINES {
        match tokio::time::timeout(QUIET, lines.next::<OwnInvoice>()).await {
            Err(_) | Ok(Ok(None)) => break,
            Ok(Err(fault)) if found.is_empty() => return Err(fault),
            Ok(Err(_)) => break,
            Ok(Ok(Some(invoice))) => found.extend(settled(&invoice, index)),
        }
        if found.len() >= MAX_SETTLED {
            break;
        }
    }
    found.sort_by_key(|one| one.index);
    found.dedup_by_key(|one| one.index);
    Ok(found)
}

/// Lists what is settled, and says whether that is all.
async fn list(rest: &Rest, final_up_to: &FinalUpTo) -> Result<(Vec<SettledInvoice>, bool), Fault> {
    let mut offset = final_up_to.0.load(Ordering::Relaxed);
    let mut first_open = None;
    let mut found = Vec::new();
    let mut is_all = false;
    for _ in 0..MAX_PAGES {
        let path = format!("/v1/invoices?index_offset={offset}&num_max_invoices={PAGE}");
        let page: InvoicePage = rest.get(&path).await?;
        for invoice in &page.invoices {
            match invoice.state.as_str() {
                "SETTLED" => found.extend(settled(invoice, 0)),
                "CANCELED" => {}
                _ => first_open = first_open.or(invoice.add_index.checked_sub(1)),
            }
        }
        let count = u64::try_from(page.invoices.len()).unwrap_or(u64::MAX);
        if count > 0 && page.last_index_offset <= offset {
            return Err(Fault::Nonsense("a list that does not go on".to_owned()));
        }
        offset = offset.max(page.last_index_offset);
        if count < PAGE {
            is_all = true;
            break;
        }
    }
    if found.is_empty() {
        let reached = first_open.unwrap_or(offset);
        final_up_to.0.fetch_max(reached, Ordering::Relaxed);
    }
    found.sort_by_key(|one| one.index);
    Ok((found, is_all))
}

fn settled(invoice: &OwnInvoice, after: u64) -> Option<SettledInvoice> {
    let is_news = invoice.state == "SETTLED" && invoice.settle_index > after;
    is_news.then(|| SettledInvoice {
        index: invoice.settle_index,
        payment_hash: invoice.r_hash,
        amount: Msat::new(invoice.amt_paid_msat),
    })
}
