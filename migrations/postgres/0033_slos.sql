-- Objectives of environments. A number follows from place, name and the revision in which the indicator was set: what was
-- counted for another one is never taken for this one's.
CREATE TABLE slos (
  project     TEXT COLLATE "C" NOT NULL,
  environment TEXT COLLATE "C" NOT NULL,
  name        TEXT COLLATE "C" NOT NULL,
  slo_id      BIGINT NOT NULL,
  revision    BIGINT NOT NULL,
  definition  TEXT COLLATE "C" NOT NULL,
  since_ms    BIGINT NOT NULL,
  updated_ms  BIGINT NOT NULL,
  PRIMARY KEY (project, environment, name)
);

-- Requests of an objective and what counts against them, by the minute and by the hour of when they happened; known_ms is
-- when a row was added to last.
CREATE TABLE slo_sums (
  slo_id   BIGINT NOT NULL,
  span_ms  BIGINT NOT NULL,
  begin_ms BIGINT NOT NULL,
  requests BIGINT NOT NULL,
  counted  BIGINT NOT NULL,
  known_ms BIGINT NOT NULL,
  PRIMARY KEY (slo_id, span_ms, begin_ms)
);
CREATE INDEX slo_sums_known ON slo_sums (slo_id, known_ms);
CREATE INDEX slo_sums_begin ON slo_sums (span_ms, begin_ms);

-- Where the alerts of an objective stand; no row is ok since ever.
CREATE TABLE slo_alerts (
  slo_id   BIGINT NOT NULL,
  alert    TEXT COLLATE "C" NOT NULL,
  level    TEXT COLLATE "C" NOT NULL,
  since_ms BIGINT NOT NULL,
  revision BIGINT NOT NULL,
  PRIMARY KEY (slo_id, alert)
);

-- Declared windows in which alerts are silent: of one objective, or of all of the environment.
CREATE TABLE suppressions (
  project        TEXT COLLATE "C" NOT NULL,
  environment    TEXT COLLATE "C" NOT NULL,
  suppression_id TEXT COLLATE "C" NOT NULL,
  slo            TEXT COLLATE "C",
  from_ms        BIGINT NOT NULL,
  to_ms          BIGINT NOT NULL,
  reason         TEXT COLLATE "C" NOT NULL,
  declared_by    TEXT COLLATE "C" NOT NULL,
  declared_ms    BIGINT NOT NULL,
  PRIMARY KEY (project, environment, suppression_id)
);
