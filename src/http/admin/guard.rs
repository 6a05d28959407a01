//! The door of the API: no handler reaches the node but through a [`Caller`].
//!
//! The table in `routes.rs` says which permission a route needs; the handler says
//! what its call is about (whose wallet, which host, how much), because a token
//! may be narrowed in each respect; [`Caller::admit`] lets it have the node.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use feria_paywall::amount::Msat;
use parking_lot::Mutex;
use subtle::ConstantTimeEq;

use super::api::shown;
use crate::access::{Denied, Permission, Request};
use crate::http::{Node, Problem};
use crate::wallet::WalletInfo;

/// The permission of the route, put into the request by the router.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needed(pub(super) Permission);

/// What a call is about, where a token may be restricted to it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct About<'a> {
    /// The own agent it acts for.
    pub(super) agent: Option<&'a str>,
    /// The host that is paid.
    pub(super) host: Option<&'a str>,
    /// The rail that is paid on, `cashu` or `lightning`.
    pub(super) rail: Option<&'a str>,
    /// The HTTP method of the call that is paid for.
    pub(super) method: Option<&'a str>,
    /// What it may cost at most, with fees.
    pub(super) amount: Option<Msat>,
}

/// Someone who calls the API with a token of the right tier, not let in yet.
pub(super) struct Caller {
    node: Arc<Node>,
    token: String,
    permission: Permission,
    /// The call as counted in the windows of the token, once it is let in.
    counted: Mutex<Option<String>>,
}

impl FromRequestParts<Arc<Node>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        node: &Arc<Node>,
    ) -> Result<Self, Self::Rejection> {
        let token = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim().to_owned());
        // A route that is not in the table is for nobody but the operator.
        let permission = parts
            .extensions
            .get::<Needed>()
            .map_or(Permission::NodeAdmin, |needed| needed.0);
        let token = token.ok_or_else(|| {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "token_missing",
                "this route needs a token: Authorization: Bearer TOKEN",
            )
            .next("ask the operator for one: feria access issue --tier TIER")
        })?;
        let caller = Self {
            node: Arc::clone(node),
            token,
            permission,
            counted: Mutex::default(),
        };
        // Before the body is read: who may not call learns nothing of what a good call is.
        if !caller.is_operator() {
            node.access.verify_tier(&caller.token, permission).await?;
        }
        Ok(caller)
    }
}

impl Caller {
    /// Lets the caller have the node, or says why not.
    pub(super) async fn admit(&self, about: About<'_>) -> Result<Arc<Node>, Problem> {
        if !self.is_operator() {
            let request = Request {
                permission: self.permission,
                agent: about.agent,
                host: about.host,
                rail: about.rail,
                method: about.method,
                amount: about.amount,
                now: self.node.clock.now(),
            };
            let access = &self.node.access;
            if self.permission.spends() {
                let counted = access.reserve(&self.token, &request).await?;
                *self.counted.lock() = counted;
            } else {
                access.verify(&self.token, &request).await?;
            }
        }
        Ok(Arc::clone(&self.node))
    }

    /// Says what the call did cost. Without this, the most that it might have cost
    /// stays counted in the windows of the token.
    pub(super) async fn settle(&self, cost: Msat) {
        let counted = self.counted.lock().take();
        let Some(call_id) = counted else { return };
        if let Err(error) = self.node.access.settle(&call_id, cost).await {
            tracing::warn!(%error, "the cost of a call stays counted at its most");
        }
    }

    /// Lets the caller act for the agent of the wallet `id_or_agent`.
    pub(super) async fn admit_to_wallet(
        &self,
        id_or_agent: &str,
        about: About<'_>,
    ) -> Result<(Arc<Node>, WalletInfo), Problem> {
        let wallet = self.node.wallets.find_agent_wallet(id_or_agent).await?;
        let agent = wallet.as_ref().map(|wallet| wallet.agent.as_str());
        // Who is not let in does not learn which wallets exist.
        let node = self.admit(About { agent, ..about }).await?;
        let Some(wallet) = wallet else {
            self.settle(Msat::ZERO).await;
            return Err(
                Problem::not_found(format!("there is no wallet {}", shown(id_or_agent)))
                    .next("create one: feria wallet create NAME --limit 500sat --ttl 1h"),
            );
        };
        Ok((node, wallet))
    }

    /// Returns the limits of purchases, for a call that names none.
    pub(super) fn spend_limits(&self) -> (Msat, Msat) {
        let spend = &self.node.config.spend;
        (spend.max_price, spend.max_fee)
    }

    /// The operator's key opens everything. It derives from the seed, so only
    /// who has the node's files has it.
    fn is_operator(&self) -> bool {
        let key = hex::encode(self.node.seed.secret(super::OPERATOR_LABEL));
        key.as_bytes().ct_eq(self.token.as_bytes()).into()
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let detail = denied.to_string();
        let (status, code) = match denied {
            Denied::NotOurs => (StatusCode::UNAUTHORIZED, "token_unknown"),
            Denied::NoRecord(_) => (StatusCode::UNAUTHORIZED, "token_without_record"),
            Denied::Revoked => (StatusCode::UNAUTHORIZED, "token_revoked"),
            Denied::Expired(_) => (StatusCode::UNAUTHORIZED, "token_expired"),
            Denied::UnknownCaveat(_) => (StatusCode::FORBIDDEN, "token_condition_unknown"),
            Denied::Tier { .. } => (StatusCode::FORBIDDEN, "tier_too_low"),
            Denied::Restricted { .. } => (StatusCode::FORBIDDEN, "token_restricted"),
            Denied::Amount { .. } => (StatusCode::FORBIDDEN, "token_amount"),
            Denied::Window { .. } => (StatusCode::FORBIDDEN, "token_window"),
            Denied::Unavailable(_) => {
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
                    .retryable();
            }
        };
        Self::new(status, code, detail)
    }
}
