//! What the process's exit code says; the documentation is generated from [`TABLE`].

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// As asked.
    Ok,
    /// A fault that no other code names.
    General,
    /// The arguments, the configuration or the request make no sense.
    Usage,
    /// A payment failed.
    PaymentFailed,
    /// Something that was asked does not answer.
    Network,
    /// No token, or one that does not permit this.
    Denied,
    /// Too many requests.
    RateLimited,
    /// It is not there.
    NotFound,
    /// A limit, a budget or a signed price said no.
    Refused,
    /// A payment may or may not have happened.
    Unknown,
    /// A dry run got as far as paying.
    DryRun,
    /// A person has to agree first.
    Approval,
    /// Paid, and the seller failed; the credential is kept.
    PaidNotDelivered,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The code.
    pub exit: ExitCode,
    /// Its number.
    pub number: u8,
    /// What it means.
    pub meaning: &'static str,
    /// What became of money.
    pub money: &'static str,
    /// The `code` of the API's problems that end a command so.
    pub codes: &'static [&'static str],
}

const fn row(
    exit: ExitCode,
    number: u8,
    meaning: &'static str,
    money: &'static str,
    codes: &'static [&'static str],
) -> Row {
    Row {
        exit,
        number,
        meaning,
        money,
        codes,
    }
}

/// Every exit code. The numbers up to 10 are those of other L402 tools.
pub const TABLE: &[Row] = &[
    row(ExitCode::Ok, 0, "ok", "none", &[]),
    row(ExitCode::General, 1, "general error", "none", &[]),
    row(
        ExitCode::Usage,
        2,
        "bad arguments, or something is not set up yet",
        "none",
        &[
            "bad_request",
            "bad_config",
            "bad_agent_file",
            "bad_policy_file",
            "body_too_large",
            "connect_unsupported",
            "no_mint",
            "no_write_relay",
            "no_way_to_be_paid",
        ],
    ),
    row(
        ExitCode::PaymentFailed,
        3,
        "payment failed",
        "none spent",
        &[
            "payment_failed",
            "insufficient_funds",
            "token_refused",
            "no_rail",
            "no_usable_challenge",
            "invoice_undecodable",
            "invoice_without_amount",
            "invoice_over_all_bitcoin",
            "invoice_expired",
            "invoice_of_another_payment",
            "token_unfit",
            "payment_challenge_unusable",
            "payment_request_unusable",
            "payment_request_unit",
            "lightning_refused",
            "payee_not_reachable",
        ],
    ),
    row(
        ExitCode::Network,
        4,
        "network: node, seller, mint or relay does not answer",
        "none",
        &[
            "node_unreachable",
            "seller_unreachable",
            "mint_unavailable",
            "lightning_unavailable",
            "unavailable",
            "no_relay_took_it",
        ],
    ),
    row(
        ExitCode::Denied,
        5,
        "no token, or its tier does not include this",
        "none",
        &[
            "token_missing",
            "token_unknown",
            "token_without_record",
            "token_revoked",
            "token_expired",
            "token_condition_unknown",
            "tier_too_low",
            "token_restricted",
            "token_amount",
            "token_window",
            "foreign_host",
        ],
    ),
    row(
        ExitCode::RateLimited,
        6,
        "rate limited",
        "none",
        &["rate_limited", "over_velocity"],
    ),
    row(ExitCode::NotFound, 7, "not found", "none", &["not_found"]),
    row(
        ExitCode::Refused,
        8,
        "refused by policy or budget",
        "none",
        &[
            "over_cap",
            "above_listing",
            "over_budget",
            "over_limit",
            "refused_before",
            "policy_denied",
            "approval_decided",
            "approval_expired",
            "already_paid",
            "untrusted_mint",
        ],
    ),
    row(
        ExitCode::Unknown,
        9,
        "outcome unknown: do not retry",
        "maybe",
        &["outcome_unknown"],
    ),
    row(ExitCode::DryRun, 10, "dry run passed", "none", &[]),
    row(
        ExitCode::Approval,
        11,
        "waiting for human approval; repeat with the same idempotency key after it",
        "none yet",
        &["approval_required"],
    ),
    row(
        ExitCode::PaidNotDelivered,
        12,
        "paid, upstream failed; repeat with the same idempotency key",
        "spent",
        &["paid_not_delivered"],
    ),
];

impl ExitCode {
    /// Returns the number for the system.
    #[must_use]
    pub fn number(self) -> u8 {
        TABLE
            .iter()
            .find(|row| row.exit == self)
            .map_or(1, |row| row.number)
    }

    /// Returns how a problem with `code` ends a command.
    #[must_use]
    pub fn of_problem(code: &str) -> Self {
        TABLE
            .iter()
            .find(|row| row.codes.contains(&code))
            .map_or(Self::General, |row| row.exit)
    }
}

/// Returns the page `docs/EXIT-CODES.md`.
#[must_use]
pub fn markdown() -> String {
    let rows: Vec<String> = TABLE
        .iter()
        .map(|row| {
            let codes: Vec<String> = row.codes.iter().map(|code| format!("`{code}`")).collect();
            format!(
                "| {} | {} | {} | {} |",
                row.number,
                row.meaning,
                row.money,
                codes.join(", ")
            )
        })
        .collect();
    format!(
        "# Exit codes\n\n\
         Made from `src/cli/exit.rs` by `just schemas`; a test compares the two.\n\n\
         With `--json`, a command that fails writes one object to standard error: `error` (true), \
         `code`, `message`, `next_steps`, `exit_code`.\n\n\
         | exit code | meaning | money | `code` of the error |\n|---|---|---|---|\n{}\n",
        rows.join("\n")
    )
}

/// Returns the table as plain lines, for the help text.
pub(super) fn lines() -> String {
    let rows: Vec<String> = TABLE
        .iter()
        .map(|row| {
            format!(
                "  {:>2}  {} (money: {})",
                row.number, row.meaning, row.money
            )
        })
        .collect();
    format!("Exit codes:\n{}", rows.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_are_used_once() {
        let mut numbers: Vec<u8> = TABLE.iter().map(|row| row.number).collect();
        numbers.dedup();
        let mut codes: Vec<&str> = TABLE.iter().flat_map(|row| row.codes).copied().collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();

        assert_eq!(numbers, (0..=12).collect::<Vec<u8>>());
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn problems_end_with_the_code_of_their_row() {
        assert_eq!(ExitCode::of_problem("over_budget").number(), 8);
        assert_eq!(ExitCode::of_problem("outcome_unknown").number(), 9);
        assert_eq!(ExitCode::of_problem("something_new").number(), 1);
    }
}
