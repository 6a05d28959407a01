//! Opens the Lightning backend that the configuration names.

use std::sync::Arc;

use crate::clock::{SharedClock, SharedEntropy};
use crate::config::{Config, LightningKind};
use crate::lightning::LightningBackend;

/// Opens the backend of `config`; `None` when it names none.
///
/// # Errors
/// When the backend cannot be opened, or is not part of this program.
pub fn open_lightning(
    config: &Config,
    clock: SharedClock,
    entropy: SharedEntropy,
) -> anyhow::Result<Option<Arc<dyn LightningBackend>>> {
    match config.lightning.backend {
        LightningKind::None => Ok(None),
        LightningKind::Simulated => simulated(config, clock, entropy).map(Some),
    }
}

#[cfg(feature = "sandbox")]
fn simulated(
    config: &Config,
    clock: SharedClock,
    entropy: SharedEntropy,
) -> anyhow::Result<Arc<dyn LightningBackend>> {
    use crate::lightning::simulated::{SimulatedBackend, SimulatedNetwork};

    let path = config.data_dir.join("simulated-lightning.json");
    let network = SimulatedNetwork::open(Some(&path), clock, entropy)?;
    Ok(Arc::new(SimulatedBackend::new(network, "node")))
}

#[cfg(not(feature = "sandbox"))]
fn simulated(
    _config: &Config,
    _clock: SharedClock,
    _entropy: SharedEntropy,
) -> anyhow::Result<Arc<dyn LightningBackend>> {
    anyhow::bail!(
        "this program was built without simulated parts: set lightning.backend = \"none\" in feria.toml"
    )
}
