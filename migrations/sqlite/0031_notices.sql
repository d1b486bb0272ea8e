-- What people and other systems are to hear of, written with what happened: null until it was delivered.
CREATE TABLE notices (
  notice_id    INTEGER PRIMARY KEY,
  project      TEXT NOT NULL,
  environment  TEXT NOT NULL,
  at_ms        BIGINT NOT NULL,
  kind         TEXT NOT NULL,
  subject      TEXT NOT NULL,
  body         TEXT NOT NULL,
  delivered_ms BIGINT
);
CREATE INDEX notices_by_environment ON notices (project, environment, notice_id);
