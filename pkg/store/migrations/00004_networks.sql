-- +goose Up

ALTER TABLE clients ADD COLUMN network TEXT NOT NULL DEFAULT '';

-- organisation is the legal entity of the network itself, 0 when it has none
-- here; search is the name without case and accents.
CREATE TABLE networks (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    search       TEXT    NOT NULL,
    code         TEXT    NOT NULL,
    organisation INTEGER NOT NULL,
    version      INTEGER NOT NULL,
    created_at   BIGINT  NOT NULL,
    updated_at   BIGINT  NOT NULL,
    tx           BIGINT  NOT NULL
);
CREATE UNIQUE INDEX networks_code ON networks (code) WHERE code <> '';
CREATE UNIQUE INDEX networks_organisation ON networks (organisation) WHERE organisation <> 0;
CREATE INDEX networks_updated ON networks (updated_at, id);
CREATE INDEX networks_tx ON networks (tx);

-- Who belongs to which network, from which day to which, both included. The
-- same organisation may come back: intervals of one pair do not overlap.
CREATE TABLE memberships (
    id           TEXT     NOT NULL PRIMARY KEY,
    network      TEXT     NOT NULL REFERENCES networks (id),
    organisation INTEGER  NOT NULL REFERENCES organisations (key),
    from_day     INTEGER  NOT NULL,
    to_day       INTEGER  NOT NULL,
    external_id  TEXT     NOT NULL,
    version      INTEGER  NOT NULL,
    created_at   BIGINT   NOT NULL,
    updated_at   BIGINT   NOT NULL,
    tx           BIGINT   NOT NULL,
    deleted      SMALLINT NOT NULL
);
CREATE UNIQUE INDEX memberships_interval ON memberships (network, organisation, from_day) WHERE deleted = 0;
CREATE INDEX memberships_organisation ON memberships (organisation);
CREATE INDEX memberships_updated ON memberships (network, updated_at, id);
CREATE INDEX memberships_tx ON memberships (tx);

-- What an organisation lets a network do. scopes and indicators are lists in
-- JSON; indicators "" means all.
CREATE TABLE mandates (
    id           TEXT    NOT NULL PRIMARY KEY,
    organisation INTEGER NOT NULL REFERENCES organisations (key),
    network      TEXT    NOT NULL REFERENCES networks (id),
    scopes       TEXT    NOT NULL,
    indicators   TEXT    NOT NULL,
    period_start INTEGER NOT NULL,
    period_end   INTEGER NOT NULL,
    valid_from   INTEGER NOT NULL,
    valid_to     INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    started_by   TEXT    NOT NULL,
    requested_by TEXT    NOT NULL,
    decided_by   TEXT    NOT NULL,
    decided_at   BIGINT  NOT NULL,
    version      INTEGER NOT NULL,
    created_at   BIGINT  NOT NULL,
    updated_at   BIGINT  NOT NULL,
    tx           BIGINT  NOT NULL
);
CREATE INDEX mandates_network ON mandates (network, organisation);
CREATE INDEX mandates_organisation ON mandates (organisation);
CREATE INDEX mandates_updated ON mandates (updated_at, id);
CREATE INDEX mandates_tx ON mandates (tx);

-- The granted mandates laid out for the queries that filter by them: a row for
-- each scope and indicator, 0 for all indicators. A row is there exactly while
-- its mandate is granted; whether it is in force today is a matter of valid_*.
CREATE TABLE mandate_rights (
    network      TEXT     NOT NULL,
    organisation INTEGER  NOT NULL,
    scope        TEXT     NOT NULL,
    indicator    SMALLINT NOT NULL,
    mandate      TEXT     NOT NULL REFERENCES mandates (id),
    period_start INTEGER  NOT NULL,
    period_end   INTEGER  NOT NULL,
    valid_from   INTEGER  NOT NULL,
    valid_to     INTEGER  NOT NULL,
    PRIMARY KEY (network, organisation, scope, indicator, mandate)
);
CREATE INDEX mandate_rights_mandate ON mandate_rights (mandate);

-- Each use of a mandate. Append only; id grows with time.
CREATE TABLE mandate_uses (
    id      BIGINT  NOT NULL PRIMARY KEY,
    mandate TEXT    NOT NULL REFERENCES mandates (id),
    at      BIGINT  NOT NULL,
    client  TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    rows    INTEGER NOT NULL
);
CREATE INDEX mandate_uses_mandate ON mandate_uses (mandate, id);

-- By which right it was read, and how many rows of the organisation.
ALTER TABLE access_log ADD COLUMN basis TEXT NOT NULL DEFAULT 'steward';
ALTER TABLE access_log ADD COLUMN row_count INTEGER NOT NULL DEFAULT 0;

-- Where an organisation stands on a purpose; given is what is in force.
CREATE TABLE consents (
    organisation INTEGER  NOT NULL REFERENCES organisations (key),
    kind         TEXT     NOT NULL,
    given        SMALLINT NOT NULL,
    wording      TEXT     NOT NULL,
    given_at     BIGINT   NOT NULL,
    withdrawn_at BIGINT   NOT NULL,
    acted_by     TEXT     NOT NULL,
    version      INTEGER  NOT NULL,
    updated_at   BIGINT   NOT NULL,
    tx           BIGINT   NOT NULL,
    PRIMARY KEY (organisation, kind)
);
CREATE INDEX consents_given ON consents (kind, organisation) WHERE given = 1;
CREATE INDEX consents_tx ON consents (tx);

-- Every time it said yes or no. Append only.
CREATE TABLE consent_versions (
    organisation INTEGER  NOT NULL REFERENCES organisations (key),
    kind         TEXT     NOT NULL,
    version      INTEGER  NOT NULL,
    given        SMALLINT NOT NULL,
    wording      TEXT     NOT NULL,
    at           BIGINT   NOT NULL,
    acted_by     TEXT     NOT NULL,
    tx           BIGINT   NOT NULL,
    PRIMARY KEY (organisation, kind, version)
);
CREATE INDEX consent_versions_tx ON consent_versions (tx);

-- Who changed which right, of whom. Parties that the line concerns read it.
CREATE TABLE audit_log (
    id           BIGINT NOT NULL PRIMARY KEY,
    at           BIGINT NOT NULL,
    actor        TEXT   NOT NULL,
    role         TEXT   NOT NULL,
    action       TEXT   NOT NULL,
    resource     TEXT   NOT NULL,
    organisation TEXT   NOT NULL,
    network      TEXT   NOT NULL,
    buyer        TEXT   NOT NULL,
    detail       TEXT   NOT NULL
);
CREATE INDEX audit_log_actor ON audit_log (actor, id);
CREATE INDEX audit_log_resource ON audit_log (resource, id);
CREATE INDEX audit_log_organisation ON audit_log (organisation, id) WHERE organisation <> '';
CREATE INDEX audit_log_network ON audit_log (network, id) WHERE network <> '';
CREATE INDEX audit_log_buyer ON audit_log (buyer, id) WHERE buyer <> '';

-- The logs only grow: a line may go when it is three years old, and never
-- changes.
-- +goose StatementBegin
/* sqlite
CREATE TRIGGER audit_log_stays BEFORE UPDATE ON audit_log BEGIN SELECT raise(ABORT, 'the log is append only'); END;
CREATE TRIGGER audit_log_keeps BEFORE DELETE ON audit_log WHEN old.at > (unixepoch() - 94694400) * 1000 BEGIN SELECT raise(ABORT, 'the log is append only'); END;
CREATE TRIGGER mandate_uses_stays BEFORE UPDATE ON mandate_uses BEGIN SELECT raise(ABORT, 'the log is append only'); END;
CREATE TRIGGER mandate_uses_keeps BEFORE DELETE ON mandate_uses WHEN old.at > (unixepoch() - 94694400) * 1000 BEGIN SELECT raise(ABORT, 'the log is append only'); END;
CREATE TRIGGER access_log_stays BEFORE UPDATE ON access_log BEGIN SELECT raise(ABORT, 'the log is append only'); END;
CREATE TRIGGER access_log_keeps BEFORE DELETE ON access_log WHEN old.at > (unixepoch() - 94694400) * 1000 BEGIN SELECT raise(ABORT, 'the log is append only'); END;
*/
/* postgres
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF old.at <= (extract(epoch FROM now()) - 94694400) * 1000 THEN
            RETURN old;
        END IF;
    END IF;
    RAISE EXCEPTION 'the log is append only';
END $$;
CREATE TRIGGER audit_log_keeps BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_log_whole BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER mandate_uses_keeps BEFORE UPDATE OR DELETE ON mandate_uses FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER mandate_uses_whole BEFORE TRUNCATE ON mandate_uses FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER access_log_keeps BEFORE UPDATE OR DELETE ON access_log FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER access_log_whole BEFORE TRUNCATE ON access_log FOR EACH STATEMENT EXECUTE FUNCTION append_only();
*/
-- +goose StatementEnd
