-- When the edge had a quarantined event and when its client sent it, by their clocks: a replay counts it at the time that it
-- had. 0 and null where an earlier version did not keep them.
ALTER TABLE quarantine ADD COLUMN received_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE quarantine ADD COLUMN sent_ms BIGINT;

-- Old hours are found without reading all the others.
CREATE INDEX usage_by_hour ON usage (hour_ms);
