-- The catalog: one row per priced offer of a stored event. Can be dropped and rebuilt.
CREATE TABLE offers (
    -- Grows with arrival; a full-text match ranks only the newest of them.
    oid          INTEGER PRIMARY KEY AUTOINCREMENT,
    event_rid    INTEGER NOT NULL,
    -- The address of the listing that this offer belongs to.
    coordinate   TEXT NOT NULL,
    -- 0 for a projection of another event, hidden while that event is here.
    is_canonical INTEGER NOT NULL CHECK (is_canonical IN (0, 1)),
    created_at   INTEGER NOT NULL,
    -- NULL when the price is unknown or in a currency that cannot be compared.
    price_msat   INTEGER CHECK (price_msat >= 0),
    expires_at   INTEGER,
    -- Space before and after each: ' l402 nut24 '.
    rails        TEXT NOT NULL,
    -- The endpoint without query, fragment and trailing slash, for look-ups by URL.
    endpoint     TEXT
) STRICT;
-- Removal of an event, and an event's offers.
CREATE INDEX idx_offers_event_rid ON offers (event_rid);
-- One listing, and whether a projection's original is here.
CREATE INDEX idx_offers_coordinate ON offers (coordinate, is_canonical);
-- Browsing without a text.
CREATE INDEX idx_offers_created_at ON offers (created_at DESC);
-- The offers at a URL.
CREATE INDEX idx_offers_endpoint ON offers (endpoint) WHERE endpoint IS NOT NULL;

-- What is shown, apart from what is filtered on.
CREATE TABLE offer_rows (
    oid  INTEGER PRIMARY KEY,
    json TEXT NOT NULL
) STRICT;

-- Contentless: the text is in offer_rows already. rowid = oid.
CREATE VIRTUAL TABLE offers_fts USING fts5 (
    name, summary, capability, topics,
    content = '', contentless_delete = 1,
    prefix = '2 3', tokenize = 'porter unicode61 remove_diacritics 2'
);
