package format

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/grandlyon/retombees/pkg/impact"
)

// openCSV sniffs the separator on the beginning of the file and finds the
// header.
func (t *Table) openCSV(in *bufio.Reader, head []byte) error {
	text, err := decode(in, head, t.options.MediaType, &t.Layout)
	if err != nil {
		return err
	}
	c := &csvSource{text: text, layout: &t.Layout, row: t.limits.Row, columns: t.limits.Columns}
	if err := c.fill(sampleSize); err != nil {
		return readFailure(err)
	}
	c.normaliseBreaks()
	c.declaredSeparator()
	typ, _, _ := mime.ParseMediaType(t.options.MediaType)
	switch {
	case t.options.Dialect == "rfc4180":
		c.comma = ','
	case t.options.Dialect == "fr":
		c.comma = ';'
	case c.comma != 0:
	case typ == MediaTSV:
		c.comma = '\t'
	default:
		c.comma = t.sniff(c)
	}
	t.Layout.Delimiter = string(c.comma)
	sample := c.sample(c.comma)
	at, err := t.findHeader(sample)
	if err != nil {
		return err
	}
	for range at + 1 { // title lines and the header
		if _, err := c.next(); err != nil {
			return readFailure(err)
		}
	}
	t.numbers = csvNumbers(t, sample[at+1:])
	t.Layout.Decimal = t.numbers.decimal()
	t.source = c
	return nil
}

// sniff chooses the separator that makes the header we know best; of equals,
// the one that cuts the lines into the same number of pieces most often.
func (t *Table) sniff(c *csvSource) byte {
	best, most, steady := byte(','), -1, -1
	for _, comma := range []byte(";,\t|") {
		sample := c.sample(comma)
		known, same := 0, 0
		for i, r := range sample {
			if i < headerDepth {
				known = max(known, t.options.Schema.recognised(r.Cells, t.options.Mapping))
			}
			if len(r.Cells) > 1 && len(r.Cells) == len(sample[0].Cells) {
				same++
			}
		}
		if known > most || known == most && same > steady {
			best, most, steady = comma, known, same
		}
	}
	return best
}

// csvSource cuts text into records. Quotes may hold separators and line breaks;
// a quote inside a cell that does not begin with one is a letter.
type csvSource struct {
	text    io.Reader
	layout  *Layout
	buf     []byte // what was read and not yet cut
	err     error  // why nothing more can be read
	cr      bool   // lines end with CR alone
	line    int    // lines cut so far
	comma   byte
	row     int // most bytes of a record
	columns int
	rec     *Record // being cut
	width   int     // cells of the last record
	spare   []byte  // memory of the cells of a quoted record
	space   []byte  // memory of buf
}

// fill reads until n bytes are at hand or the text ends.
func (c *csvSource) fill(n int) error {
	if len(c.buf) >= n || c.err != nil {
		return c.failure()
	}
	if cap(c.space) < n+sampleSize {
		c.space = make([]byte, n+sampleSize)
	}
	c.buf = c.space[:copy(c.space[:cap(c.space)], c.buf)]
	for len(c.buf) < n && c.err == nil {
		free := c.buf[len(c.buf):cap(c.buf)]
		var got int
		got, c.err = c.text.Read(free)
		free = free[:got]
		if c.cr {
			breakAtCR(free)
		}
		c.buf = c.buf[:len(c.buf)+got]
	}
	return c.failure()
}

func (c *csvSource) failure() error {
	if c.err == nil || errors.Is(c.err, io.EOF) {
		return nil
	}
	return c.err
}

// normaliseBreaks recognises files whose lines end with CR alone.
func (c *csvSource) normaliseBreaks() {
	if bytes.IndexByte(c.buf, '\r') >= 0 && bytes.IndexByte(c.buf, '\n') < 0 {
		c.cr = true
		breakAtCR(c.buf)
	}
}

func breakAtCR(b []byte) {
	for i, x := range b {
		if x == '\r' {
			b[i] = '\n'
		}
	}
}

// declaredSeparator reads the line "sep=;" that Excel understands.
func (c *csvSource) declaredSeparator() {
	line, rest, ok := bytes.Cut(c.buf, []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	if ok && len(line) == 5 && bytes.EqualFold(line[:4], []byte("sep=")) {
		c.comma, c.buf, c.line = line[4], rest, 1
	}
}

// sample cuts what is at hand into records, without consuming it; a record cut
// off at its end is left out.
func (c *csvSource) sample(comma byte) []Record {
	s := csvSource{layout: c.layout, buf: c.buf, err: io.EOF, line: c.line, comma: comma, row: c.row, columns: c.columns}
	whole := errors.Is(c.err, io.EOF)
	var out []Record
	for len(out) < 200 {
		r, err := s.next()
		if err != nil || !whole && len(s.buf) == 0 {
			break
		}
		out = append(out, *r)
	}
	return out
}

// next gives the next record that is not blank.
func (c *csvSource) next() (*Record, error) {
	for {
		if err := c.fill(1); err != nil {
			return nil, err
		}
		if len(c.buf) == 0 {
			return nil, io.EOF
		}
		if c.rec == nil {
			c.rec = &Record{Cells: make([]string, 0, c.width)}
		}
		c.rec.Line = c.line + 1
		if err := c.cut(); err != nil {
			return nil, err
		}
		if r := c.rec; !blank(r.Cells) || len(r.Faults) > 0 {
			c.width, c.rec = len(r.Cells), nil
			return r, nil
		}
		c.rec.Cells = c.rec.Cells[:0]
	}
}

func blank(cells []string) bool {
	for _, c := range cells {
		if trim(c) != "" {
			return false
		}
	}
	return true
}

// cut takes one record off buf.
func (c *csvSource) cut() error {
	end, quoted, err := c.lineEnd(0)
	if err != nil {
		return err
	}
	if end < 0 {
		return c.skipLine()
	}
	if quoted {
		return c.cutQuoted(end)
	}
	c.line++
	b := c.take(end)
	c.split(string(b))
	c.mend(b)
	return nil
}

// lineEnd finds the line break at or after from (the end of the text counts),
// and tells whether a quote stands before it. -1: the line is too long.
func (c *csvSource) lineEnd(from int) (end int, quoted bool, err error) {
	for {
		if i := bytes.IndexByte(c.buf[from:], '\n'); i >= 0 {
			end = from + i
			if end > c.row {
				return -1, false, nil
			}
			return end, bytes.IndexByte(c.buf[:end], '"') >= 0, nil
		}
		switch {
		case len(c.buf) > c.row:
			return -1, false, nil
		case c.err != nil:
			return len(c.buf), bytes.IndexByte(c.buf, '"') >= 0, c.failure()
		}
		if err := c.fill(len(c.buf) + 1); err != nil {
			return 0, false, err
		}
	}
}

// take removes the record that ends at end and its line break.
func (c *csvSource) take(end int) []byte {
	b := c.buf[:end]
	c.buf = c.buf[min(end+1, len(c.buf)):]
	return bytes.TrimSuffix(b, []byte("\r"))
}

// skipLine leaves out a line that is too long, and keeps its beginning.
func (c *csvSource) skipLine() error {
	c.line++
	first := c.buf[:min(len(c.buf), 200)]
	c.split(strings.ToValidUTF8(string(first), "\uFFFD"))
	c.rec.Faults = append(c.rec.Faults, rowTooLong(c.row))
	for {
		if i := bytes.IndexByte(c.buf, '\n'); i >= 0 {
			c.buf = c.buf[i+1:]
			return nil
		}
		c.buf = c.buf[:0]
		if c.err != nil {
			return c.failure()
		}
		if err := c.fill(1); err != nil {
			return err
		}
	}
}

// mend replaces what is not text in the cells of a record and says so; whole is
// the record they were cut from.
func (c *csvSource) mend(whole []byte) {
	if utf8.Valid(whole) && bytes.IndexByte(whole, 0) < 0 &&
		(c.layout.Encoding == encUTF8 || !bytes.Contains(whole, []byte("\uFFFD"))) {
		return
	}
	for i, s := range c.rec.Cells {
		clean := strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
		if clean != s || c.layout.Encoding != encUTF8 && strings.Contains(s, "\uFFFD") {
			c.rec.Cells[i] = clean
			c.rec.Faults = append(c.rec.Faults, brokenText(i+1, clean))
			c.rec.spoil(i)
		}
	}
}

func (c *csvSource) split(s string) {
	for {
		i := strings.IndexByte(s, c.comma)
		if i < 0 {
			break
		}
		c.rec.Cells = append(c.rec.Cells, s[:i])
		s = s[i+1:]
	}
	c.rec.Cells = append(c.rec.Cells, s)
}

// cutQuoted takes a record with quotes, which may go on beyond its line. A
// quote that is never closed does not swallow the rest of the file: the record
// then ends with its line, and the fault says so.
func (c *csvSource) cutQuoted(lineEnd int) error {
	cells, lines := c.spare[:0], 1
	var ends []int
	i, first := 0, lineEnd
	for {
		// At the beginning of a cell.
		opened := i < lineEnd && c.buf[i] == '"'
		if opened {
			for i++; ; {
				q := bytes.IndexByte(c.buf[i:lineEnd], '"')
				if q < 0 { // goes on beyond this line
					next := lineEnd + 1
					if lineEnd >= len(c.buf) {
						return c.neverClosed(first)
					}
					end, _, err := c.lineEnd(next)
					if err != nil {
						return err
					}
					if end < 0 {
						return c.neverClosed(first)
					}
					cells = append(cells, c.buf[i:min(next, len(c.buf))]...)
					if i, lineEnd = next, end; next > len(c.buf) {
						return c.neverClosed(first)
					}
					lines++
					continue
				}
				cells = append(cells, c.buf[i:i+q]...)
				i += q + 1
				if i < lineEnd && c.buf[i] == '"' {
					cells = append(cells, '"')
					i++
					continue
				}
				break
			}
		}
		// The rest of the cell, to the separator.
		stop := lineEnd
		if s := bytes.IndexByte(c.buf[i:lineEnd], c.comma); s >= 0 {
			stop = i + s
		}
		rest := c.buf[i:stop]
		if stop == lineEnd {
			rest = bytes.TrimSuffix(rest, []byte("\r"))
		}
		cells = append(cells, rest...)
		ends = append(ends, len(cells))
		if stop == lineEnd {
			break
		}
		i = stop + 1
	}
	c.spare = cells
	c.line += lines
	c.take(lineEnd)
	text, start := string(cells), 0
	for _, end := range ends {
		c.rec.Cells = append(c.rec.Cells, text[start:end])
		start = end
	}
	c.mend(cells)
	return nil
}

// neverClosed ends the record with its first line.
func (c *csvSource) neverClosed(end int) error {
	c.line++
	b := c.take(end)
	c.split(string(b))
	c.mend(b)
	c.rec.Faults = append(c.rec.Faults, impact.Fault{
		Code:   "column_count",
		Detail: impact.Text{FR: "Un guillemet ouvert sur cette ligne n'est jamais refermé.", EN: "A quotation mark opened on this line is never closed."},
		Hint:   impact.Text{FR: "Doublez les guillemets dans un texte, et refermez ceux qui l'entourent.", EN: "Double the quotation marks inside a text, and close those around it."},
	})
	return nil
}
