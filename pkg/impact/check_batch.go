package impact

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Neighbour is a pair whose current observations Reconcile needs to see.
type Neighbour struct {
	Organisation OrganisationKey
	Indicator    IndicatorKey
}

// relation is one cross-field check of domain.md C3 between facts of one
// subject, territory and period.
type relation struct {
	parts  []IndicatorKey
	wholes []IndicatorKey
	names  []string // of the parts, then of the wholes
	judge  func(p place, v []*Observation) (severe bool, f *Fault)
}

// place is what the facts of a relation share.
type place struct {
	territory TerritoryKey
	period    Period
	cut       string
}

// relate writes the checks of C3 and says for each indicator which it takes
// part in.
func (c *Catalogue) relate() {
	for _, r := range c.relations() {
		keys := slices.Concat(r.parts, r.wholes)
		for _, k := range keys {
			f := c.facts[k]
			f.related = append(f.related, r)
			for _, other := range keys {
				if !slices.Contains(f.neighbours, other) {
					f.neighbours = append(f.neighbours, other)
				}
			}
		}
	}
	for k, f := range c.facts {
		if !slices.Contains(f.neighbours, k) {
			f.neighbours = append(f.neighbours, k)
		}
	}
}

func (c *Catalogue) relations() []*relation {
	var out []*relation
	add := func(parts, wholes string, judge func(*relation) func(place, []*Observation) (bool, *Fault)) {
		r := &relation{}
		for _, side := range []struct {
			codes string
			keys  *[]IndicatorKey
		}{{parts, &r.parts}, {wholes, &r.wholes}} {
			for _, code := range strings.Fields(side.codes) {
				ind := c.byCode[code]
				if ind == nil { // a catalogue without this indicator has not this check
					return
				}
				*side.keys = append(*side.keys, ind.Key)
				r.names = append(r.names, code)
			}
		}
		r.judge = judge(r)
		out = append(out, r)
	}
	for _, ind := range c.indicators {
		if !ind.Composed() || !ind.PartOfWhole() {
			continue
		}
		n, d := c.soleLeaf(ind.Numerator), c.soleLeaf(ind.Denominator)
		if n != nil && d != nil {
			add(string(n.Code), string(d.Code), atMostWhole)
		}
	}
	add("purchases_local", "purchases_total", atMostWhole)
	add("dynamic_exits", "insertion_exits", atMostWhole)
	add("waste_reused waste_recycled waste_energy_recovered waste_disposed", "waste_collected", wasteBalance)
	add("durable_exits transition_exits positive_exits", "dynamic_exits", exitsAddUp)
	add("insertion_hours", "insertion_people", hoursPerPerson)
	add("insertion_hours", "insertion_fte", hoursPerFTE)
	add("ghg_scope1 ghg_scope2_location", "energy_consumed", emissionsOfEnergy)
	return out
}

func number(o *Observation) (Quantity, bool) {
	if o == nil || o.Value == nil {
		return 0, false
	}
	return *o.Value, true
}

// sum adds the numbers there are; all tells that none was missing.
func sum(v []*Observation) (total Quantity, some, all bool) {
	all = true
	for _, o := range v {
		if q, ok := number(o); ok {
			total += q
			some = true
		} else {
			all = false
		}
	}
	return total, some, all
}

func atMostWhole(r *relation) func(place, []*Observation) (bool, *Fault) {
	return func(_ place, v []*Observation) (bool, *Fault) {
		part, ok1 := number(v[0])
		whole, ok2 := number(v[1])
		if !ok1 || !ok2 || part <= whole {
			return false, nil
		}
		return true, partExceedsWhole(part.String(), r.names[0], r.names[1])
	}
}

// wasteBalance lets outlets pass what was collected by 5 % (stock carried over);
// beyond 25 % the figures cannot be right.
func wasteBalance(r *relation) func(place, []*Observation) (bool, *Fault) {
	return func(_ place, v []*Observation) (bool, *Fault) {
		out, some, _ := sum(v[:4])
		in, ok := number(v[4])
		if !ok || !some || out <= in+in/20 {
			return false, nil
		}
		severe := out > in+in/4
		code := FaultCode("plausibility")
		if severe {
			code = "inconsistent"
		}
		return severe, newFault(code, out.String(),
			"Les sorties ("+out.french()+" t) dépassent la collecte ("+in.french()+" t).", "The outlets ("+out.String()+" t) are above the collection ("+in.String()+" t).",
			"Vérifiez les unités et les stocks reportés : 5 % de plus sont admis.", "Check units and stock carried over: 5 % more is accepted.")
	}
}

func exitsAddUp(*relation) func(place, []*Observation) (bool, *Fault) {
	return func(_ place, v []*Observation) (bool, *Fault) {
		parts, _, all := sum(v[:3])
		total, ok := number(v[3])
		if !all || !ok || parts == total {
			return false, nil
		}
		return true, newFault("inconsistent", total.String(),
			"durable_exits + transition_exits + positive_exits ("+parts.french()+") doit égaler dynamic_exits ("+total.french()+").",
			"durable_exits + transition_exits + positive_exits ("+parts.String()+") must equal dynamic_exits ("+total.String()+").",
			"Corrigez la valeur qui est fausse.", "Correct the value that is wrong.")
	}
}

func hoursPerPerson(*relation) func(place, []*Observation) (bool, *Fault) {
	return func(_ place, v []*Observation) (bool, *Fault) {
		hours, ok1 := number(v[0])
		people, ok2 := number(v[1])
		if !ok1 || !ok2 || people <= 0 {
			return false, nil
		}
		each := float64(hours) / float64(people)
		if each >= 1 && each <= 1820 {
			return false, nil
		}
		return false, newFault("plausibility", hours.String(),
			"Heures par personne hors de 1 à 1 820.", "Hours per person outside 1 to 1,820.",
			"Les heures sont-elles en heures, les personnes comptées une fois ?", "Are hours in hours, and people counted once?")
	}
}

// hoursPerFTE compares FTE with hours over the yearly basis brought to the
// length of the period.
func hoursPerFTE(*relation) func(place, []*Observation) (bool, *Fault) {
	return func(p place, v []*Observation) (bool, *Fault) {
		hours, ok1 := number(v[0])
		fte, ok2 := number(v[1])
		if !ok1 || !ok2 {
			return false, nil
		}
		basis, f := ParseQuantity(v[1].Qualifiers["hours_basis"])
		if f != nil || basis <= 0 {
			return false, nil
		}
		year := YearPeriod(p.period.Start.Year()).Days()
		expected := float64(hours) / float64(basis) * float64(year) / float64(p.period.Days())
		got := float64(fte) / float64(One)
		if got >= 0.75*expected && got <= 1.25*expected {
			return false, nil
		}
		return false, newFault("plausibility", fte.String(),
			"Les ETP s'écartent de plus de 25 % des heures divisées par la base.", "FTE are more than 25 % away from hours over their basis.",
			"Vérifiez hours_basis, qui est annuelle, et les heures de la période.", "Check hours_basis, which is yearly, and the hours of the period.")
	}
}

func emissionsOfEnergy(*relation) func(place, []*Observation) (bool, *Fault) {
	return func(_ place, v []*Observation) (bool, *Fault) {
		emitted, _, all := sum(v[:2])
		energy, ok := number(v[2])
		if !all || !ok || energy <= 0 || emitted > 0 {
			return false, nil
		}
		return false, newFault("plausibility", emitted.String(),
			"De l'énergie est consommée sans aucune émission.", "Energy is consumed without any emission.",
			"Le scope 2 se déclare selon la localisation, même avec un contrat vert.", "Scope 2 is stated by location, even with a green contract.")
	}
}

// Neighbours gives the pairs whose current observations Reconcile needs: those
// of the rows and of the indicators related to them. Sorted, each once.
func (c *Checker) Neighbours(rows []*Row) []Neighbour {
	seen := make(map[Neighbour]struct{}, len(rows))
	var out []Neighbour
	for _, row := range rows {
		for i := range row.Cells {
			o := &row.Cells[i]
			own := Neighbour{o.Organisation, o.Indicator}
			if _, done := seen[own]; done {
				continue
			}
			for _, k := range c.Catalogue.facts[o.Indicator].neighbours {
				out = append(out, Neighbour{o.Organisation, k})
			}
			seen[own] = struct{}{}
		}
	}
	slices.SortFunc(out, func(a, b Neighbour) int {
		return cmp.Or(cmp.Compare(a.Organisation, b.Organisation), cmp.Compare(a.Indicator, b.Indicator))
	})
	return slices.Compact(out)
}

// batchCell is one cell of one row.
type batchCell struct {
	obs   *Observation
	row   *Row
	index int // of the row in the batch, from 0
	gran  Granularity
}

// batch is the work of one Reconcile.
type batch struct {
	c     *Checker
	cells []batchCell // sorted by organisation, indicator, period, territory, cut
	known map[Neighbour]*knownCells
	// alone: each row is compared with what is known and would stay, as if it
	// were the only one of the batch.
	alone bool
	// overlaps gathers the values that each row cannot stand beside.
	overlaps map[*Row][]rival
	sight    func(*Observation) Sight

	// Room used again by one check after the other.
	spans []batchCell
	seen  []Period
	held  []TerritoryKey
	found []*Observation
}

// knownCells are the current cells of one pair in the database.
type knownCells struct {
	list    []Observation
	byPlace map[place]int // made when the list is long
}

// Reconcile checks a batch against itself and against the current observations
// of its neighbours, and appends what it finds to the rows. Rows that already
// have faults are left aside. known need not hold pairs without observations.
//
// Each row is compared with what is known before it is compared with the other
// rows: a rejected row is not stored, so it hurts no other. Rows that are good
// but for each other are all rejected. sight tells what the sender may know of
// a value in known; nil when all are its own.
func (c *Checker) Reconcile(rows []*Row, known map[Neighbour][]Observation, sight func(*Observation) Sight) {
	if sight == nil {
		sight = func(*Observation) Sight { return Sight{By: ReportedByOrganisation, Owner: true, Reads: true} }
	}
	b := batch{c: c, sight: sight, known: make(map[Neighbour]*knownCells, len(known))}
	n := 0
	for _, row := range rows {
		n += len(row.Cells)
	}
	b.cells = make([]batchCell, 0, n)
	warned := make([]int, len(rows)) // how many warnings each row came with
	for i, row := range rows {
		warned[i] = len(row.Warnings)
		if len(row.Faults) > 0 {
			continue
		}
		g := row.Period.Granularity()
		for j := range row.Cells {
			b.cells = append(b.cells, batchCell{&row.Cells[j], row, i, g})
		}
	}
	lists := make([]knownCells, len(known))
	for k, list := range known {
		if len(list) > 0 {
			lists[0].list = list
			b.known[k], lists = &lists[0], lists[1:]
		}
	}
	slices.SortFunc(b.cells, func(x, y batchCell) int {
		if d := compareCells(&x.obs.CellKey, &y.obs.CellKey); d != 0 {
			return d
		}
		return cmp.Compare(x.index, y.index)
	})
	// Most batches are good as a whole, which one pass tells.
	b.checkSameCell()
	if !slices.ContainsFunc(b.cells, faulty) {
		if b.compare(); !slices.ContainsFunc(b.cells, faulty) {
			return
		}
	}
	for i := range b.cells {
		b.cells[i].row.Faults = nil
	}
	// A row that leaves may have replaced or withdrawn something known, so those
	// that stay are judged again.
	for rejected := true; rejected; {
		for _, check := range []func(){b.compareAlone, b.checkSameCell, b.compare} {
			for i := range b.cells {
				row := b.cells[i].row
				row.Warnings = row.Warnings[:warned[b.cells[i].index]]
			}
			check()
			before := len(b.cells)
			b.cells = slices.DeleteFunc(b.cells, faulty)
			if rejected = len(b.cells) < before; rejected {
				break
			}
		}
	}
}

func faulty(c batchCell) bool { return len(c.row.Faults) > 0 }

func (b *batch) compareAlone() {
	b.alone = true
	b.compare()
	b.alone = false
}

// compare runs all checks but that of cells stated twice.
func (b *batch) compare() {
	for pair := range groups(b.cells, func(a, b *Observation) bool {
		return a.Organisation == b.Organisation && a.Indicator == b.Indicator
	}) {
		known := b.known[Neighbour{pair[0].obs.Organisation, pair[0].obs.Indicator}]
		b.checkPeriods(pair, known)
		for same := range groups(pair, func(a, b *Observation) bool { return a.Period == b.Period }) {
			b.checkTerritories(same, known)
			for spot := range groups(same, func(a, b *Observation) bool { return a.Territory == b.Territory }) {
				b.checkParts(spot, known)
			}
		}
	}
	b.tellOverlaps()
	for i := range b.cells {
		b.checkPrevious(&b.cells[i])
		b.checkRunning(&b.cells[i])
		b.checkRelations(&b.cells[i])
	}
}

func compareCells(a, b *CellKey) int {
	switch {
	case a.Organisation != b.Organisation:
		return cmp.Compare(a.Organisation, b.Organisation)
	case a.Indicator != b.Indicator:
		return cmp.Compare(a.Indicator, b.Indicator)
	case a.Period.Start != b.Period.Start:
		return cmp.Compare(a.Period.Start, b.Period.Start)
	case a.Period.End != b.Period.End:
		return cmp.Compare(a.Period.End, b.Period.End)
	case a.Territory != b.Territory:
		return cmp.Compare(a.Territory, b.Territory)
	}
	return strings.Compare(a.Cut, b.Cut)
}

// groups cuts sorted cells into runs whose members are the same.
func groups(cells []batchCell, same func(a, b *Observation) bool) func(func([]batchCell) bool) {
	return func(yield func([]batchCell) bool) {
		for start := 0; start < len(cells); {
			end := start + 1
			for end < len(cells) && same(cells[start].obs, cells[end].obs) {
				end++
			}
			if !yield(cells[start:end:end]) {
				return
			}
			start = end
		}
	}
}

func (k *knownCells) at(p place) *Observation {
	if k == nil {
		return nil
	}
	if len(k.list) <= 16 {
		for i := range k.list {
			o := &k.list[i]
			if o.Territory == p.territory && o.Period == p.period && o.Cut == p.cut {
				return o
			}
		}
		return nil
	}
	if k.byPlace == nil {
		k.byPlace = make(map[place]int, len(k.list))
		for i := range k.list {
			o := &k.list[i]
			k.byPlace[place{o.Territory, o.Period, o.Cut}] = i
		}
	}
	if i, ok := k.byPlace[p]; ok {
		return &k.list[i]
	}
	return nil
}

// values gives the current cells that hold a number.
func (k *knownCells) values(yield func(*Observation) bool) {
	if k == nil {
		return
	}
	for i := range k.list {
		if o := &k.list[i]; !o.Deleted && o.Value != nil && !yield(o) {
			return
		}
	}
}

// find gives what a cell is compared with: the cell of the batch, else of the
// database; nil when neither has one. Alone, a row sees its own cells, and
// nothing where another row is about to replace what is known.
func (b *batch) find(c *batchCell, ind IndicatorKey, p place) *Observation {
	want := CellKey{c.obs.Organisation, ind, p.territory, p.period, p.cut}
	if b.alone {
		for i := range c.row.Cells {
			if o := &c.row.Cells[i]; o.CellKey == want {
				return o
			}
		}
	}
	if o := b.stated(&want); o != nil {
		if b.alone {
			return nil
		}
		return o
	}
	if o := b.known[Neighbour{want.Organisation, ind}].at(p); o != nil && !o.Deleted {
		return o
	}
	return nil
}

// stated gives the cell of the batch, or nil.
func (b *batch) stated(want *CellKey) *Observation {
	// sort.Find would take a closure, and a heap allocation for each of the
	// thousands of look-ups of a batch.
	low, high := 0, len(b.cells)
	for low < high {
		switch mid := int(uint(low+high) >> 1); compareCells(&b.cells[mid].obs.CellKey, want) {
		case 0:
			return b.cells[mid].obs
		case -1:
			low = mid + 1
		default:
			high = mid
		}
	}
	return nil
}

// withdraws tells that the batch takes the number of a known cell away.
func (b *batch) withdraws(o *Observation) bool {
	now := b.stated(&o.CellKey)
	return now != nil && now.Value == nil
}

func rowNumber(i int) string { return strconv.Itoa(i + 1) }

// checkSameCell finds rows that state the same fact: twice is once too many, but
// for a component that several ratios share, when they agree on it.
func (b *batch) checkSameCell() {
	for i := 1; i < len(b.cells); i++ {
		x, y := &b.cells[i-1], &b.cells[i]
		if x.obs.Organisation != y.obs.Organisation || x.obs.Indicator != y.obs.Indicator || compareCells(&x.obs.CellKey, &y.obs.CellKey) != 0 {
			continue
		}
		if x.row.Indicator == y.row.Indicator {
			if x.row.View && x.obs != &x.row.Cells[0] {
				continue // said once, at the first part
			}
			x.row.Faults = append(x.row.Faults, *duplicate(x.row, y))
			y.row.Faults = append(y.row.Faults, *duplicate(y.row, x))
			continue
		}
		a, ok1 := number(x.obs)
		c, ok2 := number(y.obs)
		if ok1 == ok2 && a == c {
			continue
		}
		code := string(b.c.Catalogue.IndicatorByKey(x.obs.Indicator).Code)
		x.row.Faults = append(x.row.Faults, *componentsDisagree(code, x, y))
		y.row.Faults = append(y.row.Faults, *componentsDisagree(code, y, x))
	}
}

func duplicate(row *Row, other *batchCell) *Fault {
	n := rowNumber(other.index)
	f := newFault("duplicate_in_file", "",
		"La ligne "+n+" déclare le même fait.", "Row "+n+" states the same fact.",
		"N'en gardez qu'une, ou distinguez-les par le territoire, la période ou la ventilation.",
		"Keep one of them, or tell them apart by territory, period or disaggregation.")
	if Merged(row.Warnings) || Merged(other.row.Warnings) {
		f.AfterMerger(row.Territory)
	}
	return f
}

// Merged tells, by its warnings, that a row was stated for a territory that has
// become another one.
func Merged(warnings []Fault) bool {
	return slices.ContainsFunc(warnings, func(w Fault) bool { return w.Code == "retired_territory" })
}

// AfterMerger says of two rows for one fact that they were stated for territories
// that are one by now.
func (f *Fault) AfterMerger(t *Territory) {
	name := string(t.ID) + " (" + t.Name + ")"
	f.Detail.FR += " Leurs communes ont fusionné : c'est " + name + " pour toutes deux."
	f.Detail.EN += " Their communes have merged: both are " + name + "."
	f.Hint = Text{
		"Réunissez-les en une seule ligne pour " + name + " ; un indicateur qui s'additionne y prend leur somme.",
		"Make one row of them for " + name + "; an indicator that adds up takes their sum there.",
	}
}

func componentsDisagree(code string, x, y *batchCell) *Fault {
	at := "/value"
	if x.row.View {
		at = "/components"
	}
	return newFault("components_disagree", valueText(x.obs),
		"La ligne "+rowNumber(y.index)+" donne une autre valeur à "+code+" ("+valueText(y.obs)+").",
		"Row "+rowNumber(y.index)+" gives another value to "+code+" ("+valueText(y.obs)+").",
		"Un fait a une seule valeur : corrigez l'une des deux lignes.", "A fact has one value: correct one of the two rows.").at(at)
}

func valueText(o *Observation) string {
	if q, ok := number(o); ok {
		return q.String()
	}
	return "null"
}

// checkPeriods keeps one frequency by calendar year and no overlap, for one
// organisation and indicator.
func (b *batch) checkPeriods(pair []batchCell, known *knownCells) {
	spans := b.spans[:0] // one cell per distinct period that holds a number
	for i := range pair {
		if pair[i].obs.Value != nil && (len(spans) == 0 || spans[len(spans)-1].obs.Period != pair[i].obs.Period) {
			spans = append(spans, pair[i])
		}
	}
	b.spans = spans
	for i := range spans {
		for j := i + 1; j < len(spans) && !b.alone; j++ {
			if clash(spans[i].obs.Period, spans[i].gran, spans[j].obs.Period, spans[j].gran) {
				b.overlap(pair, spans[i].obs.Period, rival{spans[j].obs, false})
				b.overlap(pair, spans[j].obs.Period, rival{spans[i].obs, false})
			} else if spans[j].obs.Period.Start.Year() > spans[i].obs.Period.End.Year() {
				break // sorted: those that follow are later still
			}
		}
	}
	seen := b.seen[:0] // periods of the database already compared
	for o := range known.values {
		if slices.Contains(seen, o.Period) {
			continue
		}
		g := o.Period.Granularity()
		clashes := func(c batchCell) bool { return clash(c.obs.Period, c.gran, o.Period, g) }
		if slices.ContainsFunc(spans, clashes) && b.withdraws(o) {
			continue
		}
		seen = append(seen, o.Period)
		for i := range spans {
			if clashes(spans[i]) {
				b.overlap(pair, spans[i].obs.Period, rival{o, true})
			}
		}
	}
	b.seen = seen
}

// clash tells that two periods of one organisation and indicator cannot both
// hold values.
func clash(p Period, pg Granularity, q Period, qg Granularity) bool {
	if p == q {
		return false
	}
	if p.Overlaps(q) {
		return true
	}
	return pg != Interval && qg != Interval && pg != qg && p.Start.Year() == q.Start.Year()
}

// overlap notes that the rows of pair that hold a number for p clash with other.
func (b *batch) overlap(pair []batchCell, p Period, other rival) {
	if b.overlaps == nil {
		b.overlaps = map[*Row][]rival{}
	}
	for i := range pair {
		if c := &pair[i]; c.obs.Period == p && c.obs.Value != nil {
			b.overlaps[c.row] = append(b.overlaps[c.row], other)
		}
	}
}

// tellOverlaps says to each row, once, all the values it clashes with.
func (b *batch) tellOverlaps() {
	if len(b.overlaps) == 0 {
		return
	}
	for i := range b.cells {
		row := b.cells[i].row
		if others := b.overlaps[row]; others != nil {
			row.Faults = append(row.Faults, *b.overlappingPeriod(row.Period, others))
			delete(b.overlaps, row)
		}
	}
}

// checkTerritories refuses a territory and one inside it, for one organisation,
// indicator and period.
func (b *batch) checkTerritories(same []batchCell, known *knownCells) {
	g := b.c.Catalogue.gazetteer
	p := same[0].obs.Period
	held := b.held[:0] // of the batch unless alone, and of the database, with a number, sorted
	some := false
	for i := range same {
		if same[i].obs.Value != nil {
			some = true
			if !b.alone {
				held = append(held, same[i].obs.Territory)
			}
		}
	}
	for o := range known.values {
		if o.Period == p && !b.withdraws(o) {
			held = append(held, o.Territory)
		}
	}
	b.held = held
	slices.Sort(held)
	held = slices.Compact(held)
	if !some || len(held) == 0 || len(held) == 1 && held[0] == same[0].obs.Territory && held[0] == same[len(same)-1].obs.Territory {
		return
	}
	has := func(k TerritoryKey) bool {
		_, ok := slices.BinarySearch(held, k)
		return ok
	}
	var above []TerritoryKey // of what is held
	for _, k := range held {
		above = append(above, g.above[k]...)
	}
	for i := range same {
		o := same[i].obs
		if o.Value == nil {
			continue
		}
		other := TerritoryKey(0)
		for _, k := range g.above[o.Territory] {
			if has(k) {
				other = k
				break
			}
		}
		if other == 0 && slices.Contains(above, o.Territory) {
			for _, k := range held {
				if k != o.Territory && g.Encloses(o.Territory, k) {
					other = k
					break
				}
			}
		}
		if other != 0 {
			same[i].row.Faults = append(same[i].row.Faults, *b.overlappingTerritory(o, b.holder(same, known, other)))
		}
	}
}

// holder finds the value at a territory that a row clashes with.
func (b *batch) holder(same []batchCell, known *knownCells, k TerritoryKey) rival {
	for o := range known.values {
		if o.Period == same[0].obs.Period && o.Territory == k && !b.withdraws(o) {
			return rival{o, true}
		}
	}
	for i := range same {
		if o := same[i].obs; o.Territory == k && o.Value != nil {
			return rival{o, false}
		}
	}
	panic("a territory is held by nothing")
}

// checkParts compares the parts of a disaggregation with the whole, at one
// organisation, indicator, period and territory.
func (b *batch) checkParts(spot []batchCell, known *knownCells) {
	o := spot[0].obs
	kind := b.c.Catalogue.byKey[o.Indicator].Kind
	if kind != Flow && kind != Stock && kind != StockAvg && kind != Distinct {
		return
	}
	if len(spot) == 1 {
		alone := true
		for k := range known.values {
			if k.Period == o.Period && k.Territory == o.Territory && k.Cut != o.Cut {
				alone = false
				break
			}
		}
		if alone {
			return
		}
	}
	// The whole and the sums by dimension: of the database where the batch does
	// not restate them and, unless each row is alone, of the batch.
	var whole *Observation
	sums := map[string]Quantity{}
	add := func(o *Observation, to map[string]Quantity) {
		if o.Cut == "" {
			whole = o
			return
		}
		if q, ok := number(o); ok {
			if dims, disjoint := b.dimensionsOf(o.Cut); disjoint {
				to[dims] += q
			} else {
				to[dims] = max(to[dims], q)
			}
		}
	}
	for k := range known.values {
		if k.Period == o.Period && k.Territory == o.Territory && b.stated(&k.CellKey) == nil {
			add(k, sums)
		}
	}
	if !b.alone {
		for i := range spot {
			add(spot[i].obs, sums)
		}
	}
	stays := whole
	for i := range spot {
		own := sums
		c := spot[i].obs
		if b.alone {
			whole = stays
			if c.Cut != "" {
				dims, _ := b.dimensionsOf(c.Cut)
				own = map[string]Quantity{dims: sums[dims]}
			}
			add(c, own)
		}
		limit, ok := number(whole)
		if !ok {
			continue
		}
		dims, _ := b.dimensionsOf(c.Cut)
		for _, d := range slices.Sorted(maps.Keys(own)) {
			if total := own[d]; total > limit && (c.Cut == "" || d == dims) {
				spot[i].row.Faults = append(spot[i].row.Faults, *newFault("part_exceeds_whole", valueText(c),
					"Les parties par "+d+" font "+total.french()+", plus que le total "+limit.french()+".",
					"The parts by "+d+" make "+total.String()+", more than the whole "+limit.String()+".",
					"Corrigez le total ou les parties.", "Correct the whole or the parts.").at("/value"))
			}
		}
	}
}

// dimensionsOf gives the names of the dimensions of a cut, and whether its
// codes are disjoint parts.
func (b *batch) dimensionsOf(cut string) (names string, disjoint bool) {
	disjoint = true
	var out []string
	for part := range strings.SplitSeq(cut, ";") {
		name, _, _ := strings.Cut(part, "=")
		out = append(out, name)
		if k := b.c.Catalogue.Code("dimension", name); k == nil || k.Attrs["partition"] != "true" {
			disjoint = false
		}
	}
	return strings.Join(out, ", "), disjoint
}

// checkPrevious compares a value with that of the period before.
func (b *batch) checkPrevious(c *batchCell) {
	now, ok := number(c.obs)
	kind := b.c.Catalogue.byKey[c.obs.Indicator].Kind
	if !ok || kind == Boolean {
		return
	}
	prior := before(c.obs.Period, c.gran)
	previous := b.find(c, c.obs.Indicator, place{c.obs.Territory, prior, c.obs.Cut})
	then, ok := number(previous)
	if !ok || then == 0 {
		return
	}
	at := "/value"
	if c.row.View {
		at = "/components"
	}
	warn := func(f *Fault) { c.row.Warnings = append(c.row.Warnings, *f.at(at)) }
	ratio := float64(now) / float64(then)
	times := strconv.FormatFloat(max(ratio, -ratio), 'g', 3, 64)
	timesFR := strings.Replace(times, ".", ",", 1)
	switch {
	case now == 0:
		warn(newFault("zero_after_nonzero", "0",
			"Zéro, après "+then.french()+" pour "+prior.String()+".", "Zero, after "+then.String()+" for "+prior.String()+".",
			"Si rien n'a été mesuré, écrivez null et obs_status L.", "If nothing was measured, write null and obs_status L."))
	case ratio < 0:
		warn(newFault("sign_change", now.String(),
			"Le signe change par rapport à "+prior.String()+" ("+then.french()+").", "The sign changes from "+prior.String()+" ("+then.String()+").",
			"Vérifiez le signe.", "Check the sign."))
	case ratio > 10 || ratio < 0.1:
		warn(newFault("unit_suspect", now.String(),
			"×"+timesFR+" par rapport à "+prior.String()+".", "×"+times+" from "+prior.String()+".",
			"L'unité a-t-elle changé (t et kg, € et k€, kWh et MWh) ?", "Has the unit changed (t and kg, € and k€, kWh and MWh)?"))
	case ratio > 5 || ratio < 0.2:
		warn(newFault("outlier", now.String(),
			"×"+timesFR+" par rapport à "+prior.String()+".", "×"+times+" from "+prior.String()+".",
			"Vérifiez la valeur et son unité.", "Check the value and its unit."))
	}
}

// before gives the period of the same length that ends the day before p.
func before(p Period, g Granularity) Period {
	if n := g.months(); n > 0 {
		y, m, _ := p.Start.YMD()
		return monthsFrom(y, int(m)-1-n, n)
	}
	// A fiscal year follows a fiscal year, leap days included.
	y, m, d := p.Start.YMD()
	if ey, em, ed := (p.End + 1).YMD(); ey == y+1 && em == m && ed == d {
		return Period{NewDate(y-1, m, d), p.Start - 1}
	}
	return Period{p.Start - Date(p.Days()), p.Start - 1}
}

// checkRelations runs the C3 checks that the cell takes part in. A check that
// several rows of the batch share is told to each.
func (b *batch) checkRelations(c *batchCell) {
	o := c.obs
	for _, r := range b.c.Catalogue.facts[o.Indicator].related {
		p := place{o.Territory, o.Period, o.Cut}
		found := b.found[:0]
		for _, keys := range [2][]IndicatorKey{r.parts, r.wholes} {
			for _, k := range keys {
				if k == o.Indicator {
					found = append(found, o)
				} else {
					found = append(found, b.find(c, k, p))
				}
			}
		}
		b.found = found
		severe, f := r.judge(p, found)
		if f == nil {
			continue
		}
		at := "/value"
		if c.row.View {
			at = "/components"
		}
		f.Pointer = at
		list := &c.row.Warnings
		if severe {
			list = &c.row.Faults
		}
		if !slices.ContainsFunc(*list, func(g Fault) bool { return g.Code == f.Code && g.Detail == f.Detail }) {
			*list = append(*list, *f)
		}
	}
}
