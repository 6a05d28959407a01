-- How far each relay was read. Written in the transaction that stores the events it
-- speaks of, so that it never says more than what is here.
CREATE TABLE relay_cursors (
    relay     TEXT NOT NULL,
    -- Names what was asked for: with other filters everything is read again.
    filters   TEXT NOT NULL CHECK (length(filters) = 32),
    -- Everything that the relay had of events made up to then is here. Unix seconds.
    synced_to INTEGER NOT NULL CHECK (synced_to >= 0),
    PRIMARY KEY (relay, filters)
) STRICT, WITHOUT ROWID;
