-- +goose Up

CREATE TABLE organisations (
    key            INTEGER NOT NULL PRIMARY KEY,
    id             TEXT    NOT NULL UNIQUE,
    name           TEXT    NOT NULL,
    search         TEXT    NOT NULL,
    siret          TEXT    NOT NULL,
    siren          TEXT    NOT NULL,
    rna            TEXT    NOT NULL,
    class          TEXT    NOT NULL,
    structure_kind TEXT    NOT NULL,
    legal_category TEXT    NOT NULL,
    naf            TEXT    NOT NULL,
    size_class     TEXT    NOT NULL,
    staff_band     TEXT    NOT NULL,
    ess            TEXT    NOT NULL,
    ess_basis      TEXT    NOT NULL,
    group_id       TEXT    NOT NULL,
    questionnaires TEXT    NOT NULL,
    external_ids   TEXT    NOT NULL,
    sites          TEXT    NOT NULL,
    successor      TEXT    NOT NULL,
    opened_on      INTEGER NOT NULL,
    closed_on      INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    created_at     BIGINT  NOT NULL,
    updated_at     BIGINT  NOT NULL,
    tx             BIGINT  NOT NULL
);
-- One establishment can be an ACI and an EI: two organisations. It cannot be
-- the same kind twice.
CREATE UNIQUE INDEX organisations_siret ON organisations (siret, structure_kind) WHERE siret <> '';
CREATE INDEX organisations_siren ON organisations (siren) WHERE siren <> '';
CREATE INDEX organisations_rna ON organisations (rna) WHERE rna <> '';
CREATE INDEX organisations_updated ON organisations (updated_at, key);
CREATE INDEX organisations_tx ON organisations (tx);

-- What the organisation's own row says of external ids and sites, laid out to be
-- searched.
CREATE TABLE organisation_external_ids (
    organisation INTEGER NOT NULL REFERENCES organisations (key),
    position     INTEGER NOT NULL,
    source       TEXT    NOT NULL,
    external_id  TEXT    NOT NULL,
    PRIMARY KEY (organisation, position)
);
CREATE INDEX organisation_external_ids_id ON organisation_external_ids (source, external_id);

CREATE TABLE organisation_sites (
    organisation INTEGER NOT NULL REFERENCES organisations (key),
    position     INTEGER NOT NULL,
    siret        TEXT    NOT NULL,
    territory    TEXT    NOT NULL,
    from_day     INTEGER NOT NULL,
    to_day       INTEGER NOT NULL,
    PRIMARY KEY (organisation, position)
);
CREATE INDEX organisation_sites_territory ON organisation_sites (territory);

CREATE TABLE clients (
    id            TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL,
    role          TEXT    NOT NULL,
    organisation  TEXT    NOT NULL,
    buyer         TEXT    NOT NULL,
    scopes        TEXT    NOT NULL,
    secret_hashes TEXT    NOT NULL,
    revoked       SMALLINT NOT NULL,
    version       INTEGER NOT NULL,
    created_at    BIGINT  NOT NULL,
    updated_at    BIGINT  NOT NULL
);

CREATE TABLE questionnaires (
    code            TEXT    NOT NULL PRIMARY KEY,
    label_fr        TEXT    NOT NULL,
    label_en        TEXT    NOT NULL,
    indicators      TEXT    NOT NULL,
    structure_kinds TEXT    NOT NULL,
    from_day        INTEGER NOT NULL,
    to_day          INTEGER NOT NULL,
    review          TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    updated_at      BIGINT  NOT NULL,
    tx              BIGINT  NOT NULL
);

-- Answers already given, for a client that asks the same thing twice because
-- it did not hear the first answer.
CREATE TABLE idempotency_keys (
    client      TEXT    NOT NULL,
    route       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    status      INTEGER NOT NULL,
    header      TEXT    NOT NULL,
    body        TEXT    NOT NULL,
    created_at  BIGINT  NOT NULL,
    PRIMARY KEY (client, route, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

-- Who read or wrote whose data. Append only.
CREATE TABLE access_log (
    id           BIGINT NOT NULL PRIMARY KEY,
    at           BIGINT NOT NULL,
    client       TEXT   NOT NULL,
    action       TEXT   NOT NULL,
    organisation TEXT   NOT NULL,
    resource     TEXT   NOT NULL
);
CREATE INDEX access_log_organisation ON access_log (organisation, id);
