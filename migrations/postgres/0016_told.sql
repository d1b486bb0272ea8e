-- Why an event is in the quarantine, in words, and which field of it is to blame. Empty for those from before.
ALTER TABLE quarantine ADD COLUMN field TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE quarantine ADD COLUMN reason TEXT COLLATE "C" NOT NULL DEFAULT '';

-- Names of metrics that outcomes have named lately, whether a fuse watches them or not. The empty name stands for all that
-- came when there were too many.
CREATE TABLE metrics_seen (
  project     TEXT COLLATE "C" NOT NULL,
  environment TEXT COLLATE "C" NOT NULL,
  metric      TEXT COLLATE "C" NOT NULL,
  outcomes    BIGINT NOT NULL,
  first_ms    BIGINT NOT NULL,
  last_ms     BIGINT NOT NULL,
  PRIMARY KEY (project, environment, metric)
);
