-- Buying, more of it: credentials that are not L402, and ecash that is moved to
-- the seller's mint before it pays.

-- How the payment of an invoice is shown to the seller.
ALTER TABLE intents ADD COLUMN scheme TEXT NOT NULL DEFAULT 'l402' CHECK (scheme IN ('l402', 'mpp'));
ALTER TABLE credentials ADD COLUMN scheme TEXT NOT NULL DEFAULT 'l402' CHECK (scheme IN ('l402', 'mpp'));

-- The quote of the seller's mint that a melt at our own pays; NULL when the
-- wallet holds ecash there already.
ALTER TABLE intents ADD COLUMN quote_id TEXT CHECK (length(quote_id) BETWEEN 1 AND 160);

-- Tokens that lie ready for a seller who is called often. Written before they are
-- made: one is there when `tokens_out` has it, and free until a purchase takes it.
CREATE TABLE float_slips (
    -- Of the wallet's operation, as in tokens_out.
    operation_id TEXT    PRIMARY KEY CHECK (length(operation_id) BETWEEN 1 AND 200),
    wallet_id    TEXT    NOT NULL,
    mint         TEXT    NOT NULL,
    -- The seller's.
    lock_key     TEXT    NOT NULL,
    -- What the seller nets.
    price_sat    INTEGER NOT NULL CHECK (price_sat > 0),
    -- After it, what is free comes home.
    locktime     INTEGER NOT NULL CHECK (locktime >= 0),
    intent_id    TEXT    REFERENCES intents (id)
) STRICT;
-- Serves: a slip for a call, and what is locked for a seller.
CREATE INDEX idx_float_slips_wallet_id_lock_key ON float_slips (wallet_id, lock_key) WHERE intent_id IS NULL;
-- Serves: coming home.
CREATE INDEX idx_float_slips_locktime ON float_slips (locktime) WHERE intent_id IS NULL;
