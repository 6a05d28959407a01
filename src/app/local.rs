//! How the commands of this machine find a running node and are let in.
//!
//! Two files in the data folder, both for its owner alone: where the node listens,
//! and a token of the highest tier for its API.

use std::path::Path;

use anyhow::Context;
use serde_json::json;

use super::{Addresses, App};
use crate::access::{IssueRequest, Permission, Request, Tier};
use crate::config::{NODE_FILE, TOKEN_FILE, write_private};

impl App {
    /// Lets the commands of this machine reach the node, which listens at `addresses`.
    ///
    /// # Errors
    /// When the files cannot be written or the ledger does not work.
    pub async fn admit_local_commands(&self, addresses: Addresses) -> anyhow::Result<()> {
        let data_dir = &self.config.data_dir;
        self.keep_token(&data_dir.join(TOKEN_FILE)).await?;
        let document = json!({
            "public": addresses.public.to_string(),
            "admin": addresses.admin.to_string(),
            "pid": std::process::id(),
        });
        let path = data_dir.join(NODE_FILE);
        write_private(&path, &format!("{document}\n"))
            .with_context(|| format!("write {}", path.display()))
    }

    /// Says that the node stops. A file left behind by a kill is seen as stale.
    pub fn dismiss_local_commands(&self) {
        let _ = std::fs::remove_file(self.config.data_dir.join(NODE_FILE));
    }

    /// Writes a token, unless there is a good one.
    async fn keep_token(&self, path: &Path) -> anyhow::Result<()> {
        if let Ok(token) = std::fs::read_to_string(path) {
            let request = Request::new(Permission::Browse, self.node.clock.now());
            if self.access.verify(token.trim(), &request).await.is_ok() {
                return Ok(());
            }
        }
        let issued = self
            .access
            .issue(IssueRequest {
                label: "commands of this machine".to_owned(),
                ..IssueRequest::new(Tier::AgentCommerce)
            })
            .await
            .context("issue a token for the commands of this machine")?;
        write_private(path, &format!("{}\n", issued.text))
            .with_context(|| format!("write {}", path.display()))
    }
}
