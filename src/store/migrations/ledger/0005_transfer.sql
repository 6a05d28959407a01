-- Ecash by encrypted message: what was sent to whom and what came in, so that a
-- payment always ends with its payee or at home.

CREATE TABLE transfers (
    -- Outgoing: random. Incoming: the id of the message, so that a message counts once.
    id         TEXT    PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    direction  TEXT    NOT NULL CHECK (direction IN ('out', 'in')),
    state      TEXT    NOT NULL CHECK (state IN (
        'created', 'sent', 'acknowledged', 'claimed', 'reclaiming', 'reclaimed', 'failed',
        'kept', 'held', 'received', 'refused')),
    -- The own agent that pays or is paid.
    agent      TEXT    NOT NULL CHECK (length(agent) <= 64),
    wallet_id  TEXT    NOT NULL CHECK (length(wallet_id) <= 100),
    -- The Nostr key of the other side.
    peer       BLOB    NOT NULL CHECK (length(peer) = 32),
    mint       TEXT    NOT NULL CHECK (length(mint) <= 300),
    -- What the payee is to have.
    amount_sat INTEGER NOT NULL CHECK (amount_sat >= 0),
    memo       TEXT    NOT NULL CHECK (length(memo) <= 500),
    -- Outgoing: Unix seconds after which the sender may take the ecash home.
    locktime   INTEGER,
    -- Outgoing: the payee's P2PK key, 33 bytes in hexadecimal.
    lock_key   TEXT,
    -- The id of the message that carries the ecash; NULL until it is made.
    rumor_id   BLOB    CHECK (length(rumor_id) = 32),
    -- Where the other side is reached, and where an answer is read: JSON arrays of URLs.
    peer_relays  TEXT  NOT NULL DEFAULT '[]',
    reply_relays TEXT  NOT NULL DEFAULT '[]',
    -- Incoming, until it is redeemed: the token. Locked to our key, or of a mint
    -- that nobody has decided about.
    token      TEXT,
    -- For a person: why it was refused, kept or failed. Never a secret.
    detail     TEXT    NOT NULL DEFAULT '' CHECK (length(detail) <= 500),
    -- When the message last went out, by the relays' word.
    sent_at    INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
-- Serves: an acknowledgement names the message it answers.
CREATE UNIQUE INDEX idx_transfers_direction_rumor_id ON transfers (direction, rumor_id);
-- Serves: what is still open, and how much of each state an agent has.
CREATE INDEX idx_transfers_state_agent ON transfers (state, agent);
-- Serves: the newest transfers.
CREATE INDEX idx_transfers_created_at ON transfers (created_at);

-- Each proof that came in, once: the same proofs in a second message are no second payment.
CREATE TABLE transfer_proofs (
    y           BLOB PRIMARY KEY CHECK (length(y) = 33),
    transfer_id TEXT NOT NULL REFERENCES transfers (id)
) STRICT, WITHOUT ROWID;
