package format

import (
	"bufio"
	"io"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Rejects writes the rows that an import refused, as their sender wrote them:
// the same columns in the same order, the same separator, and five columns more
// that say what is wrong. Mended, the file can be sent as it is: those columns
// are not read.
type Rejects struct {
	w      *bufio.Writer
	d      Dialect
	lang   impact.Lang
	header []string
	kept   []int // columns of the sender, those of an earlier file of rejects left out
	line   []byte
}

// rejectColumns are line, codes, messages, hints and suggestions.
var rejectColumns = map[impact.Lang][]string{
	impact.French:  {"erreur_ligne", "erreur_codes", "erreur_messages", "erreur_conseils", "erreur_suggestions"},
	impact.English: {"error_line", "error_codes", "error_messages", "error_hints", "error_suggestions"},
}

// NewRejects begins a file of rejects: header and layout are those of the table
// that was read. The text is UTF-8, marked unless the source was UTF-8 without a
// mark; the rejects of a workbook are French CSV.
func NewRejects(w io.Writer, header []string, l Layout, lang impact.Lang) (*Rejects, error) {
	if rejectColumns[lang] == nil {
		lang = impact.French
	}
	r := &Rejects{w: bufio.NewWriter(w), lang: lang, header: header, d: Dialect{Separator: ',', Point: '.', BOM: l.BOM || l.Encoding != encUTF8}}
	switch {
	case l.Format == "xlsx":
		r.d.Separator, r.d.BOM = ';', true
	case l.Delimiter != "":
		r.d.Separator = l.Delimiter[0]
	}
	if r.d.BOM {
		r.line = append(r.line, "\uFEFF"...)
	}
	for i, h := range header {
		if !errorColumns[h] {
			r.kept = append(r.kept, i)
		}
	}
	return r, r.write(header, rejectColumns[lang])
}

// Add writes one row: its line in the file, its cells as they were read, its
// faults.
func (r *Rejects) Add(line int, cells []string, faults []impact.Fault) error {
	var words, messages, hints, suggestions []string
	for _, f := range faults {
		place := strings.TrimPrefix(f.Pointer, "/")
		if f.Column > 0 && f.Column <= len(r.header) {
			place = r.header[f.Column-1]
		}
		words = append(words, string(f.Code))
		messages = append(messages, located(place, f.Detail.In(r.lang)))
		if !f.Hint.IsZero() {
			hints = append(hints, located(place, f.Hint.In(r.lang)))
		}
		if f.Suggestion != "" {
			suggestions = append(suggestions, place+"="+f.Suggestion)
		}
	}
	return r.write(cells, []string{
		strconv.Itoa(line), strings.Join(words, " "), strings.Join(messages, " | "), strings.Join(hints, " | "), strings.Join(suggestions, " | "),
	})
}

// Close writes what is left. It does not close the writer under it.
func (r *Rejects) Close() error { return r.w.Flush() }

func located(place, text string) string {
	if place == "" {
		return text
	}
	return place + ": " + text
}

// write puts the errors beside the columns of the header; cells beyond them come
// last, so that nothing is lost.
func (r *Rejects) write(cells, errors []string) error {
	for _, i := range r.kept {
		if i < len(cells) {
			r.cell(cells[i])
		} else {
			r.cell("")
		}
	}
	for _, s := range errors {
		r.cell(s)
	}
	for _, s := range cells[min(len(cells), len(r.header)):] {
		r.cell(s)
	}
	r.line = append(r.line[:len(r.line)-1], '\r', '\n')
	_, err := r.w.Write(r.line)
	r.line = r.line[:0]
	return err
}

func (r *Rejects) cell(s string) {
	// A signed number is no formula, and what is disarmed already stays as it is.
	signed := len(s) > 1 && (s[0] == '-' || s[0] == '+') && strings.Trim(s[1:], "0123456789., \u00a0\u202f%€") == ""
	if s != "" && !signed && s[0] != '\'' {
		s = guard(s)
	}
	r.line = append(r.d.appendText(r.line, s), r.d.Separator)
}
