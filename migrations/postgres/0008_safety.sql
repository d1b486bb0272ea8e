-- How careful an environment is: share of decisions above which a person confirms, regions one after the other as JSON.
ALTER TABLE environments ADD COLUMN confirm_above_pct BIGINT;
ALTER TABLE environments ADD COLUMN stages TEXT COLLATE "C" NOT NULL DEFAULT '[]';
ALTER TABLE environments ADD COLUMN soak_s BIGINT NOT NULL DEFAULT 0;
