-- How often clients asked for a flag, by the hour: `yes`, `no`, or `variant/` and a variant's name.
CREATE TABLE usage (
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  flag        TEXT NOT NULL,
  hour_ms     BIGINT NOT NULL,
  served      TEXT NOT NULL,
  evaluations BIGINT NOT NULL,
  PRIMARY KEY (project, environment, flag, hour_ms, served)
) WITHOUT ROWID;
