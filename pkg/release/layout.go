package release

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
)

// address names a cell, the same in every release. Territories are named by
// their key: an id may come to mean another place.
type address struct {
	indicator impact.IndicatorCode
	count     impact.ImpactTypeCode // of organisations, when there is no indicator
	territory impact.TerritoryKey
	period    impact.Period
	cut       calculation.Dimension
	code      string
	quals     string
}

func addressOf(f *calculation.Figure, cut calculation.Dimension) address {
	a := address{indicator: f.Indicator, territory: f.Territory, period: f.Period, cut: cut, quals: f.Qualifiers}
	if f.Indicator == "" {
		a.count = f.ImpactType
	}
	if cut != "" && len(f.Codes) > 0 {
		a.code = f.Codes[0]
	}
	return a
}

func (a *address) compare(b *address) int {
	for _, o := range [...]int{
		compareText(a.indicator, b.indicator), compareText(a.count, b.count), int(a.territory) - int(b.territory),
		int(a.period.Start) - int(b.period.Start), int(b.period.End) - int(a.period.End),
		compareText(a.cut, b.cut), compareText(a.code, b.code), compareText(a.quals, b.quals),
	} {
		if o != 0 {
			return o
		}
	}
	return 0
}

// name writes an address for people, and for breaking ties.
func (a *address) name(g *impact.Gazetteer) string {
	place := fmt.Sprint(int(a.territory))
	if t := g.ByKey(a.territory); t != nil {
		place = string(t.ID)
	}
	s := string(a.indicator) + string(a.count) + " " + place + " " + a.period.String()
	if a.cut != "" {
		s += " " + string(a.cut) + "=" + a.code
	}
	if a.quals != "" {
		s += " " + a.quals
	}
	return s
}

// fact is one version of a stored value: a value that was corrected is another
// fact, as unknown as the first.
type fact struct {
	organisation impact.OrganisationID
	indicator    impact.IndicatorKey
	territory    impact.TerritoryKey
	period       impact.Period
	cut          string
	value        impact.Quantity
	signed       bool
}

// place is what stays the same when a value is corrected.
func (f fact) place() fact {
	f.value, f.signed = 0, false
	return f
}

func (f *fact) compare(o *fact) int {
	for _, c := range [...]int{
		int(f.indicator) - int(o.indicator), int(f.territory) - int(o.territory),
		int(f.period.Start) - int(o.period.Start), int(f.period.End) - int(o.period.End),
		compareText(f.cut, o.cut),
	} {
		if c != 0 {
			return c
		}
	}
	switch {
	case f.value < o.value:
		return -1
	case f.value > o.value:
		return 1
	}
	return compareText(f.organisation, o.organisation)
}

// layout is a unit before anything is decided: its cells, what they tell, and
// the facts they are made of.
type layout struct {
	facts  []fact
	groups map[impact.OrganisationID]string
	cells  []laid // by address
}

// laid is a cell with what it tells: sums over layout.facts.
type laid struct {
	at     address
	figure calculation.Figure
	cut    calculation.Dimension
	sums   []disclosure.Sum
}

// layOut asks the cube for every cell of a family in a year.
func (b *builder) layOut(u Unit, inds []*impact.Indicator) (*layout, error) {
	l := &layout{groups: map[impact.OrganisationID]string{}}
	g := gatherer{layout: l, index: map[fact]int32{}, byKey: map[calculation.FactID]int32{}}
	ask := func(q calculation.Query) error {
		q.Vintage, q.KeepRefused = b.lattice.vintage, true
		if len(q.Territories) == 0 || len(q.Periods) == 0 {
			return nil
		}
		made, err := b.in.Cube.Made(q)
		if err != nil {
			return err
		}
		for i := range made {
			g.take(&made[i])
		}
		return nil
	}
	if u.Family == CountsFamily {
		q := calculation.Query{Territories: b.places, Periods: b.lattice.periods(u.Year, impact.Year)}
		for _, t := range b.lattice.cat.ImpactTypes() {
			q.ImpactTypes = append(q.ImpactTypes, t.Code)
		}
		if err := ask(q); err != nil {
			return nil, err
		}
	}
	for _, ind := range inds {
		codes := []impact.IndicatorCode{ind.Code}
		for _, gran := range Granularities(ind) {
			if err := ask(calculation.Query{Indicators: codes, Territories: b.places, Periods: b.lattice.periods(u.Year, gran)}); err != nil {
				return nil, err
			}
		}
		for _, cut := range Cuts {
			q := calculation.Query{
				Indicators: codes, Territories: b.cutPlaces, Periods: b.lattice.periods(u.Year, impact.Year), Cuts: []calculation.Dimension{cut},
			}
			if err := ask(q); err != nil {
				return nil, err
			}
		}
	}
	l.settle()
	return l, nil
}

// gatherer turns what the cube made into cells over dense facts.
type gatherer struct {
	*layout
	index map[fact]int32
	byKey map[calculation.FactID]int32 // shortcut for the value met last
}

func (g *gatherer) take(m *calculation.Made) {
	f := &m.Figure
	if f.Organisations == 0 && f.Value == nil {
		return // nobody gave a number: no cell
	}
	c := laid{figure: *f, cut: m.Cut}
	c.at = addressOf(f, m.Cut)
	if f.Indicator != "" && Released(f.Kind) {
		for i := range m.Sums {
			c.sums = append(c.sums, g.sum(&m.Sums[i]))
		}
	}
	g.cells = append(g.cells, c)
}

func (g *gatherer) sum(s *calculation.Sum) disclosure.Sum {
	out := disclosure.Sum{People: s.People, Terms: make([]disclosure.Term, 0, len(s.Terms))}
	for i := range s.Terms {
		t := &s.Terms[i]
		if t.Num == 0 {
			continue
		}
		at, ok := g.byKey[t.Fact]
		if !ok || g.facts[at].value != t.Value {
			who := t.Organisation
			if who == "" { // a value came before its organisation
				who = impact.OrganisationID(t.Group)
			}
			f := fact{who, t.Fact.Indicator, t.Fact.Territory, t.Fact.Period, t.Fact.Cut, t.Value, s.Signed}
			if at, ok = g.index[f]; !ok {
				at = int32(len(g.facts))
				g.index[f] = at
				g.facts = append(g.facts, f)
				g.groups[who] = t.Group
			}
			g.byKey[t.Fact] = at
		}
		out.Terms = append(out.Terms, disclosure.Term{Fact: at, Num: t.Num, Den: t.Den})
	}
	return out
}

// settle brings facts, terms and cells into an order of their own.
func (l *layout) settle() {
	order := make([]int32, len(l.facts))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return l.facts[a].compare(&l.facts[b]) })
	facts, to := make([]fact, len(order)), make([]int32, len(order))
	for i, from := range order {
		facts[i], to[from] = l.facts[from], int32(i)
	}
	l.facts = facts
	for i := range l.cells {
		for _, s := range l.cells[i].sums {
			for j := range s.Terms {
				s.Terms[j].Fact = to[s.Terms[j].Fact]
			}
			slices.SortFunc(s.Terms, func(a, b disclosure.Term) int { return int(a.Fact) - int(b.Fact) })
		}
	}
	slices.SortFunc(l.cells, func(a, b laid) int { return a.at.compare(&b.at) })
}

// digest is that of all a unit is made from today.
func (b *builder) digest(u Unit, l *layout) [32]byte {
	h := sha256.New()
	buf := make([]byte, 0, 1<<16)
	flush := func() {
		h.Write(buf)
		buf = buf[:0]
	}
	text := func(ss ...string) {
		for _, s := range ss {
			buf = binary.AppendUvarint(buf, uint64(len(s)))
			buf = append(buf, s...)
		}
	}
	numbers := func(ns ...int64) {
		for _, n := range ns {
			buf = binary.AppendVarint(buf, n)
		}
	}
	text(sealVersion, b.lattice.reference(), fmt.Sprintf("%+v", b.in.Rules))
	numbers(yes(b.lattice.Final(u.Year)), int64(len(b.in.Withdrawn)))
	for _, n := range b.in.Withdrawn {
		numbers(int64(n))
	}
	for i := range l.facts {
		f := &l.facts[i]
		text(string(f.organisation), l.groups[f.organisation], f.cut)
		numbers(int64(f.indicator), int64(f.territory), int64(f.period.Start), int64(f.period.End), int64(f.value), yes(f.signed), yes(b.waived(f.organisation)))
		if len(buf) > 1<<15 {
			flush()
		}
	}
	for i := range l.cells {
		c := &l.cells[i]
		text(c.at.name(b.lattice.cat.Gazetteer()), figureText(&c.figure))
		for _, s := range c.sums {
			numbers(int64(len(s.Terms)), yes(s.People))
			last := int32(0)
			for _, t := range s.Terms {
				numbers(int64(t.Fact-last), t.Num, t.Den)
				last = t.Fact
				if len(buf) > 1<<15 {
					flush()
				}
			}
		}
	}
	flush()
	return [32]byte(h.Sum(nil))
}

// input is the digest of all a unit is made from. Of what earlier releases told,
// only those who told it can move: the rest follows from the units before.
func (b *builder) input(today [32]byte, l *layout, ledger *header) [32]byte {
	h := sha256.New()
	h.Write(today[:])
	for _, o := range ledger.holders {
		if l.groups[o.id] == "" { // known from former releases only
			fmt.Fprintf(h, "%q %q %t\n", o.id, b.group(o.id, l, o.group), b.waived(o.id))
		}
	}
	return [32]byte(h.Sum(nil))
}

func yes(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// figureText holds all that a figure says.
func figureText(f *calculation.Figure) string {
	g := *f
	text := fmt.Sprintf("%s|%s|%s|%d|%s|%q|%s|%c|%v|%s|%t|%v|%v|%v|%v|%d|%d %d %d %d|%v|%s|%t", g.Indicator, g.ImpactType, g.Kind, g.Vintage, g.Period, g.Codes,
		g.Qualifiers, g.Status, g.Notes, g.Refused, g.OutOfRange, digits(g.Value), digits(g.Numerator), digits(g.Denominator), digits(g.Respondents), g.DaysCovered,
		g.Organisations, g.Observations, g.Reporters, g.Expected, digits(g.Coverage), g.MethodologyVersion, g.Additive)
	if g.Answers != nil {
		text += fmt.Sprintf("|%d %d", g.Answers.True, g.Answers.Answered)
	}
	if g.HasAsOf {
		text += fmt.Sprintf("|%d %d", g.AsOf, g.AsOfFrom)
	}
	for _, e := range g.Excluded {
		text += fmt.Sprintf("|%s=%d", e.Reason, e.Observations)
	}
	return text
}

func digits(q *impact.Quantity) any {
	if q == nil {
		return ""
	}
	return *q
}
