package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/grandlyon/retombees/pkg/client"
	"github.com/grandlyon/retombees/pkg/format"
)

// pushed is a file to send: whole and as it is while it fits one import, which
// is nearly always, else cut into parts.
type pushed struct {
	path   string
	sum    string // SHA-256 of its bytes
	rows   int    // 0 when the file cannot be read here: the service will say why
	layout format.Layout
	size   int64
	cut    int // rows of a part; 0 = whole
}

// pushedPart is what one import receives.
type pushedPart struct {
	number      int // from 1
	first, rows int // first counts the rows before this part
	content     []byte
	contentType string
	lines       []int // physical line of each row in the file; nil when the part is the whole file
}

// line is where a row of this part stands in the file.
func (p *pushedPart) line(row client.ImportRow) int {
	if n := row.Row - 1; n >= 0 && n < len(p.lines) {
		return p.lines[n]
	}
	return row.Line
}

// unlimited reads files of any length: what the service refuses in one import
// is sent in parts.
var unlimited = format.Limits{Compressed: 1 << 40, Unzipped: 1 << 40, Ratio: 1 << 20, Rows: 1 << 40}

var mediaTypes = map[string]string{
	"csv": "text/csv", "json": "application/json", "ndjson": "application/x-ndjson",
	"xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

// openPushed reads the file once, to know its length and what it is.
func openPushed(c pushCmd) (*pushed, error) {
	f, err := os.Open(c.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := sha256.New()
	p := &pushed{path: c.File}
	if p.size, err = io.Copy(sum, f); err != nil {
		return nil, fmt.Errorf("reading %s: %w", c.File, err)
	}
	p.sum = hex.EncodeToString(sum.Sum(nil))
	if _, err = f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	table, err := format.Open(f, p.options(c.Dialect))
	if err == nil {
		p.layout = table.Layout
		for _, err = range table.Records() {
			if err != nil {
				break
			}
			p.rows++
		}
	}
	if err != nil {
		p.rows = 0 // whole, so that the service explains
	}
	cut := min(max(c.PartRows, 1), format.DefaultLimits.Rows)
	if p.rows <= cut && p.size <= format.DefaultLimits.Unzipped {
		return p, nil
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s is too large for one import and cannot be read: %w", c.File, err)
	case c.Mode == "replace" || c.Atomicity == "all" || c.Mapping != "":
		return nil, fmt.Errorf("%s has %d rows; a replacement, a file taken whole or not at all and a saved mapping need one import, of %d rows at most",
			c.File, p.rows, cut)
	case p.layout.Format == "json":
		return nil, fmt.Errorf("%s has %d rows; write it as NDJSON, one observation a line, to send it in parts", c.File, p.rows)
	}
	p.cut = cut
	return p, nil
}

func (p *pushed) options(dialect string) format.ReadOptions {
	return format.ReadOptions{Schema: format.Observations, Name: filepath.Base(p.path), Dialect: dialect, Limits: unlimited}
}

// name is what a part is called in the service's list of imports.
func (p *pushed) name(part pushedPart) string {
	name := filepath.Base(p.path)
	if p.cut == 0 {
		return name
	}
	return fmt.Sprintf("%s-part-%d", name, part.number)
}

// parts gives what to send, in order; each is held in memory alone.
func (p *pushed) parts(dialect string) iter.Seq2[pushedPart, error] {
	return func(yield func(pushedPart, error) bool) {
		f, err := os.Open(p.path)
		if err != nil {
			yield(pushedPart{}, err)
			return
		}
		defer f.Close()
		switch {
		case p.cut == 0:
			content, err := io.ReadAll(f)
			yield(pushedPart{number: 1, rows: p.rows, content: content, contentType: p.mediaType()}, err)
		case p.layout.Format == "ndjson":
			err = p.lines(f, yield)
		default:
			err = p.records(f, dialect, yield)
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(pushedPart{}, fmt.Errorf("reading %s: %w", p.path, err))
		}
	}
}

var errStopped = errors.New("no more parts are wanted")

func (p *pushed) mediaType() string {
	if t := mediaTypes[p.layout.Format]; t != "" {
		return t
	}
	suffix := filepath.Ext(strings.TrimSuffix(strings.ToLower(p.path), ".gz"))
	if t := mediaTypes[strings.TrimPrefix(suffix, ".")]; t != "" {
		return t
	}
	if t := mime.TypeByExtension(suffix); t != "" {
		return t
	}
	return "text/csv"
}

// records cuts a table: each part bears the header, in UTF-8 and with the
// file's own separator, so that it is read as the whole file would be.
func (p *pushed) records(f io.Reader, dialect string, yield func(pushedPart, error) bool) error {
	table, err := format.Open(f, p.options(dialect))
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if w.Comma, _ = utf8.DecodeRuneInString(p.layout.Delimiter); p.layout.Delimiter == "" {
		w.Comma = ','
	}
	part := pushedPart{number: 1, contentType: "text/csv; charset=utf-8"}
	flush := func() error {
		if part.rows == 0 {
			return nil
		}
		w.Flush()
		part.content = bytes.Clone(b.Bytes())
		if !yield(part, w.Error()) {
			return errStopped
		}
		b.Reset()
		part = pushedPart{number: part.number + 1, first: part.first + part.rows, contentType: part.contentType}
		return nil
	}
	for r, err := range table.Records() {
		if err != nil {
			return err
		}
		if part.rows == 0 {
			if err := w.Write(table.Header); err != nil {
				return err
			}
		}
		if err := w.Write(r.Cells); err != nil {
			return err
		}
		part.lines = append(part.lines, r.Line)
		if part.rows++; part.rows == p.cut {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// lines cuts NDJSON, byte for byte.
func (p *pushed) lines(f io.Reader, yield func(pushedPart, error) bool) error {
	in := bufio.NewReaderSize(f, 1<<20)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		in = bufio.NewReaderSize(z, 1<<20)
	}
	var b bytes.Buffer
	part := pushedPart{number: 1, contentType: mediaTypes["ndjson"]}
	flush := func() error {
		if part.rows == 0 {
			return nil
		}
		part.content = bytes.Clone(b.Bytes())
		if !yield(part, nil) {
			return errStopped
		}
		b.Reset()
		part = pushedPart{number: part.number + 1, first: part.first + part.rows, contentType: part.contentType}
		return nil
	}
	for number := 1; ; number++ {
		line, err := in.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			b.Write(line)
			part.lines = append(part.lines, number)
			if part.rows++; part.rows == p.cut {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
		}
	}
}
