-- What people say of a flag, for all environments of its project. No snapshot carries any of it. `body` is the whole; the
-- columns before it are what lists are searched by.
CREATE TABLE flag_details (
  project    TEXT COLLATE "C" NOT NULL REFERENCES projects (project),
  flag       TEXT COLLATE "C" NOT NULL,
  revision   BIGINT NOT NULL,
  name       TEXT COLLATE "C" NOT NULL,
  owner      TEXT COLLATE "C" NOT NULL,
  kind       TEXT COLLATE "C",
  tags       TEXT COLLATE "C" NOT NULL,
  body       TEXT COLLATE "C" NOT NULL,
  updated_ms BIGINT NOT NULL,
  PRIMARY KEY (project, flag)
);

-- Lists of flags by their last change sort nothing.
CREATE INDEX flags_by_time ON flags (project, environment, updated_ms, flag);
-- And those of all environments of a project walk along its keys.
CREATE INDEX flags_by_key ON flags (project, flag, environment, updated_ms);
-- Those that are off, as far as their texts tell it without being read as JSON.
CREATE INDEX flags_off ON flags (project, environment, flag) WHERE strpos(body, '"enabled":false') > 0;

-- When a flag was last asked for, as far as events tell it: to the minute.
CREATE TABLE flag_asked (
  project     TEXT COLLATE "C" NOT NULL,
  environment TEXT COLLATE "C" NOT NULL,
  flag        TEXT COLLATE "C" NOT NULL,
  asked_ms    BIGINT NOT NULL,
  PRIMARY KEY (project, environment, flag)
);
INSERT INTO flag_asked (project, environment, flag, asked_ms)
  SELECT project, environment, flag, MAX(hour_ms) FROM usage GROUP BY project, environment, flag;
