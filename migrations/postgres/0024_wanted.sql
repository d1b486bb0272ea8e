-- Which control plane had to refuse events of an environment that another one counts, and when it said so last: the owner
-- hands the partition over when nothing comes to itself, or when its turn is over.
ALTER TABLE partitions ADD COLUMN wanted_by TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE partitions ADD COLUMN wanted_ms BIGINT NOT NULL DEFAULT 0;
-- Outcomes that waited for an exposure and were forgotten before their time, for want of room.
ALTER TABLE partitions ADD COLUMN waiting_dropped BIGINT NOT NULL DEFAULT 0;
