-- A wallet behind Nostr Wallet Connect (NIP-47).

-- Payments that the wallet was asked to make, written before it is asked. A row
-- goes when the wallet says for certain that it did not pay.
CREATE TABLE nwc_payments (
    backend      TEXT    NOT NULL CHECK (length(backend) BETWEEN 1 AND 64),
    payment_hash BLOB    NOT NULL CHECK (length(payment_hash) = 32),
    -- When the invoice can no longer be paid.
    expires_at   INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (backend, payment_hash)
) STRICT, WITHOUT ROWID;

-- What the wallet received, in the order in which we heard of it: wallets number
-- nothing themselves.
CREATE TABLE nwc_receipts (
    backend       TEXT    NOT NULL CHECK (length(backend) BETWEEN 1 AND 64),
    settled_index INTEGER NOT NULL CHECK (settled_index > 0),
    payment_hash  BLOB    NOT NULL CHECK (length(payment_hash) = 32),
    amount_msat   INTEGER NOT NULL CHECK (amount_msat >= 0),
    PRIMARY KEY (backend, settled_index)
) STRICT, WITHOUT ROWID;
-- Why unique: a receipt is told by a notification, a list and a look-up.
CREATE UNIQUE INDEX idx_nwc_receipts_payment_hash ON nwc_receipts (backend, payment_hash);

-- Up to when the wallet's list was read; what came before the first time is not ours.
CREATE TABLE nwc_wallets (
    backend    TEXT    PRIMARY KEY CHECK (length(backend) BETWEEN 1 AND 64),
    first_at   INTEGER NOT NULL,
    read_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Serves: payments that a claim has shown and no backend has confirmed yet.
CREATE INDEX idx_lightning_receipts_backend ON lightning_receipts (backend) WHERE is_settled = 0;
