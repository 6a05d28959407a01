//! Where the buyer dies: every crash point of a purchase, for each way to pay.

use super::parent::{Kill, Road};

const fn at(point: &'static str, road: Road) -> Kill {
    Kill {
        point,
        road,
        is_held: false,
    }
}

/// Returns every kill that this program can die of: from outside, while the
/// seller's upstream has the call, and at named points where there are any.
pub(crate) fn kills() -> Vec<Kill> {
    let held = [Road::Ecash, Road::Melt, Road::Backend, Road::Moved].map(|road| Kill {
        is_held: true,
        ..at("held by the upstream", road)
    });
    let named = if cfg!(feature = "crash-points") {
        NAMED
    } else {
        &[]
    };
    held.iter().chain(named).copied().collect()
}

const NAMED: &[Kill] = &[
    at("spend.planned", Road::Ecash),
    at("spend.ecash.paying", Road::Ecash),
    at("wallet.swap.planned", Road::Ecash),
    at("wallet.swap.answered", Road::Ecash),
    at("wallet.done", Road::Ecash),
    at("spend.ecash.sent", Road::Ecash),
    at("spend.ecash.answered", Road::Ecash),
    at("spend.ecash.settled", Road::Ecash),
    at("spend.answer.whole", Road::Ecash),
    at("spend.ecash.refund", Road::Refunded),
    at("spend.planned", Road::Melt),
    at("spend.lightning.paying", Road::Melt),
    at("wallet.melt.planned", Road::Melt),
    at("wallet.melt.answered", Road::Melt),
    at("wallet.done", Road::Melt),
    at("spend.lightning.paid", Road::Melt),
    at("spend.lightning.credential", Road::Melt),
    at("spend.credential.answered", Road::Melt),
    at("spend.answer.whole", Road::Melt),
    at("spend.lightning.paying", Road::Backend),
    at("spend.lightning.paid", Road::Backend),
    at("spend.lightning.credential", Road::Backend),
    at("spend.credential.answered", Road::Backend),
    at("spend.ecash.paying", Road::Moved),
    at("wallet.melt.planned", Road::Moved),
    at("wallet.melt.answered", Road::Moved),
    at("spend.transfer.melted", Road::Moved),
    at("wallet.issue.planned", Road::Moved),
    at("wallet.issue.answered", Road::Moved),
    at("spend.transfer.issued", Road::Moved),
    at("wallet.swap.planned", Road::Moved),
    at("spend.ecash.sent", Road::Moved),
    at("spend.ecash.answered", Road::Moved),
    at("spend.float.planned", Road::Float),
    at("spend.float.made", Road::Float),
    at("spend.float.taken", Road::Float),
];
