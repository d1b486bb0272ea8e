-- The whole loop: flags and their signed snapshots, exposures and outcomes, tallies, fuses and their verdicts.
-- Times are milliseconds since 1970 in UTC. Digests and hashed units are BLOBs of 32 and 16 bytes.

CREATE TABLE projects (
  project     TEXT PRIMARY KEY,
  tenant      TEXT NOT NULL,
  name        TEXT NOT NULL,
  created_ms  BIGINT NOT NULL
);

CREATE TABLE environments (
  tenant        TEXT NOT NULL,
  project       TEXT NOT NULL REFERENCES projects (project),
  environment   TEXT NOT NULL,
  profile       TEXT NOT NULL,
  auto_exposure TEXT NOT NULL,
  epoch         BIGINT NOT NULL,
  seq           BIGINT NOT NULL,
  created_ms    BIGINT NOT NULL,
  PRIMARY KEY (project, environment)
);

CREATE TABLE flags (
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  flag        TEXT NOT NULL,
  revision    BIGINT NOT NULL,
  body        TEXT NOT NULL,
  updated_ms  BIGINT NOT NULL,
  PRIMARY KEY (project, environment, flag),
  FOREIGN KEY (project, environment) REFERENCES environments (project, environment)
);

-- One fuse per flag and environment. `revision` is what two engines compare and swap.
CREATE TABLE fuses (
  project        TEXT NOT NULL,
  environment    TEXT NOT NULL,
  flag           TEXT NOT NULL,
  revision       BIGINT NOT NULL,
  policy         TEXT NOT NULL,
  circuit        TEXT NOT NULL,
  rollout        TEXT NOT NULL,
  phase_id       BIGINT NOT NULL,
  tripped_phase_id BIGINT,
  changed_ms     BIGINT NOT NULL,
  acted_ms       BIGINT,
  ema            TEXT NOT NULL,
  ema_ms         BIGINT NOT NULL,
  PRIMARY KEY (project, environment, flag),
  FOREIGN KEY (project, environment, flag) REFERENCES flags (project, environment, flag)
);

-- A phase is a period of constant allocation. Phases outlive their fuse: late events still find theirs.
CREATE TABLE phases (
  phase_id    INTEGER PRIMARY KEY,
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  flag        TEXT NOT NULL,
  phase       BIGINT NOT NULL,
  circuit     TEXT NOT NULL,
  salt        TEXT NOT NULL,
  bucket_by   TEXT,
  slices      TEXT NOT NULL,
  policy      TEXT NOT NULL,
  started_ms  BIGINT NOT NULL,
  ended_ms    BIGINT,
  UNIQUE (project, environment, flag, phase)
);

-- Outbox and history of signed frames. The newest row of an environment is what its replicas must hold.
CREATE TABLE snapshots (
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  epoch       BIGINT NOT NULL,
  seq         BIGINT NOT NULL,
  digest      TEXT NOT NULL,
  frame       BLOB NOT NULL,
  created_ms  BIGINT NOT NULL,
  PRIMARY KEY (project, environment, epoch, seq)
);

CREATE TABLE receipts (
  region      TEXT NOT NULL,
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  epoch       BIGINT,
  seq         BIGINT,
  digest      TEXT,
  stored_ms   BIGINT,
  acked_ms    BIGINT,
  nack_code   TEXT,
  nack_detail TEXT,
  nack_ms     BIGINT,
  PRIMARY KEY (region, project, environment)
);

CREATE TABLE tokens (
  token_id    TEXT PRIMARY KEY,
  tenant      TEXT NOT NULL,
  kind        TEXT NOT NULL,
  name        TEXT NOT NULL,
  project     TEXT,
  environment TEXT,
  sha256      TEXT NOT NULL UNIQUE,
  created_ms  BIGINT NOT NULL,
  revoked_ms  BIGINT
);

CREATE TABLE audit (
  audit_id    INTEGER PRIMARY KEY,
  tenant      TEXT NOT NULL,
  project     TEXT,
  environment TEXT,
  at_ms       BIGINT NOT NULL,
  actor       TEXT NOT NULL,
  action      TEXT NOT NULL,
  subject     TEXT NOT NULL,
  detail      TEXT NOT NULL
);
CREATE INDEX audit_by_tenant ON audit (tenant, audit_id);

-- A batch is applied once for ever.
CREATE TABLE batches (
  buffer_id   TEXT NOT NULL,
  batch_seq   BIGINT NOT NULL,
  applied_ms  BIGINT NOT NULL,
  events      BIGINT NOT NULL,
  PRIMARY KEY (buffer_id, batch_seq)
) WITHOUT ROWID;

-- Every event of the dedupe horizon, once: identity (first content wins) and the outcomes that still wait for
-- an exposure. Pruned after the horizon.
CREATE TABLE events (
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  event_id    TEXT NOT NULL,
  content     BLOB NOT NULL,
  unit        BLOB NOT NULL,
  metric      TEXT NOT NULL,
  at_ms       BIGINT NOT NULL,
  value       DOUBLE PRECISION,
  PRIMARY KEY (project, environment, event_id)
) WITHOUT ROWID;
CREATE INDEX events_by_unit ON events (unit, project, environment, at_ms);
CREATE INDEX events_by_age ON events (at_ms);

-- First exposure of a unit in a phase.
CREATE TABLE exposures (
  unit        BLOB NOT NULL,
  phase_id    BIGINT NOT NULL REFERENCES phases (phase_id),
  arm         TEXT NOT NULL,
  enrolled    BIGINT NOT NULL,
  first_ms    BIGINT NOT NULL,
  PRIMARY KEY (unit, phase_id)
) WITHOUT ROWID;

-- Exposures outside any cohort: counted per variation, never judged.
CREATE TABLE plain_exposures (
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  flag        TEXT NOT NULL,
  variation   TEXT NOT NULL,
  events      BIGINT NOT NULL,
  PRIMARY KEY (project, environment, flag, variation)
);

-- What one unit contributes to one metric of one phase. `events` is 1 for first-occurrence metrics.
CREATE TABLE facts (
  phase_id     BIGINT NOT NULL REFERENCES phases (phase_id),
  unit         BLOB NOT NULL,
  metric       TEXT NOT NULL,
  events       BIGINT NOT NULL,
  value_sum    DOUBLE PRECISION NOT NULL,
  value_sq_sum DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (phase_id, unit, metric)
) WITHOUT ROWID;

-- All that statistics ever reads. `bucket_ms` is the minute in which the unit enrolled.
CREATE TABLE tallies (
  phase_id     BIGINT NOT NULL REFERENCES phases (phase_id),
  metric       TEXT NOT NULL,
  bucket_ms    BIGINT NOT NULL,
  arm          TEXT NOT NULL,
  slice        TEXT NOT NULL,
  units        BIGINT NOT NULL,
  events       BIGINT NOT NULL,
  value_sum    DOUBLE PRECISION NOT NULL,
  value_sq_sum DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (phase_id, metric, bucket_ms, arm, slice)
) WITHOUT ROWID;

CREATE TABLE quarantine (
  quarantine_id INTEGER PRIMARY KEY,
  tenant        TEXT NOT NULL,
  project       TEXT NOT NULL,
  environment   TEXT NOT NULL,
  code          TEXT NOT NULL,
  raw           TEXT NOT NULL,
  raw_digest    TEXT NOT NULL,
  first_ms      BIGINT NOT NULL,
  last_ms       BIGINT NOT NULL,
  events        BIGINT NOT NULL,
  replay_state  TEXT NOT NULL,
  UNIQUE (project, environment, code, raw_digest)
);

-- received = stored + duplicate + quarantined, always.
CREATE TABLE balance (
  tenant      TEXT NOT NULL,
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  minute_ms   BIGINT NOT NULL,
  received    BIGINT NOT NULL,
  stored      BIGINT NOT NULL,
  duplicate   BIGINT NOT NULL,
  quarantined BIGINT NOT NULL,
  PRIMARY KEY (tenant, project, environment, minute_ms)
);

CREATE TABLE verdicts (
  verdict_id  INTEGER PRIMARY KEY,
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  flag        TEXT NOT NULL,
  phase       BIGINT NOT NULL,
  at_ms       BIGINT NOT NULL,
  decision    TEXT NOT NULL,
  reason      TEXT NOT NULL,
  evidence    TEXT NOT NULL
);
CREATE INDEX verdicts_by_flag ON verdicts (project, environment, flag, verdict_id);
