package release

import (
	"slices"

	"github.com/grandlyon/retombees/pkg/calculation"
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
	if err := b.remainders(order, &secrets); err != nil {
		return nil, err
	}
	b.atoms(&secrets)
	if err := b.rests(cat, order, &secrets); err != nil {
		return nil, err
	}
	t.Secrets = secrets.sums
	return t, nil
}

// remainders are secrets that lie between sums of one place: who has a part of
// a quotient and not the other is in the sum of the component, and not in that
// of the quotient.
func (b *book) remainders(order []int32, secrets *secretList) error {
	type spot struct {
		territory impact.TerritoryKey
		period    impact.Period
		cut       calculation.Dimension
		code      string
	}
	// The sums told of one spot, by the indicators whose facts they add up.
	bySpot := map[spot][]int32{}
	var spots []spot
	for _, at := range order {
		tr := &b.tracks[at]
		if tr.now < 0 {
			continue
		}
		s := spot{tr.at.territory, tr.at.period, tr.at.cut, tr.at.code}
		if bySpot[s] == nil {
			spots = append(spots, s)
		}
		for _, sum := range tr.states[tr.now].sums {
			if len(b.sums[sum].Terms) > 0 && !slices.Contains(bySpot[s], sum) {
				bySpot[s] = append(bySpot[s], sum)
			}
		}
	}
	for _, s := range spots {
		sums := bySpot[s]
		base := map[impact.IndicatorKey]int32{}
		kinds := make([][]impact.IndicatorKey, len(sums))
		for i, at := range sums {
			kinds[i] = b.indicatorsOf(at)
			if len(kinds[i]) == 1 {
				if old, ok := base[kinds[i][0]]; !ok || len(b.sums[at].Terms) > len(b.sums[old].Terms) {
					base[kinds[i][0]] = at
				}
			}
		}
		for i, at := range sums {
			for j := range i {
				if slices.Equal(kinds[i], kinds[j]) {
					d, err := less(b.sums[at], b.sums[sums[j]])
					if err != nil {
						return err
					}
					secrets.add(d)
				}
			}
			if len(kinds[i]) < 2 {
				continue
			}
			// A sum of several components, against those components whole.
			rest, all := b.sums[at], true
			for _, k := range kinds[i] {
				part, ok := base[k]
				if all = all && ok; !all {
					break
				}
				var err error
				if rest, err = less(rest, b.signed(part, b.signOf(at, k))); err != nil {
					return err
				}
			}
			if all {
				secrets.add(rest)
			}
		}
	}
	return nil
}

// indicatorsOf are those whose facts a sum adds up, by key.
func (b *book) indicatorsOf(sum int32) (out []impact.IndicatorKey) {
	for _, t := range b.sums[sum].Terms { // facts are in the order of indicators, or nearly
		if k := b.facts[t.Fact].indicator; len(out) == 0 || out[len(out)-1] != k {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (b *book) signOf(sum int32, k impact.IndicatorKey) int64 {
	for _, t := range b.sums[sum].Terms {
		if b.facts[t.Fact].indicator == k && t.Num < 0 {
			return -1
		}
	}
	return 1
}

func (b *book) signed(sum int32, sign int64) disclosure.Sum {
	s := b.sums[sum]
	if sign < 0 {
		s.Terms = slices.Clone(s.Terms)
		for i := range s.Terms {
			s.Terms[i].Num = -s.Terms[i].Num
		}
	}
	return s
}

// atoms are the finest sums there are: facts that enter the same sums with the
// same weights. What one contributor states is never finer than one of them.
func (b *book) atoms(secrets *secretList) {
	of := map[uint64]int{}
	var atoms []disclosure.Sum
	for i, h := range b.patterns() {
		if h == 0 {
			continue // in no sum
		}
		at, ok := of[h]
		if !ok {
			at = len(atoms)
			of[h] = at
			atoms = append(atoms, disclosure.Sum{})
		}
		atoms[at].Terms = append(atoms[at].Terms, disclosure.Term{Fact: int32(i), Num: 1, Den: 1})
	}
	for _, a := range atoms {
		secrets.add(a)
	}
}

// rests are what is left of wholes beside their parts (see complete): in each
// cell of the quotient, and in the finest sums.
func (b *book) rests(cat *impact.Catalogue, order []int32, secrets *secretList) error {
	for _, at := range order {
		tr := &b.tracks[at]
		ind := cat.Indicator(tr.at.indicator)
		if ind == nil || tr.now < 0 {
			continue
		}
		w, ok := wholeOf(cat, ind)
		sums := tr.states[tr.now].sums
		if !ok || len(sums) != 2 {
			continue
		}
		parts := map[fact]impact.Quantity{}
		for _, t := range b.sums[sums[0]].Terms {
			f := b.facts[t.Fact].place()
			f.indicator = w.key
			parts[f] += b.facts[t.Fact].value
		}
		rest := disclosure.Sum{People: b.sums[sums[1]].People}
		for _, t := range b.sums[sums[1]].Terms {
			f := b.facts[t.Fact].place()
			f.indicator = w.key
			f.value = b.facts[t.Fact].value - parts[f]
			i, ok := b.factAt[f]
			if !ok {
				var err error
				if rest, err = less(b.sums[sums[1]], b.sums[sums[0]]); err != nil {
					return err
				}
				break
			}
			rest.Terms = append(rest.Terms, disclosure.Term{Fact: i, Num: t.Num, Den: t.Den})
		}
		slices.SortFunc(rest.Terms, func(a, b disclosure.Term) int { return int(a.Fact) - int(b.Fact) })
		secrets.add(rest)
	}
	quotients := map[impact.IndicatorKey]bool{}
	for _, code := range b.indicators {
		if ind := cat.Indicator(code); ind != nil {
			if _, ok := wholeOf(cat, ind); ok {
				quotients[ind.Key] = true
			}
		}
	}
	for _, i := range b.same {
		var rest disclosure.Sum
		for _, t := range b.sums[i].Terms {
			if quotients[b.facts[t.Fact].indicator] {
				rest.Terms = append(rest.Terms, disclosure.Term{Fact: t.Fact, Num: 1, Den: 1})
			}
		}
		secrets.add(rest)
	}
	return nil
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
