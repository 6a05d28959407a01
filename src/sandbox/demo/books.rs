//! Adds up the books of both nodes, over every run on the data folder.
//!
//! What came in from outside must be held somewhere or have gone to a mint or to
//! Lightning as a fee. Purchases between the two nodes cancel out: what one earned
//! or owes the other spent.

use super::report::LedgerLine;
use super::world::{Node, World};
use crate::store::ledger::Account;

/// Returns the sums, and every account that does not match what is really held.
pub(super) async fn add_up(world: &World) -> anyhow::Result<LedgerLine> {
    let mut line = LedgerLine::default();
    // What was paid a moment ago may not be booked yet.
    world.seller.app.gateway.sync_settled().await?;
    for (name, node) in [("seller", &world.seller), ("buyer", &world.buyer)] {
        add_node(name, node, &mut line).await?;
    }
    let account = Account::lightning("seller");
    let booked = world.seller.app.ledger.balance_msat(account).await?;
    let held = world.network.balance("seller").as_i64();
    if booked != held {
        line.book_faults.push(format!(
            "seller: {booked} msat booked on Lightning, {held} msat there"
        ));
    }
    line.difference_msat = line.funded_msat - line.held_msat - line.fees_msat;
    Ok(line)
}

/// Returns what the buyer's side has paid so far in all: purchases, messages and
/// every fee. Millisatoshi.
pub(super) async fn paid_so_far_msat(world: &World) -> anyhow::Result<i64> {
    let audit = world.buyer.app.ledger.audit().await?;
    let messages = Account::external("transfers");
    let sent = audit.balances.get(messages.as_str()).copied();
    Ok(audit.class_msat("expense") + audit.class_msat("fees") + sent.unwrap_or_default())
}

async fn add_node(name: &str, node: &Node, line: &mut LedgerLine) -> anyhow::Result<()> {
    let audit = node.app.ledger.audit().await?;
    line.imbalance_msat += audit.imbalance_msat;
    line.held_msat += audit.class_msat("assets");
    line.fees_msat += audit.class_msat("fees");
    let funding = Account::external("funding");
    line.funded_msat -= audit
        .balances
        .get(funding.as_str())
        .copied()
        .unwrap_or_default();
    for entry in &audit.unbalanced_entries {
        line.book_faults
            .push(format!("{name}: entry {entry} is unbalanced"));
    }
    for fault in node.app.wallets.verify_books().await? {
        line.book_faults.push(format!("{name}: {fault}"));
    }
    Ok(())
}
