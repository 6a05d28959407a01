-- What each mint's unredeemed ecash adds up to. Every claim of an offline token
-- compares it with the cap, and adding up the tokens would take longer the more
-- of them wait. Kept by triggers, so that no statement can forget it.
CREATE TABLE vault_totals (
    mint           TEXT    PRIMARY KEY,
    unredeemed_sat INTEGER NOT NULL CHECK (unredeemed_sat >= 0)
) STRICT, WITHOUT ROWID;

INSERT INTO vault_totals (mint, unredeemed_sat)
SELECT mint, sum(gross_sat) FROM vault_tokens WHERE state IN ('held', 'redeeming') GROUP BY mint;

CREATE TRIGGER vault_totals_taken AFTER INSERT ON vault_tokens
WHEN NEW.state IN ('held', 'redeeming')
BEGIN
    INSERT INTO vault_totals (mint, unredeemed_sat) VALUES (NEW.mint, NEW.gross_sat)
    ON CONFLICT (mint) DO UPDATE SET unredeemed_sat = unredeemed_sat + excluded.unredeemed_sat;
END;

-- A token that changes between held and redeeming leaves its old place and takes
-- its new one: two steps that cancel out, so that each change has one rule.
CREATE TRIGGER vault_totals_changed AFTER UPDATE OF state, mint, gross_sat ON vault_tokens
BEGIN
    UPDATE vault_totals SET unredeemed_sat = unredeemed_sat - OLD.gross_sat
    WHERE mint = OLD.mint AND OLD.state IN ('held', 'redeeming');
    INSERT INTO vault_totals (mint, unredeemed_sat)
    SELECT NEW.mint, NEW.gross_sat WHERE NEW.state IN ('held', 'redeeming')
    ON CONFLICT (mint) DO UPDATE SET unredeemed_sat = unredeemed_sat + excluded.unredeemed_sat;
END;

CREATE TRIGGER vault_totals_gone AFTER DELETE ON vault_tokens
WHEN OLD.state IN ('held', 'redeeming')
BEGIN
    UPDATE vault_totals SET unredeemed_sat = unredeemed_sat - OLD.gross_sat WHERE mint = OLD.mint;
END;
