-- +goose Up

-- Words that come back in every fact are written once and named by a number.
-- A cut is the programme and disaggregation of a value, 0 the whole.
CREATE TABLE cuts (
    key  INTEGER NOT NULL PRIMARY KEY,
    text TEXT    NOT NULL UNIQUE
);
INSERT INTO cuts (key, text) VALUES (0, '');

-- What an organisation was, and which methodology was in force, when a value
-- was written.
CREATE TABLE profiles (
    key                 INTEGER NOT NULL PRIMARY KEY,
    class               TEXT    NOT NULL,
    structure_kind      TEXT    NOT NULL,
    size_class          TEXT    NOT NULL,
    ess                 TEXT    NOT NULL,
    methodology_version TEXT    NOT NULL,
    UNIQUE (class, structure_kind, size_class, ess, methodology_version)
);

-- Who wrote, and by which mandate.
CREATE TABLE actors (
    key     INTEGER NOT NULL PRIMARY KEY,
    client  TEXT    NOT NULL,
    mandate TEXT    NOT NULL,
    UNIQUE (client, mandate)
);

CREATE TABLE submissions (
    key           INTEGER  NOT NULL PRIMARY KEY,
    id            TEXT     NOT NULL UNIQUE,
    organisation  INTEGER  NOT NULL REFERENCES organisations (key),
    period_start  INTEGER  NOT NULL,
    period_end    INTEGER  NOT NULL,
    questionnaire TEXT     NOT NULL,
    source        TEXT     NOT NULL,
    state         TEXT     NOT NULL,
    review        TEXT     NOT NULL,
    reason        TEXT     NOT NULL,
    observations  INTEGER  NOT NULL,
    warned        SMALLINT NOT NULL,
    acted_by      TEXT     NOT NULL,
    mandate       TEXT     NOT NULL,
    version       INTEGER  NOT NULL,
    created_at    BIGINT   NOT NULL,
    updated_at    BIGINT   NOT NULL,
    tx            BIGINT   NOT NULL,
    deleted       SMALLINT NOT NULL
);
CREATE UNIQUE INDEX submissions_period ON submissions (organisation, period_start, period_end, questionnaire) WHERE deleted = 0;
CREATE INDEX submissions_updated ON submissions (updated_at, key);
CREATE INDEX submissions_tx ON submissions (tx);

-- The life of a submission: who did what, when, why. Append only.
CREATE TABLE submission_events (
    submission INTEGER NOT NULL REFERENCES submissions (key),
    version    INTEGER NOT NULL,
    tx         BIGINT  NOT NULL,
    action     TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    acted_by   TEXT    NOT NULL,
    PRIMARY KEY (submission, version)
);

CREATE TABLE locked_periods (
    period_start INTEGER NOT NULL,
    period_end   INTEGER NOT NULL,
    locked_at    BIGINT  NOT NULL,
    PRIMARY KEY (period_start, period_end)
);

-- One row per fact, in its current version; a deleted fact keeps its row. value
-- counts millionths. tx carries the instant of writing (its upper bits, see
-- clock.go). No foreign keys here, they would cost a look-up per row and
-- reference: keys of territories and indicators are never removed
-- (reference.go) and the store takes the others from rows it holds locked.
-- Wide columns first: PostgreSQL then needs no padding.
CREATE TABLE observations (
    value            BIGINT,
    tx               BIGINT   NOT NULL,
    organisation     INTEGER  NOT NULL,
    territory        INTEGER  NOT NULL,
    period_start     INTEGER  NOT NULL,
    period_end       INTEGER  NOT NULL,
    cut              INTEGER  NOT NULL,
    submission       INTEGER  NOT NULL,
    profile          INTEGER  NOT NULL,
    actor            INTEGER  NOT NULL,
    version          INTEGER  NOT NULL,
    approved_version INTEGER  NOT NULL,
    indicator        SMALLINT NOT NULL,
    obs_status       SMALLINT NOT NULL,
    deleted          SMALLINT NOT NULL,
    details          TEXT     NOT NULL,
    PRIMARY KEY (organisation, indicator, territory, period_start, period_end, cut)
) /* WITHOUT ROWID */;

-- Every version ever written, the current one included. Append only.
CREATE TABLE observation_versions (
    value        BIGINT,
    tx           BIGINT   NOT NULL,
    organisation INTEGER  NOT NULL,
    territory    INTEGER  NOT NULL,
    period_start INTEGER  NOT NULL,
    period_end   INTEGER  NOT NULL,
    cut          INTEGER  NOT NULL,
    submission   INTEGER  NOT NULL,
    profile      INTEGER  NOT NULL,
    actor        INTEGER  NOT NULL,
    version      INTEGER  NOT NULL,
    indicator    SMALLINT NOT NULL,
    obs_status   SMALLINT NOT NULL,
    deleted      SMALLINT NOT NULL,
    details      TEXT     NOT NULL,
    PRIMARY KEY (organisation, indicator, territory, period_start, period_end, cut, version)
) /* WITHOUT ROWID */;
CREATE INDEX observation_versions_tx ON observation_versions (tx);

-- The fact that a sender knows under a name of its own.
CREATE TABLE observation_external_ids (
    organisation INTEGER  NOT NULL,
    source       TEXT     NOT NULL,
    external_id  TEXT     NOT NULL,
    indicator    SMALLINT NOT NULL,
    territory    INTEGER  NOT NULL,
    period_start INTEGER  NOT NULL,
    period_end   INTEGER  NOT NULL,
    cut          INTEGER  NOT NULL,
    PRIMARY KEY (organisation, source, external_id)
);
