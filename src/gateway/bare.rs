//! The proxy by itself, with nothing to pay: what the benches hold the paywall against.
//!
//! No listener of a node serves one. It has no ledger, no wallet and no backend,
//! so nothing that was set up to be sold can be had through it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use http::{Request, Response};
use tower::Service;

use super::forward::{Forward, Upstreams};
use super::routes::{Matched, Routes};
use super::{Body, GatewayError, not_found};
use crate::config::{AgentConfig, GatewayConfig};
use crate::lifecycle::Lifecycle;

/// Forwards as [`super::Gateway`] does, for everyone.
pub struct BareProxy {
    routes: Routes,
    forward: Forward,
}

impl fmt::Debug for BareProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BareProxy").finish_non_exhaustive()
    }
}

impl BareProxy {
    /// Returns the proxy in front of `agents`, whose prices are ignored.
    ///
    /// # Errors
    /// When an agent's settings cannot be used.
    pub fn new(
        agents: Vec<AgentConfig>,
        config: &GatewayConfig,
        lifecycle: Lifecycle,
    ) -> Result<Self, GatewayError> {
        let upstreams = Arc::new(Upstreams::new(config, PathBuf::new()));
        upstreams.replace(upstreams.read(&agents)?);
        let routes = Routes::default();
        routes.replace(agents, false)?;
        Ok(Self {
            routes,
            forward: Forward::new(upstreams, lifecycle),
        })
    }

    /// Answers a request for `agent`.
    pub async fn handle(&self, agent: &str, mut request: Request<Body>) -> Response<Body> {
        let Some(route) = self.routes.find(agent, request.method(), request.uri()) else {
            return not_found();
        };
        request.extensions_mut().insert(Matched(route));
        match self.forward.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
