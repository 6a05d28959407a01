//! The command line: one file per subcommand.
//!
//! Standard output is data, standard error is messages; `--json` makes both
//! machine-readable. Exit codes are one table, in [`exit`]. Commands that need the
//! node reach it through its API; `search`, `agent add`, `agent list`, `mint`,
//! `access`, `index` and `ledger audit` also work on the files of a node that does not run.

mod access;
mod agent;
mod approval;
mod budget;
mod call;
mod client;
mod credential;
mod demo;
mod examples;
pub mod exit;
mod fault;
mod fetch;
mod index;
mod init;
mod ledger;
mod lightning;
mod mint;
mod output;
mod parse;
mod pay;
mod proxy;
mod quote;
mod search;
mod status;
mod up;
mod wallet;

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use etcetera::AppStrategy;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, Environment};
use crate::telemetry::{self, Verbosity};
use exit::ExitCode;
use fault::{Fault, Outcome};
use output::Output;

/// A market of agents, without a market place: sell and buy by the call.
#[derive(Debug, Parser)]
#[command(name = "feria", version, arg_required_else_help = true)]
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

#[derive(Debug, Subcommand)]
enum Command {
    /// Set up the data folder.
    Init(init::Arguments),
    /// Run the node.
    Up(up::Arguments),
    /// Play the whole market in one process, with play money.
    Demo(demo::Arguments),
    /// Say how the running node is doing, and what it lacks.
    Status(status::Arguments),
    /// Find what agents sell.
    Search(search::Arguments),
    /// Call a URL, and pay for it if it asks.
    Fetch(fetch::Arguments),
    /// Pay for the calls of any HTTP client that is sent through here.
    Proxy(proxy::Arguments),
    /// Say what a call would cost, and by which ways; pay nothing.
    Quote(quote::Arguments),
    /// Own agents: what this node sells.
    #[command(subcommand)]
    Agent(agent::Command),
    /// Wallets of own agents.
    #[command(subcommand)]
    Wallet(wallet::Command),
    /// What agents may still spend.
    #[command(subcommand)]
    Budget(budget::Command),
    /// Purchases that wait for a person.
    #[command(subcommand)]
    Approval(approval::Command),
    /// The mints this node trusts with money.
    #[command(subcommand)]
    Mint(mint::Command),
    /// Channels of a Lightning node inside this one.
    #[command(subcommand)]
    Lightning(lightning::Command),
    /// Pay an invoice or a payment request, or send ecash to an agent.
    Pay(pay::Arguments),
    /// Lightning credentials that paid for calls of own agents.
    #[command(subcommand)]
    Credential(credential::Command),
    /// The node's copy of the market.
    #[command(subcommand)]
    Index(index::Command),
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

/// Runs the command of this process and returns its exit code.
///
/// The runtime is started here and not in the program's file: whoever polls the
/// command compiles all of it, and the library has done so for its tests already.
pub fn main() -> std::process::ExitCode {
    crate::client::install_tls_provider();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(err, "error: cannot start the runtime: {error}");
            return std::process::ExitCode::FAILURE;
        }
    };
    let arguments = std::env::args_os().collect();
    runtime.block_on(run(arguments, &mut out, &mut err)).into()
}

/// Runs the command that `arguments` name (the program's name first) and returns
/// the exit code. Data goes to `out`, messages to `err`.
async fn run(arguments: Vec<OsString>, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    // The parser stops at the first fault, so it does not say whether JSON was asked for.
    let is_json = arguments.iter().any(|argument| argument == "--json");
    let parsed = match parse(arguments) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error, is_json, out, err),
    };
    // The demo tells its story itself; log lines between would drown it.
    let is_node = matches!(parsed.command, Command::Up(_));
    telemetry::init(if is_node {
        Verbosity::Node
    } else {
        Verbosity::Command
    });
    let mut output = Output::new(out, err, parsed.json);
    match execute(parsed, &mut output).await {
        Ok(exit) => exit.number(),
        Err(fault) => {
            output.fault(&fault);
            fault.exit().number()
        }
    }
}

/// Says whether `arguments` (the program's name first) are a command or a request
/// for help.
///
/// # Errors
/// What is wrong with them, as the command would say it.
pub fn check<I, A>(arguments: I) -> Result<(), String>
where
    I: IntoIterator<Item = A>,
    A: Into<OsString>,
{
    match parse(arguments.into_iter().map(Into::into).collect()) {
        Err(error) if error.use_stderr() => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Arguments, clap::Error> {
    let mut command = examples::with_examples(Arguments::command());
    let matches = command.try_get_matches_from_mut(arguments)?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Prints help where it was asked for, and what is wrong with the arguments where not.
fn refuse(error: &clap::Error, is_json: bool, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let text = error.render();
    if error.use_stderr() {
        if is_json {
            // The first paragraph says what is wrong; the rest is the usage.
            let text = text.to_string();
            let fault = text.split("\n\n").next().unwrap_or_default();
            let words: Vec<&str> = fault.split_whitespace().skip(1).collect();
            let fault = Fault::usage(words.join(" ")).next("see how it is used: --help");
            Output::new(out, err, true).fault(&fault);
        } else {
            let _ = write!(err, "{text}");
        }
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
        Command::Status(command) => command.execute(&context, output).await,
        Command::Search(command) => command.execute(&context, output).await,
        Command::Fetch(command) => command.execute(&context, output).await,
        Command::Proxy(command) => command.execute(&context, output).await,
        Command::Quote(command) => command.execute(&context, output).await,
        Command::Agent(command) => command.execute(&context, output).await,
        Command::Wallet(command) => command.execute(&context, output).await,
        Command::Budget(command) => command.execute(&context, output).await,
        Command::Approval(command) => command.execute(&context, output).await,
        Command::Mint(command) => command.execute(&context, output).await,
        Command::Lightning(command) => command.execute(&context, output).await,
        Command::Pay(command) => command.execute(&context, output).await,
        Command::Credential(command) => command.execute(&context, output).await,
        Command::Index(command) => command.execute(&context, output).await,
        Command::Access(command) => command.execute(&context, output).await,
        Command::Ledger(command) => command.execute(&context, output).await,
    }
}

/// Watches for Ctrl-C and SIGTERM from now on; the future resolves at the first.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
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
