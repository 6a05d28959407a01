-- A Cashu mint as Lightning backend: the invoices it made, until each is paid and
-- turned into ecash, or can no longer be paid.

CREATE TABLE mint_invoices (
    payment_hash  BLOB    PRIMARY KEY CHECK (length(payment_hash) = 32),
    -- The name of the backend.
    backend       TEXT    NOT NULL CHECK (length(backend) BETWEEN 1 AND 64),
    quote_id      TEXT    NOT NULL CHECK (length(quote_id) BETWEEN 1 AND 160),
    amount_sat    INTEGER NOT NULL CHECK (amount_sat > 0),
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    -- When the mint is asked next.
    ask_at        INTEGER NOT NULL,
    -- The place in the stream of settled invoices; NULL until it is paid.
    settled_index INTEGER          CHECK (settled_index > 0),
    -- Whether its ecash is in the treasury.
    is_issued     INTEGER NOT NULL DEFAULT 0 CHECK (is_issued IN (0, 1))
) STRICT, WITHOUT ROWID;
-- Serves: which invoices the mint is asked about next.
CREATE INDEX idx_mint_invoices_ask_at ON mint_invoices (backend, ask_at) WHERE is_issued = 0;
-- Serves: the stream of settled invoices.
CREATE UNIQUE INDEX idx_mint_invoices_settled_index
    ON mint_invoices (backend, settled_index) WHERE settled_index IS NOT NULL;

-- The account that a quote's ecash comes from in the books; NULL: from outside.
ALTER TABLE funding_quotes ADD COLUMN source TEXT CHECK (length(source) BETWEEN 1 AND 300);

-- The Lightning nodes that invoices of a mint were seen to pay. Melting an invoice
-- of such a node pays inside the mint, which gives no preimage.
CREATE TABLE mint_node_keys (
    mint     TEXT NOT NULL CHECK (length(mint) BETWEEN 1 AND 256),
    node_key BLOB NOT NULL CHECK (length(node_key) = 33),
    PRIMARY KEY (mint, node_key)
) STRICT, WITHOUT ROWID;
