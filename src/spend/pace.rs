//! How long paying took of late, by way and place: measured in passing, kept in
//! memory, and only ever an estimate.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::router::Candidate;
use crate::store::ledger::intents::Way;

/// Places that are remembered; a node has a handful of mints.
const MAX_PLACES: usize = 256;
/// The newest measurement counts for one part in so many.
const WEIGHT: u64 = 4;

/// A way, a place, and where ecash is moved from.
type Road = (Way, String, Option<String>);

#[derive(Debug, Default)]
pub(super) struct Paces {
    known: Mutex<HashMap<Road, u64>>,
}

impl Paces {
    /// Returns how many milliseconds a payment by `candidate` takes, if one was measured.
    pub(super) fn expect(&self, candidate: &Candidate) -> Option<u64> {
        self.known.lock().get(&road(candidate)).copied()
    }

    /// Remembers that a payment by `candidate` took `took`.
    pub(super) fn note(&self, candidate: &Candidate, took: Duration) {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let mut known = self.known.lock();
        let road = road(candidate);
        if let Some(pace) = known.get_mut(&road) {
            *pace = pace.saturating_mul(WEIGHT - 1).saturating_add(took) / WEIGHT;
        } else if known.len() < MAX_PLACES {
            known.insert(road, took);
        }
    }
}

fn road(candidate: &Candidate) -> Road {
    (
        candidate.way,
        candidate.place.clone(),
        candidate.from.clone(),
    )
}

#[cfg(test)]
mod tests {
    use feria_paywall::amount::Msat;

    use super::*;

    #[test]
    fn a_pace_follows_what_is_measured() {
        let paces = Paces::default();
        let candidate = Candidate::at(Way::Melt, "https://mint.example", Msat::new(1));
        assert_eq!(paces.expect(&candidate), None);

        paces.note(&candidate, Duration::from_millis(100));
        paces.note(&candidate, Duration::from_millis(500));

        assert_eq!(paces.expect(&candidate), Some(200));
    }
}
