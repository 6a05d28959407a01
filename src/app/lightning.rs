//! Opens the Lightning backends that the configuration names.

use std::sync::Arc;

use super::AppParts;
use crate::config::{BackendConfig, Config};
use crate::lightning::{Lightning, LightningBackend};

/// Opens the backends of `config`, beside those that `parts` bring.
///
/// # Errors
/// When a backend cannot be opened, or is not part of this program.
pub(super) fn open(config: &Config, parts: &AppParts) -> anyhow::Result<Lightning> {
    let settings = &config.lightning;
    let mut backends = parts.lightning.clone();
    for (name, backend) in &settings.backends {
        backends.push(match backend {
            BackendConfig::Simulated => simulated(config, parts, name)?,
        });
    }
    let brought = parts.lightning.iter().map(|backend| backend.name());
    let payers: Vec<&str> = brought.clone().chain(settings.payers()).collect();
    let receiver = settings.receiver().or_else(|| brought.clone().next());
    Ok(Lightning::new(backends, receiver, &payers, &parts.clock)?)
}

#[cfg(feature = "sandbox")]
fn simulated(
    config: &Config,
    parts: &AppParts,
    name: &str,
) -> anyhow::Result<Arc<dyn LightningBackend>> {
    use crate::lightning::simulated::{SimulatedBackend, SimulatedNetwork};

    // A network, and so a file, for each: two of them are two networks.
    let path = config.data_dir.join(format!("simulated-{name}.json"));
    let (clock, entropy) = (Arc::clone(&parts.clock), Arc::clone(&parts.entropy));
    let network = SimulatedNetwork::open(Some(&path), clock, entropy)?;
    Ok(Arc::new(SimulatedBackend::new(network, name)))
}

#[cfg(not(feature = "sandbox"))]
fn simulated(
    _config: &Config,
    _parts: &AppParts,
    name: &str,
) -> anyhow::Result<Arc<dyn LightningBackend>> {
    anyhow::bail!(
        "this program was built without simulated parts: remove [lightning.backends.{name}] from feria.toml"
    )
}
