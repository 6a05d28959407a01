//! Which proofs to spend and which to ask for.
//!
//! The input fee of NUT-02 is `ceil(sum of the inputs' ppk / 1000)` over one
//! request, so what a selection must cover depends on the selection.

/// A proof to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The caller's index.
    pub(crate) index: usize,
    pub(crate) amount: u64,
    pub(crate) fee_ppk: u64,
}

/// The most inputs or outputs of one request; mints accept 1,000.
pub(crate) const MAX_INPUTS: usize = 500;

/// Returns the fee in satoshi for inputs whose ppk add up to `sum_ppk`.
pub(crate) const fn fee(sum_ppk: u64) -> u64 {
    sum_ppk.div_ceil(1_000)
}

/// Returns `amount` as the fewest of `denominations`, largest first; `None` if they cannot make it.
pub(crate) fn split(amount: u64, denominations: &[u64]) -> Option<Vec<u64>> {
    let mut sorted: Vec<u64> = denominations
        .iter()
        .copied()
        .filter(|value| *value > 0)
        .collect();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let mut rest = amount;
    let mut parts = Vec::new();
    for value in sorted {
        while rest >= value && parts.len() < MAX_INPUTS {
            parts.push(value);
            rest -= value;
        }
    }
    (rest == 0).then_some(parts)
}

/// Returns what a token must be worth so that its receiver nets `amount` after
/// paying `fee_ppk` for each of its proofs.
pub(crate) fn gross_for_net(amount: u64, fee_ppk: u64, denominations: &[u64]) -> Option<u64> {
    // Each step adds the fee of the proofs of the step before; it settles at
    // once unless the fee itself adds proofs.
    let mut gross = amount;
    for _ in 0..64 {
        let proofs = u64::try_from(split(gross, denominations)?.len()).ok()?;
        let needed = amount.checked_add(fee(proofs.checked_mul(fee_ppk)?))?;
        if gross >= needed {
            return Some(gross);
        }
        gross = needed;
    }
    None
}

/// Chooses proofs worth at least `target` plus their own fee, with little change
/// and few proofs. Returns their indexes and the fee.
///
/// `Err` says how much is missing at least.
pub(crate) fn select(candidates: &[Candidate], target: u64) -> Result<(Vec<usize>, u64), Shortage> {
    // A proof that costs what it is worth never helps.
    let mut sorted: Vec<Candidate> = candidates
        .iter()
        .copied()
        .filter(|candidate| candidate.amount.saturating_mul(1_000) > candidate.fee_ppk)
        .collect();
    sorted.sort_by(|a, b| b.amount.cmp(&a.amount).then(a.index.cmp(&b.index)));
    let mut chosen = Chosen::new(target);
    let mut rest: Vec<Candidate> = Vec::new();
    for candidate in sorted {
        if chosen.proofs.len() < MAX_INPUTS
            && chosen.missing_with(candidate).is_some_and(|n| n >= 0)
        {
            chosen.push(candidate);
        } else {
            rest.push(candidate);
        }
    }
    while chosen.missing() > 0 {
        // The smallest that closes the gap, else the largest to narrow it.
        let closing = rest
            .iter()
            .rposition(|candidate| chosen.missing_with(*candidate).is_some_and(|n| n <= 0));
        let position = closing.or((!rest.is_empty()).then_some(0));
        match position {
            Some(position) if chosen.proofs.len() < MAX_INPUTS => {
                chosen.push(rest.remove(position));
            }
            _ => {
                return Err(Shortage {
                    needed: chosen.needed(),
                });
            }
        }
    }
    chosen.prune();
    let indexes = chosen.proofs.iter().map(|proof| proof.index).collect();
    Ok((indexes, fee(chosen.sum_ppk)))
}

/// What [`select`] could not reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// The target with the fee of everything tried.
    pub(crate) needed: u64,
}

/// Proofs chosen so far, with their running sums.
struct Chosen {
    target: u64,
    proofs: Vec<Candidate>,
    sum: u64,
    sum_ppk: u64,
}

impl Chosen {
    const fn new(target: u64) -> Self {
        Self {
            target,
            proofs: Vec::new(),
            sum: 0,
            sum_ppk: 0,
        }
    }

    fn push(&mut self, proof: Candidate) {
        self.sum = self.sum.saturating_add(proof.amount);
        self.sum_ppk = self.sum_ppk.saturating_add(proof.fee_ppk);
        self.proofs.push(proof);
    }

    const fn needed(&self) -> u64 {
        self.target.saturating_add(fee(self.sum_ppk))
    }

    /// Positive: still to find. Negative: change.
    fn missing(&self) -> i128 {
        i128::from(self.needed()) - i128::from(self.sum)
    }

    fn missing_with(&self, proof: Candidate) -> Option<i128> {
        let sum = self.sum.checked_add(proof.amount)?;
        let sum_ppk = self.sum_ppk.checked_add(proof.fee_ppk)?;
        let needed = self.target.checked_add(fee(sum_ppk))?;
        Some(i128::from(needed) - i128::from(sum))
    }

    /// Drops what is not needed, the last added first: fewer inputs, less fee.
    fn prune(&mut self) {
        for position in (0..self.proofs.len()).rev() {
            let proof = self.proofs[position];
            let sum = self.sum - proof.amount;
            let sum_ppk = self.sum_ppk - proof.fee_ppk;
            if sum > 0 && sum >= self.target.saturating_add(fee(sum_ppk)) {
                self.proofs.remove(position);
                self.sum = sum;
                self.sum_ppk = sum_ppk;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POWERS: [u64; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048];

    fn purse(amounts: &[u64], fee_ppk: u64) -> Vec<Candidate> {
        amounts
            .iter()
            .enumerate()
            .map(|(index, amount)| Candidate {
                index,
                amount: *amount,
                fee_ppk,
            })
            .collect()
    }

    #[test]
    fn the_fee_is_rounded_up_once_for_the_whole_request() {
        assert_eq!(fee(0), 0);
        assert_eq!(fee(100), 1);
        assert_eq!(fee(1_000), 1);
        assert_eq!(fee(1_001), 2);
    }

    #[test]
    fn an_amount_is_split_into_the_fewest_powers_of_two() {
        assert_eq!(split(100, &POWERS), Some(vec![64, 32, 4]));
        assert_eq!(split(0, &POWERS), Some(vec![]));
        assert_eq!(split(3, &[2]), None);
    }

    #[test]
    fn an_exact_set_is_preferred() {
        let chosen = select(&purse(&[64, 32, 4, 2, 1], 0), 36).unwrap();
        assert_eq!(chosen, (vec![1, 2], 0));
    }

    #[test]
    fn without_an_exact_set_the_smallest_sufficient_proof_is_taken() {
        let chosen = select(&purse(&[512, 64, 8], 0), 50).unwrap();
        assert_eq!(chosen, (vec![1], 0));
    }

    #[test]
    fn the_fee_of_the_inputs_is_covered() {
        let chosen = select(&purse(&[64, 32], 100), 64).unwrap();
        assert_eq!(chosen.1, 1);
        assert_eq!(chosen.0.len(), 2);
    }

    #[test]
    fn a_shortage_names_what_was_needed() {
        assert_eq!(
            select(&purse(&[8, 2], 100), 10),
            Err(Shortage { needed: 11 })
        );
    }

    #[test]
    fn the_receiver_nets_the_amount() {
        // 21 = 16 + 4 + 1 costs 3 sat at 1000 ppk; 24 = 16 + 8 would cost 2.
        let gross = gross_for_net(21, 1_000, &POWERS).unwrap();
        let proofs = split(gross, &POWERS).unwrap().len() as u64;
        assert!(gross - fee(proofs * 1_000) >= 21);
    }

    proptest! {
        #[test]
        fn a_selection_covers_target_and_fee_and_none_of_it_is_idle(
            amounts in prop::collection::vec(0_usize..12, 0..40),
            fee_ppk in 0_u64..1_200,
            target in 1_u64..4_000,
        ) {
            let amounts: Vec<u64> = amounts.into_iter().map(|power| POWERS[power]).collect();
            let candidates = purse(&amounts, fee_ppk);
            let Ok((indexes, fee_sat)) = select(&candidates, target) else {
                // Not even everything worth its own fee reaches the target.
                let mut all = Chosen::new(target);
                candidates
                    .into_iter()
                    .filter(|candidate| candidate.amount * 1_000 > candidate.fee_ppk)
                    .for_each(|candidate| all.push(candidate));
                prop_assert!(all.missing() > 0);
                return Ok(());
            };
            let mut unique = indexes.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), indexes.len());
            let sum: u64 = indexes.iter().map(|index| amounts[*index]).sum();
            prop_assert!(sum >= target + fee_sat);
        }

        #[test]
        fn a_split_adds_up(amount in 0_u64..100_000) {
            let parts = split(amount, &POWERS).unwrap();
            prop_assert_eq!(parts.iter().sum::<u64>(), amount);
        }
    }
}
