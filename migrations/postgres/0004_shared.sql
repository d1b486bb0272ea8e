-- What the flags of one environment share: `part` is segment, layer or holdout. There is one holdout; its key is empty.
CREATE TABLE shared_parts (
  project     TEXT COLLATE "C" NOT NULL,
  environment TEXT COLLATE "C" NOT NULL,
  part        TEXT COLLATE "C" NOT NULL,
  key         TEXT COLLATE "C" NOT NULL,
  revision    BIGINT NOT NULL,
  body        TEXT COLLATE "C" NOT NULL,
  updated_ms  BIGINT NOT NULL,
  PRIMARY KEY (project, environment, part, key),
  FOREIGN KEY (project, environment) REFERENCES environments (project, environment) DEFERRABLE
);

-- A flag as the environments of a project inherit it.
CREATE TABLE project_flags (
  project     TEXT COLLATE "C" NOT NULL REFERENCES projects (project) DEFERRABLE,
  flag        TEXT COLLATE "C" NOT NULL,
  revision    BIGINT NOT NULL,
  body        TEXT COLLATE "C" NOT NULL,
  updated_ms  BIGINT NOT NULL,
  PRIMARY KEY (project, flag)
);

-- Flags of environments that follow their project's definition. `patch` is merged into it; null changes nothing.
CREATE TABLE inherited_flags (
  project     TEXT COLLATE "C" NOT NULL,
  environment TEXT COLLATE "C" NOT NULL,
  flag        TEXT COLLATE "C" NOT NULL,
  patch       TEXT COLLATE "C",
  PRIMARY KEY (project, environment, flag),
  FOREIGN KEY (project, environment, flag) REFERENCES flags (project, environment, flag) DEFERRABLE,
  FOREIGN KEY (project, flag) REFERENCES project_flags (project, flag) DEFERRABLE
);
