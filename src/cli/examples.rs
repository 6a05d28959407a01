//! Examples: what the help of every command shows before its options.
//!
//! One table, so that a test can run each through the parser.

use clap::Command;

use super::exit;

/// The layout of every help text: what it is, how it is used, examples, options.
const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}

{before-help}{all-args}{after-help}";

/// Examples by command; the program's own have the empty name. Each is a command
/// line and, after two spaces or more, what it does.
const TABLE: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "feria demo                             the whole market, with play money",
            "feria init                             set up a node of your own",
            "feria up                               run it",
            "feria search translation               what others sell",
            "feria agent add translate --upstream http://127.0.0.1:9000 --price 21sat",
            "feria fetch --wallet scout --max-cost 50sat https://seller.example/a/translate/",
        ],
    ),
    (
        "init",
        &[
            "feria init                             in the user's data folder",
            "feria init --data-dir ./node           somewhere else",
            "feria init --network simulated --no-relays",
        ],
    ),
    (
        "up",
        &[
            "feria up                               until Ctrl-C",
            "feria up --data-dir ./node --json      one line of JSON with the addresses",
        ],
    ),
    (
        "demo",
        &[
            "feria demo                             play it and keep the pages open",
            "feria demo --once --json               one document, then end",
            "feria demo --data-dir ./demo           keep the state",
        ],
    ),
    (
        "status",
        &[
            "feria status",
            "feria status --quiet                   for health checks",
        ],
    ),
    (
        "search",
        &[
            "feria search translation",
            "feria search --max-price 50sat --rail nut24",
            "feria search weather --json",
        ],
    ),
    (
        "fetch",
        &[
            "feria fetch --wallet scout --dry-run https://seller.example/a/translate/",
            "feria fetch --wallet scout --max-cost 50sat https://seller.example/a/translate/",
            "feria fetch --wallet scout -X POST -H \"content-type: text/plain\" -d hello URL",
            "feria fetch --wallet scout -d @question.json -o answer.json --idempotency-key q-1 URL",
            "feria fetch --wallet scout --no-pay URL                what it answers without payment",
            "feria fetch --wallet scout -c -o movie.mp4 URL         the rest of a file",
            "feria fetch --wallet scout --resume 5f0c... URL        what was paid for and not received",
        ],
    ),
    (
        "proxy",
        &[
            "feria proxy --wallet scout --max-cost 50sat",
            "feria proxy --wallet scout --listen 0.0.0.0:7404 --require-token",
        ],
    ),
    (
        "quote",
        &[
            "feria quote --wallet scout https://seller.example/a/translate/",
            "feria quote --agent scout --rail cashu --json URL",
        ],
    ),
    (
        "agent",
        &["feria agent add translate --upstream http://127.0.0.1:9000 --price 21sat"],
    ),
    (
        "agent add",
        &[
            "feria agent add translate --upstream http://127.0.0.1:9000 --price 21sat",
            "feria agent add data --upstream http://127.0.0.1:9000 --price 500msat --method GET --uses 10",
        ],
    ),
    ("agent list", &["feria agent list"]),
    (
        "agent reload",
        &["feria agent reload                     after agents/NAME.toml was edited"],
    ),
    ("agent publish", &["feria agent publish translate"]),
    ("agent check", &["feria agent check translate"]),
    ("credential", &["feria credential list"]),
    (
        "credential list",
        &[
            "feria credential list",
            "feria credential list --agent translate --json",
        ],
    ),
    (
        "credential revoke",
        &["feria credential revoke 5f0c...   the token id in the list"],
    ),
    (
        "wallet",
        &[
            "feria wallet create scout --limit 500sat --ttl 1h",
            "feria wallet balance",
        ],
    ),
    (
        "wallet create",
        &[
            "feria wallet create scout --limit 500sat --ttl 1h",
            "feria wallet create scout --limit 500sat --ttl 1h --fund 200sat",
        ],
    ),
    (
        "wallet balance",
        &["feria wallet balance", "feria wallet balance scout"],
    ),
    (
        "wallet audit",
        &[
            "feria wallet audit scout",
            "feria wallet audit --file log.json     exported with --json; needs no node",
        ],
    ),
    ("wallet freeze", &["feria wallet freeze scout"]),
    ("wallet thaw", &["feria wallet thaw scout"]),
    ("wallet sweep", &["feria wallet sweep scout"]),
    ("wallet close", &["feria wallet close scout"]),
    (
        "wallet fund",
        &[
            "feria wallet fund treasury --amount 1000sat    prints an invoice to pay",
            "feria wallet fund treasury --quote ID          takes what was paid on it",
            "feria wallet fund scout --amount 100sat        from the treasury",
        ],
    ),
    (
        "budget",
        &[
            "feria budget show",
            "feria budget simulate --policy policies/scout.toml",
        ],
    ),
    (
        "budget show",
        &["feria budget show", "feria budget show scout"],
    ),
    (
        "budget simulate",
        &[
            "feria budget simulate --policy policy.sample.toml",
            "feria budget simulate --policy FILE --agent scout --last 7d",
        ],
    ),
    (
        "budget reload",
        &["feria budget reload                    after policies/NAME.toml was edited"],
    ),
    ("approval", &["feria approval list"]),
    ("approval list", &["feria approval list --agent scout"]),
    (
        "approval approve",
        &["feria approval approve 5f0c...         the purchase in the list"],
    ),
    (
        "approval deny",
        &["feria approval deny 5f0c... --note \"too dear\""],
    ),
    (
        "mint",
        &["feria mint add https://mint.example --cap 10000sat"],
    ),
    (
        "mint add",
        &["feria mint add https://mint.example --cap 10000sat"],
    ),
    ("mint list", &["feria mint list"]),
    (
        "lightning",
        &[
            "feria lightning status                 what the node inside holds, and its channels",
            "feria lightning fund                   an address to send coins to",
        ],
    ),
    ("lightning status", &["feria lightning status"]),
    ("lightning fund", &["feria lightning fund"]),
    (
        "lightning open",
        &["feria lightning open 02ab...@203.0.113.7:9735 --amount 100000sat"],
    ),
    (
        "lightning close",
        &[
            "feria lightning close 00c0ffee...",
            "feria lightning close 00c0ffee... --force",
        ],
    ),
    (
        "pay",
        &[
            "feria pay --wallet scout --max-cost 500sat lnbc...",
            "feria pay --wallet scout --amount 250sat npub1...",
            "feria pay --wallet scout --max-cost 500sat creqA...",
        ],
    ),
    ("index", &["feria index verify"]),
    (
        "index rebuild",
        &["feria index rebuild                    while the node does not run"],
    ),
    (
        "index verify",
        &["feria index verify", "feria index verify --json"],
    ),
    (
        "access",
        &["feria access issue --tier pay-only --max-amount 100sat --ttl 7d"],
    ),
    (
        "access issue",
        &[
            "feria access issue --tier read-only",
            "feria access issue --tier pay-only --agent scout --max-amount 100sat --ttl 7d",
        ],
    ),
    ("access inspect", &["feria access inspect TOKEN"]),
    (
        "access narrow",
        &[
            "feria access narrow TOKEN --max-amount 50sat --ttl 1h",
            "feria access narrow TOKEN --window 500sat/1d --host api.example --rail cashu",
        ],
    ),
    ("access list", &["feria access list"]),
    (
        "access revoke",
        &["feria access revoke 5f0c...            the id in the list"],
    ),
    ("ledger", &["feria ledger audit"]),
    (
        "ledger why",
        &["feria ledger why last", "feria ledger why ID --json"],
    ),
    (
        "ledger audit",
        &["feria ledger audit", "feria ledger audit --json"],
    ),
];

/// Returns `command` with examples in its help, and in that of every subcommand.
pub(super) fn with_examples(command: Command) -> Command {
    let command = command.after_long_help(exit::lines());
    add(command, "")
}

fn add(command: Command, name: &str) -> Command {
    let lines = TABLE
        .iter()
        .find(|(owner, _)| *owner == name)
        .map_or(&[][..], |(_, lines)| lines);
    let mut command = command.help_template(TEMPLATE);
    if !lines.is_empty() {
        command = command.before_help(format!("Examples:\n  {}", lines.join("\n  ")));
    }
    command.mut_subcommands(|inner| {
        let full = format!("{name} {}", inner.get_name());
        add(inner, full.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits as a shell does, as far as the examples need.
    fn words(line: &str) -> Vec<String> {
        let command = line.split("  ").next().unwrap_or_default();
        let mut words = vec![String::new()];
        let mut is_quoted = false;
        for letter in command.chars() {
            match letter {
                '"' => is_quoted = !is_quoted,
                ' ' if !is_quoted => words.push(String::new()),
                letter => words.last_mut().unwrap().push(letter),
            }
        }
        words
    }

    #[test]
    fn every_example_can_be_parsed() {
        for line in TABLE.iter().flat_map(|(_, lines)| *lines) {
            assert_eq!(super::super::check(words(line)), Ok(()), "{line}");
        }
    }

    #[test]
    fn every_command_has_an_example() {
        fn names(command: &Command, prefix: &str, found: &mut Vec<String>) {
            found.push(prefix.to_owned());
            for inner in command.get_subcommands() {
                let name = format!("{prefix} {}", inner.get_name());
                names(inner, name.trim(), found);
            }
        }
        use clap::CommandFactory;
        let mut found = Vec::new();
        names(&super::super::Arguments::command(), "", &mut found);

        let listed: Vec<&str> = TABLE.iter().map(|(name, _)| *name).collect();
        for name in &found {
            assert!(listed.contains(&name.as_str()), "{name} has no example");
        }
        assert_eq!(found.len(), listed.len(), "an example of no command");
    }
}
