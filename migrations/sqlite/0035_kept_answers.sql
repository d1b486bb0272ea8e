-- Requests with an `Idempotency-Key`, by its digest: what was asked, whether it was done, and how it was answered, sealed for who
-- asked. An attempt is who works on it now.
CREATE TABLE kept_answers (
  tenant   TEXT NOT NULL,
  caller   TEXT NOT NULL,
  name     TEXT NOT NULL,
  asked    TEXT NOT NULL,
  attempt  TEXT NOT NULL,
  began_ms BIGINT NOT NULL,
  done_ms  BIGINT,
  answer   BLOB,
  PRIMARY KEY (tenant, caller, name)
);
CREATE INDEX kept_answers_by_age ON kept_answers (began_ms);
