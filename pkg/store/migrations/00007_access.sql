-- +goose Up

-- Keys for scripts, known by their hash alone. Their owner is the organisation,
-- the network or the buyer that the client acts for. scopes, networks and
-- methods are lists in JSON; instants are 0 when it never happened.
CREATE TABLE api_keys (
    id           TEXT   NOT NULL PRIMARY KEY,
    name         TEXT   NOT NULL,
    hint         TEXT   NOT NULL,
    hash         TEXT   NOT NULL,
    client       TEXT   NOT NULL REFERENCES clients (id),
    role         TEXT   NOT NULL,
    organisation TEXT   NOT NULL,
    network      TEXT   NOT NULL,
    buyer        TEXT   NOT NULL,
    scopes       TEXT   NOT NULL,
    networks     TEXT   NOT NULL,
    methods      TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    revoked_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);
CREATE INDEX api_keys_owner ON api_keys (role, organisation, network, buyer, id);

-- Access tokens ended before they expire: one by its jti, or with token '' all
-- those a client got up to an instant. Rows go once they have expired.
CREATE TABLE revoked_tokens (
    client     TEXT   NOT NULL,
    token      TEXT   NOT NULL,
    until      BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    tx         BIGINT NOT NULL,
    PRIMARY KEY (client, token)
);
CREATE INDEX revoked_tokens_tx ON revoked_tokens (tx);

-- Public keys of clients that sign instead of showing a secret, and which of
-- their assertions were used.
ALTER TABLE clients ADD COLUMN jwks TEXT NOT NULL DEFAULT '';
CREATE TABLE used_assertions (
    client     TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (client, id)
);
CREATE INDEX used_assertions_expires ON used_assertions (expires_at);
