//! L402 credentials that purchases left behind, and the uses they still have.
//!
//! A use is taken in the transaction that records the call it is for, so that
//! two calls never share the last one, and a crash never leaves a call without.

use std::fmt;

use feria_paywall::payment::Preimage;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use secrecy::{ExposeSecret, SecretString};

use super::Ledger;
use super::intents::rows::{insert, read_intent};
use super::intents::{Intent, IntentState, NewIntent};
use crate::store::StoreError;

/// How the payment of an invoice is shown to the seller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// The token and the preimage.
    #[default]
    L402,
    /// The scheme `Payment`: the challenge as JSON, and the preimage.
    Mpp,
}

impl Scheme {
    /// Returns the name stored in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L402 => "l402",
            Self::Mpp => "mpp",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::L402, Self::Mpp]
            .into_iter()
            .find(|scheme| scheme.as_str() == name)
    }
}

/// A credential to be kept.
#[derive(Debug, Clone)]
pub struct NewCredential {
    /// The wallet that paid for it.
    pub wallet_id: String,
    /// Scheme, host and port it is for.
    pub origin: String,
    /// The path it is for.
    pub path: String,
    /// Whether every path below is included.
    pub is_prefix: bool,
    /// How it is shown.
    pub scheme: Scheme,
    /// The macaroon or opaque token, byte for byte.
    pub token: SecretString,
    /// What the payment revealed.
    pub preimage: Preimage,
    /// How many calls it pays for, the one at hand included; `None` when it does not say.
    pub uses: Option<u32>,
    /// Unix seconds.
    pub expires_at: Option<u64>,
}

/// A credential to be sent.
#[derive(Clone)]
pub(crate) struct Credential {
    /// Its row.
    pub(crate) id: i64,
    /// How it is shown.
    pub(crate) scheme: Scheme,
    /// Byte for byte as the seller sent it.
    pub(crate) token: SecretString,
    /// The proof of payment.
    pub(crate) preimage: Preimage,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.id)
    }
}

impl Ledger {
    /// Takes one use of a live credential for the call `new` and records that
    /// call as paid; `None`, and nothing recorded, when no credential fits.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn claim_credential(
        &self,
        new: NewIntent,
    ) -> Result<Option<(Intent, Credential)>, StoreError> {
        self.write("claim credential", move |transaction| {
            let Some(credential) = find_fitting(transaction, &new)? else {
                return Ok(None);
            };
            insert(
                transaction,
                &new,
                IntentState::Paid,
                feria_paywall::amount::Msat::ZERO,
                "",
            )?;
            transaction.execute(
                "UPDATE intents SET way = 'credential', rail = 'l402-cached', credential_id = ?2,
                    use_held = 1 WHERE id = ?1",
                params![new.id, credential.id],
            )?;
            transaction.execute(
                "UPDATE credentials SET uses_left = uses_left - 1 WHERE id = ?1",
                [credential.id],
            )?;
            let intent = transaction.query_row(
                "SELECT * FROM intents WHERE id = ?1",
                [&new.id],
                read_intent,
            )?;
            Ok(Some((intent, credential)))
        })
        .await
    }

    /// Returns whether a live credential fits the call `new`; takes nothing.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn has_credential(&self, new: NewIntent) -> Result<bool, StoreError> {
        self.read(move |connection| Ok(find_fitting(connection, &new)?.is_some()))
            .await
    }

    /// Ends the credential of the cached call `intent_id` and forgets that call, which the seller did not serve.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn drop_credential(&self, intent_id: &str) -> Result<(), StoreError> {
        let intent_id = intent_id.to_owned();
        self.write("drop credential", move |transaction| {
            transaction.execute(
                "UPDATE credentials SET is_live = 0
                 WHERE id = (SELECT credential_id FROM intents WHERE id = ?1)",
                [&intent_id],
            )?;
            transaction.execute(
                "DELETE FROM intents WHERE id = ?1 AND way = 'credential'",
                [&intent_id],
            )?;
            Ok(())
        })
        .await
    }

    /// Gives the use held by `intent_id` back to its credential.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn release_use(&self, intent_id: &str) -> Result<(), StoreError> {
        let intent_id = intent_id.to_owned();
        self.write("release use", move |transaction| {
            let released = transaction.execute(
                "UPDATE intents SET use_held = 0 WHERE id = ?1 AND use_held = 1",
                [&intent_id],
            )?;
            if released > 0 {
                transaction.execute(
                    "UPDATE credentials SET uses_left = uses_left + 1
                     WHERE id = (SELECT credential_id FROM intents WHERE id = ?1)",
                    [&intent_id],
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Returns the credential of `intent_id` with a use held for it; `None` when other calls used it up.
    ///
    /// # Errors
    /// When the database refuses.
    pub(crate) async fn hold_use(&self, intent_id: &str) -> Result<Option<Credential>, StoreError> {
        let intent_id = intent_id.to_owned();
        self.write("hold use", move |transaction| {
            let row: Option<(i64, bool)> = transaction
                .query_row(
                    "SELECT credential_id, use_held FROM intents
                     WHERE id = ?1 AND credential_id IS NOT NULL",
                    [&intent_id],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let Some((credential_id, is_held)) = row else {
                return Ok(None);
            };
            if !is_held {
                let taken = transaction.execute(
                    "UPDATE credentials SET uses_left = uses_left - 1
                     WHERE id = ?1 AND (uses_left IS NULL OR uses_left > 0)",
                    [credential_id],
                )?;
                if taken == 0 {
                    return Ok(None);
                }
                transaction.execute(
                    "UPDATE intents SET use_held = 1 WHERE id = ?1",
                    [&intent_id],
                )?;
            }
            Ok(Some(transaction.query_row(
                "SELECT id, token, preimage, scheme FROM credentials WHERE id = ?1",
                [credential_id],
                read_credential,
            )?))
        })
        .await
    }
}

/// Stores what `intent_id` bought, with the use of the call at hand already
/// taken. Returns `false` when it was stored before.
pub(super) fn insert_credential(
    transaction: &Transaction<'_>,
    intent_id: &str,
    new: &NewCredential,
    now: u64,
) -> Result<bool, StoreError> {
    let inserted = transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO credentials
                (wallet_id, origin, path, is_prefix, token, preimage, uses_left, expires_at, intent_id,
                 created_at, scheme)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            new.wallet_id,
            new.origin,
            new.path,
            new.is_prefix,
            new.token.expose_secret(),
            new.preimage.expose(),
            new.uses.map(|uses| uses.saturating_sub(1)),
            new.expires_at,
            intent_id,
            now,
            new.scheme.as_str()
        ])?;
    if inserted == 0 {
        return Ok(false);
    }
    transaction.execute(
        "UPDATE intents SET credential_id = ?2, use_held = 1 WHERE id = ?1",
        params![intent_id, transaction.last_insert_rowid()],
    )?;
    Ok(true)
}

fn find_fitting(
    connection: &Connection,
    new: &NewIntent,
) -> Result<Option<Credential>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT id, token, preimage, scheme FROM credentials
             WHERE wallet_id = ?1 AND origin = ?2 AND is_live = 1
               AND (path = ?3 OR (is_prefix = 1 AND substr(?3, 1, length(path)) = path))
               AND (uses_left IS NULL OR uses_left > 0)
               AND (expires_at IS NULL OR expires_at > ?4)
             ORDER BY created_at, id LIMIT 1",
        )?
        .query_row(
            params![new.wallet_id, new.origin, new.path, new.created_at],
            read_credential,
        )
        .optional()?)
}

fn read_credential(row: &Row<'_>) -> rusqlite::Result<Credential> {
    let scheme: String = row.get(3)?;
    Ok(Credential {
        id: row.get(0)?,
        scheme: Scheme::parse(&scheme)
            .ok_or_else(|| rusqlite::Error::InvalidColumnName("scheme".to_owned()))?,
        token: row.get::<_, String>(1)?.into(),
        preimage: Preimage::new(row.get(2)?),
    })
}
