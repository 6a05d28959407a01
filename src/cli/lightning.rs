//! `feria lightning`: the channels of a Lightning node that runs inside this one.

use clap::{Args, Subcommand};
use feria_paywall::amount::Sat;
use serde_json::{Value, json};

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::output::{facts, table};
use super::{Context, Output, parse};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what the node holds, and its channels.
    Status(Which),
    /// Show an address on the chain: what arrives there can go into channels.
    Fund(Which),
    /// Open a channel.
    Open {
        /// The other node, as key@host:port.
        peer: String,
        /// What goes into the channel, from the chain.
        #[arg(long, value_name = "AMOUNT", value_parser = parse::sat)]
        amount: Sat,
        #[command(flatten)]
        which: Which,
    },
    /// Close a channel; what it holds goes back to the chain.
    Close {
        /// Its id, from `feria lightning status`.
        channel: String,
        /// Close alone, when the other side is gone: dearer, and the money comes after a delay.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        which: Which,
    },
}

/// Which node.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Its name in feria.toml [default: the only one inside this node].
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
}

impl Command {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let client = NodeClient::open_as_operator(context).await?;
        match self {
            Self::Status(which) => {
                let name = which.name(&client).await?;
                let status = client.get(&["lightning", &name], &[]).await?;
                output.show(&status, describe)?;
            }
            Self::Fund(which) => {
                let name = which.name(&client).await?;
                let path = ["lightning", &name, "address"];
                let funding = client.post(&path, &json!({})).await?;
                output.show(&funding, |funding| text(&funding["address"]))?;
                output.note("Coins sent there can go into channels once they are confirmed");
            }
            Self::Open {
                peer,
                amount,
                which,
            } => {
                let name = which.name(&client).await?;
                let path = ["lightning", &name, "channels"];
                let order = json!({"peer": peer, "amount_sat": amount.as_u64()});
                let opened = client.post(&path, &order).await?;
                output.show(&opened, |opened| {
                    format!("Opening channel {}.", text(&opened["channel"]))
                })?;
                output.note("It can be used after some confirmations: feria lightning status");
            }
            Self::Close {
                channel,
                force,
                which,
            } => {
                let name = which.name(&client).await?;
                let path = ["lightning", &name, "channels", &channel, "close"];
                let closed = client.post(&path, &json!({"force": force})).await?;
                output.show(&closed, |closed| {
                    format!("Closing channel {}.", text(&closed["channel"]))
                })?;
            }
        }
        Ok(ExitCode::Ok)
    }
}

impl Which {
    async fn name(self, client: &NodeClient) -> Result<String, Fault> {
        if let Some(name) = self.backend {
            return Ok(name);
        }
        let backends = client.get(&["lightning"], &[]).await?;
        let embedded: Vec<&Value> = backends["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|backend| backend["is_embedded"] == true)
            .collect();
        match embedded.as_slice() {
            [only] => Ok(text(&only["name"])),
            [] => Err(Fault::usage(
                "this node has no Lightning node inside: add a backend with kind = \"ldk\" to feria.toml",
            )),
            _ => Err(Fault::usage("there are several: name one with --backend")),
        }
    }
}

fn describe(status: &Value) -> String {
    let node = facts(
        status,
        &[
            ("Node", "id"),
            ("Block", "block_height"),
            ("On the chain, sat", "onchain_sat"),
            ("Free for channels, sat", "spendable_onchain_sat"),
            ("In channels, sat", "lightning_sat"),
        ],
    );
    let channels = table(
        &status["channels"],
        &[
            ("CHANNEL", "id"),
            ("PEER", "peer"),
            ("CAPACITY SAT", "capacity_sat"),
            ("CAN SEND MSAT", "can_send_msat"),
            ("CAN RECEIVE MSAT", "can_receive_msat"),
            ("USABLE", "is_usable"),
        ],
        "No channels: feria lightning fund, then feria lightning open KEY@HOST:PORT --amount 100000sat",
    );
    format!("{node}\n\n{channels}")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
