-- Ecash: the journal of mint operations, the treasury's proofs, agent wallets
-- and their audit chains. Proofs of agent wallets are never here: they live in a
-- table of the connection's temporary database, which is kept in memory.

-- One row per request that moves ecash at a mint, committed before the request.
CREATE TABLE wallet_operations (
    id         TEXT    PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 200),
    -- issue, swap or melt.
    kind       TEXT    NOT NULL CHECK (kind IN ('issue', 'swap', 'melt')),
    -- planned (open), done, failed (nothing of ours was spent).
    state      TEXT    NOT NULL CHECK (state IN ('planned', 'done', 'failed')),
    -- The wallet that pays, or that is credited when the inputs are foreign.
    wallet_id  TEXT    NOT NULL CHECK (length(wallet_id) BETWEEN 1 AND 64),
    mint       TEXT    NOT NULL CHECK (length(mint) BETWEEN 1 AND 256),
    -- JSON: keyset, counters, amounts, locks, fee, booking. Holds no secret.
    plan       TEXT    NOT NULL,
    -- The token being redeemed: a request must be repeatable. Emptied when done.
    foreign_token TEXT,
    -- JSON list of blind signatures of the outputs handed out. Worth nothing
    -- without the blinding factors, which are derived from the seed.
    signatures TEXT,
    -- JSON: what came of it.
    outcome    TEXT,
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    updated_at INTEGER NOT NULL CHECK (updated_at >= 0)
) STRICT;
-- Serves: recovery, and the wait for open operations of a wallet.
CREATE INDEX idx_wallet_operations_open ON wallet_operations (wallet_id) WHERE state = 'planned';

-- The next unused NUT-13 counter. Advanced in the transaction that plans its use.
CREATE TABLE wallet_counters (
    wallet_id TEXT    NOT NULL,
    mint      TEXT    NOT NULL,
    keyset_id TEXT    NOT NULL,
    next      INTEGER NOT NULL CHECK (next BETWEEN 0 AND 2147483647),
    PRIMARY KEY (wallet_id, mint, keyset_id)
) STRICT, WITHOUT ROWID;

-- Proofs of the treasury. The temporary table `agent_proofs` has the same columns.
CREATE TABLE proofs (
    -- hash_to_curve(secret), the name under which the mint knows the proof.
    y            BLOB    PRIMARY KEY CHECK (length(y) = 33),
    wallet_id    TEXT    NOT NULL,
    mint         TEXT    NOT NULL,
    keyset_id    TEXT    NOT NULL,
    amount_sat   INTEGER NOT NULL CHECK (amount_sat > 0),
    -- The proof as JSON; emptied when spent, so that a stolen file holds no old secrets.
    proof        TEXT,
    state        TEXT    NOT NULL CHECK (state IN ('unspent', 'reserved', 'spent')),
    -- The operation that reserved or spent it.
    operation_id TEXT
) STRICT, WITHOUT ROWID;
-- Serves: selection and balances.
CREATE INDEX idx_proofs_wallet_id_mint ON proofs (wallet_id, mint, state);
-- Serves: the inputs of one operation.
CREATE INDEX idx_proofs_operation_id ON proofs (operation_id) WHERE operation_id IS NOT NULL;

-- Tokens handed out; their value is on the in-flight account until decided.
CREATE TABLE tokens_out (
    operation_id TEXT    PRIMARY KEY REFERENCES wallet_operations (id),
    wallet_id    TEXT    NOT NULL,
    mint         TEXT    NOT NULL,
    amount_sat   INTEGER NOT NULL CHECK (amount_sat > 0),
    state        TEXT    NOT NULL CHECK (state IN ('in_flight', 'settled', 'reclaimed'))
) STRICT;

-- Invoices that mints made for us.
CREATE TABLE funding_quotes (
    quote_id    TEXT    PRIMARY KEY CHECK (length(quote_id) BETWEEN 1 AND 160),
    wallet_id   TEXT    NOT NULL,
    mint        TEXT    NOT NULL,
    amount_sat  INTEGER NOT NULL CHECK (amount_sat > 0),
    expires_at  INTEGER NOT NULL,
    -- Derives the NUT-20 key without which nobody can claim the quote; NULL if
    -- the mint does not support one.
    key_nonce   TEXT
) STRICT;

CREATE TABLE agent_wallets (
    id          TEXT    PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    agent       TEXT    NOT NULL CHECK (length(agent) BETWEEN 1 AND 64),
    mint        TEXT    NOT NULL,
    limit_sat   INTEGER NOT NULL CHECK (limit_sat > 0),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('open', 'frozen', 'closed')),
    -- Which run of the node holds its proofs in memory. A wallet of another run
    -- has to be restored from the mint.
    incarnation TEXT    NOT NULL
) STRICT;
-- Serves: lookup by agent, newest first.
CREATE INDEX idx_agent_wallets_agent_created_at ON agent_wallets (agent, created_at);

-- What each agent wallet did. Every entry contains the hash of the one before.
CREATE TABLE audit_chain (
    wallet_id   TEXT    NOT NULL REFERENCES agent_wallets (id),
    seq         INTEGER NOT NULL CHECK (seq >= 0),
    at          INTEGER NOT NULL,
    kind        TEXT    NOT NULL CHECK (length(kind) BETWEEN 1 AND 32),
    -- The change of the balance; for settled, refused and notes what it is about.
    amount_msat INTEGER NOT NULL,
    reference   TEXT    NOT NULL CHECK (length(reference) <= 500),
    prev        TEXT    NOT NULL CHECK (length(prev) = 64),
    hash        TEXT    NOT NULL CHECK (length(hash) = 64),
    PRIMARY KEY (wallet_id, seq)
) STRICT, WITHOUT ROWID;
