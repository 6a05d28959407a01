-- What was spent under tokens that carry a window, so that all copies of one share it.

CREATE TABLE access_spending (
    -- SHA-256 of the token up to and with the caveat that sets the window.
    place       BLOB    NOT NULL CHECK (length(place) = 32),
    -- One call of the API; random.
    call_id     TEXT    NOT NULL CHECK (length(call_id) BETWEEN 1 AND 64),
    at          INTEGER NOT NULL CHECK (at >= 0),
    -- The most that the call may cost, and what it did cost once that is known.
    amount_msat INTEGER NOT NULL CHECK (amount_msat >= 0),
    PRIMARY KEY (place, call_id)
) STRICT, WITHOUT ROWID;
-- Serves: the sum of a window.
CREATE INDEX idx_access_spending_place_at ON access_spending (place, at, amount_msat);
-- Serves: the end of a call.
CREATE INDEX idx_access_spending_call_id ON access_spending (call_id);
