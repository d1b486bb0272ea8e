-- What people say of a flag, for all environments of its project. No snapshot carries any of it. `body` is the whole; the
-- columns before it are what lists are searched by.
CREATE TABLE flag_details (
  project    TEXT NOT NULL REFERENCES projects (project),
  flag       TEXT NOT NULL,
  revision   BIGINT NOT NULL,
  name       TEXT NOT NULL,
  owner      TEXT NOT NULL,
  kind       TEXT,
  tags       TEXT NOT NULL,
  body       TEXT NOT NULL,
  updated_ms BIGINT NOT NULL,
  PRIMARY KEY (project, flag)
);

-- Lists of flags by their last change sort nothing.
CREATE INDEX flags_by_time ON flags (project, environment, updated_ms, flag);
-- And those of all environments of a project walk along its keys.
CREATE INDEX flags_by_key ON flags (project, flag, environment, updated_ms);
-- Those that are off, as far as their texts tell it without being read as JSON.
CREATE INDEX flags_off ON flags (project, environment, flag) WHERE instr(body, '"enabled":false') > 0;

-- When a flag was last asked for, as far as events tell it: to the minute.
CREATE TABLE flag_asked (
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  flag        TEXT NOT NULL,
  asked_ms    BIGINT NOT NULL,
  PRIMARY KEY (project, environment, flag)
);
INSERT INTO flag_asked (project, environment, flag, asked_ms)
  SELECT project, environment, flag, MAX(hour_ms) FROM usage GROUP BY project, environment, flag;
