//! Issues, verifies, lists and revokes tokens.

use std::fmt;

use feria_paywall::amount::Msat;
use feria_paywall::l402::{Caveat, Issuer, Macaroon};
use sha2::{Digest, Sha256};

use super::caveat::{ParseRestrictionError, Restriction, Window};
use super::request::{Denied, Grant, Request, check};
use super::tier::{Permission, Tier};
use crate::clock::{SharedClock, SharedEntropy, random_id};
use crate::store::StoreError;
use crate::store::ledger::access::AccessWindow;
use crate::store::ledger::{AccessToken, Ledger};

/// What every identifier of ours starts with; the token's id follows.
const IDENTIFIER_PREFIX: &str = "feria-access:";
/// Most characters of an id.
const ID_CHARS: usize = 32;

/// The door of the node's own API.
#[derive(Debug)]
pub struct Access {
    issuer: Issuer,
    ledger: Ledger,
    clock: SharedClock,
    entropy: SharedEntropy,
}

/// What a new token shall allow.
#[derive(Debug, Clone)]
pub struct IssueRequest {
    /// What it may do.
    pub tier: Tier,
    /// Words for a person, such as who gets it.
    pub label: String,
    /// The only agent it acts for; `None` for all.
    pub agent: Option<String>,
    /// Unix seconds; `None` for never.
    pub expires_at: Option<u64>,
    /// The largest amount of one call.
    pub max_amount: Option<Msat>,
    /// The only hosts it pays; empty for all.
    pub hosts: Vec<String>,
    /// The only rails it pays on; empty for all.
    pub rails: Vec<String>,
    /// What all its calls in any so many seconds may cost.
    pub window: Option<Window>,
    /// The only HTTP methods of paid calls; empty for all.
    pub methods: Vec<String>,
}

impl IssueRequest {
    /// Returns the request for a token of `tier` without further restrictions.
    #[must_use]
    pub const fn new(tier: Tier) -> Self {
        Self {
            tier,
            label: String::new(),
            agent: None,
            expires_at: None,
            max_amount: None,
            hosts: Vec::new(),
            rails: Vec::new(),
            window: None,
            methods: Vec::new(),
        }
    }

    fn restrictions(&self) -> Vec<Restriction> {
        let mut restrictions = vec![Restriction::Tier(self.tier)];
        restrictions.extend(self.agent.clone().map(Restriction::Agent));
        restrictions.extend(self.expires_at.map(Restriction::ExpiresAt));
        restrictions.extend(self.max_amount.map(Restriction::MaxAmount));
        let hosts = (!self.hosts.is_empty()).then(|| Restriction::Hosts(self.hosts.clone()));
        let rails = (!self.rails.is_empty()).then(|| Restriction::Rails(self.rails.clone()));
        restrictions.extend(hosts);
        restrictions.extend(rails);
        restrictions.extend(self.window.map(Restriction::Window));
        let methods =
            (!self.methods.is_empty()).then(|| Restriction::Methods(self.methods.clone()));
        restrictions.extend(methods);
        restrictions
    }
}

/// A token, shown once.
#[derive(Clone)]
pub struct IssuedToken {
    /// Names it in lists and to revoke it; not secret.
    pub id: String,
    /// What the holder presents: URL-safe base64. Secret.
    pub text: String,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A token could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A restriction cannot be written as a caveat.
    #[error("write the restrictions of the token")]
    Restriction(#[from] ParseRestrictionError),
    /// All restrictions together are too long.
    #[error("fit the restrictions into a token")]
    TooLong,
    /// The row could not be written; no token was issued.
    #[error("record the token")]
    Store(#[from] StoreError),
}

/// Text that is no token of this kind, or cannot be narrowed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenTextError {
    /// Not the base64 of a macaroon.
    #[error("read the token")]
    Format,
    /// A macaroon, but not one for the API of a node; an L402 credential perhaps.
    #[error("read the macaroon as a token for the API of a node")]
    OtherPurpose,
    /// A restriction cannot be read or written.
    #[error("read a restriction of the token")]
    Restriction(#[from] ParseRestrictionError),
    /// All restrictions together are too long.
    #[error("fit the restrictions into the token")]
    TooLong,
}

impl Access {
    /// Returns the door that opens to tokens signed with `secret`.
    #[must_use]
    pub fn new(
        secret: [u8; 32],
        ledger: Ledger,
        clock: SharedClock,
        entropy: SharedEntropy,
    ) -> Self {
        Self {
            issuer: Issuer::new(&secret),
            ledger,
            clock,
            entropy,
        }
    }

    /// Issues a token and records that it exists.
    ///
    /// # Errors
    /// When a restriction cannot be written, or the row.
    pub async fn issue(&self, request: IssueRequest) -> Result<IssuedToken, AccessError> {
        let id = random_id(&*self.entropy);
        let caveats = request
            .restrictions()
            .iter()
            .map(Restriction::to_caveat)
            .collect::<Result<Vec<_>, _>>()?;
        let identifier = format!("{IDENTIFIER_PREFIX}{id}");
        let text = self
            .issuer
            .issue_bytes(identifier.as_bytes(), &caveats)
            .map_err(|_| AccessError::TooLong)?
            .to_base64_url();
        // Before it is handed out: a token without a row could not be revoked.
        self.ledger
            .insert_access_token(AccessToken {
                id: id.clone(),
                tier: request.tier.to_string(),
                agent: request.agent,
                label: request.label,
                created_at: self.clock.now(),
                expires_at: request.expires_at,
                revoked_at: None,
            })
            .await?;
        tracing::info!(token.id = %id, tier = %request.tier, "issued an access token");
        Ok(IssuedToken { id, text })
    }

    /// Decides whether the holder of `text` may do what `request` says.
    ///
    /// # Errors
    /// When he may not; the sentence is for him.
    pub async fn verify(&self, text: &str, request: &Request<'_>) -> Result<Grant, Denied> {
        let token = self.authenticate(text).await?;
        for restriction in &token.restrictions {
            check(restriction, request)?;
        }
        Ok(token.grant)
    }

    /// Decides as [`Self::verify`], and counts the amount of `request` in the windows
    /// of the token. `None`: it has none; else the id to [`Self::settle`] by.
    ///
    /// # Errors
    /// When he may not; nothing is counted then.
    pub async fn reserve(
        &self,
        text: &str,
        request: &Request<'_>,
    ) -> Result<Option<String>, Denied> {
        let token = self.authenticate(text).await?;
        for restriction in &token.restrictions {
            check(restriction, request)?;
        }
        let windows = token.windows();
        if windows.is_empty() {
            return Ok(None);
        }
        let call_id = random_id(&*self.entropy);
        let amount = request.amount.unwrap_or(Msat::ZERO);
        let full = self
            .ledger
            .reserve_access(windows, call_id.clone(), amount, request.now)
            .await?;
        match full {
            None => Ok(Some(call_id)),
            Some((window, used)) => Err(Denied::Window {
                window: Window {
                    amount: window.limit,
                    secs: window.secs,
                },
                used,
            }),
        }
    }

    /// Records what the call `call_id` did cost. Until then, and for one whose cost
    /// is not known, the most that it might have cost is counted.
    ///
    /// # Errors
    /// When the ledger refuses.
    pub async fn settle(&self, call_id: &str, cost: Msat) -> Result<(), StoreError> {
        self.ledger.settle_access(call_id, cost).await
    }

    /// Decides whether `text` is a token of ours that is still good and whose tier
    /// has `permission`, before it is known what the call is about. A call let
    /// through here still needs [`Self::verify`].
    ///
    /// # Errors
    /// When it is not; the sentence is for its holder.
    pub async fn verify_tier(&self, text: &str, permission: Permission) -> Result<(), Denied> {
        let token = self.authenticate(text).await?;
        let request = Request::new(permission, self.clock.now());
        token
            .restrictions
            .iter()
            .filter(|one| matches!(one, Restriction::Tier(_) | Restriction::ExpiresAt(_)))
            .try_for_each(|restriction| check(restriction, &request))
    }

    /// Reads a token and makes sure that we issued it and have not revoked it.
    async fn authenticate(&self, text: &str) -> Result<Authentic, Denied> {
        let macaroon = Macaroon::parse(text.trim()).map_err(|_| Denied::NotOurs)?;
        let id = token_id(&macaroon).ok_or(Denied::NotOurs)?;
        let caveats = self
            .issuer
            .verify_bytes(&macaroon)
            .map_err(|_| Denied::NotOurs)?;
        let row = self.ledger.find_access_token(&id).await?;
        let row = row.ok_or_else(|| Denied::NoRecord(id.clone()))?;
        if row.revoked_at.is_some() {
            return Err(Denied::Revoked);
        }
        let restrictions = caveats
            .iter()
            .map(|caveat| {
                Restriction::from_caveat(caveat)
                    .map_err(|_| Denied::UnknownCaveat(caveat.condition().to_owned()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        // Ours always begin so; anything else was signed for another purpose.
        let Some(Restriction::Tier(tier)) = restrictions.first() else {
            return Err(Denied::NotOurs);
        };
        let grant = Grant {
            token_id: id,
            tier: *tier,
            agent: row.agent.or_else(|| agent_in(&restrictions)),
            max_amount: smallest_amount(&restrictions),
        };
        Ok(Authentic {
            grant,
            places: places(&macaroon.identifier(), &caveats),
            restrictions,
        })
    }

    /// Revokes the token `id` and all copies narrowed from it. Returns whether it exists.
    ///
    /// # Errors
    /// When the ledger refuses.
    pub async fn revoke(&self, id: &str) -> Result<bool, StoreError> {
        let exists = self
            .ledger
            .revoke_access_token(id, self.clock.now())
            .await?;
        tracing::info!(token.id = %id, exists, "revoked an access token");
        Ok(exists)
    }

    /// Returns the newest `limit` tokens, revoked ones too.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn list(&self, limit: u32) -> Result<Vec<AccessToken>, StoreError> {
        self.ledger.list_access_tokens(limit).await
    }
}

/// A token of ours.
struct Authentic {
    grant: Grant,
    restrictions: Vec<Restriction>,
    /// Of each restriction: what names the token up to there.
    places: Vec<[u8; 32]>,
}

impl Authentic {
    fn windows(&self) -> Vec<AccessWindow> {
        self.restrictions
            .iter()
            .zip(&self.places)
            .filter_map(|(restriction, place)| match restriction {
                Restriction::Window(window) => Some(AccessWindow {
                    place: *place,
                    limit: window.amount,
                    secs: window.secs,
                }),
                _ => None,
            })
            .collect()
    }
}

/// Names the token as it was at each caveat: copies narrowed further share a window,
/// copies narrowed before it have their own.
fn places(identifier: &[u8], caveats: &[Caveat]) -> Vec<[u8; 32]> {
    let mut place: [u8; 32] = Sha256::digest(identifier).into();
    caveats
        .iter()
        .map(|caveat| {
            let digest = Sha256::new()
                .chain_update(place)
                .chain_update(caveat.to_string());
            place = digest.finalize().into();
            place
        })
        .collect()
}

/// Returns the id in the identifier, `None` when the macaroon has another purpose.
pub(super) fn token_id(macaroon: &Macaroon) -> Option<String> {
    let identifier = String::from_utf8(macaroon.identifier()).ok()?;
    let id = identifier.strip_prefix(IDENTIFIER_PREFIX)?;
    let is_sound = id.len() == ID_CHARS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sound.then(|| id.to_owned())
}

pub(super) fn agent_in(restrictions: &[Restriction]) -> Option<String> {
    restrictions
        .iter()
        .find_map(|restriction| match restriction {
            Restriction::Agent(agent) => Some(agent.clone()),
            _ => None,
        })
}

pub(super) fn smallest_amount(restrictions: &[Restriction]) -> Option<Msat> {
    restrictions
        .iter()
        .filter_map(|restriction| match restriction {
            Restriction::MaxAmount(amount) => Some(*amount),
            _ => None,
        })
        .min()
}
