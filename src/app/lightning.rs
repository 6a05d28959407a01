//! Opens the Lightning backends that the configuration names.

use std::sync::Arc;

use anyhow::Context;
use nostr::key::Keys;
use nostr::nips::nip47::NostrWalletConnectUri;

use super::AppParts;
use crate::config::{BackendConfig, Config, LdkConfig, MintBackendConfig, NwcConfig};
use crate::lightning::mint::MintBackend;
use crate::lightning::nwc::{NwcBackend, NwcParts};
use crate::lightning::{Lightning, LightningBackend, LndBackend};
use crate::relay::Relays;
use crate::store::ledger::Ledger;
use crate::wallet::Wallets;
use treasury::Treasury;
use wallet_link::RelayLink;

mod treasury;
mod wallet_link;

/// Relays of one wallet that are used; a connection could name any number.
const MAX_WALLET_RELAYS: usize = 4;

/// What backends are made of, beside their settings.
pub(super) struct Sources<'a> {
    pub(super) config: &'a Config,
    pub(super) parts: &'a AppParts,
    pub(super) ledger: &'a Ledger,
    pub(super) wallets: &'a Wallets,
    pub(super) relays: &'a Relays,
}

/// Opens the backends of the configuration, beside those that the caller brings.
///
/// # Errors
/// When a backend cannot be opened, or is not part of this program.
pub(super) fn open(sources: &Sources<'_>) -> anyhow::Result<Lightning> {
    let Sources { config, parts, .. } = sources;
    let settings = &config.lightning;
    let mut backends = parts.lightning.clone();
    for (name, backend) in &settings.backends {
        backends.push(match backend {
            BackendConfig::Ldk(ldk) => embedded(config, parts, name, ldk)?,
            BackendConfig::Lnd(lnd) => {
                let clock = Arc::clone(&parts.clock);
                Arc::new(LndBackend::open(
                    name,
                    lnd,
                    config.network,
                    &config.data_dir,
                    clock,
                )?)
            }
            BackendConfig::Mint(settings) => mint(sources, name, settings)?,
            BackendConfig::Nwc(settings) => nwc(sources, name, settings)?,
            BackendConfig::Simulated => simulated(config, parts, name)?,
        });
    }
    let brought = parts.lightning.iter().map(|backend| backend.name());
    let payers: Vec<&str> = brought.clone().chain(settings.payers()).collect();
    let receiver = settings.receiver().or_else(|| brought.clone().next());
    Ok(Lightning::new(backends, receiver, &payers, &parts.clock)?)
}

fn mint(
    sources: &Sources<'_>,
    name: &str,
    settings: &MintBackendConfig,
) -> anyhow::Result<Arc<dyn LightningBackend>> {
    let trusted = sources.wallets.mints();
    let chosen = settings.mint.trim_end_matches('/');
    let mint = match sources.config.mints.first() {
        Some(first) if chosen.is_empty() => Some(&first.url),
        _ => trusted
            .iter()
            .map(|mint| &mint.url)
            .find(|url| url.eq_ignore_ascii_case(chosen)),
    };
    let mint = mint.with_context(|| {
        let url = if chosen.is_empty() { "URL" } else { chosen };
        format!(
            "[lightning.backends.{name}] needs a mint that is trusted: feria mint add {url} --cap 10000sat"
        )
    })?;
    Ok(Arc::new(MintBackend::new(
        name,
        mint,
        Arc::new(Treasury(sources.wallets.clone())),
        sources.ledger.clone(),
        Arc::clone(&sources.parts.clock),
    )))
}

/// Reads the connection of a wallet.
fn connection(
    config: &Config,
    name: &str,
    settings: &NwcConfig,
) -> anyhow::Result<NostrWalletConnectUri> {
    let text = settings.connection.read(&config.data_dir)?;
    // The fault of the parser is left out: it could repeat the secret.
    NostrWalletConnectUri::parse(text.as_str()).map_err(|_| {
        anyhow::anyhow!(
            "the connection of [lightning.backends.{name}] is no nostr+walletconnect:// line \
             with a relay and a secret"
        )
    })
}

fn urls_of(uri: &NostrWalletConnectUri) -> Vec<String> {
    let relays = uri.relays.iter().take(MAX_WALLET_RELAYS);
    relays.map(ToString::to_string).collect()
}

/// Returns the relays that wallets of the configuration are reached at.
///
/// # Errors
/// When a connection cannot be read.
pub(super) fn wallet_relays(config: &Config) -> anyhow::Result<Vec<String>> {
    let mut urls = Vec::new();
    for (name, backend) in &config.lightning.backends {
        if let BackendConfig::Nwc(settings) = backend {
            urls.extend(urls_of(&connection(config, name, settings)?));
        }
    }
    Ok(urls)
}

fn nwc(
    sources: &Sources<'_>,
    name: &str,
    settings: &NwcConfig,
) -> anyhow::Result<Arc<dyn LightningBackend>> {
    let uri = connection(sources.config, name, settings)?;
    let lifecycle = &sources.parts.lifecycle;
    let link = RelayLink {
        relays: sources.relays.clone(),
        urls: urls_of(&uri),
        identity: Keys::new(uri.secret.clone()),
        lifecycle: lifecycle.clone(),
    };
    let parts = NwcParts {
        name: name.to_owned(),
        uri,
        link: Arc::new(link),
        ledger: sources.ledger.clone(),
        clock: Arc::clone(&sources.parts.clock),
        entropy: Arc::clone(&sources.parts.entropy),
    };
    Ok(Arc::new(NwcBackend::open(parts, lifecycle)))
}

#[cfg(feature = "ldk")]
fn embedded(
    config: &Config,
    parts: &AppParts,
    name: &str,
    settings: &LdkConfig,
) -> anyhow::Result<Arc<dyn LightningBackend>> {
    use crate::lightning::{LdkBackend, LdkParts};

    let parts = LdkParts {
        name,
        network: config.network,
        data_dir: &config.data_dir,
        seed: &parts.seed,
        clock: Arc::clone(&parts.clock),
        lifecycle: parts.lifecycle.clone(),
    };
    Ok(Arc::new(LdkBackend::open(settings, parts)?))
}

#[cfg(not(feature = "ldk"))]
fn embedded(
    _config: &Config,
    _parts: &AppParts,
    name: &str,
    _settings: &LdkConfig,
) -> anyhow::Result<Arc<dyn LightningBackend>> {
    anyhow::bail!(
        "this program was built without a Lightning node: remove [lightning.backends.{name}] from feria.toml, or build it with `--features ldk`"
    )
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
