//! An embedded Cashu mint over the simulated Lightning network.
//!
//! A stock cdk mint behind its stock HTTP router, so that a wallet cannot tell it
//! from a foreign one, except by its name and message of the day. Its Lightning
//! node is the account `mint-<name>` of the network. With a data folder and the
//! same seed it comes back with the same keysets and the same spent proofs.

mod processor;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use cdk::mint::{MintBuilder, MintMeltLimits, UnitConfig};
use cdk::nuts::nut00::KnownMethod;
use cdk::nuts::{CurrencyUnit, PaymentMethod};
use cdk::types::QuoteTTL;
use cdk_sqlite::mint::MintSqliteDatabase;

use self::processor::SimulatedProcessor;
use super::{SandboxError, listen};
use crate::lifecycle::Lifecycle;
use crate::lightning::simulated::{MARK, SimulatedNetwork};

/// How long a quote can be paid, in seconds.
const QUOTE_TTL_SECS: u64 = 3_600;
/// Largest mint or melt, in satoshi.
const MAX_AMOUNT_SAT: u64 = 10_000_000;
/// Powers of two up to 2^23 satoshi: all that the limit needs, and fewer key
/// derivations at start than cdk's default.
const DENOMINATIONS: u32 = 24;

/// What a mint of the sandbox is made of.
#[derive(Debug, Clone)]
pub struct SandboxMintConfig {
    /// Its name in the mint's info and on the Lightning network.
    pub name: String,
    /// A loopback address; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Input fee in parts per thousand satoshi and proof.
    pub input_fee_ppk: u64,
    /// The Lightning network its quotes are paid over.
    pub network: SimulatedNetwork,
    /// Where its database lives; `None` keeps it in memory.
    pub data_dir: Option<PathBuf>,
    /// Its keysets derive from this.
    pub seed: [u8; 32],
    /// Runs its server.
    pub lifecycle: Lifecycle,
}

/// A running mint. It stops with its lifecycle.
#[derive(Clone)]
pub struct SandboxMint {
    /// The mint URL, without trailing slash.
    pub url: String,
    /// Its account on the Lightning network.
    pub account: String,
    mint: Arc<cdk::Mint>,
    is_available: Arc<AtomicBool>,
}

impl fmt::Debug for SandboxMint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SandboxMint({MARK} {} at {})", self.account, self.url)
    }
}

impl SandboxMint {
    /// Starts the mint and its server.
    ///
    /// # Errors
    /// When the address is taken or not loopback, or the database is unreadable.
    pub async fn start(config: SandboxMintConfig) -> Result<Self, SandboxError> {
        let listener = listen(config.listen).await?;
        let address = listener
            .local_addr()
            .map_err(|source| SandboxError::Listen {
                address: config.listen,
                source,
            })?;
        let url = format!("http://{address}");
        let account = format!("mint-{}", config.name);
        let database = open_database(&config).await?;
        let fault = |error: cdk::Error| mint_fault(&config.name, error);
        let mint = build(&config, &account, &url, database)
            .await
            .map_err(fault)?;
        mint.set_quote_ttl(QuoteTTL::new(QUOTE_TTL_SECS, QUOTE_TTL_SECS))
            .await
            .map_err(fault)?;
        mint.start().await.map_err(fault)?;
        let mint = Arc::new(mint);
        let router = cdk_axum::create_mint_router(Arc::clone(&mint), vec!["bolt11".to_owned()])
            .await
            .map_err(|error| mint_fault(&config.name, error))?;
        let is_available = Arc::new(AtomicBool::new(true));
        let router = router.layer(from_fn_with_state(
            Arc::clone(&is_available),
            refuse_if_away,
        ));
        let lifecycle = &config.lifecycle;
        let router = router.layer(from_fn_with_state(lifecycle.clone(), finish));
        let (stopping, served) = (lifecycle.stopping(), Arc::clone(&mint));
        lifecycle.spawn_draining(async move {
            let server = axum::serve(listener, router);
            tokio::select! {
                outcome = server => if let Err(error) = outcome {
                    tracing::error!(%error, "the sandbox's mint stopped serving");
                },
                () = stopping => {}
            }
            if let Err(error) = served.stop().await {
                tracing::warn!(%error, "the sandbox's mint did not stop cleanly");
            }
        });
        Ok(Self {
            url,
            account,
            mint,
            is_available,
        })
    }

    /// Takes the mint away, or brings it back: meanwhile it answers 503 to
    /// everything, as a proxy before a mint that is down.
    pub fn set_available(&self, is_available: bool) {
        self.is_available.store(is_available, Ordering::SeqCst);
    }

    /// Returns what the mint has issued and not redeemed, in satoshi: what it
    /// owes to the holders of its ecash.
    ///
    /// # Errors
    /// When its database cannot be read.
    pub async fn outstanding_sat(&self) -> Result<u64, SandboxError> {
        let fault = |error: cdk::Error| mint_fault(&self.account, error);
        let sum = |totals: std::collections::HashMap<_, cdk::Amount>| {
            totals.into_values().map(u64::from).sum::<u64>()
        };
        let issued = sum(self.mint.total_issued().await.map_err(fault)?);
        let redeemed = sum(self.mint.total_redeemed().await.map_err(fault)?);
        Ok(issued.saturating_sub(redeemed))
    }
}

/// Carries a request to its end though its client has gone, as a mint must: dropped
/// in the middle of a swap, cdk's handler leaves the proofs pending.
async fn finish(State(lifecycle): State<Lifecycle>, request: Request, next: Next) -> Response {
    let (done, answer) = tokio::sync::oneshot::channel();
    lifecycle.spawn_draining(async move {
        // Nobody waits for it when the client has gone.
        let _ = done.send(next.run(request).await);
    });
    answer
        .await
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn refuse_if_away(
    State(is_available): State<Arc<AtomicBool>>,
    request: Request,
    next: Next,
) -> Response {
    if is_available.load(Ordering::SeqCst) {
        next.run(request).await
    } else {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }
}

async fn open_database(
    config: &SandboxMintConfig,
) -> Result<Arc<MintSqliteDatabase>, SandboxError> {
    let opened = match &config.data_dir {
        None => cdk_sqlite::mint::memory::empty().await,
        Some(folder) => {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(SandboxError::Folder)?;
            MintSqliteDatabase::new(folder.join(format!("mint-{}.db", config.name))).await
        }
    };
    opened
        .map(Arc::new)
        .map_err(|error| mint_fault(&config.name, error))
}

async fn build(
    config: &SandboxMintConfig,
    account: &str,
    url: &str,
    database: Arc<MintSqliteDatabase>,
) -> Result<cdk::Mint, cdk::Error> {
    let mut builder = MintBuilder::new(database.clone())
        .with_name(format!("{MARK} {}", config.name))
        .with_description("A mint of a simulated market. Its ecash is worth nothing.".to_owned())
        .with_motd(format!("{MARK} This ecash is worth nothing."))
        .with_urls(vec![url.to_owned()]);
    builder.configure_unit(
        CurrencyUnit::Sat,
        UnitConfig {
            amounts: (0..DENOMINATIONS).map(|power| 1 << power).collect(),
            input_fee_ppk: config.input_fee_ppk,
        },
    )?;
    builder
        .add_payment_processor(
            CurrencyUnit::Sat,
            PaymentMethod::Known(KnownMethod::Bolt11),
            MintMeltLimits::new(1, MAX_AMOUNT_SAT),
            Arc::new(SimulatedProcessor::new(
                config.network.clone(),
                account.to_owned(),
            )),
        )
        .await?;
    builder.build_with_seed(database, &config.seed).await
}

fn mint_fault(name: &str, error: impl fmt::Display) -> SandboxError {
    SandboxError::Mint {
        name: name.to_owned(),
        reason: error.to_string(),
    }
}
