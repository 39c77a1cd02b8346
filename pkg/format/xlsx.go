package format

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// workbook is an XLSX file as far as a reader of one sheet needs it. Its parts
// are streamed: only the texts shared by cells are kept.
type workbook struct {
	parts    map[string]*zip.File
	limits   Limits
	unzipped int64 // bytes read so far, all parts
	sheets   []sheetPart
	days1904 bool // days are counted from 1904
	styles   []style
	texts    sharedTexts
}

type sheetPart struct {
	name, path string
	hidden     bool
}

// style is what the number format of a cell says about its value.
type style uint8

const (
	styleNumber style = iota
	stylePercent
	styleDay
	styleMonth // no day is shown: mmm-yy
	styleYear
)

// sharedTexts keeps every text once, end to end.
type sharedTexts struct {
	bytes []byte
	ends  []int
}

func (s *sharedTexts) at(i int) (string, bool) {
	if i < 0 || i >= len(s.ends) {
		return "", false
	}
	start := 0
	if i > 0 {
		start = s.ends[i-1]
	}
	return string(s.bytes[start:s.ends[i]]), true
}

const (
	maxParts   = 2_000
	maxTexts   = 64 << 20  // bytes of shared texts
	maxToken   = 256 << 10 // bytes of one XML token: a cell has at most 32,767 characters
	ratioFrom  = 4 << 20   // unzipped bytes below which any ratio is harmless
	maxMerges  = 50_000
	dayOf1970  = 25_569
	days1904To = 1_462
)

func openWorkbook(data []byte, l Limits) (*workbook, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil || len(z.File) > maxParts {
		return nil, notXLSX()
	}
	w := &workbook{parts: make(map[string]*zip.File, len(z.File)), limits: l}
	var total uint64
	for _, f := range z.File {
		w.parts[strings.ToLower(strings.TrimPrefix(f.Name, "/"))] = f
		total += min(f.UncompressedSize64, 1<<40)
	}
	switch {
	case total > uint64(l.Unzipped):
		return nil, tooLarge("octets une fois décompressé", "bytes once unzipped", l.Unzipped)
	case total > ratioFrom && total > uint64(len(data))*uint64(l.Ratio):
		return nil, tooCompressed(l.Ratio)
	}
	for _, read := range []func() error{w.readWorkbook, w.readStyles, w.readTexts} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func notXLSX() error {
	return malformed(impact.Text{FR: "Ce fichier n'est pas un classeur XLSX lisible.", EN: "This file is not a readable XLSX workbook."},
		impact.Text{FR: "Ouvrez-le dans un tableur et enregistrez-le en .xlsx, ou en CSV.", EN: "Open it in a spreadsheet and save it as .xlsx, or as CSV."})
}

func tooCompressed(ratio int64) error {
	n := strconv.FormatInt(ratio, 10)
	return &impact.Error{
		Kind: impact.TooLarge, Code: "body_too_large",
		Detail: impact.Text{FR: "Le fichier se décompresse plus de " + n + " fois.", EN: "The file unzips to more than " + n + " times its size."},
		Hint:   impact.Text{FR: "Envoyez-le en CSV.", EN: "Send it as CSV."},
	}
}

// part opens a part as XML tokens; nil when the workbook has none of that name.
func (w *workbook) part(name string) *xmlPart {
	f := w.parts[strings.ToLower(name)]
	if f == nil {
		return nil
	}
	p := &xmlPart{w: w}
	body, err := f.Open()
	if err != nil {
		p.err = notXLSX()
		body = io.NopCloser(strings.NewReader(""))
	}
	p.body = body
	p.bytes = bufio.NewReaderSize(p, 32<<10)
	p.dec = xml.NewDecoder(p)
	p.dec.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, notXLSX() }
	return p
}

// xmlPart reads one part, no token longer than it may be. It is the ByteReader
// of its own decoder, so that a token is measured while it is read.
type xmlPart struct {
	w     *workbook
	body  io.ReadCloser
	bytes *bufio.Reader
	dec   *xml.Decoder
	token int
	err   error
}

// Read counts what is unzipped.
func (p *xmlPart) Read(b []byte) (int, error) {
	n, err := p.body.Read(b)
	if p.w.unzipped += int64(n); p.w.unzipped > 3*p.w.limits.Unzipped { // a sheet may be read three times
		p.err = tooLarge("octets une fois décompressé", "bytes once unzipped", p.w.limits.Unzipped)
		return 0, p.err
	}
	return n, err
}

// ReadByte gives the decoder its bytes.
func (p *xmlPart) ReadByte() (byte, error) {
	if p.token++; p.token > maxToken {
		p.err = tooLarge("octets dans une seule cellule", "bytes in one cell", maxToken)
		return 0, p.err
	}
	return p.bytes.ReadByte()
}

// next gives the next token, nil at the end.
func (p *xmlPart) next() (xml.Token, error) {
	p.token = 0
	t, err := p.dec.RawToken()
	switch {
	case p.err != nil:
		return nil, p.err
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, notXLSX()
	}
	return t, nil
}

// each calls f with every element that begins.
func (p *xmlPart) each(f func(e xml.StartElement) error) error {
	if p == nil {
		return nil
	}
	defer p.body.Close()
	for {
		t, err := p.next()
		if err != nil || t == nil {
			return err
		}
		if e, ok := t.(xml.StartElement); ok {
			if err := f(e); err != nil {
				return err
			}
		}
	}
}

// attr gives an attribute by its local name.
func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (w *workbook) readWorkbook() error {
	main := "xl/workbook.xml"
	err := w.part("_rels/.rels").each(func(e xml.StartElement) error {
		if e.Name.Local == "Relationship" && strings.HasSuffix(attr(e, "Type"), "/officeDocument") {
			main = strings.TrimPrefix(attr(e, "Target"), "/")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if w.parts[strings.ToLower(main)] == nil {
		return notXLSX()
	}
	folder := path.Dir(main)
	targets := map[string]string{}
	err = w.part(path.Join(folder, "_rels", path.Base(main)+".rels")).each(func(e xml.StartElement) error {
		if e.Name.Local == "Relationship" {
			target := attr(e, "Target")
			if strings.HasPrefix(target, "/") {
				targets[attr(e, "Id")] = target[1:]
			} else {
				targets[attr(e, "Id")] = path.Join(folder, target)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = w.part(main).each(func(e xml.StartElement) error {
		switch e.Name.Local {
		case "workbookPr":
			v := attr(e, "date1904")
			w.days1904 = v == "1" || v == "true"
		case "sheet":
			id := ""
			for _, a := range e.Attr {
				if a.Name.Local == "id" && a.Name.Space != "" {
					id = a.Value
				}
			}
			state := attr(e, "state")
			w.sheets = append(w.sheets, sheetPart{name: attr(e, "name"), path: targets[id], hidden: state == "hidden" || state == "veryHidden"})
		}
		return nil
	})
	if err == nil && len(w.sheets) == 0 {
		err = notXLSX()
	}
	return err
}

func (w *workbook) readStyles() error {
	formats := map[string]style{}
	inCells := false
	return w.part("xl/styles.xml").each(func(e xml.StartElement) error {
		switch e.Name.Local {
		case "numFmt":
			formats[attr(e, "numFmtId")] = styleOf(attr(e, "formatCode"))
		case "cellXfs":
			inCells = true
		case "cellStyles", "dxfs":
			inCells = false
		case "xf":
			if !inCells || len(w.styles) > 100_000 {
				return nil
			}
			id := attr(e, "numFmtId")
			s, ok := formats[id]
			if !ok {
				s = builtinStyle(id)
			}
			w.styles = append(w.styles, s)
		}
		return nil
	})
}

// builtinStyle knows the formats that have a number and no text.
func builtinStyle(id string) style {
	n, err := strconv.Atoi(id)
	switch {
	case err != nil:
	case n == 9 || n == 10:
		return stylePercent
	case n == 17:
		return styleMonth
	case n >= 14 && n <= 16, n == 22, n >= 27 && n <= 31, n == 36, n >= 50 && n <= 54, n == 57, n == 58:
		return styleDay
	}
	return styleNumber
}

// styleOf reads a format: quoted text, colours and conditions set aside, what
// has a year is a date.
func styleOf(code string) style {
	var b strings.Builder
	quoted, bracket, escaped := false, false, false
	for _, r := range strings.ToLower(code) {
		switch {
		case escaped:
			escaped = false
		case quoted:
			quoted = r != '"'
		case bracket:
			bracket = r != ']'
		case r == '\\' || r == '_' || r == '*':
			escaped = true
		case r == '"':
			quoted = true
		case r == '[':
			bracket = true
		case r == ';': // negative numbers have their own format
			return styleFrom(b.String())
		default:
			b.WriteRune(r)
		}
	}
	return styleFrom(b.String())
}

func styleFrom(plain string) style {
	year, month, day := strings.ContainsAny(plain, "ya"), strings.Contains(plain, "m"), strings.ContainsAny(plain, "dj")
	switch {
	case strings.Contains(plain, "general") || strings.Contains(plain, "standard"):
		return styleNumber
	case strings.Contains(plain, "%"):
		return stylePercent
	case day && month:
		return styleDay
	case year && month:
		return styleMonth
	case year && !strings.ContainsAny(plain, "0#"):
		return styleYear
	}
	return styleNumber
}

// readTexts keeps the shared texts; phonetic guides are no part of them.
func (w *workbook) readTexts() error {
	p := w.part("xl/sharedStrings.xml")
	if p == nil {
		return nil
	}
	defer p.body.Close()
	inText, phonetic := false, false
	for {
		t, err := p.next()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case nil:
			return nil
		case xml.StartElement:
			switch t.Name.Local {
			case "t":
				inText = true
			case "rPh":
				phonetic = true
			}
		case xml.EndElement:
			switch t.Name.Local {
			case "t":
				inText = false
			case "rPh":
				phonetic = false
			case "si":
				w.texts.ends = append(w.texts.ends, len(w.texts.bytes))
			}
		case xml.CharData:
			if inText && !phonetic {
				w.texts.bytes = append(w.texts.bytes, t...)
			}
		}
		if len(w.texts.bytes)+8*len(w.texts.ends) > maxTexts {
			return tooLarge("octets de textes", "bytes of texts", maxTexts)
		}
	}
}
