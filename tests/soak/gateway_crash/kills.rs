//! Where the gateway dies: every crash point of a paid call, for every rail that
//! passes it, and the crash points of the swap below it.

use super::parent::{Kill, Rail, Step};

/// A call that is served.
const fn call(point: &'static str, rail: Rail) -> Kill {
    Kill {
        point,
        rail,
        step: Step::Call,
        is_overpaid: false,
    }
}

/// A call with change.
const fn overpaid(point: &'static str) -> Kill {
    Kill {
        is_overpaid: true,
        ..call(point, Rail::Swap)
    }
}

/// A call whose upstream fails.
const fn failing(point: &'static str, rail: Rail) -> Kill {
    Kill {
        step: Step::FailingCall,
        ..call(point, rail)
    }
}

/// A refund that is asked for.
const fn refund(point: &'static str) -> Kill {
    Kill {
        step: Step::Refund,
        ..call(point, Rail::Offline)
    }
}

/// Returns every kill that this program can die of.
pub(crate) fn kills() -> Vec<Kill> {
    let held = [Rail::L402, Rail::Offline, Rail::Swap].map(|rail| Kill {
        step: Step::Held,
        ..call("held by the upstream", rail)
    });
    let named = if cfg!(feature = "crash-points") {
        NAMED
    } else {
        &[]
    };
    held.iter().chain(named).copied().collect()
}

/// Kills at named points.
const NAMED: &[Kill] = &[
    call("gateway.after_claim", Rail::L402),
    call("gateway.after_forward", Rail::L402),
    call("gateway.after_commit", Rail::L402),
    failing("gateway.after_release", Rail::L402),
    call("gateway.after_claim", Rail::Offline),
    call("gateway.after_forward", Rail::Offline),
    call("gateway.after_commit", Rail::Offline),
    failing("gateway.after_release", Rail::Offline),
    refund("gateway.after_redeem_intent"),
    refund("gateway.after_pay_out_intent"),
    refund("gateway.after_pay_out"),
    Kill {
        step: Step::Redeem,
        ..call("gateway.after_redeem_intent", Rail::Offline)
    },
    Kill {
        step: Step::Redeem,
        ..call("wallet.swap.answered", Rail::Offline)
    },
    call("gateway.after_swap_intent", Rail::Swap),
    call("wallet.swap.planned", Rail::Swap),
    call("wallet.swap.answered", Rail::Swap),
    call("wallet.done", Rail::Swap),
    call("gateway.after_swap", Rail::Swap),
    call("gateway.after_claim", Rail::Swap),
    call("gateway.after_forward", Rail::Swap),
    call("gateway.after_commit", Rail::Swap),
    failing("gateway.after_release", Rail::Swap),
    failing("gateway.after_pay_out_intent", Rail::Swap),
    failing("gateway.after_pay_out", Rail::Swap),
    overpaid("gateway.after_commit"),
    overpaid("gateway.after_pay_out_intent"),
    overpaid("gateway.after_pay_out"),
];
