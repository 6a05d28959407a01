//! The command line: one file per subcommand.
//!
//! Standard output is data, standard error is messages; `--json` makes both
//! machine-readable. Exit codes are one table, in [`exit`]. Commands that need the
//! node reach it through its API; `search`, `agent list`, `access` and `ledger
//! audit` also work on the files of a node that does not run.

mod access;
mod agent;
mod client;
mod demo;
pub mod exit;
mod fault;
mod fetch;
mod init;
mod ledger;
mod output;
mod parse;
mod pay;
mod search;
mod up;
mod wallet;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use etcetera::AppStrategy;

use crate::config::{Config, Environment};
use crate::telemetry::{self, Verbosity};
use exit::ExitCode;
use fault::{Fault, Outcome};
use output::Output;

/// A market of agents, without a market place: sell and buy by the call.
#[derive(Debug, Parser)]
#[command(name = "feria", version, after_help = EXAMPLES)]
struct Arguments {
    /// The folder of all files of the node [default: the user's data folder].
    #[arg(long, global = true, env = "FERIA_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Write data and errors as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  feria demo                                   the whole market, with play money
  feria init && feria up                       a node of your own
  feria search translation                     what others sell
  feria fetch --wallet research --max-cost 50sat URL
  feria agent add translate --upstream http://127.0.0.1:9000 --price 21sat";

#[derive(Debug, Subcommand)]
enum Command {
    /// Set up the data folder.
    Init(init::Arguments),
    /// Run the node.
    Up(up::Arguments),
    /// Play the whole market in one process, with play money.
    Demo(demo::Arguments),
    /// Find what agents sell.
    Search(search::Arguments),
    /// Call a URL, and pay for it if it asks.
    Fetch(fetch::Arguments),
    /// Own agents: what this node sells.
    #[command(subcommand)]
    Agent(agent::Command),
    /// Wallets of own agents.
    #[command(subcommand)]
    Wallet(wallet::Command),
    /// Pay an invoice, or send ecash to an agent.
    Pay(pay::Arguments),
    /// Tokens for the node's API.
    #[command(subcommand)]
    Access(access::Command),
    /// The node's books.
    #[command(subcommand)]
    Ledger(ledger::Command),
}

/// What every command is told.
struct Context {
    data_dir: PathBuf,
    environment: Environment,
}

impl Context {
    fn config(&self) -> Result<Config, Fault> {
        Ok(Config::load(&self.data_dir, &self.environment)?)
    }
}

/// Runs the command that `arguments` name (the program's name first) and returns
/// the exit code. Data goes to `out`, messages to `err`.
pub async fn run<I, A>(arguments: I, out: &mut dyn Write, err: &mut dyn Write) -> u8
where
    I: IntoIterator<Item = A>,
    A: Into<OsString> + Clone,
{
    let parsed = match Arguments::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error, out, err),
    };
    let is_node = matches!(parsed.command, Command::Up(_) | Command::Demo(_));
    telemetry::init(if is_node {
        Verbosity::Node
    } else {
        Verbosity::Command
    });
    let mut output = Output::new(out, parsed.json);
    match execute(parsed, &mut output).await {
        Ok(exit) => exit.number(),
        Err(fault) => {
            let text = if output.is_json() {
                fault.to_json().to_string()
            } else {
                fault.to_string()
            };
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(err, "{text}");
            fault.exit().number()
        }
    }
}

/// Prints help where it was asked for, and what is wrong with the arguments where not.
fn refuse(error: &clap::Error, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let text = error.render();
    if error.use_stderr() {
        let _ = write!(err, "{text}");
        ExitCode::Usage.number()
    } else {
        let _ = write!(out, "{text}");
        ExitCode::Ok.number()
    }
}

async fn execute(arguments: Arguments, output: &mut Output<'_>) -> Outcome {
    if let Command::Demo(demo) = arguments.command {
        return demo.execute(arguments.data_dir, output).await;
    }
    let context = Context {
        data_dir: match arguments.data_dir {
            Some(folder) => folder,
            None => default_data_dir()?,
        },
        environment: Environment::of_process(),
    };
    match arguments.command {
        Command::Init(command) => command.execute(&context, output).await,
        Command::Up(command) => Box::pin(command.execute(&context, output)).await,
        Command::Demo(_) => Ok(ExitCode::Ok),
        Command::Search(command) => command.execute(&context, output).await,
        Command::Fetch(command) => command.execute(&context, output).await,
        Command::Agent(command) => command.execute(&context, output).await,
        Command::Wallet(command) => command.execute(&context, output).await,
        Command::Pay(command) => command.execute(&context, output).await,
        Command::Access(command) => command.execute(&context, output).await,
        Command::Ledger(command) => command.execute(&context, output).await,
    }
}

/// Returns the user's data folder for this program.
fn default_data_dir() -> Result<PathBuf, Fault> {
    let names = etcetera::AppStrategyArgs {
        top_level_domain: String::new(),
        author: String::new(),
        app_name: "feria".to_owned(),
    };
    etcetera::choose_app_strategy(names)
        .map(|strategy| strategy.data_dir())
        .map_err(|_| Fault::usage("this user has no home folder: name one with --data-dir"))
}
