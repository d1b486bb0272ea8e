-- A batch is applied in slices: how many of its events are, and how often the next one alone could not be.
ALTER TABLE batches ADD COLUMN position BIGINT NOT NULL DEFAULT 0;
ALTER TABLE batches ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;
UPDATE batches SET position = events;

-- Counting what a unit did reads the index alone, however much it did.
DROP INDEX events_by_unit;
CREATE INDEX events_by_unit ON events (unit, project, environment, at_ms, metric, value);

-- Exposures that turned out to be earlier than the one that enrolled their unit. They change nothing and are shown.
CREATE TABLE corrections (
  phase_id BIGINT NOT NULL REFERENCES phases (phase_id) DEFERRABLE,
  arm      TEXT COLLATE "C" NOT NULL,
  events   BIGINT NOT NULL,
  PRIMARY KEY (phase_id, arm)
);

-- What waits at the edge behind the newest batch of each buffer; null when nothing did.
CREATE TABLE buffers (
  project           TEXT COLLATE "C" NOT NULL,
  environment       TEXT COLLATE "C" NOT NULL,
  buffer_id         TEXT COLLATE "C" NOT NULL,
  oldest_waiting_ms BIGINT,
  seen_ms           BIGINT NOT NULL,
  PRIMARY KEY (project, environment, buffer_id)
);

-- How old the oldest event was that a verdict could not know yet.
ALTER TABLE verdicts ADD COLUMN ingest_lag_ms BIGINT NOT NULL DEFAULT 0;
-- The metrics whose harm opened the fuse last, as JSON: recovery asks these.
ALTER TABLE fuses ADD COLUMN tripped_metrics TEXT COLLATE "C" NOT NULL DEFAULT '[]';
