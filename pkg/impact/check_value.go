package impact

import (
	"math/big"
	"slices"
	"strings"
)

// statedValue is what a statement says of one cell; value is nil when it says
// that there is no number.
type statedValue struct {
	of    *Indicator
	value *Quantity
}

// indicatorFacts is what the checks of a row need to know about an indicator,
// worked out once.
type indicatorFacts struct {
	leaves                 []*Indicator
	units                  []*Unit    // of the leaves
	numerator, denominator *Indicator // the leaf each plain word means, nil when several
	weight                 *Indicator
	required               []string // metadata of the indicator and of its leaves
	dimensions             []string
	calendarYear           bool
	related                []*relation // C3 checks the indicator takes part in
	neighbours             []IndicatorKey
	// shared tells for each leaf that other statements state it too: another
	// ratio, or a row of its own.
	shared []bool
	// claimed are the qualifiers that belong to some of the leaves only.
	claimed []string
}

// prepare works out indicatorFacts.
func (c *Catalogue) prepare() {
	for _, ind := range c.indicators {
		f := &indicatorFacts{leaves: c.leaves[ind.Key]}
		if ind.Weight != "" {
			f.weight = c.byCode[string(ind.Weight)]
		}
		if ind.Composed() {
			f.numerator = c.soleLeaf(ind.Numerator)
			f.denominator = c.soleLeaf(ind.Denominator)
		}
		for _, leaf := range append([]*Indicator{ind}, f.leaves...) {
			for _, m := range leaf.RequiredMetadata {
				if !slices.Contains(f.required, m) {
					f.required = append(f.required, m)
				}
			}
			for _, d := range leaf.Disaggregations {
				if !slices.Contains(f.dimensions, d) {
					f.dimensions = append(f.dimensions, d)
				}
			}
		}
		for _, leaf := range f.leaves {
			f.units = append(f.units, c.units[leaf.Unit])
			if leaf != ind {
				f.shared = append(f.shared, c.isShared(leaf))
				f.claimed = append(append(f.claimed, leaf.RequiredMetadata...), leaf.HomogeneousBy...)
			}
		}
		// Spend by AGEC family is defined by calendar year (domain.md C2, #13 and #14).
		f.calendarYear = slices.Contains(f.dimensions, "agec_category")
		c.facts[ind.Key] = f
	}
	c.relate()
}

// isShared tells that a leaf is stated by several ratios, or by rows of its own.
func (c *Catalogue) isShared(leaf *Indicator) bool {
	ratios := 0
	for _, ind := range c.indicators {
		if ind.Composed() && !ind.Derived && slices.Contains(c.leaves[ind.Key], leaf) {
			ratios++
		}
	}
	return ratios > 1 || leaf.Set != "component"
}

// qualifiersOf keeps what concerns one leaf: the generation of the QPV says
// nothing about the headcount.
func (f *indicatorFacts) qualifiersOf(leaf *Indicator, all map[string]string) map[string]string {
	foreign := func(name string) bool {
		return slices.Contains(f.claimed, name) && !slices.Contains(leaf.RequiredMetadata, name) && !slices.Contains(leaf.HomogeneousBy, name)
	}
	for name := range all {
		if !foreign(name) {
			continue
		}
		var own map[string]string
		for name, v := range all {
			if !foreign(name) {
				if own == nil {
					own = map[string]string{}
				}
				own[name] = v
			}
		}
		return own
	}
	return all
}

// withoutRow leaves out what speaks of the row and not of the fact, so that a
// component shared by several rows stays the same fact whichever states it.
func (d Details) withoutRow() Details {
	d.Note, d.EvidenceURL, d.ExternalID, d.Stakeholder, d.Need, d.ContractUID = "", "", "", "", "", ""
	d.OriginalValue, d.OriginalUnit = "", ""
	return d
}

// soleLeaf gives the indicator when codes name exactly one that is a fact.
func (c *Catalogue) soleLeaf(codes []IndicatorCode) *Indicator {
	if len(codes) == 1 {
		if ind := c.byCode[string(codes[0])]; !ind.Composed() {
			return ind
		}
	}
	return nil
}

// readValues gives one value per cell, in the order of the leaves. What is
// missing or wrong becomes a fault.
func (row *rowCheck) readValues() []statedValue {
	st, ind := row.st, row.r.Indicator
	hasValue := st.Value != ""
	hasParts := len(st.Components) > 0
	if hasValue && !row.status.HasNumber() || hasParts && !row.status.HasNumber() {
		row.fault("/obs_status", newFault("value_with_missing_status", string(row.status),
			"Une valeur est donnée avec un statut qui dit qu'il n'y en a pas.", "A value stands beside a status that says there is none.",
			"Retirez la valeur, ou écrivez le statut A (normale), E (estimée) ou P (provisoire).",
			"Leave the value out, or write the status A (normal), E (estimated) or P (provisional)."))
		return nil
	}
	if !hasValue && !hasParts {
		return row.readNoValue()
	}
	switch {
	case ind.Composed():
		return row.readComponents()
	case ind.Kind == SurveyMean:
		return row.readSurveyMean()
	}
	for name := range st.Components {
		row.fault("/components/"+escapePointer(name), newFault("unknown_member", name,
			"Cet indicateur n'a pas de composantes.", "This indicator has no components.",
			"Donnez sa valeur dans value.", "Give its value in value."))
	}
	if !hasValue {
		return nil
	}
	if ind.Kind == Boolean {
		return []statedValue{{ind, row.readBoolean()}}
	}
	return []statedValue{{ind, row.readNumber("/value", st.Value, ind, row.facts.units[0], true)}}
}

// readNoValue treats null and absent values.
func (row *rowCheck) readNoValue() []statedValue {
	st, ind := row.st, row.r.Indicator
	switch {
	case !row.status.HasNumber(): // the status says why: an answer without a number
		values := make([]statedValue, 0, len(row.facts.leaves)+1)
		for _, leaf := range row.facts.leaves {
			values = append(values, statedValue{of: leaf})
		}
		if ind.Kind == SurveyMean {
			values = append(values, statedValue{of: row.facts.weight})
		}
		return values
	case st.ValueNull:
		row.fault("/value", newFault("null_without_status", "null",
			"Une absence de valeur doit dire pourquoi.", "A null must say why.",
			"Écrivez obs_status L (non collecté), M (sans objet) ou O (manquante) ; zéro s'écrit 0.",
			"Write obs_status L (not collected), M (not applicable) or O (missing); zero is written 0."))
	case ind.Composed():
		for _, name := range row.componentNames() {
			row.fault("/components/"+name, missingComponent(name))
		}
	default:
		row.fault("/value", missingField(
			"Donnez la valeur, ou null avec obs_status L, M ou O.", "Give the value, or null with obs_status L, M or O."))
	}
	return nil
}

// componentNames gives the words by which the parts are sent.
func (row *rowCheck) componentNames() []string {
	if row.facts.numerator != nil && row.facts.denominator != nil {
		return []string{"numerator", "denominator"}
	}
	var names []string
	for _, leaf := range row.facts.leaves {
		names = append(names, string(leaf.Code))
	}
	return names
}

func missingComponent(name string) *Fault {
	return newFault("missing_component", name,
		"Il manque la composante "+name+".", "The component "+name+" is missing.",
		"Donnez toutes les composantes, ou null avec obs_status L ou M pour l'ensemble.",
		"Give every component, or null with obs_status L or M for the whole.")
}

func (row *rowCheck) readComponents() []statedValue {
	st := row.st
	if len(st.Components) == 0 {
		names := strings.Join(row.componentNames(), ", ")
		f := newFault("ratio_requires_components", st.Value,
			"Un ratio se déclare par ce qu'on divise, jamais par le résultat.", "A ratio is sent as what is divided, never as the result.",
			"Donnez components : "+names+".", "Give components: "+names+".")
		row.fault("/value", f)
		return nil
	}
	row.checkRatioUnit()
	values := make([]statedValue, len(row.facts.leaves))
	complete, read := true, 0
	for i, leaf := range row.facts.leaves {
		values[i].of = leaf
		given := false
		for _, name := range row.namesOf(leaf) {
			digits, ok := st.Components[name]
			if name == "" || !ok {
				continue
			}
			at := "/components/" + name
			read++
			again := given
			given = true
			v := row.readNumber(at, digits, leaf, row.facts.units[i], false)
			switch {
			case v == nil:
				complete = false
			case again && values[i].value != nil && *values[i].value != *v:
				row.fault(at, newFault("components_disagree", digits,
					"La même composante est donnée deux fois, avec deux valeurs.", "The same component is given twice, with two values.",
					"N'en gardez qu'une.", "Keep one of them."))
			default:
				values[i].value = v
			}
		}
		if !given {
			complete = false
			name := row.namesOf(leaf)[1]
			if name == "" {
				name = string(leaf.Code)
			}
			row.fault("/components/"+name, missingComponent(name))
		}
	}
	if read < len(st.Components) {
		row.refuseOtherComponents()
	}
	if !complete {
		return nil
	}
	return values
}

// namesOf gives the words by which a part may be sent: its code, then
// "numerator" or "denominator" and "weight" where they mean this part alone.
func (row *rowCheck) namesOf(leaf *Indicator) [3]string {
	names := [3]string{string(leaf.Code)}
	switch leaf {
	case row.facts.numerator:
		names[1] = "numerator"
	case row.facts.denominator:
		names[1] = "denominator"
	}
	if leaf == row.facts.weight {
		names[2] = "weight"
	}
	return names
}

func (row *rowCheck) refuseOtherComponents() {
	known := row.componentNames()
	for name := range row.st.Components {
		if slices.ContainsFunc(row.facts.leaves, func(l *Indicator) bool {
			names := row.namesOf(l)
			return slices.Contains(names[:], name)
		}) {
			continue
		}
		f := newFault("unknown_member", name,
			"Cet indicateur n'a pas cette composante.", "This indicator has no such component.",
			"Composantes : "+strings.Join(known, ", ")+".", "Components: "+strings.Join(known, ", ")+".")
		f.Suggestion = Suggest(name, slices.Values(known))
		didYouMean(f)
		row.fault("/components/"+escapePointer(name), f)
	}
}

// checkRatioUnit accepts the unit of the result, or one unit shared by all the
// parts: then the parts are converted.
func (row *rowCheck) checkRatioUnit() {
	s := row.st.Unit
	if s == "" || s == row.r.Indicator.Unit {
		return
	}
	ofParts := func(u *Unit) bool {
		return !slices.ContainsFunc(row.facts.units, func(leaf *Unit) bool { return leaf.Quantity != u.Quantity })
	}
	if u := row.Catalogue.Unit(s); u == nil || !ofParts(u) {
		row.fault("/unit", row.unitMismatch(s, func(u *Unit) bool { return u.Code == row.r.Indicator.Unit || ofParts(u) }))
	}
}

func (row *rowCheck) readSurveyMean() []statedValue {
	st, ind := row.st, row.r.Indicator
	values := []statedValue{{of: ind}, {of: row.facts.weight}}
	if st.Value == "" {
		row.fault("/value", missingField("Donnez la moyenne dans value.", "Give the mean in value."))
	} else {
		values[0].value = row.readNumber("/value", st.Value, ind, row.facts.units[0], true)
	}
	found := false
	for name, digits := range st.Components {
		at := "/components/" + escapePointer(name)
		if name != "weight" && name != string(ind.Weight) {
			f := newFault("unknown_member", name,
				"Une moyenne d'enquête n'a qu'une composante : weight.", "A survey mean has one component only: weight.",
				"Donnez le nombre de réponses dans components.weight.", "Give the number of answers in components.weight.")
			f.Suggestion = "weight"
			row.fault(at, f)
			continue
		}
		found = true
		values[1].value = row.readNumber(at, digits, row.facts.weight, row.Catalogue.units[row.facts.weight.Unit], false)
	}
	if !found {
		f := missingComponent("weight")
		f.Hint = Text{"Donnez le nombre de réponses dans components.weight.", "Give the number of answers in components.weight."}
		row.fault("/components/weight", f)
	}
	if values[0].value == nil || values[1].value == nil {
		return nil
	}
	return values
}

func (row *rowCheck) readBoolean() *Quantity {
	v := Quantity(0)
	switch row.st.Value {
	case "true":
		v = One
	case "false":
	default:
		row.fault("/value", newFault("invalid_type", row.st.Value,
			"Cet indicateur se répond par oui ou non.", "This indicator is answered by yes or no.",
			"Écrivez true ou false.", "Write true or false."))
	}
	if u := row.st.Unit; u != "" && u != row.r.Indicator.Unit {
		row.fault("/unit", row.unitMismatch(u, row.measures(row.r.Indicator)))
	}
	return &v
}

// readNumber reads the digits of one cell, converts them to the unit of the
// indicator and checks the bounds; nil after a fault. Only the value itself
// carries the unit of the statement; a component does when they share it.
func (row *rowCheck) readNumber(at, digits string, ind *Indicator, to *Unit, whole bool) *Quantity {
	if digits == "true" || digits == "false" {
		row.fault(at, newFault("invalid_type", digits,
			"Un nombre est attendu.", "A number is expected.",
			"Donnez la quantité, par exemple 1840.", "Give the quantity, for example 1840."))
		return nil
	}
	v, f := ParseQuantity(digits)
	if f != nil {
		row.fault(at, f)
		return nil
	}
	if s := row.st.Unit; s != "" && s != to.Code {
		from := row.Catalogue.Unit(s)
		switch {
		case from == to:
		case from != nil && from.Quantity == to.Quantity && (whole || s != row.r.Indicator.Unit):
			converted, exact, f := convert(v, from, to)
			if f != nil {
				row.fault(at, f)
				return nil
			}
			if !exact {
				row.warn(at, newFault("rounded", digits,
					"Converti en "+to.Code+" et arrondi à six décimales : "+converted.String()+".", "Converted to "+to.Code+" and rounded to six decimals: "+converted.String()+".",
					"La valeur d'origine est conservée.", "The original value is kept."))
			}
			if whole {
				row.originalValue = digits
			}
			row.originalUnit = s
			v = converted
		case whole:
			row.fault("/unit", row.unitMismatch(s, row.measures(ind)))
			return nil
		}
	}
	if to.Quantity == "fraction" && ind.Max != nil && *ind.Max == One && v > One && v <= 100*One {
		row.fault(at, percentage(digits, v))
		return nil
	}
	if ind.Min != nil && v < *ind.Min || ind.Max != nil && v > *ind.Max {
		row.fault(at, outside(digits, ind.Min, ind.Max))
		return nil
	}
	if ind.WarnMin != nil && v < *ind.WarnMin || ind.WarnMax != nil && v > *ind.WarnMax {
		row.warn(at, newFault("outlier", digits,
			"Valeur inhabituelle pour une organisation.", "Unusual value for one organisation.",
			"Vérifiez l'unité : "+to.Label.FR+".", "Check the unit: "+to.Label.EN+"."))
	}
	return &v
}

// convert brings v from one unit to another of the same quantity.
func convert(v Quantity, from, to *Unit) (Quantity, bool, *Fault) {
	num := new(big.Rat).Mul(big.NewRat(from.Num, from.Den), big.NewRat(to.Den, to.Num))
	return v.Convert(num.Num().Int64(), num.Denom().Int64())
}

// measures tells the units that the indicator may be stated in.
func (row *rowCheck) measures(ind *Indicator) func(*Unit) bool {
	to := row.Catalogue.units[ind.Unit]
	return func(u *Unit) bool { return u.Quantity == to.Quantity }
}

func (row *rowCheck) unitMismatch(s string, accepts func(*Unit) bool) *Fault {
	var accepted []string
	for i := range row.Catalogue.ref.Units {
		if u := &row.Catalogue.ref.Units[i]; accepts(u) {
			accepted = append(accepted, u.Code)
		}
	}
	list := strings.Join(accepted, ", ")
	f := newFault("unit_mismatch", s,
		"Cette unité ne mesure pas cet indicateur.", "This unit does not measure this indicator.",
		"Unités acceptées : "+list+".", "Accepted units: "+list+".")
	if row.Catalogue.Unit(s) != nil {
		return f
	}
	f.Detail = Text{"Cette unité n'est pas connue.", "This unit is not known."}
	f.Suggestion = nearest(s, func(yield func(string, string) bool) {
		for i := range row.Catalogue.ref.Units {
			u := &row.Catalogue.ref.Units[i]
			if !accepts(u) {
				continue
			}
			for _, name := range append([]string{u.Code, u.Label.FR, u.Label.EN}, u.Aliases...) {
				if !yield(name, u.Code) {
					return
				}
			}
		}
	})
	didYouMean(f)
	return f
}

// checkFigure looks at the value that the parts of a composed indicator give.
func (row *rowCheck) checkFigure() {
	ind := row.r.Indicator
	if !row.r.View || row.r.Cells[0].Value == nil {
		return
	}
	if n, d := row.facts.numerator, row.facts.denominator; n != nil && d != nil && ind.PartOfWhole() {
		part, whole := row.r.Cells[slices.Index(row.facts.leaves, n)].Value, row.r.Cells[slices.Index(row.facts.leaves, d)].Value
		if *part > *whole {
			row.fault("/components/numerator", partExceedsWhole(part.String(), string(n.Code), string(d.Code)))
			return
		}
		if row.st.Value == "" && *part >= 0 && *whole > 0 && ind.WarnMin == nil && ind.WarnMax == nil {
			return // between 0 and 1 without dividing
		}
	}
	v := QuotientOf(ind, row.r.Cells)
	if v == nil {
		return
	}
	if s := row.st.Value; s != "" {
		if sent, f := ParseQuantity(s); f != nil || sent != *v && !row.roundsTo(sent, *v) {
			row.fault("/value", newFault("components_disagree", s,
				"La valeur n'est pas celle que donnent les composantes ("+v.french()+").", "The value is not the one the components give ("+v.String()+").",
				"Retirez value : elle est calculée.", "Leave value out: it is computed."))
			return
		}
	}
	if ind.Min != nil && *v < *ind.Min || ind.Max != nil && *v > *ind.Max {
		row.warn("/components", outside(v.String(), ind.Min, ind.Max))
	}
	if ind.WarnMin != nil && *v < *ind.WarnMin || ind.WarnMax != nil && *v > *ind.WarnMax {
		row.warn("/components", newFault("outlier", v.String(),
			"Valeur inhabituelle pour une organisation.", "Unusual value for one organisation.",
			"Vérifiez les composantes et leurs unités.", "Check the components and their units."))
	}
}

// roundsTo tells that a value sent with more or fewer decimals is the same
// figure.
func (row *rowCheck) roundsTo(sent, computed Quantity) bool {
	r, err := QuantityFromRat(sent.Rat(), row.r.Indicator.Decimals)
	return err == nil && r == computed
}

// PartOfWhole tells that the numerator is a part of the denominator: a quotient
// that cannot pass 1, sent as its two parts.
func (i *Indicator) PartOfWhole() bool {
	return !i.Derived && i.Form == Quotient && i.Max != nil && *i.Max == One && i.Scale == One
}

func partExceedsWhole(value, part, whole string) *Fault {
	return newFault("part_exceeds_whole", value,
		part+" dépasse "+whole+", dont il est une partie.", part+" is above "+whole+", of which it is a part.",
		"Vérifiez les deux valeurs et leur unité.", "Check both values and their unit.")
}

// checkPlausible holds the C3 rules that need the row alone.
func (row *rowCheck) checkPlausible() {
	if row.r.Indicator.Code != "participants" || row.r.Cells[0].Value == nil {
		return
	}
	t := row.r.Territory
	if v := *row.r.Cells[0].Value; t.Population > 0 && v > Quantity(t.Population)*One {
		row.warn("/value", newFault("plausibility", v.String(),
			"Plus de participants que d'habitants dans le territoire.", "More participants than inhabitants of the territory.",
			"Les présences répétées sont l'indicateur attendances.", "Repeated attendances are the indicator attendances."))
	}
}

// QuotientOf gives the value of a composed indicator from its parts, in the order
// of Catalogue.Leaves, rounded once to the indicator's decimals; nil when a part
// has no number or a denominator is zero.
func QuotientOf(ind *Indicator, parts []Observation) *Quantity {
	terms := make([]*big.Rat, 0, len(parts))
	for i := range parts {
		if parts[i].Value == nil {
			return nil
		}
		terms = append(terms, parts[i].Value.Rat())
	}
	n, d := len(ind.Numerator), len(ind.Denominator)
	if len(terms) == 2*(n+d) { // each component is itself a quotient: the pay gap
		for i := range n + d {
			if terms[2*i+1].Sign() == 0 {
				return nil
			}
			terms[i] = new(big.Rat).Quo(terms[2*i], terms[2*i+1])
		}
		terms = terms[:n+d]
	}
	if len(terms) != n+d {
		return nil
	}
	top, bottom := new(big.Rat), new(big.Rat)
	for i, t := range terms[:n] {
		if ind.Form == Difference && i > 0 {
			top.Sub(top, t)
		} else {
			top.Add(top, t)
		}
	}
	for _, t := range terms[n:] {
		bottom.Add(bottom, t)
	}
	if bottom.Sign() == 0 {
		return nil
	}
	figure := top.Quo(top, bottom)
	if ind.Form == Complement {
		figure.Sub(big.NewRat(1, 1), figure)
	}
	figure.Mul(figure, ind.Scale.Rat())
	q, err := QuantityFromRat(figure, ind.Decimals)
	if err != nil {
		return nil
	}
	return &q
}
