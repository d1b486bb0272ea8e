-- The version that an entry's change is carried by, out of its detail: the page of a change finds its entry by it.
ALTER TABLE audit ADD COLUMN version TEXT;
UPDATE audit SET version = json_extract(detail, '$.version') WHERE json_type(detail, '$.version') = 'text';
DROP INDEX audit_version;
CREATE INDEX audit_version ON audit (project, environment, version);
