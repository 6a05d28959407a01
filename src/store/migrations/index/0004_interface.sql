-- Interchangeable offers share the hash of their interface (CEP-15). NULL when the
-- offer describes none.
ALTER TABLE offers ADD COLUMN schema_hash TEXT CHECK (length(schema_hash) = 64);
-- The offers of one interface.
CREATE INDEX idx_offers_schema_hash ON offers (schema_hash) WHERE schema_hash IS NOT NULL;

-- The interface that each offer was last seen with, kept beyond the versions of its
-- event: a tool that became another under its old name is shown as changed.
CREATE TABLE interfaces (
    coordinate  TEXT NOT NULL,
    capability  TEXT NOT NULL,
    schema_hash TEXT NOT NULL CHECK (length(schema_hash) = 64),
    -- Of the event that said so.
    seen_at     INTEGER NOT NULL,
    -- When it became another the last time; NULL while it is the first.
    changed_at  INTEGER,
    PRIMARY KEY (coordinate, capability)
) STRICT, WITHOUT ROWID;
-- Forgetting those whose listing is long gone.
CREATE INDEX idx_interfaces_seen_at ON interfaces (seen_at);

-- Which version of the readers made the catalog; an older one is read again.
CREATE TABLE catalog (
    only            INTEGER PRIMARY KEY CHECK (only = 1),
    readers_version INTEGER NOT NULL
) STRICT;
INSERT INTO catalog (only, readers_version) VALUES (1, 0);
