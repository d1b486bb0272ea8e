-- What the flags of one environment share: `part` is segment, layer or holdout. There is one holdout; its key is empty.
CREATE TABLE shared_parts (
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  part        TEXT NOT NULL,
  key         TEXT NOT NULL,
  revision    BIGINT NOT NULL,
  body        TEXT NOT NULL,
  updated_ms  BIGINT NOT NULL,
  PRIMARY KEY (project, environment, part, key),
  FOREIGN KEY (project, environment) REFERENCES environments (project, environment)
);

-- A flag as the environments of a project inherit it.
CREATE TABLE project_flags (
  project     TEXT NOT NULL REFERENCES projects (project),
  flag        TEXT NOT NULL,
  revision    BIGINT NOT NULL,
  body        TEXT NOT NULL,
  updated_ms  BIGINT NOT NULL,
  PRIMARY KEY (project, flag)
);

-- Flags of environments that follow their project's definition. `patch` is merged into it; null changes nothing.
CREATE TABLE inherited_flags (
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  flag        TEXT NOT NULL,
  patch       TEXT,
  PRIMARY KEY (project, environment, flag),
  FOREIGN KEY (project, environment, flag) REFERENCES flags (project, environment, flag),
  FOREIGN KEY (project, flag) REFERENCES project_flags (project, flag)
);
