package client

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// ImportOptions say how a file is to be taken. Empty members leave the
// service's own defaults.
type ImportOptions struct {
	ContentType string // text/csv, application/json, application/x-ndjson, …spreadsheetml.sheet
	Filename    string
	// Key is the Idempotency-Key: the same file sent again under the same key
	// is taken once. Made when empty.
	Key                                                  string
	DryRun                                               bool
	Mode                                                 string // merge, replace, delete
	Atomicity                                            string // row, all
	OnWarning                                            string // accept, reject
	Dialect                                              string // auto, rfc4180, fr
	DefaultOrganisation, DefaultPeriod, DefaultTerritory string
	Scope                                                []string // of a replacement: indicator:x, period:2025
	MaxDeleteRatio                                       string
	Mapping, RetryOf                                     string
	// Wait asks the service to answer once all is done when this takes no longer,
	// whatever the size, in whole seconds. Without it a large file is a job at once.
	Wait time.Duration
	// Uncompressed sends the bytes as they are; they are compressed otherwise,
	// unless they are gzip.
	Uncompressed bool
}

// Import is a bulk job and its report.
type Import struct {
	ID      string       `json:"id"`
	Kind    string       `json:"kind"`
	State   string       `json:"state"`   // pending running awaiting_confirmation completed failed cancelled
	Outcome string       `json:"outcome"` // succeeded partially_succeeded failed; empty while running
	DryRun  bool         `json:"dry_run"`
	Counts  ImportCounts `json:"counts"`
	File    struct {
		Name           string            `json:"name"`
		Rows           int               `json:"rows"`
		HeaderMapping  map[string]string `json:"header_mapping"`
		IgnoredColumns []string          `json:"ignored_columns"`
	} `json:"file"`
	Progress       ImportProgress `json:"progress"`
	ErrorsByCode   []CodeCount    `json:"errors_by_code"`
	WarningsByCode []CodeCount    `json:"warnings_by_code"`
	Rows           []ImportRow    `json:"rows"`
	// Deletions are those planned, when there are some.
	Deletions *struct {
		Planned int `json:"planned"`
		InScope int `json:"in_scope"`
	} `json:"deletions"`
	// Problem tells why a job failed as a whole.
	Problem *Problem `json:"problem"`
}

// Done tells that the job does nothing more by itself: it ended, or waits for
// ConfirmImport.
func (i *Import) Done() bool {
	switch i.State {
	case "completed", "failed", "cancelled", "awaiting_confirmation":
		return true
	}
	return false
}

// ImportCounts counts rows by what became of them; Would… those of a dry run.
type ImportCounts struct {
	Received    int `json:"received"`
	Created     int `json:"created"`
	Updated     int `json:"updated"`
	Unchanged   int `json:"unchanged"`
	Deleted     int `json:"deleted"`
	WouldCreate int `json:"would_create"`
	WouldUpdate int `json:"would_update"`
	WouldLeave  int `json:"would_leave"`
	WouldDelete int `json:"would_delete"`
	Rejected    int `json:"rejected"`
	Warnings    int `json:"warnings"`
	// Registered counts the organisations that a list of members made known.
	Registered int `json:"organisations_registered"`
}

// Add adds the counts of another import.
func (c *ImportCounts) Add(d ImportCounts) {
	c.Received += d.Received
	c.Created += d.Created
	c.Updated += d.Updated
	c.Unchanged += d.Unchanged
	c.Deleted += d.Deleted
	c.WouldCreate += d.WouldCreate
	c.WouldUpdate += d.WouldUpdate
	c.WouldLeave += d.WouldLeave
	c.WouldDelete += d.WouldDelete
	c.Rejected += d.Rejected
	c.Warnings += d.Warnings
	c.Registered += d.Registered
}

// ImportProgress is how far a running job is. What is not known yet is nil.
type ImportProgress struct {
	RowsDone  int     `json:"rows_done"`
	RowsTotal *int    `json:"rows_total"`
	Rate      *int    `json:"rate"`    // rows a second since the start
	EndsAt    *string `json:"ends_at"` // RFC 3339
}

// CodeCount is how often one fault occurs, and where first.
type CodeCount struct {
	Code      string `json:"code"`
	Title     string `json:"title"`
	Count     int    `json:"count"`
	FirstRows []int  `json:"first_rows"`
}

// ImportRow is what became of one row: Row counts records from 1, Line is the
// line of the file.
type ImportRow struct {
	Row      int     `json:"row"`
	Line     int     `json:"line"`
	Outcome  string  `json:"outcome"`
	Errors   []Fault `json:"errors"`
	Warnings []Fault `json:"warnings"`
}

// CreateImport sends a file. A small one is done when this returns; of a large
// one, see AwaitImport.
func (c *Client) CreateImport(ctx context.Context, content []byte, o ImportOptions) (*Import, error) {
	query := url.Values{}
	set := func(name, value string) {
		if value != "" {
			query.Set(name, value)
		}
	}
	if o.DryRun {
		query.Set("dry_run", "true")
	}
	set("mode", o.Mode)
	set("atomicity", o.Atomicity)
	set("on_warning", o.OnWarning)
	set("csv_dialect", o.Dialect)
	set("default_organisation", o.DefaultOrganisation)
	set("default_period", o.DefaultPeriod)
	set("default_territory", o.DefaultTerritory)
	set("max_delete_ratio", o.MaxDeleteRatio)
	set("mapping", o.Mapping)
	set("retry_of", o.RetryOf)
	query["scope"] = o.Scope
	header := http.Header{}
	if o.Filename != "" {
		header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": o.Filename}))
	}
	if o.Wait > 0 {
		header.Set("Prefer", fmt.Sprintf("wait=%d", int(o.Wait/time.Second)))
	}
	if !o.Uncompressed && !bytes.HasPrefix(content, gzipMagic) {
		var err error
		if content, err = compressed(content); err != nil {
			return nil, err
		}
		header.Set("Content-Encoding", "gzip")
	}
	if o.Key == "" {
		o.Key = NewKey()
	}
	var made Import
	_, err := c.Call(ctx, Request{
		Method: http.MethodPost, Path: "/v1/imports", Query: query, Raw: content, ContentType: o.ContentType, Key: o.Key, Header: header,
	}, &made)
	if err != nil {
		return nil, err
	}
	return &made, nil
}

// gzipMagic begins a file that is compressed already: the service knows it by that.
var gzipMagic = []byte{0x1f, 0x8b}

func compressed(content []byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(content); err != nil {
		return nil, fmt.Errorf("compressing the file: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compressing the file: %w", err)
	}
	return b.Bytes(), nil
}

// Import reads a job and its report.
func (c *Client) Import(ctx context.Context, id string) (*Import, time.Duration, error) {
	var i Import
	h, err := c.Call(ctx, Request{Path: "/v1/imports/" + url.PathEscape(id)}, &i)
	if err != nil {
		return nil, 0, err
	}
	seconds, _ := strconv.Atoi(h.Get("Retry-After")) // absent when done
	return &i, time.Duration(seconds) * time.Second, nil
}

// AwaitImport follows a job to its end, as often as the service asks to be asked;
// progress, which may be nil, sees every answer.
func (c *Client) AwaitImport(ctx context.Context, i *Import, progress func(*Import)) (*Import, error) {
	for {
		if progress != nil {
			progress(i)
		}
		if i.Done() {
			return i, nil
		}
		now, pause, err := c.Import(ctx, i.ID)
		if err != nil {
			return i, err
		}
		i = now
		if i.Done() {
			continue
		}
		timer := time.NewTimer(min(max(pause, 200*time.Millisecond), 30*time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
			return i, ctx.Err()
		case <-timer.C:
		}
	}
}

// ImportRows gives the rows of an import, all those of an outcome when one is
// given: rejected, warning, created, updated, unchanged, deleted.
func (c *Client) ImportRows(ctx context.Context, id, outcome string) iter.Seq2[ImportRow, error] {
	query := url.Values{"limit": {"1000"}}
	if outcome != "" {
		query.Set("outcome", outcome)
	}
	return list[ImportRow](ctx, c, "/v1/imports/"+url.PathEscape(id)+"/rows", query)
}

// ImportRejects writes the rejected rows as a file to correct and send again: the
// sender's own columns, then those that say what is wrong.
func (c *Client) ImportRejects(ctx context.Context, id string, w io.Writer) error {
	return c.Download(ctx, Request{Path: "/v1/imports/" + url.PathEscape(id) + "/rejects.csv"}, w)
}

// CancelImport stops a job; what it has written stays.
func (c *Client) CancelImport(ctx context.Context, id string) error {
	_, err := c.Call(ctx, Request{Method: http.MethodPost, Path: "/v1/imports/" + url.PathEscape(id) + "/cancel", Key: "cancel-" + id}, nil)
	return err
}

// ConfirmImport lets a job delete what delete_guard held back.
func (c *Client) ConfirmImport(ctx context.Context, id string) (*Import, error) {
	var i Import
	_, err := c.Call(ctx, Request{Method: http.MethodPost, Path: "/v1/imports/" + url.PathEscape(id) + "/confirm", Key: "confirm-" + id}, &i)
	return &i, err
}
