package format

import (
	"encoding/json"
	"iter"
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// StatementOptions complete what a file says.
type StatementOptions struct {
	// Catalogue lets places be given by their name and tells which qualifiers
	// are numbers; without it, both are passed on as written.
	Catalogue *impact.Catalogue
	// Organisation, Period and Territory stand in where a row has none.
	Organisation, Period, Territory string
	// UnitRequired refuses a number without a unit, except in JSON, where the
	// unit is that of the indicator.
	UnitRequired bool
}

// Action is what one row asks for, in the letters of SDMX-CSV.
type Action byte

// Actions; a row without one follows the mode of the import.
const (
	Merge   Action = 'M'
	Replace Action = 'R'
	Delete  Action = 'D'
)

// StatementRow is one observation as a file states it: numbers with the digits
// of JSON, periods in canonical form, identifiers normalised, the rest as
// written. What could not be read is absent from Statement and told in Faults.
type StatementRow struct {
	*Record
	Action    Action
	Statement impact.Statement
	// Empty: the row names a fact and gives neither number nor reason for its
	// absence, as the untouched rows of a template.
	Empty bool

	table     *Table
	catalogue *impact.Catalogue
}

// Statements reads the records as observations, each with all that its form
// alone tells. The error is the last thing yielded, as in Records.
func (t *Table) Statements(o StatementOptions) iter.Seq2[*StatementRow, error] {
	return func(yield func(*StatementRow, error) bool) {
		p := newStatementParser(t, o)
		for r, err := range t.Records() {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(p.read(r), nil) {
				return
			}
		}
	}
}

// Tell adds what others found out about the statement, each fault in the column
// it comes from and with the text of the cell; what concerns a member already
// told to be wrong is left out.
func (r *StatementRow) Tell(faults, warnings []impact.Fault) {
	told := len(r.Faults)
	for _, f := range faults {
		if !slices.ContainsFunc(r.Faults[:told], func(o impact.Fault) bool { return o.Pointer == f.Pointer && o.Pointer != "" }) {
			f = r.table.place(r.Record, f)
			r.fit(&f)
			r.Faults = append(r.Faults, f)
		}
	}
	for _, f := range warnings {
		r.Warnings = append(r.Warnings, r.table.place(r.Record, f))
	}
}

// place gives a fault its column and, as value, the text of its cell.
func (t *Table) place(r *Record, f impact.Fault) impact.Fault {
	if f.Column != 0 || t.strictValues() {
		return f
	}
	at := -1
	for i, m := range t.Headers.Members {
		if m == "" || !under(f.Pointer, pointerOf(m)) {
			continue
		}
		if filled := i < len(r.Cells) && trim(r.Cells[i]) != ""; at < 0 || filled {
			at = i
			if filled {
				break
			}
		}
	}
	if at < 0 {
		return f
	}
	f.Column = at + 1
	if f.Value != "" && at < len(r.Cells) && r.Cells[at] != "" {
		f.Value = shorten(r.Cells[at])
	}
	return f
}

// under tells that pointer is that of the member or of something inside it.
func under(pointer, member string) bool {
	return pointer == member || strings.HasPrefix(pointer, member+"/")
}

// pointerOf gives the JSON Pointer of the member that a column feeds.
func pointerOf(member string) string {
	switch member {
	case "siret", "siren", "rna":
		return "/organisation"
	case "territory_name", "postal_code":
		return "/territory"
	case "period_start", "period_end", "year", "semester", "quarter", "month":
		return "/period"
	}
	if head, name, ok := strings.Cut(member, "."); ok {
		name = strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		return "/" + families[head] + "/" + name
	}
	return "/" + member
}

// statementParser reads one record after the other.
type statementParser struct {
	cellReader
	options StatementOptions
	row     *StatementRow
	percent bool // the value was followed by %
	euros   bool
}

func newStatementParser(t *Table, o StatementOptions) *statementParser {
	return &statementParser{cellReader: newCellReader(t, o.Catalogue), options: o}
}

func (p *statementParser) read(r *Record) *StatementRow {
	p.begin(r)
	row := &StatementRow{Record: r, table: p.table, catalogue: p.catalogue}
	p.row, p.percent, p.euros = row, false, false
	st := &row.Statement
	for i, c := range p.table.Headers.fields[:min(len(r.Cells), len(p.table.Headers.fields))] {
		if k := r.kind(i); c.field == nil || r.Cells[i] == "" && k != null || k == invalid {
			continue
		}
		switch c.field.Name {
		case "action":
			row.Action = p.action(i)
		case "indicator":
			st.Indicator = p.indicator(i)
		case "unit":
			st.Unit = p.unit(i)
		case "value":
			st.Value, st.ValueNull = p.value(i)
		case "component.":
			p.family(i, c, &st.Components, p.component)
		case "disaggregation.":
			p.family(i, c, &st.Disaggregation, p.code)
		case "qualifier.":
			p.family(i, c, &st.Qualifiers, p.qualifier)
		case "covers":
			st.Covers = p.list(i)
		case "cumulative":
			st.Cumulative = p.flag(i)
		case "attribution_share":
			st.AttributionShare = p.number(i)
		case "transferred_to":
			st.TransferredTo = p.normalised(i, impact.CheckSIRET)
		default:
			if to := statementText(st, c.field.Name); to != nil {
				*to = p.text(i)
			}
		}
	}
	st.Organisation = p.organisation(p.options.Organisation)
	st.Territory = p.territory(p.options.Territory)
	st.Period = p.period(p.options.Period)
	p.settle(st)
	return row
}

// statementText gives the member of a statement that is text as written.
func statementText(st *impact.Statement, name string) *string {
	switch name {
	case "obs_status":
		return &st.Status
	case "programme":
		return &st.Programme
	case "note":
		return &st.Note
	case "evidence_url":
		return &st.EvidenceURL
	case "evidence_level":
		return &st.EvidenceLevel
	case "provenance":
		return &st.Provenance
	case "source":
		return &st.Source
	case "external_id":
		return &st.ExternalID
	case "reporting_perimeter":
		return &st.Perimeter
	case "counting":
		return &st.Counting
	case "stakeholder":
		return &st.Stakeholder
	case "need":
		return &st.Need
	case "contract_uid":
		return &st.ContractUID
	}
	return nil
}

// settle brings value, unit and status together.
func (p *statementParser) settle(st *impact.Statement) {
	at := p.table.Headers.Column("value") - 1
	if st.ValueNull && p.table.strictValues() {
		return // null needs its status, as in any JSON
	}
	if at >= 0 && at < len(p.rec.Cells) {
		if status, ok := noValue(trim(p.rec.Cells[at])); ok && st.ValueNull && st.Status == "" {
			st.Status = string(status)
			p.warn(at, impact.Fault{
				Code: "no_value_symbol", Value: p.rec.Cells[at],
				Detail: impact.Text{FR: "Lu comme absence de valeur, statut " + st.Status + ".", EN: "Read as no value, status " + st.Status + "."},
				Hint:   impact.Text{FR: "Écrivez le statut dans obs_status : L non collecté, M sans objet, O manquant.", EN: "Write the status in obs_status: L not collected, M not applicable, O missing."},
			})
		}
	}
	switch st.Status {
	case "L", "M", "O":
		if st.Value == "" && len(st.Components) == 0 && !p.told("/value") {
			st.ValueNull = true
		}
	}
	if p.euros {
		switch {
		case st.Unit == "":
			st.Unit = "EUR"
		case !strings.ContainsRune(st.Unit, '€') && !strings.Contains(strings.ToUpper(st.Unit), "EUR"), strings.ContainsAny(st.Unit, "kKmM"):
			p.fault(at, impact.Fault{
				Code: "unit_mismatch", Value: p.rec.Cells[at],
				Detail: impact.Text{FR: "La cellule est en euros, l'unité dit : " + st.Unit + ".", EN: "The cell is in euros, the unit says: " + st.Unit + "."},
				Hint:   impact.Text{FR: "Ôtez le signe € de la cellule, ou corrigez l'unité.", EN: "Remove the sign € from the cell, or correct the unit."},
			})
		}
	}
	if p.percent && st.Unit != "%" {
		f := impact.Fault{
			Code: "fraction_as_percentage", Value: p.rec.Cells[at],
			Detail: impact.Text{FR: "Une fraction s'écrit de 0 à 1 ; ceci est un pourcentage.", EN: "A fraction is written from 0 to 1; this is a percentage."},
			Hint:   impact.Text{FR: "Divisez par 100, ou écrivez % dans la colonne unit : rien n'est divisé pour vous.", EN: "Divide by 100, or write % in the column unit: nothing is divided for you."},
		}
		if q, bad := impact.ParseQuantity(st.Value); bad == nil {
			if v, exact, bad := q.Convert(1, 100); exact && bad == nil {
				f.Suggestion = v.String()
			}
		}
		p.fault(at, f)
	}
	if at >= 0 && p.rec.kind(at) == percent && st.Unit == "%" {
		p.fault(at, impact.Fault{
			Code: "unit_mismatch", Value: p.rec.Cells[at],
			Detail: impact.Text{FR: "La cellule est au format pourcentage : elle vaut " + p.rec.Cells[at] + ", sans unité.", EN: "The cell is formatted as a percentage: it is worth " + p.rec.Cells[at] + ", without a unit."},
			Hint:   impact.Text{FR: "Écrivez 1 dans la colonne unit, ou mettez la cellule au format nombre.", EN: "Write 1 in the column unit, or format the cell as a number."},
		})
	}
	p.needUnit(st)
	p.row.Empty = st.Value == "" && !st.ValueNull && len(st.Components) == 0 && len(p.rec.Faults) == 0
}

// needUnit refuses a number that does not say in what it is counted, and names
// the unit of the indicator.
func (p *statementParser) needUnit(st *impact.Statement) {
	if !p.options.UnitRequired || st.Unit != "" || st.Value == "" || st.Value == "true" || st.Value == "false" || p.row.Action == Delete || p.table.strictValues() {
		return
	}
	f := impact.Fault{
		Code: "missing_field", Pointer: "/unit",
		Detail: impact.Text{FR: "L'unité est obligatoire dans un fichier.", EN: "The unit is required in a file."},
		Hint:   impact.Text{FR: "Écrivez l'unité de la valeur : h, t, EUR.", EN: "Write the unit of the value: h, t, EUR."},
	}
	if p.catalogue != nil {
		if ind, bad := p.catalogue.FindIndicator(st.Indicator); bad == nil {
			if ind.Kind == impact.Boolean || ind.Composed() {
				return
			}
			f.Suggestion = ind.Unit
			f.Hint = impact.Text{FR: "Écrivez l'unité de la valeur, par exemple " + ind.Unit + ".", EN: "Write the unit of the value, for example " + ind.Unit + "."}
		}
	}
	f = p.table.place(p.rec, f)
	p.row.fit(&f)
	p.rec.Faults = append(p.rec.Faults, f)
}

func (p *statementParser) action(i int) Action {
	switch s := strings.ToUpper(p.text(i)); s {
	case "M", "R", "D":
		return Action(s[0])
	case "":
	default:
		p.fault(i, impact.Fault{
			Code: "unknown_code", Value: p.rec.Cells[i],
			Detail: impact.Text{FR: "Cette action n'existe pas.", EN: "There is no such action."},
			Hint:   impact.Text{FR: "Écrivez M (ajouter ou corriger), R (remplacer) ou D (supprimer).", EN: "Write M (add or correct), R (replace) or D (delete)."},
		})
	}
	return 0
}

// value reads the number of a row, true or false, or what stands for no number.
func (p *statementParser) value(i int) (digits string, none bool) {
	switch p.rec.kind(i) {
	case null:
		return "", true
	case truth:
		return p.rec.Cells[i], false
	}
	s := trim(unguard(p.rec.Cells[i]))
	if p.rec.kind(i) == plain {
		if _, ok := noValue(s); ok {
			return "", true
		}
		if w, ok := truthWord(s); ok {
			return w, false
		}
	}
	r := p.readNumber(i)
	p.percent, p.euros = r.percent, r.euros
	return r.digits, false
}

func (p *statementParser) component(i int, _ string) string {
	if s := trim(p.rec.Cells[i]); p.rec.kind(i) == plain {
		if _, ok := noValue(s); ok {
			return ""
		}
	}
	return p.number(i)
}

func (p *statementParser) code(i int, _ string) string { return p.text(i) }

// qualifier reads one qualifier, as a number when it is one.
func (p *statementParser) qualifier(i int, name string) string {
	if p.catalogue != nil {
		if k := p.catalogue.Code("qualifier", name); k != nil && (k.Attrs["form"] == "number" || k.Attrs["form"] == "fraction") {
			return p.number(i)
		}
	}
	return p.text(i)
}

// family reads a column of a family, or a whole object written as JSON.
func (p *statementParser) family(i int, c match, to *map[string]string, read func(int, string) string) {
	if c.suffix == "" {
		p.object(i, to)
		return
	}
	v := read(i, c.suffix)
	if v == "" {
		return
	}
	if *to == nil {
		*to = make(map[string]string, 2)
	}
	(*to)[c.suffix] = v
}

// object reads a cell that holds a JSON object: {"numerator":20}.
func (p *statementParser) object(i int, to *map[string]string) {
	s := trim(p.rec.Cells[i])
	var members map[string]json.RawMessage
	if s == "" {
		return
	}
	if json.Unmarshal([]byte(s), &members) != nil {
		p.fault(i, impact.Fault{
			Code: "invalid_type", Value: shorten(s),
			Detail: impact.Text{FR: "Cette cellule n'est pas un objet JSON.", EN: "This cell is not a JSON object."},
			Hint:   impact.Text{FR: `Écrivez {"numerator":20,"denominator":100}, ou une colonne par membre : component.numerator.`, EN: `Write {"numerator":20,"denominator":100}, or one column for each member: component.numerator.`},
		})
		return
	}
	for name, raw := range members {
		v := string(raw)
		if raw[0] == '"' && json.Unmarshal(raw, &v) != nil || v == "null" {
			continue
		}
		if *to == nil {
			*to = make(map[string]string, len(members))
		}
		(*to)[name] = v
	}
}

// list reads several texts in one cell, as JSON or with spaces, commas or
// semicolons between them.
func (p *statementParser) list(i int) []string {
	s := p.text(i)
	var out []string
	if strings.HasPrefix(s, "[") && json.Unmarshal([]byte(s), &out) == nil {
		return out
	}
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == ';' || r == '|' || r == '\n' })
}

func (p *statementParser) flag(i int) bool {
	if p.rec.kind(i) == truth {
		return p.rec.Cells[i] == "true"
	}
	s := p.text(i)
	w, ok := truthWord(s)
	if !ok && s != "" && s != "1" && s != "0" {
		p.fault(i, impact.Fault{
			Code: "invalid_type", Value: shorten(s),
			Detail: impact.Text{FR: "Il faut ici oui ou non.", EN: "Here yes or no is needed."},
			Hint:   impact.Text{FR: "Écrivez true ou false, oui ou non.", EN: "Write true or false, yes or no."},
		})
	}
	return w == "true" || s == "1"
}
