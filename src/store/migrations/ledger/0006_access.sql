-- Tokens of the node's own API. A row is what lets one be listed and revoked;
-- the token itself is never stored, and cannot be made from the row.

CREATE TABLE access_tokens (
    -- 32 hexadecimal characters; also the identifier inside the macaroon.
    id         TEXT    PRIMARY KEY CHECK (length(id) = 32),
    -- "read-only", "invoice-only", "pay-only" or "agent-commerce", as issued;
    -- holders may have narrowed their copies, which no row can know.
    tier       TEXT    NOT NULL CHECK (length(tier) BETWEEN 1 AND 32),
    -- The only agent it acts for; NULL for all.
    agent      TEXT    CHECK (length(agent) <= 100),
    -- For a person, such as who got it.
    label      TEXT    NOT NULL DEFAULT '' CHECK (length(label) <= 200),
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    -- Unix seconds; NULL: never.
    expires_at INTEGER CHECK (expires_at >= 0),
    -- Unix seconds; set once, never cleared.
    revoked_at INTEGER CHECK (revoked_at >= 0)
) STRICT, WITHOUT ROWID;
-- Serves: the list, newest first.
CREATE INDEX idx_access_tokens_created_at ON access_tokens (created_at);
