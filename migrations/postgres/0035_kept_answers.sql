-- Requests with an `Idempotency-Key`, by its digest: what was asked, whether it was done, and how it was answered, sealed for who
-- asked. An attempt is who works on it now.
CREATE TABLE kept_answers (
  tenant   TEXT COLLATE "C" NOT NULL,
  caller   TEXT COLLATE "C" NOT NULL,
  name     TEXT COLLATE "C" NOT NULL,
  asked    TEXT COLLATE "C" NOT NULL,
  attempt  TEXT COLLATE "C" NOT NULL,
  began_ms BIGINT NOT NULL,
  done_ms  BIGINT,
  answer   BYTEA,
  PRIMARY KEY (tenant, caller, name)
);
CREATE INDEX kept_answers_by_age ON kept_answers (began_ms);
