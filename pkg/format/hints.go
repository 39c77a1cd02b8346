package format

import (
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// fit makes the hint of a fault speak of columns, in a file that has some: what
// is missing is to be filled in or to be added.
func (r *StatementRow) fit(f *impact.Fault) {
	t := r.table
	if t.strictValues() {
		return
	}
	switch f.Code {
	case "missing_field":
		if i := f.Column - 1; i >= 0 && i < len(t.Header) {
			if i >= len(r.Cells) || trim(r.Cells[i]) == "" {
				h := shorten(t.Header[i])
				f.Hint = before(f.Hint, "Remplissez la colonne « "+h+" ».", "Fill in the column “"+h+"”.")
			}
		} else if h, ok := usualHeaders[f.Pointer]; ok && t.options.Schema == Observations {
			f.Hint = before(f.Hint, "Ajoutez une colonne "+h.FR+".", "Add a column "+h.EN+".")
		}
	case "ratio_requires_components":
		if fr, en := r.componentColumns(); fr != "" {
			f.Hint = impact.Text{FR: "Donnez ce qu'on divise, dans les colonnes " + fr + ".", EN: "Give what is divided, in the columns " + en + "."}
		}
	case "missing_component":
		h := componentHeader(strings.TrimPrefix(f.Pointer, "/components/"))
		f.Hint = impact.Text{
			FR: "Remplissez la colonne " + h.FR + ", ou écrivez L ou M dans obs_status quand le tout manque.",
			EN: "Fill in the column " + h.EN + ", or write L or M in obs_status when the whole is missing.",
		}
	}
}

func before(hint impact.Text, fr, en string) impact.Text {
	return impact.Text{FR: strings.TrimSpace(fr + " " + hint.FR), EN: strings.TrimSpace(en + " " + hint.EN)}
}

// usualHeaders are the columns that people add.
var usualHeaders = map[string]impact.Text{
	"/organisation": {FR: "SIRET", EN: "siret"},
	"/indicator":    {FR: "Indicateur", EN: "indicator"},
	"/territory":    {FR: "Commune", EN: "territory"},
	"/period":       {FR: "Période", EN: "period"},
	"/value":        {FR: "Valeur", EN: "value"},
	"/unit":         {FR: "Unité", EN: "unit"},
}

// componentColumns names the columns of the parts of the row's indicator.
func (r *StatementRow) componentColumns() (fr, en string) {
	if r.catalogue == nil {
		return "", ""
	}
	ind := r.catalogue.Indicator(impact.IndicatorCode(r.Statement.Indicator))
	if ind == nil {
		return "", ""
	}
	leaves := r.catalogue.Leaves(ind)
	var names []string
	for _, leaf := range leaves {
		names = append(names, string(leaf.Code))
	}
	if len(leaves) == 2 && len(ind.Numerator) == 1 && len(ind.Denominator) == 1 && leaves[0].Code == ind.Numerator[0] && leaves[1].Code == ind.Denominator[0] {
		names = []string{"numerator", "denominator"}
	}
	var frs, ens []string
	for _, name := range names {
		h := componentHeader(name)
		frs, ens = append(frs, h.FR), append(ens, h.EN)
	}
	return strings.Join(frs, ", "), strings.Join(ens, ", ")
}

func componentHeader(name string) impact.Text {
	switch name {
	case "numerator":
		return impact.Text{FR: "Numérateur", EN: "component.numerator"}
	case "denominator":
		return impact.Text{FR: "Dénominateur", EN: "component.denominator"}
	case "weight":
		return impact.Text{FR: "Poids", EN: "component.weight"}
	}
	return impact.Text{FR: "component." + name, EN: "component." + name}
}
