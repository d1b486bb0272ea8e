-- Audit trails are asked by what was done, to what, where and when: each question walks along an index.
CREATE INDEX audit_by_subject ON audit (tenant, subject, audit_id);
CREATE INDEX audit_by_action ON audit (tenant, action, audit_id);
CREATE INDEX audit_by_time ON audit (tenant, at_ms, audit_id);
CREATE INDEX audit_by_project ON audit (project, audit_id);
CREATE INDEX audit_by_environment_action ON audit (project, environment, action, audit_id);
CREATE INDEX audit_by_environment_time ON audit (project, environment, at_ms, audit_id);
