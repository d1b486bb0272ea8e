-- How often clients asked for a flag, by the hour: `yes`, `no`, or `variant/` and a variant's name.
CREATE TABLE usage (
  project     TEXT COLLATE "C" NOT NULL,
  environment TEXT COLLATE "C" NOT NULL,
  flag        TEXT COLLATE "C" NOT NULL,
  hour_ms     BIGINT NOT NULL,
  served      TEXT COLLATE "C" NOT NULL,
  evaluations BIGINT NOT NULL,
  PRIMARY KEY (project, environment, flag, hour_ms, served)
);
