// Package format reads and writes tables. It imports the domain and the
// calculation, and knows neither HTTP nor SQL.
//
// Writing: rows as JSON, NDJSON and CSV (RFC 4180, and the French dialect of
// spreadsheets). A table is described once, by its columns; every format is made
// from that description, so that one query gives the same rows, numbers and
// statuses in each (api.md 10).
//
// Reading: files as people have them (api.md 4.3). Open finds out how a file is
// written and what its columns mean; Table.Statements and Table.Members give its
// rows one by one, with every fault and every difference between what was
// written and what was understood. Nothing is guessed that can mean two things.
package format
