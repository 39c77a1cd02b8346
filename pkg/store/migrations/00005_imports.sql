-- +goose Up

-- One bulk job and its report. tx, version and updated_at move with its state,
-- not with its progress. A job is worked on by who holds its lease; options,
-- principal, file and report are JSON.
CREATE TABLE imports (
    id              TEXT     NOT NULL PRIMARY KEY,
    kind            TEXT     NOT NULL,
    client          TEXT     NOT NULL,
    organisation    TEXT     NOT NULL,
    network         TEXT     NOT NULL,
    state           TEXT     NOT NULL,
    outcome         TEXT     NOT NULL,
    principal       TEXT     NOT NULL,
    options         TEXT     NOT NULL,
    report          TEXT     NOT NULL,
    idempotency_key TEXT     NOT NULL,
    fingerprint     TEXT     NOT NULL,
    file            TEXT     NOT NULL,
    rows_total      INTEGER  NOT NULL,
    rows_done       INTEGER  NOT NULL,
    chunks          INTEGER  NOT NULL,
    attempts        INTEGER  NOT NULL,
    cancelling      SMALLINT NOT NULL,
    lease_owner     TEXT     NOT NULL,
    lease_until     BIGINT   NOT NULL,
    started_at      BIGINT   NOT NULL,
    finished_at     BIGINT   NOT NULL,
    version         INTEGER  NOT NULL,
    created_at      BIGINT   NOT NULL,
    updated_at      BIGINT   NOT NULL,
    tx              BIGINT   NOT NULL
);
CREATE UNIQUE INDEX imports_key ON imports (client, kind, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX imports_waiting ON imports (lease_until) WHERE state IN ('pending', 'running');
CREATE INDEX imports_organisation ON imports (organisation, created_at, id);
CREATE INDEX imports_network ON imports (network, created_at, id);
CREATE INDEX imports_created ON imports (created_at, id);
CREATE INDEX imports_tx ON imports (tx);

-- The file as it was sent, in gzipped pieces; forgotten before the report.
CREATE TABLE import_sources (
    import  TEXT    NOT NULL REFERENCES imports (id),
    ordinal INTEGER NOT NULL,
    piece   BYTEA   NOT NULL,
    PRIMARY KEY (import, ordinal)
);

-- What became of up to 2,000 rows, written with what they wrote: gzipped JSON,
-- a row of the table per row of the file would cost as much as the facts.
CREATE TABLE import_rows (
    import    TEXT    NOT NULL REFERENCES imports (id),
    ordinal   INTEGER NOT NULL,
    first_row INTEGER NOT NULL,
    last_row  INTEGER NOT NULL,
    outcomes  TEXT    NOT NULL,
    rows      BYTEA   NOT NULL,
    PRIMARY KEY (import, ordinal)
);

-- How a sender's headers and codes read, kept under a name.
CREATE TABLE import_mappings (
    id           TEXT     NOT NULL PRIMARY KEY,
    name         TEXT     NOT NULL,
    kind         TEXT     NOT NULL,
    organisation TEXT     NOT NULL,
    network      TEXT     NOT NULL,
    columns      TEXT     NOT NULL,
    codes        TEXT     NOT NULL,
    version      INTEGER  NOT NULL,
    created_at   BIGINT   NOT NULL,
    updated_at   BIGINT   NOT NULL,
    tx           BIGINT   NOT NULL,
    deleted      SMALLINT NOT NULL
);
CREATE UNIQUE INDEX import_mappings_name ON import_mappings (organisation, network, name) WHERE deleted = 0;
CREATE INDEX import_mappings_tx ON import_mappings (tx);
