//! Named places where a crash test kills the process.
//!
//! Compiled only with the feature `crash-points`: a release has none of it.
//! `tests/soak` dies once at each of [`POINTS`] and starts again.

/// Every point, sorted. The test below compares it with the sources.
pub const POINTS: &[&str] = &[
    "gateway.after_claim",
    "gateway.after_commit",
    "gateway.after_forward",
    "gateway.after_pay_out",
    "gateway.after_pay_out_intent",
    "gateway.after_redeem_intent",
    "gateway.after_release",
    "gateway.after_swap",
    "gateway.after_swap_intent",
    "lightning.mint.invoiced",
    "lightning.mint.settled",
    "lightning.nwc.answered",
    "lightning.nwc.begun",
    "spend.answer.whole",
    "spend.credential.answered",
    "spend.ecash.answered",
    "spend.ecash.paying",
    "spend.ecash.refund",
    "spend.ecash.sent",
    "spend.ecash.settled",
    "spend.float.made",
    "spend.float.planned",
    "spend.float.taken",
    "spend.lightning.credential",
    "spend.lightning.paid",
    "spend.lightning.paying",
    "spend.planned",
    "spend.transfer.issued",
    "spend.transfer.melted",
    "transfer.answered",
    "transfer.created",
    "transfer.held",
    "transfer.locked",
    "transfer.published",
    "transfer.received",
    "transfer.reclaimed",
    "transfer.reclaiming",
    "transfer.redeemed",
    "transfer.sent",
    "transfer.settled",
    "wallet.done",
    "wallet.issue.answered",
    "wallet.issue.planned",
    "wallet.melt.answered",
    "wallet.melt.planned",
    "wallet.swap.answered",
    "wallet.swap.planned",
];

/// Ends the process here, as a power cut would, when the variable `FERIA_CRASH_AT` names this point.
#[inline]
pub(crate) fn point(name: &str) {
    #[cfg(feature = "crash-points")]
    if std::env::var("FERIA_CRASH_AT").is_ok_and(|at| at == name) {
        std::process::abort();
    }
    let _ = name;
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::POINTS;

    fn collect(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let calls = text.split("crash::point(\"").skip(1);
                found.extend(calls.filter_map(|call| Some(call.split_once('"')?.0.to_owned())));
            }
        }
    }

    #[test]
    fn the_list_is_what_the_sources_have() {
        let mut found = Vec::new();
        collect(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut found,
        );
        found.sort_unstable();

        assert_eq!(found, POINTS, "each point has a name of its own");
    }
}
