package format

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"iter"
	"mime"
	"path"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ReadOptions say how a file is to be read. Of the zero value only Schema is
// missing: everything else is then found in the file itself.
type ReadOptions struct {
	Schema *Schema
	// MediaType is the Content-Type, parameters included ("text/csv;
	// charset=windows-1252"); Name the name of the file, whose suffix helps when
	// the type says nothing.
	MediaType, Name string
	// Dialect is "auto" or empty, "rfc4180" (comma, decimal point) or "fr"
	// (semicolon, decimal comma, dots between thousands).
	Dialect string
	// Sheet names the sheet of a workbook; the first visible one that has a
	// header otherwise.
	Sheet string
	// Mapping holds what the sender decided about its headers and values.
	Mapping Mapping
	// Limits replace DefaultLimits where they are not zero.
	Limits Limits
	// KeepTotals gives the lines of totals as records like any other.
	KeepTotals bool
}

// Limits bound what one file may cost (api.md 15).
type Limits struct {
	Compressed int64 // bytes of a workbook or of a gzip file
	Unzipped   int64 // bytes once unzipped
	Ratio      int64 // unzipped by compressed
	Rows       int   // data records
	Columns    int
	Row        int // bytes of one record
	Cell       int // characters of one cell
}

// DefaultLimits are those of the API.
var DefaultLimits = Limits{
	Compressed: 20 << 20, Unzipped: 200 << 20, Ratio: 50,
	Rows: 100_000, Columns: 200, Row: 64 << 10, Cell: 4_000,
}

func (l Limits) orDefault() Limits {
	fill(&l.Compressed, DefaultLimits.Compressed)
	fill(&l.Unzipped, DefaultLimits.Unzipped)
	fill(&l.Ratio, DefaultLimits.Ratio)
	fill(&l.Rows, DefaultLimits.Rows)
	fill(&l.Columns, DefaultLimits.Columns)
	fill(&l.Row, DefaultLimits.Row)
	fill(&l.Cell, DefaultLimits.Cell)
	return l
}

func fill[N int | int64](n *N, otherwise N) {
	if *n <= 0 {
		*n = otherwise
	}
}

// Layout says how the file was found to be written.
type Layout struct {
	Format    string // csv, xlsx, json, ndjson
	Delimiter string // "," ";" "\t" "|"; empty outside CSV
	Decimal   string // "." or ","; empty when the file does not tell
	Encoding  string // utf-8, utf-16le, utf-16be, windows-1252
	BOM       bool
	// Guessed: the encoding was found by looking at the bytes, not declared.
	Guessed    bool
	Sheet      string
	HeaderLine int // physical line of the header, 0 in JSON
}

// Table is a file being read, once, from top to bottom.
type Table struct {
	Layout Layout
	// Header holds the columns as given, those without a name at the end left
	// out. JSON has no header: its members are columns in the order of Schema.
	Header []string
	// Headers says what each column was taken for.
	Headers HeaderMapping
	// Warnings concern the file as a whole: unknown_column, encoding_guessed, and
	// source_value_mapped for lines of totals, which are left out. It is complete
	// once every record was read.
	Warnings []impact.Fault

	guessTold bool
	totals    totalLines
	width     int // of the record that was the header, empty cells included
	options   ReadOptions
	limits    Limits
	numbers   numberStyle
	source    source
}

// Record is one row of a file; it may be kept. Cells are as the sender wrote them, beside the
// columns of Table.Header; those of a workbook are dates as 2024-12-31 and
// numbers with a decimal comma.
type Record struct {
	Row   int // data record, from 1: header and blank lines excluded
	Line  int // physical line, from 1; row of the sheet
	Cells []string
	// Faults and Warnings are what the form of the file alone tells, by column.
	Faults, Warnings []impact.Fault

	kinds []kind // of each cell; nil when all are text
}

// kind is what a cell is known to be beyond its text.
type kind uint8

const (
	plain   kind = iota
	figure       // digits with a decimal point
	percent      // a figure shown as a percentage
	day          // 2024-12-31
	month        // a day shown without its day of the month
	year         // a day of which the year alone is shown
	truth        // true or false
	null         // JSON null
	member       // a JSON object or list
	invalid      // a fault has been told about it
)

func (r *Record) kind(i int) kind {
	if i >= len(r.kinds) {
		return plain
	}
	return r.kinds[i]
}

// source yields raw records, blank ones left out.
type source interface {
	// next gives the next record, io.EOF after the last one, an *impact.Error
	// when the rest cannot be read.
	next() (*Record, error)
}

// Open finds out how a file is written and reads its header. It keeps no more
// than a few records in memory; of a workbook, also the compressed bytes.
//
// Errors: unsupported_media_type, body_too_large, malformed_body (not the format
// it says), import_unreadable (no header that Schema knows, a header given
// twice).
func Open(r io.Reader, o ReadOptions) (*Table, error) {
	t := &Table{options: o, limits: o.Limits.orDefault()}
	o.Schema.prepare()
	t.options.Mapping = o.Mapping.folded()
	switch o.Dialect {
	case "", "auto", "rfc4180", "fr":
	default:
		return nil, &impact.Error{
			Kind: impact.Malformed, Code: "invalid_parameter",
			Detail: impact.Text{FR: "Dialecte inconnu : " + o.Dialect + ".", EN: "Unknown dialect: " + o.Dialect + "."},
			Hint:   impact.Text{FR: "Écrivez auto, rfc4180 ou fr.", EN: "Write auto, rfc4180 or fr."},
		}
	}
	sent := &counter{r: r}
	in := bufio.NewReaderSize(sent, sampleSize)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, notGzip()
		}
		in = bufio.NewReaderSize(&bounded{r: z, limits: t.limits, sent: sent}, sampleSize)
	} else {
		in = bufio.NewReaderSize(&bounded{r: in, limits: t.limits}, sampleSize)
	}
	head, err := in.Peek(sampleSize)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, readFailure(err)
	}
	f, err := recognise(o, head)
	if err != nil {
		return nil, err
	}
	t.Layout.Format = f
	switch f {
	case "csv":
		err = t.openCSV(in, head)
	case "xlsx":
		err = t.openXLSX(in)
	default:
		err = t.openJSON(in, head)
	}
	if err != nil {
		return nil, err
	}
	t.tellGuess()
	return t, nil
}

// sampleSize is how much of a file is looked at before it is read.
const sampleSize = 64 << 10

// counter counts the bytes that were sent.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// bounded reads a file no longer than it may be; sent is what it was unzipped
// from, or nil.
type bounded struct {
	r      io.Reader
	limits Limits
	sent   *counter
	n      int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	if b.n > b.limits.Unzipped {
		return 0, tooLarge("octets", "bytes", b.limits.Unzipped)
	}
	if b.sent != nil && b.n > ratioFrom && b.n > b.limits.Ratio*b.sent.n {
		return 0, tooCompressed(b.limits.Ratio)
	}
	return n, err
}

func tooLarge(fr, en string, limit int64) error {
	n := strconv.FormatInt(limit, 10)
	return &impact.Error{
		Kind: impact.TooLarge, Code: "body_too_large",
		Detail: impact.Text{FR: "Le fichier dépasse " + n + " " + fr + ".", EN: "The file is larger than " + n + " " + en + "."},
		Hint:   impact.Text{FR: "Envoyez-le en plusieurs fichiers.", EN: "Send it as several files."},
	}
}

// readFailure keeps our own refusals and says of any other that the file did
// not arrive whole.
func readFailure(err error) error {
	if e, ok := errors.AsType[*impact.Error](err); ok {
		return e
	}
	return &impact.Error{
		Kind: impact.Malformed, Code: "malformed_body",
		Detail: impact.Text{FR: "Le fichier n'est pas arrivé entier.", EN: "The file did not arrive whole."},
		Hint:   impact.Text{FR: "Envoyez-le de nouveau.", EN: "Send it again."},
		Err:    err,
	}
}

func notGzip() error {
	return malformed(impact.Text{FR: "Le fichier n'est pas un gzip lisible.", EN: "The file is not readable gzip."},
		impact.Text{FR: "Compressez-le de nouveau, ou envoyez-le tel quel.", EN: "Compress it again, or send it as it is."})
}

func malformed(detail, hint impact.Text, faults ...impact.Fault) error {
	return &impact.Error{Kind: impact.Malformed, Code: "malformed_body", Detail: detail, Hint: hint, Faults: faults}
}

func unreadable(detail, hint impact.Text, faults ...impact.Fault) error {
	return &impact.Error{Kind: impact.Invalid, Code: "import_unreadable", Detail: detail, Hint: hint, Faults: faults}
}

// Media types of the files that are read.
const (
	MediaCSV    = "text/csv"
	MediaTSV    = "text/tab-separated-values"
	MediaJSON   = "application/json"
	MediaNDJSON = "application/x-ndjson"
	MediaXLSX   = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
)

var formatsByType = map[string]string{
	MediaCSV: "csv", MediaTSV: "csv", "application/csv": "csv", "text/plain": "csv",
	MediaJSON: "json", MediaNDJSON: "ndjson", "application/ndjson": "ndjson", "application/jsonl": "ndjson",
	MediaXLSX: "xlsx", "application/vnd.ms-excel": "", // what browsers also say of a CSV
}

var formatsBySuffix = map[string]string{
	".csv": "csv", ".tsv": "csv", ".tab": "csv", ".txt": "csv", ".json": "json",
	".ndjson": "ndjson", ".jsonl": "ndjson", ".xlsx": "xlsx", ".xlsm": "xlsx", ".ods": "ods", ".xls": "xls", ".xlsb": "xlsb",
}

// recognise tells the format of a file from its type, its name and its first
// bytes. A workbook is known by its bytes whatever it is called.
func recognise(o ReadOptions, head []byte) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(o.Name), ".gz")
	bySuffix := formatsBySuffix[path.Ext(name)]
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		if bySuffix == "ods" || bytes.Contains(head[:min(len(head), 200)], []byte("opendocument")) {
			return "", unsupported("ods")
		}
		return "xlsx", nil
	case bytes.HasPrefix(head, []byte{0xd0, 0xcf, 0x11, 0xe0}):
		return "", unsupported("xls")
	case bytes.HasPrefix(head, []byte("%PDF-")):
		return "", unsupported("pdf")
	}
	typ, _, err := mime.ParseMediaType(o.MediaType)
	if err != nil {
		typ = ""
	}
	declared, known := formatsByType[typ]
	switch {
	case declared == "":
		if bySuffix == "" && typ != "" && typ != "application/octet-stream" && !known {
			return "", unsupported(typ)
		}
		declared = bySuffix
	case typ == "text/plain" && bySuffix != "":
		declared = bySuffix
	}
	switch declared {
	case "":
		if c := firstSign(head); c == '{' || c == '[' {
			return "json", nil
		}
		return "csv", nil
	case "xlsx":
		return "", malformed(impact.Text{FR: "Ce fichier n'est pas un classeur XLSX.", EN: "This file is not an XLSX workbook."},
			impact.Text{FR: "Enregistrez-le au format .xlsx, ou envoyez-le comme text/csv.", EN: "Save it as .xlsx, or send it as text/csv."})
	case "ods", "xls", "xlsb":
		return "", unsupported(declared)
	}
	return declared, nil
}

func firstSign(b []byte) byte {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\uFEFF")), " \t\r\n")
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

func unsupported(what string) error {
	e := &impact.Error{
		Kind: impact.Malformed, Code: "unsupported_media_type",
		Detail: impact.Text{FR: "Ce format n'est pas lu : " + what + ".", EN: "This format is not read: " + what + "."},
		Hint: impact.Text{
			FR: "Enregistrez le fichier en CSV ou en XLSX, ou envoyez du JSON ou du NDJSON.",
			EN: "Save the file as CSV or XLSX, or send JSON or NDJSON.",
		},
	}
	switch what {
	case "ods", "xls", "xlsb":
		e.Hint = impact.Text{
			FR: "Enregistrez le classeur au format .xlsx (Fichier, Enregistrer sous) et envoyez-le de nouveau.",
			EN: "Save the workbook as .xlsx (File, Save as) and send it again.",
		}
	}
	return e
}

// Records gives each data record in order, lines of totals left out, faults of
// its form told. The error is
// the last thing yielded: the rest of the file cannot be read.
func (t *Table) Records() iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for n := 1; ; n++ {
			r, err := t.source.next()
			for err == nil && !t.options.KeepTotals && t.isTotal(r) {
				t.totals.note(r)
				r, err = t.source.next()
			}
			if errors.Is(err, io.EOF) {
				t.tellGuess()
				t.tellTotals()
				return
			}
			if err != nil {
				yield(nil, readFailure(err))
				return
			}
			if n > t.limits.Rows {
				yield(nil, tooLarge("lignes", "rows", int64(t.limits.Rows)))
				return
			}
			r.Row = n
			t.checkForm(r)
			if !yield(r, nil) {
				return
			}
		}
	}
}

// tellGuess warns once of an encoding that was guessed.
func (t *Table) tellGuess() {
	if t.Layout.Guessed && !t.guessTold {
		t.guessTold = true
		t.Warnings = append(t.Warnings, encodingGuessed(&t.Layout))
	}
}
