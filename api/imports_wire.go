package api

import (
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Import is one bulk job and its report.
type Import struct {
	ID    string `json:"id"`
	Kind  string `json:"kind" enums:"observations,members"`
	State string `json:"state" enums:"pending,running,awaiting_confirmation,completed,failed,cancelled"`
	// How a completed import ended; null until then.
	Outcome   *string `json:"outcome" extensions:"x-nullable" enums:"succeeded,partially_succeeded,failed"`
	DryRun    bool    `json:"dry_run"`
	Mode      string  `json:"mode" enums:"merge,replace,delete,snapshot,delta"`
	Atomicity string  `json:"atomicity" enums:"row,all"`
	OnWarning string  `json:"on_warning" enums:"accept,reject"`
	// would_… counts what a dry run, or an import that was refused as a whole, would have done.
	Counts ImportCounts `json:"counts"`
	File   ImportFile   `json:"file"`
	// Why the file could not be processed, or awaits a confirmation.
	Problem  *ImportProblem `json:"problem" extensions:"x-nullable"`
	Progress ImportProgress `json:"progress"`
	// What a replacing file leaves out of its scope; null for other imports.
	Deletions    *ImportDeletions `json:"deletions" extensions:"x-nullable"`
	ErrorsByCode []ImportErrors   `json:"errors_by_code"`
	// What was understood otherwise than written, or looks odd.
	WarningsByCode []ImportErrors `json:"warnings_by_code"`
	// The first 100 rows that something is said about, rejected ones first; absent from lists.
	Rows       []ImportRow `json:"rows,omitempty"`
	RetryOf    *string     `json:"retry_of" extensions:"x-nullable"`
	Version    int         `json:"version"`
	CreatedAt  string      `json:"created_at" format:"date-time"`
	StartedAt  *string     `json:"started_at" format:"date-time" extensions:"x-nullable"`
	FinishedAt *string     `json:"finished_at" format:"date-time" extensions:"x-nullable"`
	UpdatedAt  string      `json:"updated_at" format:"date-time"`
	Links      ImportLinks `json:"links"`
	Meta       Warned      `json:"meta"`
}

// ImportPage is a page of imports.
type ImportPage = Page[Import] // @name ImportPage

// ImportCounts counts rows by what became of them, and warnings.
type ImportCounts struct {
	Received    int `json:"received" example:"412"`
	Created     int `json:"created" example:"380"`
	Updated     int `json:"updated" example:"12"`
	Unchanged   int `json:"unchanged" example:"14"`
	Deleted     int `json:"deleted"`
	WouldCreate int `json:"would_create"`
	WouldUpdate int `json:"would_update"`
	WouldLeave  int `json:"would_leave"`
	WouldDelete int `json:"would_delete"`
	Rejected    int `json:"rejected" example:"6"`
	Warnings    int `json:"warnings" example:"9"`
	// Organisations that a list of members made known; not kept, as the others, by a dry run or a refusal of the whole.
	Registered int `json:"organisations_registered"`
}

// ImportFile says what was sent and how it was understood.
type ImportFile struct {
	Name      *string `json:"name" extensions:"x-nullable" example:"T3.csv"`
	MediaType string  `json:"media_type" example:"text/csv"`
	SHA256    string  `json:"sha256"`
	// Bytes received, before gzip is undone: push compresses what it sends.
	Size int64 `json:"size"`
	// Null until the file was read once.
	Rows *int `json:"rows" extensions:"x-nullable" example:"412"`
	// Null until the file was read once.
	Dialect *ImportDialect `json:"dialect" extensions:"x-nullable"`
	// What each column was taken for.
	HeaderMapping  map[string]string `json:"header_mapping"`
	IgnoredColumns []string          `json:"ignored_columns"`
}

// ImportDialect is how a file is written.
type ImportDialect struct {
	Format    string  `json:"format" enums:"csv,xlsx,json,ndjson"`
	Delimiter *string `json:"delimiter" extensions:"x-nullable" example:";"`
	Decimal   *string `json:"decimal" extensions:"x-nullable" example:","`
	BOM       bool    `json:"bom"`
	Encoding  *string `json:"encoding" extensions:"x-nullable" example:"windows-1252"`
	Sheet     *string `json:"sheet" extensions:"x-nullable"`
}

// ImportProgress tells how far a job is.
type ImportProgress struct {
	RowsDone int `json:"rows_done" example:"41000"`
	// Null until the file was read once.
	RowsTotal *int `json:"rows_total" extensions:"x-nullable" example:"100000"`
	// Rows a second, since the start.
	Rate *int `json:"rate" extensions:"x-nullable" example:"25000"`
	// When it should end at this rate; null when it does not run.
	EndsAt *string `json:"ends_at" format:"date-time" extensions:"x-nullable"`
	// It was asked to stop and will, after the rows being written.
	Cancelling bool `json:"cancelling"`
}

// ImportProblem is why a file was not processed.
type ImportProblem struct {
	Code   string         `json:"code" example:"import_unreadable"`
	Title  string         `json:"title"`
	Detail string         `json:"detail"`
	Hint   string         `json:"hint"`
	Errors []ProblemEntry `json:"errors"`
}

// ImportDeletions is what a replacing file leaves out of its scope.
type ImportDeletions struct {
	Planned        int     `json:"planned"`
	InScope        int     `json:"in_scope"`
	MaxDeleteRatio float64 `json:"max_delete_ratio" example:"0.1"`
	Confirmed      bool    `json:"confirmed"`
	// Why those planned were not done, in an import that has ended; null when they were.
	Withheld *string `json:"withheld" extensions:"x-nullable"`
}

// ImportErrors counts the rows with one fault, or warning, and names the first of them.
type ImportErrors struct {
	Code      string `json:"code" example:"unknown_territory"`
	Title     string `json:"title"`
	Count     int    `json:"count" example:"4"`
	FirstRows []int  `json:"first_rows" example:"17,18"`
	Docs      string `json:"docs"`
}

// ImportRow is what became of one row of the file.
type ImportRow struct {
	// Data record, from 1: the header is not counted.
	Row int `json:"row" example:"17"`
	// Physical line of the file, from 1.
	Line int `json:"line" example:"18"`
	// With a dry run, what would become of it.
	Outcome string `json:"outcome" enums:"created,updated,unchanged,deleted,rejected"`
	// As written; null when nothing is said about the row.
	Key *ImportKey `json:"key" extensions:"x-nullable"`
	// Id of the observation; null when the row was rejected or is a member.
	Observation *string `json:"observation" extensions:"x-nullable"`
	// Id of the organisation, of a member.
	Organisation *string       `json:"organisation" extensions:"x-nullable"`
	Errors       []ImportEntry `json:"errors"`
	Warnings     []ImportEntry `json:"warnings"`
}

// ImportRowPage is a page of rows.
type ImportRowPage = Page[ImportRow] // @name ImportRowPage

// ImportKey is the key of a row as its sender wrote it.
type ImportKey struct {
	Organisation string `json:"organisation,omitempty"`
	Indicator    string `json:"indicator,omitempty" example:"insertion_hours"`
	Territory    string `json:"territory,omitempty"`
	Period       string `json:"period,omitempty" example:"2025-Q3"`
}

// ImportEntry is one thing wrong with a cell, or understood otherwise.
type ImportEntry struct {
	ProblemEntry
	// Member that the cell gives: territory, component.numerator…
	Field string `json:"field,omitempty" example:"territory"`
	// From 1; absent when no column gives the member.
	Column int `json:"column,omitempty" example:"4"`
	// Writing suggestion in place of value mends it.
	AutoFixable bool `json:"auto_fixable"`
}

// ImportLinks leads on from an import; what cannot be done now is null.
type ImportLinks struct {
	Self    string  `json:"self"`
	Rows    string  `json:"rows"`
	Rejects *string `json:"rejects" extensions:"x-nullable"`
	Source  *string `json:"source" extensions:"x-nullable"`
	Cancel  *string `json:"cancel" extensions:"x-nullable"`
	Confirm *string `json:"confirm" extensions:"x-nullable"`
}

// inlineRows is how many rows a report shows by itself.
const inlineRows = 100

// imported shows an import as the API does.
func (s *server) imported(c *call, m *impact.Import) Import {
	at := c.address("/v1/imports/"+string(m.ID), "")
	o := &m.Options
	w := Import{
		ID: string(m.ID), Kind: string(m.Kind), State: string(m.State), Outcome: optional(m.Outcome), DryRun: o.DryRun, Mode: string(o.Mode),
		Atomicity: "row", OnWarning: "accept", Counts: importCounts(&m.Report), File: s.importFile(m), Progress: s.progress(m),
		ErrorsByCode: c.byCode(m.Report.Codes), WarningsByCode: c.byCode(m.Report.Warnings), RetryOf: optional(o.RetryOf), Version: m.Version,
		CreatedAt: instant(m.CreatedAt), StartedAt: moment(m.StartedAt), FinishedAt: moment(m.FinishedAt), UpdatedAt: instant(m.UpdatedAt),
		Links: ImportLinks{Self: at, Rows: at + "/rows"}, Meta: Warned{Warnings: c.entries(m.File.Warnings)},
	}
	if o.AllOrNothing {
		w.Atomicity = "all"
	}
	if o.RejectWarnings {
		w.OnWarning = "reject"
	}
	if p := m.Report.Problem; p != nil {
		w.Problem = &ImportProblem{p.Code, impact.ProblemCodes[p.Code].In(c.lang), p.Detail.In(c.lang), p.Hint.In(c.lang), c.entries(p.Faults)}
	}
	if o.Mode == impact.ImportReplace || o.Mode == impact.ImportSnapshot {
		w.Deletions = &ImportDeletions{m.Report.Planned, m.Report.Scoped, float64(o.MaxDeleteRatio) / 1000, o.Confirmed, optional(m.Report.Withheld.In(c.lang))}
	}
	link := func(name string, when bool) *string {
		if !when {
			return nil
		}
		l := at + "/" + name
		return &l
	}
	kept := c.principal.Role != impact.RoleSteward && s.Now().Sub(m.CreatedAt) < impact.ImportSourceKept
	w.Links.Source = link("source", kept)
	w.Links.Rejects = link("rejects.csv", kept && m.Report.Counts.Rejected > 0)
	w.Links.Cancel = link("cancel", kept && !m.State.Ended() && !m.Cancelling)
	w.Links.Confirm = link("confirm", kept && m.State == impact.ImportHeld)
	return w
}

func importCounts(r *impact.ImportReport) ImportCounts {
	n := &r.Counts
	return ImportCounts{
		Received: n.Received, Created: n.Created, Updated: n.Updated, Unchanged: n.Unchanged, Deleted: n.Deleted,
		WouldCreate: n.WouldCreate, WouldUpdate: n.WouldUpdate, WouldLeave: n.WouldLeave, WouldDelete: n.WouldDelete,
		Rejected: n.Rejected, Warnings: n.Warnings, Registered: r.Registered,
	}
}

func (s *server) importFile(m *impact.Import) ImportFile {
	f := &m.File
	w := ImportFile{Name: optional(f.Name), MediaType: f.MediaType, SHA256: f.SHA256, Size: f.Size, HeaderMapping: f.HeaderMapping, IgnoredColumns: f.Ignored}
	if f.Format != "" {
		w.Rows = &m.RowsTotal
		w.Dialect = &ImportDialect{f.Format, optional(f.Delimiter), optional(f.Decimal), f.BOM, optional(f.Encoding), optional(f.Sheet)}
	}
	if w.HeaderMapping == nil {
		w.HeaderMapping = map[string]string{}
	}
	if w.IgnoredColumns == nil {
		w.IgnoredColumns = []string{}
	}
	return w
}

// progress tells how far a job is, and when it should end at the rate it has.
func (s *server) progress(m *impact.Import) ImportProgress {
	p := ImportProgress{RowsDone: m.RowsDone, Cancelling: m.Cancelling}
	if m.RowsTotal > 0 {
		p.RowsTotal = &m.RowsTotal
	}
	until := s.Now()
	if !m.FinishedAt.IsZero() {
		until = m.FinishedAt
	}
	took := until.Sub(m.StartedAt)
	if m.StartedAt.IsZero() || took <= 0 || m.RowsDone == 0 {
		return p
	}
	rate := max(1, int(float64(m.RowsDone)/took.Seconds()))
	p.Rate = &rate
	if m.State == impact.ImportRunning && m.RowsTotal > 0 {
		left := took.Seconds() * float64(m.RowsTotal-m.RowsDone) / float64(m.RowsDone)
		ends := instant(s.Now().Add(time.Duration(left * float64(time.Second))))
		p.EndsAt = &ends
	}
	return p
}

func (c *call) importRows(rows []impact.ImportRow) []ImportRow {
	out := make([]ImportRow, len(rows))
	for i := range rows {
		r := &rows[i]
		out[i] = ImportRow{
			Row: r.Row, Line: r.Line, Outcome: string(r.Outcome), Key: (*ImportKey)(r.Key), Observation: optional(r.Observation), Organisation: optional(r.Organisation),
			Errors: c.importEntries(r.Faults), Warnings: c.importEntries(r.Warnings),
		}
	}
	return out
}

func (c *call) importEntries(faults []impact.Fault) []ImportEntry {
	out := make([]ImportEntry, len(faults))
	for i, e := range c.entries(faults) {
		out[i] = ImportEntry{ProblemEntry: e, Field: fieldOf(e.Pointer), Column: faults[i].Column, AutoFixable: e.Suggestion != "" && faults[i].Column > 0}
	}
	return out
}

// fieldOf names the column that gives the member a pointer leads to.
func fieldOf(pointer string) string {
	field := strings.ReplaceAll(strings.TrimPrefix(pointer, "/"), "/", ".")
	for list, column := range map[string]string{"components.": "component.", "qualifiers.": "qualifier."} {
		if name, ok := strings.CutPrefix(field, list); ok {
			return column + name
		}
	}
	return field
}

func (c *call) byCode(codes []impact.CodeCount) []ImportErrors {
	out := make([]ImportErrors, len(codes))
	for i, e := range codes {
		out[i] = ImportErrors{string(e.Code), impact.FaultCodes[e.Code].In(c.lang), e.Count, e.FirstRows, "/v1/problems/" + string(e.Code)}
	}
	return out
}
