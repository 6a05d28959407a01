-- Raw events as received and verified: the truth from which the catalog is rebuilt.
-- Ids, authors and times sit apart from the JSON, so that filters touch small pages only.
CREATE TABLE events (
    rid        INTEGER PRIMARY KEY,
    id         BLOB NOT NULL UNIQUE CHECK (length(id) = 32),
    pubkey     BLOB NOT NULL CHECK (length(pubkey) = 32),
    kind       INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 65535),
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    -- NULL unless the kind is replaceable ('' then) or addressable.
    d_tag      TEXT,
    -- NIP-40; NULL when the event does not expire.
    expires_at INTEGER
) STRICT;
-- REQ by kind, newest first.
CREATE INDEX idx_events_kind_created_at ON events (kind, created_at DESC);
-- The stored version of an address.
CREATE INDEX idx_events_pubkey_kind_d_tag ON events (pubkey, kind, d_tag) WHERE d_tag IS NOT NULL;
-- REQ by author, and quotas.
CREATE INDEX idx_events_pubkey_kind_created_at ON events (pubkey, kind, created_at DESC);
-- REQ without any of the above.
CREATE INDEX idx_events_created_at ON events (created_at DESC);
-- Pruning.
CREATE INDEX idx_events_expires_at ON events (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE bodies (
    rid  INTEGER PRIMARY KEY,
    json TEXT NOT NULL
) STRICT;

-- Single-letter tags only: NIP-01 filters know no others.
CREATE TABLE tags (
    name       TEXT NOT NULL CHECK (length(name) = 1),
    value      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    rid        INTEGER NOT NULL,
    PRIMARY KEY (name, value, created_at DESC, rid)
) STRICT, WITHOUT ROWID;
-- Removal of an event.
CREATE INDEX idx_tags_rid ON tags (rid);

-- Which relay showed which event.
CREATE TABLE sightings (
    rid     INTEGER NOT NULL,
    relay   TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (rid, relay)
) STRICT, WITHOUT ROWID;

-- NIP-09 by event id. The author is part of the key: a request by anybody else
-- must neither act nor block the author's own later request.
CREATE TABLE deleted_ids (
    id         BLOB NOT NULL CHECK (length(id) = 32),
    pubkey     BLOB NOT NULL CHECK (length(pubkey) = 32),
    deleted_at INTEGER NOT NULL,
    PRIMARY KEY (id, pubkey)
) STRICT, WITHOUT ROWID;

-- High-water mark of every address ever seen, kept for good: a relay that still
-- serves an old version after a deletion or an expiry cannot bring it back.
CREATE TABLE addresses (
    pubkey        BLOB NOT NULL CHECK (length(pubkey) = 32),
    kind          INTEGER NOT NULL,
    d_tag         TEXT NOT NULL,
    -- NULL when only a deletion of this address has been seen.
    newest_at     INTEGER,
    newest_id     BLOB CHECK (newest_id IS NULL OR length(newest_id) = 32),
    -- NIP-09 by address: versions up to this second are gone.
    deleted_until INTEGER,
    PRIMARY KEY (pubkey, kind, d_tag)
) STRICT, WITHOUT ROWID;
