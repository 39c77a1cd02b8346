package release

import (
	"cmp"
	"slices"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
)

// decide makes the cells of a unit from what may be shown.
func (b *builder) decide(u Unit, l *layout, p *past, bk *book, t *table, decisions []disclosure.Decision, counts *impact.ReleaseCounts) []Cell {
	verdict := make(map[address]int, len(decisions))
	for i := range decisions {
		verdict[bk.tracks[t.tracks[i]].at] = i
	}
	final := b.lattice.Final(u.Year)
	sameMethod := p.ledger == nil || p.ledger.reference == bk.reference
	inUse := map[address]bool{}
	cells := make([]Cell, 0, len(l.cells))
	for i := range l.cells {
		c := &l.cells[i]
		inUse[c.at] = true
		now := Cell{Figure: c.figure, Cut: c.cut}
		f := &now.Figure
		if !final && f.Value != nil {
			f.Status = provisional(f.Status)
		}
		before := p.cells[c.at]
		hidden, kept := false, false
		moves := unmoved
		at, told := verdict[c.at]
		switch {
		case told:
			tr := &bk.tracks[t.tracks[at]]
			d := decisions[at]
			tr.reason, tr.against = d.Reason, d.Against
			if tr.shown >= 0 {
				moves = bk.compare(&tr.states[tr.shown], &tr.states[tr.now], sameMethod)
			}
			switch {
			case d.Reason == disclosure.Shown:
			case primary(d.Reason), before == nil, before.Withheld(), tr.shown < 0, slices.Contains(b.in.Withdrawn, before.Moved),
				bk.judged(t, &tr.states[tr.shown]) != disclosure.Shown:
				hidden = true
			default:
				kept = true
			}
			switch {
			case hidden:
				tr.shown = -1
			case !kept:
				tr.shown = tr.now
				s := &tr.states[tr.now]
				s.told = cmp.Or(s.told, b.in.Number)
			}
		case f.Indicator == "":
			hidden = f.Organisations < fewest
		case !Released(f.Kind):
			hidden = true
		default:
			// Numbers that no sum stands for cannot be protected.
			hidden = f.Value != nil || f.Numerator != nil || f.Denominator != nil || f.Answers != nil || f.Respondents != nil
		}
		switch {
		case kept:
			now = *before
			now.Figure.Vintage = b.lattice.vintage // its territory is in force in both
			now.Figure.Additive = false            // the figures around it may have moved
		default:
			if hidden {
				withhold(&now)
			}
			b.date(&now, before, moves, sameMethod)
		}
		cells = append(cells, now)
		count(counts, &now, before, b.in.Number)
	}
	// What was there and is no more.
	for i := range bk.tracks {
		if tr := &bk.tracks[i]; !inUse[tr.at] {
			tr.now, tr.shown, tr.reason, tr.against = -1, -1, "", ""
		}
	}
	return cells
}

// fewest is the least number of organisations a count by impact type shows.
const fewest = 3

// primary tells that the sum alone is secret, whatever else is shown.
func primary(r disclosure.Reason) bool {
	switch r {
	case disclosure.FewContributors, disclosure.Dominated, disclosure.NothingButZero, disclosure.FewPeople:
		return true
	}
	return false
}

// provisional is the status of a figure whose year may still change. What is
// worse stays.
func provisional(s impact.Status) impact.Status {
	switch s {
	case impact.Normal, impact.Break:
		return impact.Provisional
	}
	return s
}

// withhold is the one place where a cell loses what must not be told: all but
// its name and its method.
func withhold(c *Cell) {
	f := &c.Figure
	c.Figure = calculation.Figure{
		Indicator: f.Indicator, ImpactType: f.ImpactType, Kind: f.Kind, Territory: f.Territory, Vintage: f.Vintage, Period: f.Period,
		Codes: f.Codes, Qualifiers: f.Qualifiers, MethodologyVersion: f.MethodologyVersion, Status: impact.Suppressed,
	}
}

// moves is what happened to the facts of a figure.
type moves struct{ more, other, fewer, weights, method bool }

var unmoved moves

func (m moves) any() bool { return m != unmoved }

func (m moves) cause() Cause {
	n, c := 0, SeveralCauses
	for _, one := range []struct {
		is    bool
		cause Cause
	}{{m.more, LateSubmissions}, {m.other, Corrections}, {m.fewer, Withdrawals}, {m.weights && !m.method, Corrections}, {m.method, Method}} {
		if one.is && (n == 0 || c != one.cause) {
			n++
			c = one.cause
		}
	}
	if n != 1 {
		return SeveralCauses
	}
	return c
}

// compare tells what changed from one state of a cell to another.
func (b *book) compare(from, to *state, sameMethod bool) (m moves) {
	if slices.Equal(from.sums, to.sums) {
		return m
	}
	type was struct {
		value    impact.Quantity
		num, den int64
		seen     bool
	}
	for i := range to.sums {
		old := map[fact]was{}
		if i < len(from.sums) {
			for _, t := range b.sums[from.sums[i]].Terms {
				f := &b.facts[t.Fact]
				old[f.place()] = was{value: f.value, num: t.Num, den: t.Den}
			}
		}
		for _, t := range b.sums[to.sums[i]].Terms {
			f := &b.facts[t.Fact]
			o, ok := old[f.place()]
			switch {
			case !ok:
				m.more = true
				continue
			case o.value != f.value:
				m.other = true
			case o.num != t.Num || o.den != t.Den:
				m.weights, m.method = true, m.method || !sameMethod
			}
			o.seen = true
			old[f.place()] = o
		}
		for _, o := range old {
			m.fewer = m.fewer || !o.seen
		}
	}
	return m
}

// date says since when a cell is what it is, and why.
func (b *builder) date(now, before *Cell, m moves, sameMethod bool) {
	now.Moved, now.Before = b.in.Number, nil
	switch {
	case before == nil:
		now.Cause = FirstRelease
		return
	case before.Withheld() && now.Withheld():
		now.Moved, now.Cause, now.Before = before.Moved, before.Cause, before.Before
		return
	case now.Withheld():
		now.Cause, now.Before = DisclosureChange, before.Figure.Value
		return
	case before.Withheld():
		now.Cause = DisclosureChange
		return
	}
	x, y := &before.Figure, &now.Figure
	now.Before = x.Value
	switch {
	case m.any():
		now.Cause = m.cause()
	case same(x, y) && x.Status == y.Status && x.MethodologyVersion == y.MethodologyVersion:
		now.Moved, now.Cause, now.Before = before.Moved, before.Cause, before.Before
	case same(x, y) && x.Status == impact.Provisional && x.MethodologyVersion == y.MethodologyVersion:
		now.Cause = Finalised
	case x.MethodologyVersion != y.MethodologyVersion || !sameMethod:
		now.Cause = Method
	default:
		now.Cause = Corrections // of a status, or of a qualifier
	}
}

// same tells that two figures say the same number.
func same(a, b *calculation.Figure) bool {
	eq := func(x, y *impact.Quantity) bool { return x == nil && y == nil || x != nil && y != nil && *x == *y }
	answers := a.Answers == nil && b.Answers == nil ||
		a.Answers != nil && b.Answers != nil && a.Answers.True == b.Answers.True && a.Answers.Answered == b.Answers.Answered
	count := a.Indicator != "" || a.Organisations == b.Organisations
	return eq(a.Value, b.Value) && eq(a.Numerator, b.Numerator) && eq(a.Denominator, b.Denominator) && eq(a.Respondents, b.Respondents) &&
		answers && count && a.Refused == b.Refused && a.HasAsOf == b.HasAsOf && a.AsOf == b.AsOf && a.AsOfFrom == b.AsOfFrom && a.DaysCovered == b.DaysCovered
}

func count(n *impact.ReleaseCounts, now, before *Cell, number impact.ReleaseNumber) {
	n.Cells++
	if now.Withheld() {
		n.Withheld++
	} else {
		n.Shown++
	}
	switch {
	case before == nil:
		n.New++
	case now.Withheld() && !before.Withheld():
		n.Hidden++
	case now.Moved == number:
		n.Revised++
	default:
		n.Unchanged++
	}
}
