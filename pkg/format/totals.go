package format

import (
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// totalLines counts the lines of totals that were left out.
type totalLines struct {
	count, first int // first: its physical line
	text         string
}

func (t *totalLines) note(r *Record) {
	if t.count++; t.count == 1 {
		t.first = r.Line
		t.text = shorten(trim(r.Cells[firstFilled(r.Cells)]))
	}
}

// subjectColumns tell what a row is about: a total leaves them empty.
var subjectColumns = []string{"organisation", "siret", "siren", "rna", "indicator"}

// isTotal recognises the line that spreadsheets put below a column of numbers:
// its first text is "Total", and it names neither organisation nor indicator.
func (t *Table) isTotal(r *Record) bool {
	if t.options.Schema != Observations || t.strictValues() || len(r.Faults) > 0 {
		return false
	}
	at := firstFilled(r.Cells)
	if at < 0 || at >= len(t.Headers.Members) || !totalWord(r.Cells[at]) {
		return false
	}
	if _, decided := t.options.Mapping.value(t.Headers.Members[at], trim(r.Cells[at])); decided {
		return false
	}
	for i, member := range t.Headers.Members[:min(len(r.Cells), len(t.Headers.Members))] {
		if i != at && slices.Contains(subjectColumns, member) && trim(r.Cells[i]) != "" {
			return false
		}
	}
	return true
}

func firstFilled(cells []string) int {
	return slices.IndexFunc(cells, func(c string) bool { return trim(c) != "" })
}

// totalWord recognises "TOTAL", "Total général", "Sous-total T3".
func totalWord(s string) bool {
	s = trim(s)
	if len(s) > 60 || s == "" || s[0]|0x20 != 't' && s[0]|0x20 != 's' && s[0]|0x20 != 'g' {
		return false
	}
	words := strings.Fields(impact.Fold(s))
	if len(words) > 1 && (words[0] == "sous" || words[0] == "sub" || words[0] == "grand") {
		words = words[1:]
	}
	switch words[0] {
	case "total", "totals", "totaux", "subtotal":
		return true
	}
	return false
}

// tellTotals warns once of the lines left out.
func (t *Table) tellTotals() {
	if t.totals.count == 0 {
		return
	}
	n, line, text := strconv.Itoa(t.totals.count), strconv.Itoa(t.totals.first), t.totals.text
	f := impact.Fault{
		Code: "source_value_mapped", Value: text,
		Detail: impact.Text{
			FR: "Une ligne de total est laissée de côté : ligne " + line + ", « " + text + " ».",
			EN: "A line of totals is left out: line " + line + ", “" + text + "”.",
		},
		Hint: impact.Text{FR: "Rien à faire : les sommes se font ici.", EN: "Nothing to do: sums are made here."},
	}
	if t.totals.count > 1 {
		f.Detail = impact.Text{
			FR: n + " lignes de totaux sont laissées de côté, la première ligne " + line + ", « " + text + " ».",
			EN: n + " lines of totals are left out, the first at line " + line + ", “" + text + "”.",
		}
	}
	t.Warnings = append(t.Warnings, f)
	t.totals = totalLines{}
}
