-- A part of a checkpoint may be written in several rows, so that no transaction writes megabytes: the last one says so.
ALTER TABLE checkpoint_parts ADD COLUMN is_end BIGINT NOT NULL DEFAULT 1;
