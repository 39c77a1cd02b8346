// Package format writes rows as JSON, NDJSON and CSV (RFC 4180, and the French
// dialect of spreadsheets). A table is described once, by its columns; every
// format is made from that description, so that one query gives the same rows,
// numbers and statuses in each (api.md 10).
package format
