//! `feria init`: sets up the data folder, and never overwrites what is there.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::{Context, Output};
use crate::clock::{SystemEntropy, random_bytes};
use crate::config::{CONFIG_FILE, NodeSeed, RELAYS_FILE, SAMPLE, SAMPLE_RELAYS};

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum NetworkName {
    Mainnet,
    Regtest,
    Simulated,
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Which money the node will move.
    #[arg(long, value_enum, default_value = "mainnet")]
    network: NetworkName,
    /// Leave the list of public relays empty.
    #[arg(long)]
    no_relays: bool,
}

impl Arguments {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let relays = if self.no_relays { "" } else { SAMPLE_RELAYS };
        let (written, kept) = set_up(context, self.network, relays)?;
        let folder = &context.data_dir;
        let config = context.config()?;
        let report = json!({
            "data_dir": folder,
            "network": config.network.as_str(),
            "written": written,
            "kept": kept,
        });
        output.show(&report, |_| {
            format!(
                "Data folder: {}\nNetwork: {}\nWritten: {}\nKept as they were: {}",
                folder.display(),
                config.network.as_str(),
                list(&written),
                list(&kept),
            )
        })?;
        if written.contains(&"seed") {
            output.note("Back up `seed` now: all keys and all ecash derive from it.");
        }
        if config.mints.is_empty() {
            output.note(
                "No mint is trusted yet, so it cannot sell or pay: feria mint add URL --cap 10000sat",
            );
        }
        if config.lightning.backends.is_empty() {
            output.note(
                "To sell for Lightning without a node, let that mint make the invoices: \
                 add `[lightning.backends.mint]` with `kind = \"mint\"` to feria.toml",
            );
        }
        output.note("Next: feria up");
        Ok(ExitCode::Ok)
    }
}

/// Names of files.
type Names = Vec<&'static str>;

/// Makes what is missing. Returns which files are new and which were there.
pub(super) fn set_up(
    context: &Context,
    network: NetworkName,
    relays: &str,
) -> Result<(Names, Names), Fault> {
    let folder = &context.data_dir;
    make_folder(folder)?;
    make_folder(&folder.join("agents"))?;
    let (mut written, mut kept) = (Names::new(), Names::new());
    let mut note = |name: &'static str, is_new: bool| {
        if is_new { &mut written } else { &mut kept }.push(name);
    };
    let network = match network {
        NetworkName::Mainnet => "mainnet",
        NetworkName::Regtest => "regtest",
        NetworkName::Simulated => "simulated",
    };
    let sample = SAMPLE.replacen(
        "network = \"mainnet\"",
        &format!("network = \"{network}\""),
        1,
    );
    note(CONFIG_FILE, write_new(&folder.join(CONFIG_FILE), &sample)?);
    note(RELAYS_FILE, write_new(&folder.join(RELAYS_FILE), relays)?);
    note("seed", make_seed(context)?);
    Ok((written, kept))
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

fn fault(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(
        "bad_config",
        format!("cannot write {}: {error}", path.display()),
    )
    .next("name a folder you own with --data-dir")
}

fn make_folder(path: &Path) -> Result<(), Fault> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| fault(path, &error))
}

/// Returns whether the file is new.
fn write_new(path: &Path, text: &str) -> Result<bool, Fault> {
    let opened = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match opened {
        Ok(mut file) => file
            .write_all(text.as_bytes())
            .map(|()| true)
            .map_err(|error| fault(path, &error)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(fault(path, &error)),
    }
}

/// Makes the seed where the configuration looks for it, unless it is kept elsewhere.
fn make_seed(context: &Context) -> Result<bool, Fault> {
    let config = context.config()?;
    match config.seed.path(&context.data_dir) {
        Some(path) if !path.exists() => {
            NodeSeed::from_bytes(random_bytes(&SystemEntropy)).save_new(&path)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}
