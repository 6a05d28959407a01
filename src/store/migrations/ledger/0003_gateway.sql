-- Selling: who paid for which call, so that no payment serves twice and none is
-- lost. A row is written before the step that depends on it.

-- One row per paid call; an ecash payment keeps its row when it pays for a retry.
CREATE TABLE paid_calls (
    id            TEXT    PRIMARY KEY CHECK (length(id) = 32),
    agent         TEXT    NOT NULL CHECK (length(agent) BETWEEN 1 AND 64),
    rail          TEXT    NOT NULL CHECK (rail IN ('l402', 'mpp', 'nut24-offline', 'nut24-swap')),
    -- The payment hash, or SHA-256 of the token's sorted Ys.
    payment_key   BLOB    NOT NULL CHECK (length(payment_key) = 32),
    -- swapping: the token is on its way to its mint. interrupted: the process
    -- died or the mint fell silent meanwhile; the same token continues.
    -- claimed: being served. committed: delivered. released: the payer's again.
    -- refunded: released, and a refund token was ordered; it pays for nothing more.
    state         TEXT    NOT NULL CHECK (state IN ('swapping', 'interrupted', 'claimed', 'committed', 'released', 'refunded')),
    price_msat    INTEGER NOT NULL CHECK (price_msat >= 0),
    -- Method, target and content type of the request, hashed.
    request_key   BLOB             CHECK (length(request_key) = 32),
    idempotency_key TEXT           CHECK (length(idempotency_key) <= 255),
    -- Ecash only: the mint, what is left of the token after its fee, and the
    -- key its payer wants money back under.
    mint          TEXT             CHECK (length(mint) BETWEEN 1 AND 256),
    net_sat       INTEGER NOT NULL DEFAULT 0 CHECK (net_sat >= 0),
    refund_key    TEXT             CHECK (length(refund_key) = 66),
    -- What the payer gets back: the change, or the refund.
    owed_sat      INTEGER NOT NULL DEFAULT 0 CHECK (owed_sat >= 0),
    is_paid_out   INTEGER NOT NULL DEFAULT 0 CHECK (is_paid_out IN (0, 1)),
    created_at    INTEGER NOT NULL CHECK (created_at >= 0),
    updated_at    INTEGER NOT NULL CHECK (updated_at >= 0)
) STRICT;
-- An ecash payment has one row: its uniqueness is the claim.
CREATE UNIQUE INDEX idx_paid_calls_token ON paid_calls (payment_key) WHERE rail NOT IN ('l402', 'mpp');
-- Serves: a repeated Lightning request, and whether it is being served.
CREATE INDEX idx_paid_calls_payment_key ON paid_calls (payment_key, request_key);
-- Serves: recovery.
CREATE INDEX idx_paid_calls_open ON paid_calls (state) WHERE state IN ('swapping', 'claimed');
-- Serves: recovery of refunds and change.
CREATE INDEX idx_paid_calls_owed ON paid_calls (agent) WHERE owed_sat > 0 AND is_paid_out = 0;

-- What was taken of each limit of a credential. What was bought is counted under
-- the payment hash, what a holder narrowed under the name of his copy. A row
-- exists from the first use.
CREATE TABLE credential_limits (
    key  BLOB    NOT NULL CHECK (length(key) = 32),
    unit TEXT    NOT NULL CHECK (unit IN ('uses', 'msat')),
    used INTEGER NOT NULL CHECK (used >= 0),
    PRIMARY KEY (key, unit)
) STRICT, WITHOUT ROWID;

-- What an open or delivered call took of which limits, so that it can be given
-- back. The one use that most calls take under their payment hash has no row.
CREATE TABLE call_limits (
    call_id TEXT    NOT NULL REFERENCES paid_calls (id),
    key     BLOB    NOT NULL CHECK (length(key) = 32),
    unit    TEXT    NOT NULL CHECK (unit IN ('uses', 'msat')),
    taken   INTEGER NOT NULL CHECK (taken >= 0),
    PRIMARY KEY (call_id, key, unit)
) STRICT, WITHOUT ROWID;

-- Credentials that paid for a call at least once: what the seller can look at
-- and withdraw. An unpaid challenge has no row.
CREATE TABLE used_credentials (
    token_id      BLOB    PRIMARY KEY CHECK (length(token_id) = 32),
    payment_hash  BLOB    NOT NULL CHECK (length(payment_hash) = 32),
    agent         TEXT    NOT NULL CHECK (length(agent) BETWEEN 1 AND 64),
    paid_msat     INTEGER NOT NULL CHECK (paid_msat >= 0),
    -- What was bought: calls, or a balance in millisatoshi.
    unit          TEXT    NOT NULL CHECK (unit IN ('uses', 'msat')),
    bought        INTEGER NOT NULL CHECK (bought >= 0),
    first_used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- Serves: the newest first.
CREATE INDEX idx_used_credentials_first_used_at ON used_credentials (first_used_at, token_id);

-- Credentials that the seller withdrew.
CREATE TABLE revoked_credentials (
    token_id   BLOB    PRIMARY KEY CHECK (length(token_id) = 32),
    revoked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per own invoice that was paid, from the settled stream or from the
-- first claim, whichever is first: the payment is booked once.
CREATE TABLE lightning_receipts (
    payment_hash BLOB    PRIMARY KEY CHECK (length(payment_hash) = 32),
    -- NULL until a claim says whose call it paid for: an unpaid challenge keeps
    -- no row, so the hash alone does not tell.
    agent        TEXT             CHECK (length(agent) BETWEEN 1 AND 64),
    booked_msat  INTEGER NOT NULL CHECK (booked_msat >= 0),
    -- Whether the backend confirmed the amount; until then it is the price.
    is_settled   INTEGER NOT NULL CHECK (is_settled IN (0, 1)),
    created_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How far the settled stream of each Lightning backend was read.
CREATE TABLE lightning_cursors (
    backend       TEXT    PRIMARY KEY CHECK (length(backend) BETWEEN 1 AND 64),
    settled_index INTEGER NOT NULL CHECK (settled_index >= 0)
) STRICT, WITHOUT ROWID;

-- Every proof that ever paid here, swapped or not: the same proofs in a token
-- that is written differently are the same payment.
CREATE TABLE accepted_proofs (
    y           BLOB PRIMARY KEY CHECK (length(y) = 33),
    payment_key BLOB NOT NULL CHECK (length(payment_key) = 32)
) STRICT, WITHOUT ROWID;
-- Serves: forgetting the proofs of a token that its mint refused.
CREATE INDEX idx_accepted_proofs_payment_key ON accepted_proofs (payment_key);

-- Ecash accepted without its mint and not redeemed yet. With a rowid: its rows are
-- long, and are written one after the other instead of all over the file.
CREATE TABLE vault_tokens (
    payment_key  BLOB    PRIMARY KEY CHECK (length(payment_key) = 32),
    call_id      TEXT    NOT NULL REFERENCES paid_calls (id),
    agent        TEXT    NOT NULL,
    mint         TEXT    NOT NULL,
    -- The proofs as JSON; emptied once redeemed, so that a stolen file holds no old secrets.
    proofs       TEXT    NOT NULL,
    gross_sat    INTEGER NOT NULL CHECK (gross_sat > 0),
    -- Mints limit the inputs of a swap, and take a fee for each.
    proof_count  INTEGER NOT NULL CHECK (proof_count > 0),
    fee_ppk      INTEGER NOT NULL CHECK (fee_ppk >= 0),
    -- When a lock or a keyset ends; NULL for never.
    redeem_by    INTEGER,
    -- held, redeeming (operation_id says how), redeemed, or lost: the mint refused it.
    state        TEXT    NOT NULL CHECK (state IN ('held', 'redeeming', 'redeemed', 'lost')),
    operation_id TEXT             CHECK (length(operation_id) <= 200),
    -- The mint gave nothing for it when it was asked, and is asked again.
    is_refused   INTEGER NOT NULL DEFAULT 0 CHECK (is_refused IN (0, 1)),
    accepted_at  INTEGER NOT NULL
) STRICT;
-- Serves: exposure, and what is due.
CREATE INDEX idx_vault_tokens_unredeemed ON vault_tokens (mint, accepted_at) WHERE state IN ('held', 'redeeming');

-- Mints that refused ecash we had accepted: their tokens are swapped first from then on.
CREATE TABLE distrusted_mints (
    mint   TEXT    PRIMARY KEY,
    since  INTEGER NOT NULL,
    reason TEXT    NOT NULL CHECK (length(reason) <= 200)
) STRICT, WITHOUT ROWID;

-- Responses kept for payers whose connection broke.
CREATE TABLE stored_responses (
    call_id           TEXT    PRIMARY KEY REFERENCES paid_calls (id),
    status            INTEGER NOT NULL CHECK (status BETWEEN 100 AND 599),
    -- JSON: a list of name and hexadecimal value.
    headers           TEXT    NOT NULL,
    body              BLOB    NOT NULL,
    request_body_hash BLOB    NOT NULL CHECK (length(request_body_hash) = 32),
    expires_at        INTEGER NOT NULL
) STRICT;
-- Serves: forgetting them.
CREATE INDEX idx_stored_responses_expires_at ON stored_responses (expires_at);
