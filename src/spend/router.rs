//! Chooses how to pay. Pure: facts in, candidates and a sentence out.
//!
//! Order: ecash at a mint both sides trust, cheapest first; then Lightning, by
//! melting ecash and by the backend, cheapest first. A mint that the seller
//! takes ecash of never pays him by Lightning: a melt inside one mint reveals no
//! preimage, and the preimage is half the credential.

use feria_paywall::amount::{Msat, Sat};
use serde::Serialize;

use super::{LockPolicy, Rail};
use crate::store::ledger::intents::Way;
use crate::wallet::{Lock, MeltOffer};

/// Added to the seller's minimum locktime: what the request and clock differences may take.
const LOCKTIME_SLACK_SECS: u64 = 600;
/// The locktime when the seller names a key and no minimum.
const DEFAULT_LOCKTIME_SECS: u64 = 3_600;
/// Longer locks than this are not granted: the value would be out of reach if the seller vanished.
const MAX_LOCKTIME_SECS: u64 = 7 * 24 * 3_600;
/// Proofs a wallet is assumed to spend at most when it makes a token.
const ASSUMED_INPUTS: u64 = 16;

/// A way to pay, open or not.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Candidate {
    /// How.
    pub(super) way: Way,
    /// The mint or backend.
    pub(super) place: String,
    /// What the seller gets.
    pub(super) price_msat: u64,
    /// The most it may cost beside; `None` when nobody was asked.
    pub(super) fee_msat: Option<u64>,
    /// Why not; `None` when it is open.
    pub(super) excluded: Option<String>,
    /// What a melt would be made of.
    #[serde(skip)]
    pub(super) offer: Option<MeltOffer>,
}

/// The candidates in order of preference, and why they are in it.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Decision {
    pub(super) candidates: Vec<Candidate>,
    /// Index of the first open candidate.
    pub(super) chosen: Option<usize>,
    pub(super) why: String,
}

/// What the wallet could pay from.
#[derive(Debug, Clone)]
pub(super) struct Holding {
    pub(super) mint: String,
    pub(super) balance: Sat,
    /// The highest input fee of the mint's active keysets, per thousand proofs.
    pub(super) input_fee_ppk: u64,
}

/// Returns mint URLs without the differences that do not matter.
pub(super) fn same_mint(a: &str, b: &str) -> bool {
    a.trim_end_matches('/')
        .eq_ignore_ascii_case(b.trim_end_matches('/'))
}

/// Returns the most that making a token of `amount` costs, with the payee's input fee paid for him.
pub(super) fn ecash_fee(amount: Sat, input_fee_ppk: u64) -> Sat {
    if input_fee_ppk == 0 {
        return Sat::ZERO;
    }
    // A token has about one proof for every bit of its amount, and two more once the fee is added.
    let outputs = u64::from(amount.as_u64().count_ones()) + 2;
    let fee = |proofs: u64| proofs.saturating_mul(input_fee_ppk).div_ceil(1_000);
    Sat::new(fee(ASSUMED_INPUTS).saturating_add(fee(outputs)))
}

/// Lists ecash candidates for `amount`, which the seller takes at `seller_mints`.
pub(super) fn ecash_candidates(
    amount: Sat,
    seller_mints: &[String],
    holdings: &[Holding],
    max_fee: Msat,
) -> Vec<Candidate> {
    holdings
        .iter()
        .filter(|holding| {
            seller_mints.is_empty()
                || seller_mints
                    .iter()
                    .any(|mint| same_mint(mint, &holding.mint))
        })
        .map(|holding| {
            let fee = ecash_fee(amount, holding.input_fee_ppk);
            let needed = amount.saturating_add(fee);
            let excluded = if holding.balance < needed {
                Some(format!("holds {} of {needed}", holding.balance))
            } else {
                too_dear(fee.to_msat(), max_fee)
            };
            Candidate {
                way: Way::Ecash,
                place: holding.mint.clone(),
                price_msat: amount.to_msat().as_u64(),
                fee_msat: Some(fee.to_msat().as_u64()),
                excluded,
                offer: None,
            }
        })
        .collect()
}

/// Says why a melt at `mint` is out of the question before anybody asks for a quote.
pub(super) fn melt_exclusion(
    holding: &Holding,
    price: Msat,
    seller_mints: &[String],
) -> Option<String> {
    if seller_mints
        .iter()
        .any(|mint| same_mint(mint, &holding.mint))
    {
        return Some(
            "the seller takes this mint's ecash: a melt inside it gives no preimage".into(),
        );
    }
    (holding.balance < price.ceil_sat())
        .then(|| format!("holds {} of {}", holding.balance, price.ceil_sat()))
}

/// Returns the melt candidate that `offer` makes, for an invoice of `price` from `holding`.
pub(super) fn melt_candidate(
    holding: &Holding,
    offer: MeltOffer,
    price: Msat,
    max_fee: Msat,
) -> Candidate {
    let fee = offer.fee_reserve.saturating_add(offer.input_fee);
    let needed = offer.amount.saturating_add(fee);
    let excluded = if offer.is_internal {
        Some(
            "the invoice is of this mint's own node: a melt inside it gives no preimage".to_owned(),
        )
    } else if offer.amount > price.ceil_sat() {
        Some(format!(
            "the mint asks {} for an invoice of {price}",
            offer.amount
        ))
    } else if holding.balance < needed {
        Some(format!("holds {} of {needed}", holding.balance))
    } else {
        too_dear(fee.to_msat(), max_fee)
    };
    Candidate {
        way: Way::Melt,
        place: holding.mint.clone(),
        price_msat: price.as_u64(),
        fee_msat: Some(fee.to_msat().as_u64()),
        excluded,
        offer: Some(offer),
    }
}

fn too_dear(fee: Msat, max_fee: Msat) -> Option<String> {
    (fee > max_fee).then(|| format!("fees of {fee} exceed {max_fee}"))
}

impl Decision {
    /// Orders `candidates` and puts the choice into a sentence.
    pub(super) fn new(mut candidates: Vec<Candidate>, rail: Rail) -> Self {
        candidates.sort_by_key(|candidate| {
            (
                candidate.excluded.is_some(),
                candidate.way != Way::Ecash,
                candidate.fee_msat.unwrap_or(u64::MAX),
            )
        });
        let chosen = candidates
            .iter()
            .position(|candidate| candidate.excluded.is_none());
        let why = explain(&candidates, chosen, rail);
        Self {
            candidates,
            chosen,
            why,
        }
    }

    /// Returns the open candidates in order.
    pub(super) fn open(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates
            .iter()
            .filter(|candidate| candidate.excluded.is_none())
    }

    /// Returns why each closed candidate is closed.
    pub(super) fn exclusions(&self) -> Vec<String> {
        self.candidates
            .iter()
            .filter_map(|candidate| {
                let reason = candidate.excluded.as_deref()?;
                Some(format!("{}: {reason}", candidate.label()))
            })
            .collect()
    }

    /// Returns the JSON that the journal keeps.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

impl Candidate {
    /// Returns what a person calls it.
    pub(super) fn label(&self) -> String {
        match self.way {
            Way::Ecash => format!("ecash at {}", self.place),
            Way::Melt => format!("Lightning by melting ecash at {}", self.place),
            Way::Backend => format!("Lightning by {}", self.place),
            Way::Credential => "a credential".to_owned(),
        }
    }

    /// Returns the most this candidate takes from a budget.
    pub(super) fn cost(&self) -> Msat {
        Msat::new(self.price_msat).saturating_add(Msat::new(self.fee_msat.unwrap_or(0)))
    }
}

fn explain(candidates: &[Candidate], chosen: Option<usize>, rail: Rail) -> String {
    let Some(candidate) = chosen.and_then(|index| candidates.get(index)) else {
        return "No way to pay was open.".to_owned();
    };
    let fee = Msat::new(candidate.fee_msat.unwrap_or(0));
    let reason = match (rail, candidate.way) {
        (Rail::Auto, Way::Ecash) => "both sides trust the mint, and ecash comes first",
        (Rail::Auto, _) => "no shared mint was open",
        _ => "the caller asked for this rail",
    };
    format!(
        "Paid by {} (fees at most {fee}) because {reason}.",
        candidate.label()
    )
}

/// Returns the lock of a payment made at `now` to a seller who names `key`.
/// `None` means plain ecash: by policy, without a key, or because the seller
/// wants a longer lock than we grant.
pub(super) fn lock_for(
    policy: LockPolicy,
    key: Option<&str>,
    min_locktime_secs: Option<u64>,
    now: u64,
) -> Option<Lock> {
    let key = key.filter(|_| policy == LockPolicy::Auto)?;
    let secs = min_locktime_secs.map_or(DEFAULT_LOCKTIME_SECS, |secs| {
        secs.saturating_add(LOCKTIME_SLACK_SECS)
    });
    (secs <= MAX_LOCKTIME_SECS).then(|| Lock {
        key: key.to_owned(),
        locktime: now.saturating_add(secs),
    })
}
