-- +goose Up

-- Attempts at releases. state: building, candidate, published, withdrawn,
-- discarded, failed. Only published and withdrawn ones are known to everybody;
-- tx is the transaction that published or withdrew it, 0 before. methodology,
-- counts, principal, audited and reason are JSON; dates are days, instants 0
-- when it never happened.
CREATE TABLE releases (
    id            TEXT     NOT NULL PRIMARY KEY,
    number        INTEGER  NOT NULL,
    state         TEXT     NOT NULL,
    day           INTEGER  NOT NULL,
    embargo       INTEGER  NOT NULL,
    seq           BIGINT   NOT NULL,
    vintage       INTEGER  NOT NULL,
    method        TEXT     NOT NULL,
    ruleset       TEXT     NOT NULL,
    reference     TEXT     NOT NULL,
    methodology   TEXT     NOT NULL,
    digest        TEXT     NOT NULL,
    counts        TEXT     NOT NULL,
    requested_by  TEXT     NOT NULL,
    dry_run       SMALLINT NOT NULL,
    publish       SMALLINT NOT NULL,
    audited       TEXT     NOT NULL,
    reason        TEXT     NOT NULL,
    successor     INTEGER  NOT NULL,
    scheduled_for BIGINT   NOT NULL,
    units_done    INTEGER  NOT NULL,
    units_total   INTEGER  NOT NULL,
    attempts      INTEGER  NOT NULL,
    created_at    BIGINT   NOT NULL,
    built_at      BIGINT   NOT NULL,
    published_at  BIGINT   NOT NULL,
    withdrawn_at  BIGINT   NOT NULL,
    version       INTEGER  NOT NULL,
    updated_at    BIGINT   NOT NULL,
    tx            BIGINT   NOT NULL
);
-- One release of each number, one attempt at the next one, one build of an
-- instant of the calendar: whatever process asks.
CREATE UNIQUE INDEX releases_public ON releases (number) WHERE state IN ('published', 'withdrawn');
CREATE UNIQUE INDEX releases_standing ON releases (dry_run) WHERE state IN ('building', 'candidate');
CREATE UNIQUE INDEX releases_scheduled ON releases (scheduled_for) WHERE scheduled_for > 0;
CREATE INDEX releases_tx ON releases (tx) WHERE tx > 0;

-- Sealed units, named by their content: one that did not change is there once,
-- whatever the number of releases it is in. figures is what is published, zstd;
-- there is no statement that updates one.
CREATE TABLE release_units (
    content TEXT    NOT NULL PRIMARY KEY,
    family  TEXT    NOT NULL,
    year    INTEGER NOT NULL,
    digest  TEXT    NOT NULL,
    input   TEXT    NOT NULL,
    figures BYTEA   NOT NULL
);
-- What the next release must know of the facts: as secret as they are, and read
-- by builds only.
CREATE TABLE release_ledgers (
    content TEXT  NOT NULL PRIMARY KEY REFERENCES release_units (content),
    ledger  BYTEA NOT NULL
);
CREATE TABLE release_contents (
    release TEXT    NOT NULL REFERENCES releases (id),
    family  TEXT    NOT NULL,
    year    INTEGER NOT NULL,
    content TEXT    NOT NULL REFERENCES release_units (content),
    PRIMARY KEY (release, family, year)
);
CREATE INDEX release_contents_content ON release_contents (content);

-- Why cells of a unit are withheld, and what the auditor found: secret, for
-- auditors only; zstd.
CREATE TABLE release_audits (
    release TEXT    NOT NULL REFERENCES releases (id),
    family  TEXT    NOT NULL,
    year    INTEGER NOT NULL,
    report  BYTEA   NOT NULL,
    PRIMARY KEY (release, family, year)
);

-- Which process builds, and until when the others leave it to.
CREATE TABLE release_lease (
    key    INTEGER NOT NULL PRIMARY KEY,
    holder TEXT    NOT NULL,
    until  BIGINT  NOT NULL
);
INSERT INTO release_lease (key, holder, until) VALUES (1, '', 0);

-- Since when a calendar is followed: what came before is not caught up.
CREATE TABLE release_calendars (
    expression TEXT   NOT NULL PRIMARY KEY,
    since      BIGINT NOT NULL
);

-- Who follows what is public alone sees these commits alone.
DROP INDEX commit_log_reference;
CREATE INDEX commit_log_public ON commit_log (seq) WHERE kind IN ('reference', 'release');
