-- +goose Up

-- The change feed. written is the last transaction that wrote the row, tx the
-- last that changed its state: figures depend on the state only, a copy of the
-- row on all of it.
ALTER TABLE submissions ADD COLUMN written BIGINT NOT NULL DEFAULT 0;
UPDATE submissions SET written = tx;
CREATE INDEX submissions_written ON submissions (written);
CREATE INDEX submission_events_tx ON submission_events (tx);

-- The transaction that last changed an entry of the reference data; 0 for what
-- was there before it was recorded.
ALTER TABLE indicators ADD COLUMN tx BIGINT NOT NULL DEFAULT 0;
ALTER TABLE territories ADD COLUMN tx BIGINT NOT NULL DEFAULT 0;
CREATE INDEX indicators_tx ON indicators (tx);
CREATE INDEX territories_tx ON territories (tx);
-- Who follows reference data alone sees these commits alone.
CREATE INDEX commit_log_reference ON commit_log (seq) WHERE kind = 'reference';
CREATE INDEX commit_log_at ON commit_log (at);
