-- Receipts of connections that carried one environment each say nothing of replicas: the first hello writes them anew.
DROP TABLE receipts;
CREATE TABLE receipts (
  region         TEXT COLLATE "C" NOT NULL,
  shard          BIGINT NOT NULL,
  project        TEXT COLLATE "C" NOT NULL,
  environment    TEXT COLLATE "C" NOT NULL,
  epoch          BIGINT,
  seq            BIGINT,
  digest         TEXT COLLATE "C",
  keyset_version BIGINT,
  stored_ms      BIGINT,
  acked_ms       BIGINT,
  nack_code      TEXT COLLATE "C",
  nack_detail    TEXT COLLATE "C",
  nack_ms        BIGINT,
  PRIMARY KEY (project, environment, region, shard)
);

-- When a replica stored which version. The digest tells what this database signed from what another one did.
CREATE TABLE acks (
  project     TEXT COLLATE "C" NOT NULL,
  environment TEXT COLLATE "C" NOT NULL,
  epoch       BIGINT NOT NULL,
  seq         BIGINT NOT NULL,
  digest      TEXT COLLATE "C" NOT NULL,
  region      TEXT COLLATE "C" NOT NULL,
  shard       BIGINT NOT NULL,
  stored_ms   BIGINT NOT NULL,
  acked_ms    BIGINT NOT NULL,
  PRIMARY KEY (project, environment, epoch, seq, digest, region, shard)
);

-- How soon clients are told, and the staleness bound inside: of frames that were signed before, the larger one.
ALTER TABLE snapshots ADD COLUMN urgency TEXT COLLATE "C" NOT NULL DEFAULT 'ordinary';
ALTER TABLE snapshots ADD COLUMN stale_ms BIGINT NOT NULL DEFAULT 1000;
-- These columns lie behind the frame of up to 1.5 MiB; what is asked twice a second must not read through it.
CREATE INDEX snapshots_known ON snapshots (project, environment, epoch, seq, digest, stale_ms);
CREATE INDEX snapshots_urgent ON snapshots (project, environment, epoch, seq) WHERE urgency = 'urgent';

-- The page of a change finds its entry by the version.
CREATE INDEX audit_version ON audit (project, environment, (detail::json ->> 'version'));
