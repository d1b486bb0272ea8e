-- Revisions never start again: what is made anew in a place where something was deleted begins above the highest one that
-- went. How high those were that went before this table knew is told by the audit trail: no revision rises twice in one
-- entry.
ALTER TABLE environments ADD COLUMN revision_floor BIGINT NOT NULL DEFAULT 0;
ALTER TABLE projects ADD COLUMN revision_floor BIGINT NOT NULL DEFAULT 0;
UPDATE environments SET revision_floor = (SELECT COALESCE(MAX(audit_id), 0) FROM audit);
UPDATE projects SET revision_floor = (SELECT COALESCE(MAX(audit_id), 0) FROM audit);

-- Settings and overrides have revisions of their own.
ALTER TABLE environments ADD COLUMN settings_revision BIGINT NOT NULL DEFAULT 1;
ALTER TABLE inherited_flags ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
