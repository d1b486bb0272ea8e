-- Until when a token is valid, when it was used last (to some seconds), and what has taken its place.
ALTER TABLE tokens ADD COLUMN expires_ms BIGINT;
ALTER TABLE tokens ADD COLUMN used_ms BIGINT;
ALTER TABLE tokens ADD COLUMN replaced_by TEXT COLLATE "C";
ALTER TABLE tokens ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
