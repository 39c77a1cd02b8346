-- +goose Up

ALTER TABLE clients ADD COLUMN network TEXT NOT NULL DEFAULT '';
