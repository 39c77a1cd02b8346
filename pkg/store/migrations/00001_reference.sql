-- +goose Up

-- One text for PostgreSQL and SQLite. Conventions of every migration:
--   days are counted from 1970-01-01; instants are milliseconds UTC;
--   lists and documents are JSON in TEXT; "" is an absent text.
-- The comment WITHOUT ROWID is read by SQLite's dialect (dialect.go), which
-- takes its stars away; PostgreSQL sees a comment.

-- Every version of the reference data this database has held; the last one
-- loaded is in force.
CREATE TABLE reference_versions (
    position  INTEGER NOT NULL PRIMARY KEY,
    version   TEXT    NOT NULL,
    loaded_at BIGINT  NOT NULL
);

-- Territory and indicator keys are append-only: facts hold them, so rows of
-- these two tables are added and relabelled, never removed.
CREATE TABLE territories (
    key        INTEGER NOT NULL PRIMARY KEY,
    id         TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    code       TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    parent     TEXT    NOT NULL,
    valid_from INTEGER NOT NULL,
    valid_to   INTEGER NOT NULL,
    body       TEXT    NOT NULL,
    UNIQUE (id, valid_from)
);

CREATE TABLE indicators (
    key         INTEGER NOT NULL PRIMARY KEY,
    code        TEXT    NOT NULL UNIQUE,
    kind        TEXT    NOT NULL,
    impact_type TEXT    NOT NULL,
    position    INTEGER NOT NULL,
    body        TEXT    NOT NULL
);

-- Impact types, units, measure kinds and the other code lists.
CREATE TABLE codes (
    list     TEXT    NOT NULL,
    code     TEXT    NOT NULL,
    position INTEGER NOT NULL,
    body     TEXT    NOT NULL,
    PRIMARY KEY (list, code)
);

CREATE TABLE territory_geometries (
    territory INTEGER NOT NULL PRIMARY KEY REFERENCES territories (key),
    geometry  TEXT    NOT NULL,
    source    TEXT    NOT NULL,
    loaded_at BIGINT  NOT NULL
);

-- Small numbers handed out once: keys of organisations and submissions, and of
-- the dictionaries of facts.
CREATE TABLE counters (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
);
INSERT INTO counters (name, value) VALUES ('organisation', 0), ('submission', 0), ('cut', 0), ('profile', 0), ('actor', 0);

-- The order of the world: one row per transaction, seq in the order of commits,
-- without gaps. tx names the transaction in every table it touched.
CREATE TABLE commit_log (
    seq  BIGINT NOT NULL PRIMARY KEY,
    tx   BIGINT NOT NULL UNIQUE,
    kind TEXT   NOT NULL,
    at   BIGINT NOT NULL
);
