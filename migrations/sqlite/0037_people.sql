-- People of a tenant. A name is written in one way only, so that no two of them look alike; a password is there as argon2id
-- keeps it, or not at all.
CREATE TABLE users (
  user_id    TEXT PRIMARY KEY,
  tenant     TEXT NOT NULL,
  name       TEXT NOT NULL,
  password   TEXT,
  created_ms BIGINT NOT NULL,
  revision   BIGINT NOT NULL,
  UNIQUE (tenant, name)
);

-- What somebody may do where: in the whole tenant, in a project, or in an environment.
CREATE TABLE user_roles (
  user_id     TEXT NOT NULL,
  number      BIGINT NOT NULL,
  role        TEXT NOT NULL,
  project     TEXT,
  environment TEXT,
  PRIMARY KEY (user_id, number)
);

-- Browsers in which somebody is signed in, by the digest of what they present. One that has ended is no row.
CREATE TABLE sessions (
  session_id TEXT PRIMARY KEY,
  tenant     TEXT NOT NULL,
  user_id    TEXT NOT NULL,
  sha256     TEXT NOT NULL UNIQUE,
  opened_by  TEXT NOT NULL,
  created_ms BIGINT NOT NULL,
  used_ms    BIGINT NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id, created_ms);

-- Codes of sign-in links, by their digest. One that was used is no row; whoever gets a new one has no other.
CREATE TABLE sign_in_codes (
  user_id    TEXT PRIMARY KEY,
  tenant     TEXT NOT NULL,
  sha256     TEXT NOT NULL UNIQUE,
  expires_ms BIGINT NOT NULL
);
