-- The version that a change made, in a column of its own: the page of a change finds its entry by it.
ALTER TABLE audit ADD COLUMN version TEXT COLLATE "C";
UPDATE audit SET version = detail::json ->> 'version' WHERE json_typeof(detail::json -> 'version') = 'string';
DROP INDEX audit_version;
CREATE INDEX audit_version ON audit (project, environment, version);
