package impact

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Checker judges statements. Today is the civil day of the call.
type Checker struct {
	Catalogue *Catalogue
	Today     Date
}

// Resolved is a statement once its codes are known.
type Resolved struct {
	Indicator *Indicator
	Territory *Territory
	Period    Period
	// Cells holds the facts stated: one, or the leaf components of a composed
	// indicator in the order of Catalogue.Leaves, or a survey mean and its count
	// of answers. Nil when the statement has faults.
	Cells []Observation
	// View tells that the indicator is composed: its own value is computed from
	// the cells and never stored.
	View bool
}

// Row is one row of a batch, with what was found about it.
type Row struct {
	Organisation *Organisation
	Resolved
	Faults, Warnings []Fault
	// Merge keeps the details on record that the row leaves out.
	Merge bool
	// Delete removes the cells instead of stating them: see ResolveKey.
	Delete bool
}

// rowCheck gathers what is found while one row is read.
type rowCheck struct {
	*Checker
	st               *Statement
	org              *Organisation
	r                Resolved
	facts            *indicatorFacts
	status           Status
	originalValue    string
	originalUnit     string
	faults, warnings []Fault
}

// Resolve reads a statement of org and tells everything that one row alone can
// tell, all faults at once. Pointers are those of the wire: "/indicator",
// "/components/numerator", "/qualifiers/local_scope". org may be nil when it is
// not known; the cells then belong to organisation 0.
func (c *Checker) Resolve(st *Statement, org *Organisation) (r Resolved, faults, warnings []Fault) {
	row := rowCheck{Checker: c, st: st, org: org}
	row.readIndicator()
	row.readPeriod()
	row.readTerritory()
	row.readStatus()
	details := row.readDetails()
	if row.facts == nil {
		row.readUnknownValue()
		return row.r, row.faults, row.warnings
	}
	cut := row.readCut()
	qualifiers := row.readQualifiers()
	values := row.readValues()
	row.checkMetadata(qualifiers, values)
	if len(row.faults) > 0 {
		return row.r, row.faults, row.warnings
	}

	details.OriginalValue, details.OriginalUnit = row.originalValue, row.originalUnit
	cells := make([]Observation, len(values))
	for i, v := range values {
		o := &cells[i]
		o.Indicator, o.Territory, o.Period, o.Cut = v.of.Key, row.r.Territory.Key, row.r.Period, cut
		o.Value, o.Status = v.value, row.status
		o.Qualifiers, o.Details, o.MethodologyVersion = qualifiers, details, v.of.MethodologyVersion
		if row.r.View {
			o.Qualifiers = row.facts.qualifiersOf(v.of, qualifiers)
			if row.facts.shared[i] {
				o.Details = details.withoutRow()
			}
		}
		if org != nil {
			o.Organisation, o.OrganisationID, o.Profile = org.Key, org.ID, org.profile()
		}
	}
	row.r.Cells = cells
	row.checkFigure()
	row.checkPlausible()
	if len(row.faults) > 0 {
		row.r.Cells = nil
	}
	return row.r, row.faults, row.warnings
}

// ResolveKey reads what a statement is about and leaves aside what it says:
// its cells are those to delete.
func (c *Checker) ResolveKey(st *Statement, org *Organisation) (r Resolved, faults, warnings []Fault) {
	return c.Resolve(&Statement{
		Organisation: st.Organisation, Indicator: st.Indicator, Territory: st.Territory, Period: st.Period,
		Disaggregation: st.Disaggregation, Programme: st.Programme, Status: string(rune(NotApplicable)),
	}, org)
}

// readUnknownValue says of a value what can be said without its indicator: that
// its digits cannot be read.
func (row *rowCheck) readUnknownValue() {
	v := row.st.Value
	if v == "" || v == "true" || v == "false" {
		return
	}
	if _, f := ParseQuantity(v); f != nil {
		row.fault("/value", f)
	}
}

func (row *rowCheck) fault(pointer string, f *Fault) {
	f.Pointer = pointer
	row.faults = append(row.faults, *f)
}

func (row *rowCheck) warn(pointer string, f *Fault) {
	f.Pointer = pointer
	row.warnings = append(row.warnings, *f)
}

func (row *rowCheck) readIndicator() {
	if row.st.Indicator == "" {
		row.fault("/indicator", missingField("Donnez le code d'un indicateur ; la liste est à GET /v1/indicators.",
			"Give the code of an indicator; the list is at GET /v1/indicators."))
		return
	}
	ind, f := row.Catalogue.FindIndicator(row.st.Indicator)
	if f != nil {
		row.fault("/indicator", f)
		return
	}
	row.r.Indicator = ind
	if ind.Derived {
		var parts []string
		for _, leaf := range row.Catalogue.Leaves(ind) {
			parts = append(parts, string(leaf.Code))
		}
		list := strings.Join(parts, ", ")
		row.fault("/indicator", newFault("derived_indicator", row.st.Indicator,
			"Cet indicateur est calculé et ne se déclare pas.", "This indicator is computed and never sent.",
			"Déclarez ce dont il est fait : "+list+".", "Send what it is made of: "+list+"."))
		return
	}
	row.facts = row.Catalogue.facts[ind.Key]
	row.r.View = ind.Composed()
}

func (row *rowCheck) readPeriod() {
	s := row.st.Period
	if s == "" {
		row.fault("/period", missingField("Donnez la période : 2024, 2024-S1, 2024-Q1, 2024-03 ou 2023-07-01/2024-06-30.",
			"Give the period: 2024, 2024-S1, 2024-Q1, 2024-03 or 2023-07-01/2024-06-30."))
		return
	}
	p, f := ParsePeriod(s)
	if f != nil {
		row.fault("/period", f)
		return
	}
	row.r.Period = p
	switch {
	case p.Start > row.Today:
		row.fault("/period", newFault("future_period", s,
			"Cette période n'a pas commencé.", "This period has not begun.",
			"Déclarez ce qui a eu lieu ; un objectif n'est pas une observation.",
			"State what took place; a target is not an observation."))
	case p.Start.Year() < FirstYear:
		row.fault("/period", newFault("period_not_allowed", s,
			"Les périodes antérieures à "+strconv.Itoa(FirstYear)+" ne sont pas acceptées.", "Periods before "+strconv.Itoa(FirstYear)+" are not accepted.",
			"Vérifiez l'année.", "Check the year."))
	case p.Days() > 2*366:
		row.fault("/period", newFault("period_not_allowed", s,
			"Une période dure deux ans au plus.", "A period lasts two years at most.",
			"Déclarez chaque année séparément.", "State each year by itself."))
	case row.facts != nil && row.facts.calendarYear && p.Granularity() != Year:
		f := newFault("period_not_allowed", s,
			"Cet indicateur se déclare par année civile.", "This indicator is stated by calendar year.",
			"Déclarez l'année entière.", "State the whole year.")
		f.Suggestion = YearPeriod(p.Start.Year()).String()
		row.fault("/period", f)
	}
	if o := row.org; o != nil && (o.OpenedOn != 0 || o.ClosedOn != 0) && (p.End < o.OpenedOn || p.Start > o.ClosedOn) {
		row.warn("/period", newFault("establishment_not_open", s,
			"L'établissement n'était pas ouvert pendant cette période.", "The establishment was not open in this period.",
			"Vérifiez la période ou l'organisation ; le successeur déclare ce qui suit la fermeture.",
			"Check the period or the organisation; the successor states what follows the closing."))
	}
}

func (row *rowCheck) readTerritory() {
	s := row.st.Territory
	if s == "" {
		row.fault("/territory", missingField(
			"Donnez le lieu de l'impact ; à défaut de plus fin, metropole-200046977.",
			"Give the place of impact; when nothing finer is known, metropole-200046977."))
		return
	}
	p := row.r.Period
	if p == (Period{}) {
		p = Period{row.Today, row.Today}
	}
	t, warnings, f := row.Catalogue.gazetteer.ForPeriod(s, p)
	if f != nil {
		row.fault("/territory", f)
		return
	}
	row.r.Territory = t
	for i := range warnings {
		row.warn("/territory", &warnings[i])
	}
}

func (row *rowCheck) readStatus() {
	s := row.st.Status
	if s == "" {
		row.status = Normal
		if k := row.Catalogue.Code("provenance", row.st.Provenance); k != nil {
			row.status = Status(k.Attrs["status"][0])
		}
		return
	}
	if s == string(Suppressed) {
		row.status = Normal
		row.fault("/obs_status", newFault("unknown_code", s,
			"Q (secret) n'est jamais accepté en entrée.", "Q (suppressed) is never accepted as input.",
			"Sans valeur, écrivez L (non collecté), M (sans objet) ou O (manquante).",
			"Without a value, write L (not collected), M (not applicable) or O (missing)."))
		return
	}
	if f := row.Catalogue.checkCode("obs_status", s); f != nil {
		row.status = Normal
		row.fault("/obs_status", f)
		return
	}
	row.status = Status(s[0])
}

// readDetails checks the facts about the fact; identifiers come back in form.
func (row *rowCheck) readDetails() Details {
	d := row.st.Details
	if d.Cumulative {
		row.fault("/cumulative", newFault("cumulative_not_accepted", "true",
			"Un cumul depuis le début de l'année n'est pas une valeur de la période.", "A running total is not the value of the period.",
			"Déclarez la différence avec la période précédente.", "State the difference from the period before."))
	}
	code := func(pointer, list, value string) {
		if value != "" {
			if f := row.Catalogue.checkCode(list, value); f != nil {
				row.fault(pointer, f)
			}
		}
	}
	code("/evidence_level", "evidence_level", d.EvidenceLevel)
	code("/provenance", "provenance", d.Provenance)
	code("/reporting_perimeter", "reporting_perimeter", d.Perimeter)
	code("/stakeholder", "stakeholder", d.Stakeholder)
	code("/counting", "counting", d.Counting)
	length := func(pointer, value string, limit int) {
		if f := checkLength(value, limit); f != nil {
			row.fault(pointer, f)
		}
	}
	length("/note", d.Note, maxNote)
	length("/evidence_url", d.EvidenceURL, maxNote)
	length("/source", d.Source, maxWord)
	length("/external_id", d.ExternalID, maxWord)
	length("/need", d.Need, maxWord)
	length("/contract_uid", d.ContractUID, maxWord)
	if d.EvidenceURL != "" {
		if u, err := url.Parse(d.EvidenceURL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			row.fault("/evidence_url", newFault("invalid_type", d.EvidenceURL,
				"Ce n'est pas une adresse web.", "This is not a web address.",
				"Écrivez une adresse complète : https://exemple.fr/rapport.pdf.", "Write a full address: https://example.org/report.pdf."))
		}
	}
	if d.AttributionShare != "" {
		d.AttributionShare = row.readFraction("/attribution_share", d.AttributionShare)
	}
	if d.TransferredTo != "" {
		n, f := CheckSIRET(d.TransferredTo)
		if f == nil && row.org != nil && n == row.org.SIRET {
			f = newFault("inconsistent", d.TransferredTo,
				"Une organisation ne se transmet pas ses propres déchets (E4).", "An organisation does not transfer to itself (E4).",
				"Donnez le SIRET de qui reçoit, ou retirez transferred_to.", "Give the SIRET of the receiver, or leave transferred_to out.")
		}
		if f != nil {
			row.fault("/transferred_to", f)
		}
		d.TransferredTo = n
	}
	if len(d.Covers) > 0 {
		if d.Perimeter != "group" && d.Perimeter != "programme" {
			row.fault("/covers", newFault("inconsistent", d.Perimeter,
				"covers n'a de sens que pour un groupe ou un programme (E1, E2).", "covers only makes sense for a group or a programme (E1, E2).",
				"Écrivez reporting_perimeter: group ou programme, ou retirez covers.", "Write reporting_perimeter: group or programme, or leave covers out."))
		}
		d.Covers = slices.Clone(d.Covers)
		for i, s := range d.Covers {
			if n := compact(s); allDigits(n) {
				n, f := CheckSIREN(n)
				if f != nil {
					row.fault("/covers/"+strconv.Itoa(i), f)
				}
				d.Covers[i] = n
			}
		}
	}
	return d
}

// readFraction reads a share in ]0;1] and gives its canonical digits.
func (row *rowCheck) readFraction(pointer, s string) string {
	q, f := ParseQuantity(s)
	switch {
	case f != nil:
	case q > One && q <= 100*One:
		f = percentage(s, q)
	case q <= 0 || q > One:
		f = newFault("out_of_range", s,
			"Une part est supérieure à 0 et au plus égale à 1.", "A share is above 0 and at most 1.",
			"Écrivez 0.5 pour la moitié.", "Write 0.5 for one half.")
	}
	if f != nil {
		row.fault(pointer, f)
	}
	return q.String()
}

func percentage(s string, q Quantity) *Fault {
	f := newFault("fraction_as_percentage", s,
		"Une fraction s'écrit de 0 à 1 ; ceci ressemble à un pourcentage.", "A fraction is written from 0 to 1; this looks like a percentage.",
		"Divisez par 100 : rien n'est divisé pour vous.", "Divide by 100: nothing is divided for you.")
	if v, exact, bad := q.Convert(1, 100); exact && bad == nil {
		f.Suggestion = v.String()
	}
	return f
}

// readCut gives the canonical text of programme and disaggregation.
func (row *rowCheck) readCut() string {
	st := row.st
	if len(st.Disaggregation) == 0 && st.Programme == "" {
		return ""
	}
	var parts []string
	for dimension, code := range st.Disaggregation {
		at := "/disaggregation/" + escapePointer(dimension)
		if !slices.Contains(row.facts.dimensions, dimension) {
			f := newFault("unknown_disaggregation", dimension,
				"Cet indicateur ne se ventile pas ainsi.", "This indicator has no such disaggregation.",
				"", "")
			if dims := strings.Join(row.facts.dimensions, ", "); dims != "" {
				f.Hint = Text{"Ventilations acceptées : " + dims + ".", "Accepted disaggregations: " + dims + "."}
			} else {
				f.Hint = Text{"Déclarez la valeur totale, sans disaggregation.", "State the total, without disaggregation."}
			}
			f.Suggestion = Suggest(dimension, slices.Values(row.facts.dimensions))
			didYouMean(f)
			row.fault(at, f)
			continue
		}
		if code == "_T" { // the total of the dimension: no cut
			continue
		}
		if k := row.Catalogue.Code("dimension", dimension); k != nil && k.Attrs["open"] == "true" {
			if !plainCode(code) {
				row.fault(at, newFault("unknown_disaggregation", code,
					"Ce code de ventilation n'est pas lisible.", "This disaggregation code cannot be read.",
					"Utilisez des lettres sans accent, des chiffres, - et _, 64 au plus.", "Use letters without accents, digits, - and _, 64 at most."))
			}
		} else if f := row.Catalogue.checkCode(dimension, code); f != nil {
			f.Code = "unknown_disaggregation"
			row.fault(at, f)
		}
		parts = append(parts, dimension+"="+code)
	}
	if st.Programme != "" {
		if !plainCode(st.Programme) {
			row.fault("/programme", newFault("unknown_reference", st.Programme,
				"Ce n'est pas l'identifiant d'un programme.", "This is not the id of a programme.",
				"Un identifiant est fait de lettres, de chiffres, de - et de _, 64 au plus.", "An id is made of letters, digits, - and _, 64 at most."))
		}
		parts = append(parts, "programme="+st.Programme)
	}
	slices.Sort(parts)
	return strings.Join(parts, ";")
}

// plainCode accepts what ids and codes are made of on the wire.
func plainCode(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func escapePointer(s string) string {
	if !strings.ContainsAny(s, "~/") {
		return s
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}

// readQualifiers checks the qualifiers sent; nil when there are none.
func (row *rowCheck) readQualifiers() map[string]string {
	if len(row.st.Qualifiers) == 0 {
		return nil
	}
	out := make(map[string]string, len(row.st.Qualifiers))
	for name, value := range row.st.Qualifiers {
		at := "/qualifiers/" + escapePointer(name)
		k := row.Catalogue.Code("qualifier", name)
		if k == nil {
			row.fault(at, row.Catalogue.checkCode("qualifier", name))
			continue
		}
		switch k.Attrs["form"] {
		case "code":
			if f := row.Catalogue.checkCode(k.Attrs["from"], value); f != nil {
				row.fault(at, f)
			}
		case "fraction":
			value = row.readFraction(at, value)
		case "number":
			value = row.readQualifierNumber(at, value, k)
		default:
			if strings.TrimSpace(value) == "" {
				row.fault(at, missingField("Écrivez une phrase courte.", "Write a short sentence."))
			}
			if f := checkLength(value, maxNote); f != nil {
				row.fault(at, f)
			}
		}
		out[name] = value
	}
	return out
}

func (row *rowCheck) readQualifierNumber(at, value string, k *Code) string {
	q, f := ParseQuantity(value)
	if f != nil {
		row.fault(at, f)
		return value
	}
	low, _ := ParseQuantity(k.Attrs["min"])
	high, _ := ParseQuantity(k.Attrs["max"])
	if q < low || q > high {
		row.fault(at, outside(value, &low, &high))
	}
	return q.String()
}

// checkMetadata asks for what the indicator cannot be understood without. A row
// without any number needs none.
func (row *rowCheck) checkMetadata(qualifiers map[string]string, values []statedValue) {
	if !slices.ContainsFunc(values, func(v statedValue) bool { return v.value != nil }) {
		return
	}
	for _, name := range row.facts.required {
		given := qualifiers[name]
		at := "/qualifiers/" + name
		switch name {
		case "counting":
			given, at = cmp.Or(row.st.Counting, given), "/counting"
		case "attribution_share":
			given, at = cmp.Or(row.st.AttributionShare, given), "/attribution_share"
		}
		if given == "" {
			label := Text{name, name}
			if k := row.Catalogue.Code("qualifier", name); k != nil {
				label = k.Label
				if list := k.Attrs["from"]; list != "" {
					label.FR += " (" + row.Catalogue.codesOf(list) + ")"
					label.EN += " (" + row.Catalogue.codesOf(list) + ")"
				}
			}
			row.fault(at, missingField(
				"Cet indicateur ne se comprend pas sans : "+label.FR+".",
				"This indicator cannot be understood without: "+label.EN+"."))
			continue
		}
		if name == "counting" {
			want := "unique"
			if row.r.Indicator.Kind == Flow {
				want = "attendances"
			}
			if given != want {
				f := newFault("inconsistent", given,
					"Cet indicateur compte autrement (C2, n° 63).", "This indicator counts otherwise (C2, #63).",
					"Les personnes uniques sont l'indicateur participants, les présences l'indicateur attendances.",
					"Unique people are the indicator participants, attendances the indicator attendances.")
				f.Suggestion = want
				row.fault(at, f)
			}
		}
	}
}

func outside(value string, low, high *Quantity) *Fault {
	f := newFault("out_of_range", value, "", "", "Vérifiez la valeur et son unité.", "Check the value and its unit.")
	switch {
	case low != nil && high != nil:
		f.Detail = Text{
			"La valeur doit être entre " + low.String() + " et " + high.String() + ".",
			"The value must be between " + low.String() + " and " + high.String() + ".",
		}
	case low != nil:
		f.Detail = Text{"La valeur ne peut pas être inférieure à " + low.String() + ".", "The value may not be below " + low.String() + "."}
	default:
		f.Detail = Text{"La valeur ne peut pas dépasser " + high.String() + ".", "The value may not be above " + high.String() + "."}
	}
	return f
}
