package format

import (
	"strconv"
	"unicode/utf8"

	"github.com/grandlyon/retombees/pkg/impact"
)

// checkForm holds a record against the header: too many cells, too few, too
// long.
func (t *Table) checkForm(r *Record) {
	for i, c := range r.Cells {
		if len(c) > t.limits.Cell && utf8.RuneCountInString(c) > t.limits.Cell {
			r.Faults = append(r.Faults, t.at(i, cellTooLong(c, t.limits.Cell)))
			r.spoil(i)
		}
	}
	if len(r.Cells) == len(t.Header) || t.Header == nil {
		return
	}
	if len(r.Faults) > 0 && r.Faults[0].Column == 0 {
		return // cut off, and told
	}
	for i := len(t.Header); i < len(r.Cells); i++ {
		if trim(r.Cells[i]) == "" {
			continue
		}
		if i >= t.width {
			r.Faults = append(r.Faults, columnCount(len(t.Header), len(r.Cells)))
			break
		}
		r.Warnings = append(r.Warnings, namelessCell(i+1, r.Cells[i]))
	}
	if t.Layout.Format != "csv" {
		return // a sheet does not store what is empty
	}
	for i := len(r.Cells); i < len(t.Header); i++ {
		if f := t.Headers.fields[i].field; f != nil && f.Key {
			r.Faults = append(r.Faults, columnCount(len(t.Header), len(r.Cells)))
			break
		}
	}
}

// spoil marks a cell that a fault has been told about.
func (r *Record) spoil(i int) {
	for len(r.kinds) < len(r.Cells) {
		r.kinds = append(r.kinds, plain)
	}
	r.kinds[i] = invalid
}

// at places a fault in a column, from 0.
func (t *Table) at(i int, f impact.Fault) impact.Fault {
	if f.Column = i + 1; t.strictValues() {
		f.Column = 0 // members have no place
	}
	if i < len(t.Headers.Members) && t.Headers.Members[i] != "" {
		f.Pointer = pointerOf(t.Headers.Members[i])
	}
	return f
}

func columnCount(want, got int) impact.Fault {
	return impact.Fault{
		Code: "column_count", Value: strconv.Itoa(got),
		Detail: impact.Text{
			FR: "Cette ligne a " + strconv.Itoa(got) + " cellules, l'en-tête " + strconv.Itoa(want) + ".",
			EN: "This line has " + strconv.Itoa(got) + " cells, the header " + strconv.Itoa(want) + ".",
		},
		Hint: impact.Text{
			FR: "Entourez de guillemets les textes qui contiennent le séparateur ou un retour à la ligne.",
			EN: "Put in quotation marks the texts that hold the separator or a line break.",
		},
	}
}

func namelessCell(column int, value string) impact.Fault {
	n := strconv.Itoa(column)
	return impact.Fault{
		Code: "unknown_column", Column: column, Value: shorten(value),
		Detail: impact.Text{FR: "La colonne " + n + " n'a pas de nom : cette cellule est ignorée.", EN: "Column " + n + " has no name: this cell is ignored."},
		Hint:   impact.Text{FR: "Nommez la colonne si elle compte.", EN: "Name the column if it matters."},
	}
}

func rowTooLong(limit int) impact.Fault {
	n := strconv.Itoa(limit >> 10)
	return impact.Fault{
		Code:   "row_too_long",
		Detail: impact.Text{FR: "Cette ligne dépasse " + n + " ko ; elle n'est pas lue.", EN: "This row is longer than " + n + " kB; it is not read."},
		Hint:   impact.Text{FR: "Raccourcissez les textes, ou refermez le guillemet resté ouvert.", EN: "Shorten the texts, or close the quotation mark left open."},
	}
}

func cellTooLong(value string, limit int) impact.Fault {
	n := strconv.Itoa(limit)
	return impact.Fault{
		Code: "too_long", Value: shorten(value),
		Detail: impact.Text{FR: "Cette cellule dépasse " + n + " caractères.", EN: "This cell is longer than " + n + " characters."},
		Hint:   impact.Text{FR: "Raccourcissez le texte.", EN: "Shorten the text."},
	}
}

func brokenText(column int, value string) impact.Fault {
	return impact.Fault{
		Code: "encoding", Column: column, Value: shorten(value),
		Detail: impact.Text{FR: "Des octets de cette cellule ne sont pas du texte dans l'encodage du fichier.", EN: "Bytes of this cell are not text in the encoding of the file."},
		Hint:   impact.Text{FR: "Enregistrez le fichier en UTF-8 et vérifiez les accents.", EN: "Save the file as UTF-8 and check the accents."},
	}
}
