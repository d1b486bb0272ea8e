-- What pruning walks along, oldest first.
CREATE INDEX batches_by_age ON batches (applied_ms);
CREATE INDEX quarantine_by_age ON quarantine (last_ms);
CREATE INDEX quarantine_by_place ON quarantine (tenant, project, environment, quarantine_id);
