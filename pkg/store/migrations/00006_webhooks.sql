-- +goose Up

-- The change feed. written is the last transaction that wrote the row, tx the
-- last that changed its state: figures depend on the state only, a copy of the
-- row on all of it.
ALTER TABLE submissions ADD COLUMN written BIGINT NOT NULL DEFAULT 0;
UPDATE submissions SET written = tx;
CREATE INDEX submissions_written ON submissions (written);
CREATE INDEX submission_events_tx ON submission_events (tx);
-- moved is the last transaction in which a step of its submission changed what
-- is seen of a fact, 0 when none did: a step moves what awaits approval only.
ALTER TABLE observations ADD COLUMN moved BIGINT NOT NULL DEFAULT 0;
UPDATE observations SET moved = coalesce((SELECT u.tx FROM submissions AS u WHERE u.key = observations.submission AND u.tx > observations.tx), 0);
CREATE INDEX observations_moved ON observations (moved, organisation, indicator, territory, period_start, period_end, cut) WHERE moved > 0;

-- The transaction that last changed an entry of the reference data; 0 for what
-- was there before it was recorded.
ALTER TABLE indicators ADD COLUMN tx BIGINT NOT NULL DEFAULT 0;
ALTER TABLE territories ADD COLUMN tx BIGINT NOT NULL DEFAULT 0;
CREATE INDEX indicators_tx ON indicators (tx);
CREATE INDEX territories_tx ON territories (tx);
-- Who follows reference data alone sees these commits alone.
CREATE INDEX commit_log_reference ON commit_log (seq) WHERE kind = 'reference';
CREATE INDEX commit_log_at ON commit_log (at);

INSERT INTO counters (name, value) VALUES ('webhook', 0);

-- Addresses that are told of changes. owner is whom it belongs to; client and
-- the columns after it are whose eyes it sees with. secrets are sealed.
CREATE TABLE webhooks (
    key           INTEGER NOT NULL PRIMARY KEY,
    id            TEXT    NOT NULL UNIQUE,
    owner         TEXT    NOT NULL,
    client        TEXT    NOT NULL,
    api_key       TEXT    NOT NULL,
    role          TEXT    NOT NULL,
    organisation  TEXT    NOT NULL,
    network       TEXT    NOT NULL,
    buyer         TEXT    NOT NULL,
    scopes        TEXT    NOT NULL,
    url           TEXT    NOT NULL,
    types         TEXT    NOT NULL,
    description   TEXT    NOT NULL,
    secrets       TEXT    NOT NULL,
    state         TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    position      TEXT    NOT NULL,
    failing_since BIGINT  NOT NULL,
    delivered_at  BIGINT  NOT NULL,
    version       INTEGER NOT NULL,
    created_at    BIGINT  NOT NULL,
    updated_at    BIGINT  NOT NULL
);
CREATE UNIQUE INDEX webhooks_url ON webhooks (owner, url);

-- One event on its way to one webhook. state: 0 pending, 1 delivered, 2 failed.
CREATE TABLE webhook_deliveries (
    webhook    INTEGER  NOT NULL REFERENCES webhooks (key),
    id         TEXT     NOT NULL,
    type       TEXT     NOT NULL,
    seq        BIGINT   NOT NULL,
    tx         BIGINT   NOT NULL,
    body       TEXT     NOT NULL,
    state      SMALLINT NOT NULL,
    attempts   TEXT     NOT NULL,
    tried      INTEGER  NOT NULL,
    next_at    BIGINT   NOT NULL,
    excerpt    TEXT     NOT NULL,
    created_at BIGINT   NOT NULL,
    PRIMARY KEY (webhook, id)
);
CREATE INDEX webhook_deliveries_listed ON webhook_deliveries (webhook, created_at, id);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook, next_at) WHERE state = 0;
CREATE INDEX webhook_deliveries_done ON webhook_deliveries (created_at) WHERE state <> 0;

-- Which process sends, and until when the others leave it to.
CREATE TABLE webhook_lease (
    key    INTEGER NOT NULL PRIMARY KEY,
    holder TEXT    NOT NULL,
    until  BIGINT  NOT NULL
);
INSERT INTO webhook_lease (key, holder, until) VALUES (1, '', 0);
