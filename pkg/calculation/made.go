package calculation

import (
	"cmp"
	"errors"
	"math/big"
	"slices"
	"strconv"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Made is a figure with the linear sums it is made of: what disclosure control
// needs to know which figures give each other away.
type Made struct {
	Figure
	// Cut is the dimension of Codes, empty without one.
	Cut Dimension
	// Sums are what the published numbers tell: one for a sum; numerator and
	// denominator of a quotient; those of each quotient of a nested one. Who
	// knows the sums knows the figure. Empty where nothing linear is told:
	// counts by impact type, kinds that do not add up.
	Sums []Sum
}

// Sum is Σ weight × value over facts, each of them once, in no order.
type Sum struct {
	Terms []Term
	// People tells that the sum counts persons, whose small numbers are secret.
	// Yes and no count as persons do: see Made.
	People bool
	// Signed tells that its facts may be negative.
	Signed bool
}

// Term is one fact in a sum.
type Term struct {
	Fact FactID
	// Group is what secrecy counts: the holding, else the legal unit.
	Group        string
	Organisation impact.OrganisationID
	Value        impact.Quantity
	// Num ÷ Den is the exact weight, in lowest terms, Den > 0. Num may be
	// negative (the parts of a difference).
	Num, Den int64
}

// FactID names a stored fact, the same in every figure it enters and in every
// release. A network's value that covers members is a fact like the others:
// its remainder is written out as the value minus those of the members.
//
// Three names stand for more than what was stored: a mean stands for mean ×
// respondents (Term.Value is the product), since only the product adds up; a
// yes or no stands for the one answer an organisation is counted by, 1 for
// yes; and with NoCut after its cut, for 1 minus that.
type FactID = impact.CellKey

// NoCut ends the cut of the FactID that is 1 where the answer is no.
const NoCut = "answer=no"

// Made answers a query as Figures does, row for row and number for number,
// each figure with its sums. One cut at most.
//
// A quotient tells the sums of its parts over the organisations that gave them
// all. They are other sums than the published ones of its components: the
// difference is the value of whoever lacks the other part. Of yes and no, both
// counts are sums of their own, for all yes tells as much as all no.
//
// Bounds (AllowBounds) tell the largest value, which no sum says: what is
// published is asked without them.
func (c *Cube) Made(q Query) ([]Made, error) {
	if len(q.Cuts) > 1 {
		return nil, errors.New("calculation: figures are made with one cut at most")
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	p, err := c.plan(q)
	if err != nil {
		return nil, err
	}
	p.work = works.Get().(*work)
	defer p.work.release()
	p.work.record = &record{}
	res, err := p.figures()
	if err != nil {
		return nil, err
	}
	made := make([]Made, len(res.Figures))
	sums := p.work.record.sums
	for i, f := range res.Figures {
		made[i].Figure = f
		if len(q.Cuts) == 1 {
			made[i].Cut = q.Cuts[0]
		}
		if i < len(sums) { // counts by impact type come without
			made[i].Sums = sums[i]
		}
	}
	return made, nil
}

// record keeps what sums need and figures do not.
type record struct {
	weighed []weighed // of the figure in hand
	owed    map[weightKey][]piece
	sums    [][]Sum

	open    []Term // the sum in hand
	overlap bool   // a fact may be in it twice
	terms   []Term // the chunk that terms are cut from
	lists   []Sum
}

// weighed is one entry that counts, with its weight beside its shares.
type weighed struct {
	entry
	weight, over int64
}

// piece is a stated fact in the remainder of a network: the value of the
// network, minus those of the members it covers.
type piece struct {
	line, member, attr, stored int32
	period                     impact.Period
	value, times               int64
}

// remainder writes out what is left of the parts of one network's value, as
// settleOverlaps takes from them what members state.
type remainder struct {
	r       *record
	members []piece // of all that is covered
	gone    []piece // parts that members take whole
	settled bool
}

func (m *remainder) covers(e *entry) {
	if m.r == nil {
		return
	}
	ps, ok := m.r.owed[traceKey(e)]
	if !ok {
		ps = []piece{stated(e)}
	}
	for _, p := range ps {
		p.times = -p.times
		m.members = append(m.members, p)
	}
}

// takes notes that take, of the left that members state, leaves the part e.
func (m *remainder) takes(e *entry, take, left int64) {
	if m.r == nil || len(m.members) == 0 || m.settled || take == 0 && left != 0 {
		return
	}
	var ps []piece
	if m.settled = take == left; m.settled {
		ps = slices.Concat([]piece{stated(e)}, m.gone, m.members)
	} else {
		m.gone = append(m.gone, stated(e))
	}
	if m.r.owed == nil {
		m.r.owed = map[weightKey][]piece{}
	}
	m.r.owed[traceKey(e)] = ps
}

func stated(e *entry) piece {
	return piece{e.line, e.member, e.attr, e.stored, e.period, e.value, 1}
}

// keep adds the sums of the figure just made.
func (r *record) keep(m *maker) error {
	from := len(r.lists)
	if m.refused == "" && len(r.weighed) > 0 {
		if err := r.tell(m); err != nil {
			return err
		}
	}
	r.sums = append(r.sums, r.lists[from:len(r.lists):len(r.lists)])
	return nil
}

func (r *record) tell(m *maker) error {
	switch {
	case m.ind.Composed():
		return r.quotient(m, m.ind)
	case m.ind.Kind == impact.SurveyMean:
		for _, input := range m.inputs {
			if err := r.sum(m, func(line int32) int64 { return one(line == input) }, input == m.inputs[0]); err != nil {
				return err
			}
		}
	case m.ind.Kind == impact.Boolean:
		return r.answers(m)
	case m.ind.Kind == impact.Flow, m.ind.Kind == impact.SignedFlow, m.ind.Kind == impact.Stock, m.ind.Kind == impact.StockAvg:
		return r.sum(m, func(int32) int64 { return 1 }, false)
	}
	return nil
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// quotient tells numerator and denominator; where a part is a quotient
// itself, its own.
func (r *record) quotient(m *maker, ind *impact.Indicator) error {
	for side, codes := range [...][]impact.IndicatorCode{ind.Numerator, ind.Denominator} {
		leaves := 0
		for _, code := range codes {
			part := m.p.c.cat.Indicator(code)
			if !part.Composed() {
				leaves++
			} else if err := r.quotient(m, part); err != nil {
				return err
			}
		}
		if leaves == 0 {
			continue
		}
		sign := func(line int32) int64 {
			i := slices.Index(codes, m.p.c.layout.indicators[line].Code)
			switch {
			case i < 0:
				return 0
			case i > 0 && ind.Form == impact.Difference && side == 0:
				return -1
			}
			return 1
		}
		if err := r.sum(m, sign, false); err != nil {
			return err
		}
	}
	return nil
}

// sum closes one sum over what was weighed on the lines with a sign. Means are
// weighed by their respondents.
func (r *record) sum(m *maker, sign func(line int32) int64, means bool) error {
	r.open, r.overlap = r.open[:0], false
	var s Sum
	for i := range r.weighed {
		w := &r.weighed[i]
		n := sign(w.line)
		if n == 0 {
			continue
		}
		m.describe(&s, w.line)
		num, den := w.num*n, w.den
		if share := m.p.f.attrs[w.attr].share; share != int64(impact.One) && m.ind.Kind != impact.SurveyMean {
			num, den = num*share, den*int64(impact.One)
		}
		if !means {
			num, den = num*w.weight, den*w.over
		}
		g := divisor(num, den)
		num, den = num/g, den/g
		r.overlap = r.overlap || w.twin || w.split
		if ps, ok := r.owed[traceKey(&w.entry)]; ok {
			r.overlap = true
			for _, p := range ps {
				g := divisor(p.times, den)
				r.open = append(r.open, m.termOf(p, num*(p.times/g), den/g))
			}
			continue
		}
		t := m.termOf(stated(&w.entry), num, den)
		if means {
			if err := t.product(w); err != nil {
				return err
			}
		}
		r.open = append(r.open, t)
	}
	if r.overlap {
		if err := r.merge(); err != nil {
			return err
		}
	}
	r.close(s)
	return nil
}

func (m *maker) describe(s *Sum, line int32) {
	ind := m.p.c.layout.indicators[line]
	s.People = s.People || ind.Personal
	s.Signed = s.Signed || ind.Kind == impact.SignedFlow || ind.Min == nil || *ind.Min < 0
}

// group is who counts as one contributor in secrecy.
func (m *member) group() string {
	switch {
	case m.Group != "":
		return m.Group
	case m.LegalUnit != "":
		return m.LegalUnit
	}
	return "key:" + strconv.FormatInt(int64(m.Key), 10) // a cell came before its organisation
}

// Group tells which group an organisation belongs to today; false when the cube
// does not know it.
func (c *Cube) Group(id impact.OrganisationID) (string, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i, ok := c.facts.memberBy[id]
	if !ok {
		return "", false
	}
	return c.facts.members[i].group(), true
}

func (m *maker) termOf(p piece, num, den int64) Term {
	who := &m.p.f.members[p.member]
	return Term{
		Fact: FactID{
			Organisation: who.Key, Indicator: m.p.c.layout.indicators[p.line].Key, Territory: m.p.c.layout.territories[p.stored].Key,
			Period: p.period, Cut: m.p.f.attrs[p.attr].cut,
		},
		Group: who.group(), Organisation: who.ID, Value: impact.Quantity(p.value), Num: num, Den: den,
	}
}

// product makes of a mean the sum of its answers; where that has more than six
// decimals, or is beyond any quantity, the respondents are its weight.
func (t *Term) product(w *weighed) error {
	v := product(w.value, w.weight)
	if n, ok := v.int64(); ok && n%int64(impact.One) == 0 {
		t.Value = impact.Quantity(n / int64(impact.One))
		return nil
	}
	weight := new(big.Rat).Mul(big.NewRat(t.Num, t.Den), big.NewRat(w.weight, w.over))
	return t.weighs(weight)
}

func (t *Term) weighs(w *big.Rat) error {
	if !w.Num().IsInt64() || !w.Denom().IsInt64() {
		return impact.ErrOverflow
	}
	t.Num, t.Den = w.Num().Int64(), w.Denom().Int64()
	return nil
}

// answers tells how many say yes and how many say no. An organisation with
// several answers is counted by its first yes, else by its first no.
func (r *record) answers(m *maker) error {
	for _, yes := range [...]bool{true, false} {
		r.open = r.open[:0]
		for lo := 0; lo < len(r.weighed); {
			hi, at := lo, lo
			for ; hi < len(r.weighed) && r.weighed[hi].member == r.weighed[lo].member; hi++ {
				if r.weighed[at].value == 0 && r.weighed[hi].value != 0 {
					at = hi
				}
			}
			t := m.termOf(stated(&r.weighed[at].entry), 1, 1)
			says := t.Value != 0
			if t.Value = 0; says == yes {
				t.Value = impact.One
			}
			if !yes {
				if t.Fact.Cut != "" {
					t.Fact.Cut += ";"
				}
				t.Fact.Cut += NoCut
			}
			r.open = append(r.open, t)
			lo = hi
		}
		r.close(Sum{People: true})
	}
	return nil
}

// merge puts together what is said of one fact in several places.
func (r *record) merge() error {
	slices.SortFunc(r.open, func(a, b Term) int { return compareFacts(a.Fact, b.Fact) })
	n := 0
	for lo := 0; lo < len(r.open); {
		t := r.open[lo]
		hi := lo + 1
		for ; hi < len(r.open) && r.open[hi].Fact == t.Fact; hi++ {
			o := &r.open[hi]
			weight := new(big.Rat).Add(big.NewRat(t.Num, t.Den), big.NewRat(o.Num, o.Den))
			if err := t.weighs(weight); err != nil {
				return err
			}
		}
		if t.Num != 0 {
			r.open[n] = t
			n++
		}
		lo = hi
	}
	r.open = r.open[:n]
	return nil
}

func compareFacts(a, b FactID) int {
	return cmp.Or(cmp.Compare(a.Organisation, b.Organisation), cmp.Compare(a.Indicator, b.Indicator), cmp.Compare(a.Territory, b.Territory),
		comparePeriods(a.Period, b.Period), cmp.Compare(a.Cut, b.Cut))
}

// chunk is how many terms are made room for at once.
const chunk = 4096

// close cuts the terms of the sum in hand from a chunk.
func (r *record) close(s Sum) {
	if n := len(r.open); n > 0 {
		if cap(r.terms)-len(r.terms) < n {
			r.terms = make([]Term, 0, max(chunk, n))
		}
		from := len(r.terms)
		r.terms = append(r.terms, r.open...)
		s.Terms = r.terms[from:len(r.terms):len(r.terms)]
	}
	r.lists = append(r.lists, s)
}

// divisor is the greatest common one, with the sign of nothing: positive.
func divisor(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return max(a, -a)
}
