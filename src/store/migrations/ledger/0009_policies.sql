-- Policies: whose money a purchase spends and on what, so that limits can count by
-- it; what the policy said; and the purchases that wait for a person.

-- The agent whose wallet pays, "treasury" for the node's own.
ALTER TABLE intents ADD COLUMN agent TEXT CHECK (length(agent) <= 128);
-- Of the origin, in lower case, without the port.
ALTER TABLE intents ADD COLUMN host TEXT CHECK (length(host) <= 300);
-- As the listing says; NULL without one.
ALTER TABLE intents ADD COLUMN capability TEXT CHECK (length(capability) <= 300);
-- The rail that was reserved for; `rail` says by which it was paid.
ALTER TABLE intents ADD COLUMN rail_kind TEXT CHECK (rail_kind IN ('cashu', 'lightning'));
-- JSON: policy, verdict, rule and the figures of every limit that was looked at.
ALTER TABLE intents ADD COLUMN policy TEXT NOT NULL DEFAULT '{}' CHECK (length(policy) <= 16384);

UPDATE intents SET
    agent = coalesce((SELECT agent FROM agent_wallets WHERE agent_wallets.id = intents.wallet_id), wallet_id),
    rail_kind = CASE way WHEN 'ecash' THEN 'cashu' WHEN 'melt' THEN 'lightning' WHEN 'backend' THEN 'lightning' END,
    host = substr(origin, instr(origin, '://') + 3);
UPDATE intents SET host = rtrim(rtrim(host, '0123456789'), ':')
WHERE rtrim(host, '0123456789') LIKE '%:';

-- Serves: the windows of a policy, which count all wallets of an agent.
CREATE INDEX idx_intents_agent_created_at ON intents (agent, created_at, counted_msat);

-- Purchases above the line that a policy draws. Nothing is reserved for them: every
-- limit is checked again when the same key comes back after approval.
CREATE TABLE approvals (
    -- Of the purchase, should it be made.
    id              TEXT    PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    wallet_id       TEXT    NOT NULL CHECK (length(wallet_id) BETWEEN 1 AND 128),
    agent           TEXT    NOT NULL CHECK (length(agent) <= 128),
    idempotency_key TEXT    NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    method          TEXT    NOT NULL CHECK (length(method) BETWEEN 1 AND 32),
    origin          TEXT    NOT NULL CHECK (length(origin) BETWEEN 1 AND 300),
    path            TEXT    NOT NULL CHECK (length(path) BETWEEN 1 AND 2048),
    request_digest  BLOB    NOT NULL CHECK (length(request_digest) = 32),
    seller          TEXT    CHECK (length(seller) <= 128),
    listing         TEXT    CHECK (length(listing) <= 300),
    price_msat      INTEGER NOT NULL CHECK (price_msat >= 0),
    fee_limit_msat  INTEGER NOT NULL CHECK (fee_limit_msat >= 0),
    -- The rule that held it, and the same JSON as in `intents.policy`.
    rule            TEXT    NOT NULL CHECK (length(rule) BETWEEN 1 AND 400),
    policy          TEXT    NOT NULL CHECK (length(policy) <= 16384),
    -- "used": the purchase was opened, and `intents` says more.
    state           TEXT    NOT NULL CHECK (state IN ('waiting', 'approved', 'denied', 'used')),
    created_at      INTEGER NOT NULL CHECK (created_at >= 0),
    -- Waiting: nobody can approve it later. Approved: the call must come before.
    expires_at      INTEGER NOT NULL CHECK (expires_at >= 0),
    decided_at      INTEGER CHECK (decided_at >= 0),
    -- Words of who decided; may be empty.
    note            TEXT    NOT NULL DEFAULT '' CHECK (length(note) <= 200)
) STRICT;
-- Serves: the approval of a key, and that there is only one.
CREATE UNIQUE INDEX idx_approvals_wallet_id_idempotency_key ON approvals (wallet_id, idempotency_key);
-- Serves: what waits, of one agent or of all.
CREATE INDEX idx_approvals_state_agent_expires_at ON approvals (state, agent, expires_at);
