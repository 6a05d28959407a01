-- Double entry: every movement of money is one entry whose postings add up to 0.
-- The balance of an account is the sum of its postings; nothing else is a balance.

CREATE TABLE entries (
    id         INTEGER PRIMARY KEY,
    -- What happened: fund, pay, earn, refund, sweep, swap, transfer, settle, reverse.
    kind       TEXT    NOT NULL CHECK (length(kind) BETWEEN 1 AND 32),
    -- The operation, paid call, intent or transfer that this entry belongs to.
    reference  TEXT    NOT NULL CHECK (length(reference) <= 200),
    -- For a person; never a secret.
    memo       TEXT    NOT NULL DEFAULT '' CHECK (length(memo) <= 500),
    created_at INTEGER NOT NULL CHECK (created_at >= 0)
) STRICT;
-- Serves: all entries of one operation.
CREATE INDEX idx_entries_reference ON entries (reference);

CREATE TABLE postings (
    entry_id    INTEGER NOT NULL REFERENCES entries (id),
    -- "assets:…", "income:…", "expense:…", "fees:…", "owed:…" or "external:…".
    account     TEXT    NOT NULL CHECK (length(account) BETWEEN 1 AND 300),
    -- Positive: the account gained. Millisatoshi.
    amount_msat INTEGER NOT NULL CHECK (amount_msat <> 0)
) STRICT;
-- Serves: the postings of one entry.
CREATE INDEX idx_postings_entry_id ON postings (entry_id);
-- Serves: balances.
CREATE INDEX idx_postings_account_amount_msat ON postings (account, amount_msat);
