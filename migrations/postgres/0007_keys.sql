-- Keysets signed by root keys. The one in force is the highest with `in_force_ms`; the others wait for their turn.
CREATE TABLE keysets (
  keyset_version BIGINT PRIMARY KEY,
  envelope       BYTEA NOT NULL,
  gate           TEXT COLLATE "C" NOT NULL,
  created_ms     BIGINT NOT NULL,
  in_force_ms    BIGINT
);

-- The first version of an environment under a keyset: a replica that holds it or a later one has the keyset.
CREATE TABLE keyset_publications (
  keyset_version BIGINT NOT NULL,
  project        TEXT COLLATE "C" NOT NULL,
  environment    TEXT COLLATE "C" NOT NULL,
  epoch          BIGINT NOT NULL,
  seq            BIGINT NOT NULL,
  PRIMARY KEY (keyset_version, project, environment)
);

-- Replicas that hold what this database never signed: it was restored from an old copy, or somebody else signs.
CREATE TABLE forks (
  region      TEXT COLLATE "C" NOT NULL,
  shard       BIGINT NOT NULL,
  project     TEXT COLLATE "C" NOT NULL,
  environment TEXT COLLATE "C" NOT NULL,
  epoch       BIGINT NOT NULL,
  seq         BIGINT NOT NULL,
  digest      TEXT COLLATE "C" NOT NULL,
  seen_ms     BIGINT NOT NULL,
  PRIMARY KEY (region, shard, project, environment)
);
