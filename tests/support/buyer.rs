//! A buyer: a ledger, wallets and a spender, without the rest of a node.

use std::path::Path;
use std::sync::Arc;

use feria::clock::{SharedClock, SystemClock, SystemEntropy};
use feria::config::SpendConfig;
use feria::lightning::Lightning;
use feria::spend::{SpendParts, Spender};
use feria::store::index::Index;
use feria::store::ledger::Ledger;
use feria::wallet::{MintTrust, Wallets};
use feria_paywall::amount::{Msat, Sat};

#[derive(Clone)]
pub(crate) struct Buyer {
    pub(crate) ledger: Ledger,
    pub(crate) wallets: Wallets,
    pub(crate) spender: Spender,
}

impl Buyer {
    /// A buyer who trusts `mints`, whose ledger is in `folder` or gone with it.
    pub(crate) fn open(folder: Option<&Path>, mints: &[&str], lightning: Lightning) -> Self {
        let config = SpendConfig {
            max_price: Msat::new(1_000_000),
            max_fee: Msat::new(20_000),
            timeout_secs: 20,
            ..SpendConfig::default()
        };
        Self::open_with(folder, mints, lightning, config)
    }

    pub(crate) fn open_with(
        folder: Option<&Path>,
        mints: &[&str],
        lightning: Lightning,
        config: SpendConfig,
    ) -> Self {
        let clock: SharedClock = Arc::new(SystemClock);
        let ledger = match folder {
            Some(folder) => Ledger::open(&folder.join("ledger.db")).unwrap(),
            None => Ledger::in_memory().unwrap(),
        };
        let trusted = mints
            .iter()
            .map(|url| MintTrust {
                url: (*url).to_owned(),
                cap: Sat::new(10_000_000),
            })
            .collect();
        let wallets = Wallets::new(
            ledger.clone(),
            [9; 64],
            trusted,
            Arc::clone(&clock),
            Arc::new(SystemEntropy),
        )
        .unwrap();
        let spender = Spender::new(SpendParts {
            config,
            ledger: ledger.clone(),
            wallets: wallets.clone(),
            index: Index::in_memory().unwrap(),
            lightning,
            clock,
            entropy: Arc::new(SystemEntropy),
        })
        .unwrap();
        Self {
            ledger,
            wallets,
            spender,
        }
    }
}
