-- Buying: one row per purchase, written before money moves and moved on after;
-- the credentials that purchases left behind; and the limits of wallets.

CREATE TABLE intents (
    id              TEXT    PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    wallet_id       TEXT    NOT NULL CHECK (length(wallet_id) BETWEEN 1 AND 128),
    -- Given by the caller or made up; a second purchase under the same key is the same purchase.
    idempotency_key TEXT    NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    method          TEXT    NOT NULL CHECK (length(method) BETWEEN 1 AND 32),
    -- Scheme, host and port; and the path without the query, which may hold secrets.
    origin          TEXT    NOT NULL CHECK (length(origin) BETWEEN 1 AND 300),
    path            TEXT    NOT NULL CHECK (length(path) BETWEEN 1 AND 2048),
    -- SHA-256 of method, URL and body: the same key with another request is a mistake.
    request_digest  BLOB    NOT NULL CHECK (length(request_digest) = 32),
    seller          TEXT    CHECK (length(seller) <= 128),
    listing         TEXT    CHECK (length(listing) <= 300),
    state           TEXT    NOT NULL CHECK (state IN
                        ('planned', 'paying', 'paid', 'delivered', 'refunded', 'refused', 'failed', 'unknown')),
    -- 'ecash', 'melt', 'backend' or 'credential': how recovery finds the money.
    way             TEXT    CHECK (way IN ('ecash', 'melt', 'backend', 'credential')),
    -- As shown to people: l402, l402-cached, nut24-offline, nut24-swap.
    rail            TEXT    NOT NULL DEFAULT '' CHECK (length(rail) <= 32),
    mint            TEXT    CHECK (length(mint) <= 300),
    price_msat      INTEGER NOT NULL CHECK (price_msat >= 0),
    fee_limit_msat  INTEGER NOT NULL CHECK (fee_limit_msat >= 0),
    fee_msat        INTEGER NOT NULL DEFAULT 0 CHECK (fee_msat >= 0),
    -- What this purchase takes from the budget: the reservation while open, the
    -- cost once known, 0 when nothing was spent.
    counted_msat    INTEGER NOT NULL CHECK (counted_msat >= 0),
    -- The wallet's operation that moves the money.
    operation_id    TEXT    CHECK (length(operation_id) <= 128),
    -- Ecash locked to the seller comes home after this; NULL for plain ecash.
    locktime        INTEGER CHECK (locktime >= 0),
    payment_hash    BLOB    CHECK (length(payment_hash) = 32),
    -- The challenge being paid: without its token a recovered preimage is worth nothing.
    l402_token      TEXT    CHECK (length(l402_token) <= 16384),
    credential_id   INTEGER REFERENCES credentials (id),
    -- 1 while this purchase holds one use of its credential.
    use_held        INTEGER NOT NULL DEFAULT 0 CHECK (use_held IN (0, 1)),
    status          INTEGER CHECK (status BETWEEN 100 AND 999),
    -- JSON: candidates, chosen, why.
    decision        TEXT    NOT NULL DEFAULT '{}' CHECK (length(decision) <= 8192),
    -- For a person: why it is in this state.
    detail          TEXT    NOT NULL DEFAULT '' CHECK (length(detail) <= 1000),
    duration_ms     INTEGER NOT NULL DEFAULT 0 CHECK (duration_ms >= 0),
    created_at      INTEGER NOT NULL CHECK (created_at >= 0),
    updated_at      INTEGER NOT NULL CHECK (updated_at >= 0)
) STRICT;
-- Serves: the purchase of a key, and that there is only one.
CREATE UNIQUE INDEX idx_intents_wallet_id_idempotency_key ON intents (wallet_id, idempotency_key);
-- Serves: budgets.
CREATE INDEX idx_intents_wallet_id_created_at_counted_msat ON intents (wallet_id, created_at, counted_msat);
-- Serves: recovery, and the block of a request whose outcome is unknown.
CREATE INDEX idx_intents_state_request_digest ON intents (state, request_digest);

-- Answers of paid calls, kept a while for a caller that lost them.
CREATE TABLE answers (
    intent_id TEXT    PRIMARY KEY REFERENCES intents (id),
    status    INTEGER NOT NULL,
    -- JSON: [[name, value], …], without headers that carry money.
    headers   TEXT    NOT NULL CHECK (length(headers) <= 65536),
    body      BLOB    NOT NULL CHECK (length(body) <= 262144),
    stored_at INTEGER NOT NULL
) STRICT;
-- Serves: pruning.
CREATE INDEX idx_answers_stored_at ON answers (stored_at);

CREATE TABLE credentials (
    id           INTEGER PRIMARY KEY,
    wallet_id    TEXT    NOT NULL,
    origin       TEXT    NOT NULL,
    -- The path it was bought at, or the prefix that its caveats name.
    path         TEXT    NOT NULL,
    is_prefix    INTEGER NOT NULL CHECK (is_prefix IN (0, 1)),
    -- Byte for byte as the seller sent it; secret together with the preimage.
    token        TEXT    NOT NULL CHECK (length(token) <= 16384),
    preimage     BLOB    NOT NULL CHECK (length(preimage) = 32),
    -- NULL: the token does not say; the seller's 402 does.
    uses_left    INTEGER CHECK (uses_left >= 0),
    expires_at   INTEGER,
    -- A seller that answers 402 to it ends it.
    is_live      INTEGER NOT NULL DEFAULT 1 CHECK (is_live IN (0, 1)),
    -- The purchase that left it; unique, so that recovery stores it once.
    intent_id    TEXT    NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL
) STRICT;
-- Serves: a credential for a call.
CREATE INDEX idx_credentials_wallet_id_origin ON credentials (wallet_id, origin, is_live);

-- Limits beside a wallet's own; NULL sets none.
CREATE TABLE budgets (
    wallet_id     TEXT    PRIMARY KEY,
    per_call_msat INTEGER CHECK (per_call_msat >= 0),
    total_msat    INTEGER CHECK (total_msat >= 0),
    hourly_msat   INTEGER CHECK (hourly_msat >= 0),
    daily_msat    INTEGER CHECK (daily_msat >= 0)
) STRICT;
