-- The readers that each replica has named, and when it last did: what edges can read decides what may be armed. One that was
-- exchanged counts for a while, since isolates of it may still run.
CREATE TABLE edge_readers (
  tenant  TEXT NOT NULL,
  region  TEXT NOT NULL,
  shard   BIGINT NOT NULL,
  reader  BIGINT NOT NULL,
  formats TEXT NOT NULL,
  seen_ms BIGINT NOT NULL,
  PRIMARY KEY (tenant, region, shard, reader)
) WITHOUT ROWID;

-- The reader that an environment's newest snapshot was lowered to, so that a kill reached every edge; null when it is whole.
ALTER TABLE environments ADD COLUMN lowered_to BIGINT;

-- The reader and the format of batches that a buffer's edge has; null where it does not say.
ALTER TABLE buffers ADD COLUMN reader BIGINT;
ALTER TABLE buffers ADD COLUMN format BIGINT;

-- By which edges know an erased unit in rows that are not delivered: salted for its environment, and no hash of the installation's
-- key. Null for units that were erased before there was such a list.
ALTER TABLE erasures ADD COLUMN edge_hash TEXT;
