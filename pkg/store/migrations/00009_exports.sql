-- +goose Up

-- Files of releases, made once each and kept as they were made. variants is
-- JSON: the encodings a file is kept in, each with the SHA-256 that names its
-- bytes. There is no statement that updates one.
CREATE TABLE export_files (
    dataset     TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    size        BIGINT  NOT NULL,
    sha256      TEXT    NOT NULL,
    row_count   INTEGER NOT NULL,
    modified_at BIGINT  NOT NULL,
    variants    TEXT    NOT NULL,
    created_at  BIGINT  NOT NULL,
    PRIMARY KEY (dataset, number, kind)
);
CREATE INDEX export_files_number ON export_files (number);

-- Their bytes, named by their SHA-256: what two releases, or two files, share is
-- there once.
CREATE TABLE export_pieces (
    content TEXT    NOT NULL,
    ordinal INTEGER NOT NULL,
    piece   BYTEA   NOT NULL,
    PRIMARY KEY (content, ordinal)
);
