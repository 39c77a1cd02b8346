-- +goose Up

ALTER TABLE clients ADD COLUMN network TEXT NOT NULL DEFAULT '';

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

-- Both logs only grow: a line may go when it is three years old, and never
-- changes.
-- +goose StatementBegin
/* sqlite
CREATE TRIGGER audit_log_stays BEFORE UPDATE ON audit_log BEGIN SELECT raise(ABORT, 'the log is append only'); END;
CREATE TRIGGER audit_log_keeps BEFORE DELETE ON audit_log WHEN old.at > (unixepoch() - 94694400) * 1000 BEGIN SELECT raise(ABORT, 'the log is append only'); END;
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
CREATE TRIGGER access_log_keeps BEFORE UPDATE OR DELETE ON access_log FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER access_log_whole BEFORE TRUNCATE ON access_log FOR EACH STATEMENT EXECUTE FUNCTION append_only();
*/
-- +goose StatementEnd
