//! Chooses how to pay. Pure: facts in, candidates and a sentence out.
//!
//! Order: ecash at a mint both sides trust, cheapest first; then whatever costs
//! least of Lightning by melting ecash, Lightning by the backend, and ecash moved
//! to the seller's mint over Lightning; at one cost the quicker. A mint that the
//! seller takes ecash of never pays him by Lightning: a melt inside one mint
//! reveals no preimage, and the preimage is half the credential.

use feria_paywall::amount::{Msat, Sat};
use feria_paywall::xcashu::request::CashuTerms;
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
/// The longest decision the journal takes, in bytes; the column's limit.
const MAX_DECISION_BYTES: usize = 8_192;

/// A way to pay, open or not.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Candidate {
    /// How.
    pub(super) way: Way,
    /// The mint or backend.
    pub(super) place: String,
    /// The mint whose ecash is moved to `place` first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<String>,
    /// What the seller gets.
    pub(super) price_msat: u64,
    /// The most it may cost beside; `None` when nobody was asked.
    pub(super) fee_msat: Option<u64>,
    /// How long paying took there of late; `None` when it was not tried yet.
    pub(super) latency_ms: Option<u64>,
    /// Why not; `None` when it is open.
    pub(super) excluded: Option<String>,
    /// What a melt would be made of.
    #[serde(skip)]
    pub(super) offer: Option<MeltOffer>,
    /// The request that ecash would meet.
    #[serde(skip)]
    pub(super) terms: Option<CashuTerms>,
    /// A token lies ready.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_float: bool,
    /// The quote at `place` that moving ecash there would pay.
    #[serde(skip)]
    pub(super) quote_id: Option<String>,
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

/// Lists ecash candidates for `terms` among what the wallet holds.
pub(super) fn ecash_candidates(
    terms: &CashuTerms,
    holdings: &[Holding],
    max_fee: Msat,
) -> Vec<Candidate> {
    let amount = terms.amount;
    holdings
        .iter()
        .filter(|holding| takes(&terms.mints, &holding.mint))
        .map(|holding| {
            let fee = ecash_fee(amount, holding.input_fee_ppk);
            let needed = amount.saturating_add(fee);
            let excluded = if holding.balance < needed {
                Some(format!("holds {} of {needed}", holding.balance))
            } else {
                too_dear(fee.to_msat(), max_fee)
            };
            Candidate {
                fee_msat: Some(fee.to_msat().as_u64()),
                excluded,
                terms: Some(terms.clone()),
                ..Candidate::at(Way::Ecash, &holding.mint, amount.to_msat())
            }
        })
        .collect()
}

/// Returns whether a seller who names `mints` takes ecash of `mint`; none means any.
pub(super) fn takes(mints: &[String], mint: &str) -> bool {
    mints.is_empty() || mints.iter().any(|named| same_mint(named, mint))
}

/// Returns the candidate of moving what `terms` asks from `holding` to `mint`,
/// where `needed` has to arrive and `offer` pays for it.
pub(super) fn transfer_candidate(
    holding: &Holding,
    mint: &str,
    terms: &CashuTerms,
    needed: Sat,
    offer: MeltOffer,
    max_fee: Msat,
) -> Candidate {
    let all = needed
        .saturating_add(offer.fee_reserve)
        .saturating_add(offer.input_fee);
    let fee = all.saturating_sub(terms.amount);
    let excluded = if offer.amount != needed {
        Some(format!(
            "the mint asks {} for an invoice of {needed}",
            offer.amount
        ))
    } else if holding.balance < all {
        Some(format!("holds {} of {all}", holding.balance))
    } else {
        too_dear(fee.to_msat(), max_fee)
    };
    Candidate {
        from: Some(holding.mint.clone()),
        fee_msat: Some(fee.to_msat().as_u64()),
        excluded,
        offer: Some(offer),
        terms: Some(terms.clone()),
        ..Candidate::at(Way::Ecash, mint, terms.amount.to_msat())
    }
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
        fee_msat: Some(fee.to_msat().as_u64()),
        excluded,
        offer: Some(offer),
        ..Candidate::at(Way::Melt, &holding.mint, price)
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
                !candidate.is_plain_ecash(),
                candidate.cost(),
                !candidate.is_float,
                candidate.latency_ms.unwrap_or(u64::MAX),
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

    /// Returns the JSON that the journal keeps; what is chosen and why, if all of it is too long.
    pub(super) fn to_json(&self) -> String {
        let all = serde_json::to_string(self).unwrap_or_default();
        if (1..=MAX_DECISION_BYTES).contains(&all.len()) {
            return all;
        }
        serde_json::json!({ "why": self.why.chars().take(1_000).collect::<String>() }).to_string()
    }
}

impl Candidate {
    /// Returns an open candidate whose fee nobody knows.
    pub(super) fn at(way: Way, place: &str, price: Msat) -> Self {
        Self {
            way,
            place: place.to_owned(),
            from: None,
            price_msat: price.as_u64(),
            fee_msat: None,
            latency_ms: None,
            excluded: None,
            offer: None,
            terms: None,
            is_float: false,
            quote_id: None,
        }
    }

    /// Returns one that is out of the question.
    pub(super) fn closed(way: Way, place: &str, price: Msat, excluded: String) -> Self {
        Self {
            excluded: Some(excluded),
            ..Self::at(way, place, price)
        }
    }

    /// Returns whether it is ecash that the wallet holds where the seller takes it.
    pub(super) fn is_plain_ecash(&self) -> bool {
        self.way == Way::Ecash && self.from.is_none()
    }

    /// Returns what a person calls it.
    pub(super) fn label(&self) -> String {
        match (self.way, &self.from) {
            (Way::Ecash, Some(from)) => format!("ecash at {}, moved there from {from}", self.place),
            (Way::Ecash, None) if self.is_float => {
                format!("ecash at {}, out of a float", self.place)
            }
            (Way::Ecash, None) => format!("ecash at {}", self.place),
            (Way::Melt, _) => format!("Lightning by melting ecash at {}", self.place),
            (Way::Backend, _) => format!("Lightning by {}", self.place),
            (Way::Credential, _) => "a credential".to_owned(),
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
        _ if candidate.is_float => "a token for this seller lay ready, and no mint had to be asked",
        (Rail::Auto, _) if candidate.is_plain_ecash() => {
            "both sides trust the mint, and ecash comes first"
        }
        (_, Way::Ecash) if candidate.from.is_some() => {
            "the seller takes ecash of that mint, the wallet holds none there, and nothing else was cheaper"
        }
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
