package release

import (
	"slices"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
)

// table is what disclosure control is asked of a unit. tracks gives, for each
// of its figures, the cell in the book.
type table struct {
	disclosure.Table
	tracks []int32
	rules  disclosure.Rules
}

// table lays a book out for disclosure control:
//
//   - its figures are the cells as they are now;
//   - published is what former releases showed, whatever is shown now;
//   - secrets are the other states that former releases knew of, and how much
//     each cell moved from one state to another, as far as the rules hold them
//     for secret: someone who comes late, or corrects, is recognised by it.
func (b *book) table(number impact.ReleaseNumber, rules disclosure.Rules, cat *impact.Catalogue, waived func(impact.OrganisationID) bool) (*table, error) {
	t := &table{rules: rules}
	t.Facts = b.known(cat, waived)
	told := make([]bool, len(b.sums))
	for i := range b.tracks {
		for _, s := range b.tracks[i].states {
			if s.told == 0 || s.told >= number {
				continue
			}
			for _, at := range s.sums {
				told[at] = true
			}
		}
	}
	for i, is := range told {
		if is && len(b.sums[i].Terms) > 0 {
			t.Published = append(t.Published, b.sums[i])
		}
	}
	for _, i := range b.same {
		t.Identities = append(t.Identities, b.sums[i])
	}
	order := make([]int32, len(b.tracks))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(x, y int32) int { return b.tracks[x].at.compare(&b.tracks[y].at) })
	var secrets secretList
	seen := make([]bool, len(b.sums))
	for _, at := range order {
		tr := &b.tracks[at]
		if tr.now >= 0 {
			t.figure(b, cat, at, number)
		}
		for i := range tr.states {
			if i == tr.now {
				continue
			}
			for _, s := range tr.states[i].sums {
				if !told[s] && !seen[s] {
					seen[s] = true
					secrets.add(b.sums[s])
				}
			}
		}
		for i := range tr.states {
			for j := range i {
				x, y := &tr.states[i], &tr.states[j]
				past := func(s *state) bool { return s.told > 0 && s.told < number }
				if past(x) && past(y) {
					continue // told both: no secret any more
				}
				for k := range min(len(x.sums), len(y.sums)) {
					d, err := less(b.sums[x.sums[k]], b.sums[y.sums[k]])
					if err != nil {
						return nil, err
					}
					secrets.add(d)
				}
			}
		}
	}
	t.Secrets = secrets.sums
	return t, nil
}

// known are the facts of the book as unknowns of groups.
func (b *book) known(cat *impact.Catalogue, waived func(impact.OrganisationID) bool) []disclosure.Fact {
	group := map[impact.OrganisationID]string{}
	for _, h := range b.holders {
		group[h.id] = h.group
	}
	dense := map[string]int32{}
	out := make([]disclosure.Fact, len(b.facts))
	for i := range b.facts {
		f := &b.facts[i]
		g, ok := dense[group[f.organisation]]
		if !ok {
			g = int32(len(dense))
			dense[group[f.organisation]] = g
		}
		out[i] = disclosure.Fact{Group: g, Value: f.value, Signed: f.signed, Waived: waived(f.organisation)}
		if ind := cat.IndicatorByKey(f.indicator); ind != nil && ind.Kind == impact.Boolean {
			out[i].Max = impact.One // everybody knows that an answer is yes or no
		}
	}
	return out
}

func (t *table) figure(b *book, cat *impact.Catalogue, at int32, number impact.ReleaseNumber) {
	tr := &b.tracks[at]
	g := cat.Gazetteer()
	now := &tr.states[tr.now]
	f := disclosure.Figure{Name: tr.at.name(g)}
	level := rankOf("")
	if place := g.ByKey(tr.at.territory); place != nil {
		level = rankOf(place.Type)
	}
	f.Rank = disclosure.Rank{
		Moved: now.told == 0 || now.told >= number, Level: level, Part: tr.at.period.Granularity() != impact.Year, Cut: tr.at.cut != "",
	}
	var groups []int32
	for _, s := range now.sums {
		f.Sums = append(f.Sums, b.sums[s])
		for _, term := range b.sums[s].Terms {
			groups = append(groups, t.Facts[term.Fact].Group)
		}
	}
	slices.Sort(groups)
	f.Rank.Contributor = -len(slices.Compact(groups))
	t.Figures = append(t.Figures, f)
	t.tracks = append(t.tracks, at)
}

// secretList keeps each sum once.
type secretList struct {
	sums []disclosure.Sum
	at   map[uint64][]int
}

func (l *secretList) add(s disclosure.Sum) {
	if len(s.Terms) == 0 {
		return
	}
	h := hashSum(&s)
	for _, i := range l.at[h] {
		if slices.Equal(l.sums[i].Terms, s.Terms) {
			return
		}
	}
	if l.at == nil {
		l.at = map[uint64][]int{}
	}
	l.at[h] = append(l.at[h], len(l.sums))
	l.sums = append(l.sums, s)
}

func hashSum(s *disclosure.Sum) uint64 {
	h := uint64(14695981039346656037)
	for _, t := range s.Terms {
		for _, n := range [...]uint64{uint64(t.Fact), uint64(t.Num), uint64(t.Den)} {
			h = (h ^ n) * 0x9e3779b97f4a7c15
			h ^= h >> 29
		}
	}
	return h
}

// judged applies the rules, as they are today, to a state.
func (b *book) judged(t *table, s *state) disclosure.Reason {
	for _, i := range s.sums {
		if r := t.rules.Judge(&t.Table, b.sums[i]); r != disclosure.Shown {
			return r
		}
	}
	return disclosure.Shown
}

// AuditCase is what disclosure control was asked of a unit, and what it
// answered: an auditor needs nothing else.
type AuditCase struct {
	Unit      Unit
	Table     *disclosure.Table
	Decisions []disclosure.Decision // in the order of Table.Figures
}

// Case makes the case of a sealed unit of release number again, from its
// ledger. It holds values: it is for auditors' programs, and not to be shown.
func Case(cat *impact.Catalogue, s *Sealed, number impact.ReleaseNumber, rules disclosure.Rules, waived func(impact.OrganisationID) bool) (*AuditCase, error) {
	l, err := readLedger(s.Ledger)
	if err != nil {
		return nil, err
	}
	if waived == nil {
		waived = func(impact.OrganisationID) bool { return false }
	}
	b := openBook(l)
	b.header = l.header
	for i := range l.tracks {
		t := &b.tracks[b.trackAt[l.tracks[i].at]]
		t.now, t.reason, t.against = l.tracks[i].now, l.tracks[i].reason, l.tracks[i].against
	}
	t, err := b.table(number, rules, cat, waived)
	if err != nil {
		return nil, err
	}
	c := &AuditCase{Unit: s.Unit, Table: &t.Table}
	for _, at := range t.tracks {
		tr := &b.tracks[at]
		c.Decisions = append(c.Decisions, disclosure.Decision{Reason: tr.reason, Against: tr.against})
	}
	return c, nil
}
