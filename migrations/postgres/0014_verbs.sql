-- What was deleted stays as a row: its replicas go on holding its last version, so no later one may begin below that, and
-- its revisions must not come back. What it held is gone.
ALTER TABLE projects ADD COLUMN deleted_ms BIGINT;
ALTER TABLE environments ADD COLUMN deleted_ms BIGINT;

-- Which entries are about a flag, newest last. An import or a revert is about many.
CREATE TABLE audit_flags (
  tenant   TEXT COLLATE "C" NOT NULL,
  flag     TEXT COLLATE "C" NOT NULL,
  audit_id BIGINT NOT NULL REFERENCES audit (audit_id) DEFERRABLE,
  PRIMARY KEY (tenant, flag, audit_id)
);
INSERT INTO audit_flags (tenant, flag, audit_id)
  SELECT tenant, subject, audit_id FROM audit
  WHERE action LIKE 'flag.%' OR action LIKE 'override.%' OR action LIKE 'fuse.%' OR action LIKE 'project\_flag.%' ESCAPE '\'
     OR (action = 'environment.revert' AND subject <> environment);

CREATE INDEX audit_by_actor ON audit (tenant, actor, audit_id);
CREATE INDEX audit_by_environment ON audit (project, environment, audit_id);
