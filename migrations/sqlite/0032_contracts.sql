-- What a flag's roll-out has to keep to, and what it is compared with: each change is a new version, null takes it away.
CREATE TABLE contract_versions (
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  part        TEXT NOT NULL,
  flag        TEXT NOT NULL,
  version     BIGINT NOT NULL,
  at_ms       BIGINT NOT NULL,
  actor       TEXT NOT NULL,
  body        TEXT,
  PRIMARY KEY (project, environment, part, flag, version)
) WITHOUT ROWID;

-- Runs against the versions that were in force when they began. One of a flag runs at a time.
CREATE TABLE validations (
  validation_id    INTEGER PRIMARY KEY,
  project          TEXT NOT NULL,
  environment      TEXT NOT NULL,
  flag             TEXT NOT NULL,
  contract_version BIGINT NOT NULL,
  baseline_version BIGINT,
  began_ms         BIGINT NOT NULL,
  ended_ms         BIGINT,
  outcome          TEXT,
  rules            TEXT
);
CREATE INDEX validations_by_flag ON validations (project, environment, flag, validation_id);
CREATE UNIQUE INDEX validations_running ON validations (project, environment, flag) WHERE ended_ms IS NULL;
