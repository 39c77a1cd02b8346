package release

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/disclosure/attack"
	"github.com/grandlyon/retombees/pkg/disclosure/audit"
	"github.com/grandlyon/retombees/pkg/impact"
)

// archive is what someone has who kept every release, and knows who reported
// what in which state of the facts, but no value. It is made of the published
// text and of the cube; of ledgers and tables it knows nothing.
type archive struct {
	t     *testing.T
	w     *world
	r     *rand.Rand // which secrets the solver tries
	group map[impact.OrganisationID]string
	units map[Unit]*evidence
}

type version struct {
	calculation.FactID
	organisation impact.OrganisationID
	value        impact.Quantity
}

// evidence is what an archive has of one unit.
type evidence struct {
	table disclosure.Table
	ids   map[version]int32
	orgs  []impact.OrganisationID // of table.Facts
	told  []disclosure.Sum
	// before are those of told that earlier releases told: what was recovered
	// from them is recovered, whatever is told now.
	before int
	// states are the sums of each cell in each state of the facts so far.
	states map[address][][]disclosure.Sum
}

func newArchive(t *testing.T, w *world) *archive {
	return &archive{t: t, w: w, r: rand.New(rand.NewPCG(8, 8)), group: map[impact.OrganisationID]string{}, units: map[Unit]*evidence{}}
}

// add reads one release: which cells show the facts as they are now, and of
// which facts they are sums.
func (a *archive) add(o *out, number impact.ReleaseNumber) {
	cube := a.w.cube()
	vintage := NewLattice(reference(), a.w.day, 45).Vintage()
	for i := range a.w.orgs {
		id := a.w.id(i)
		a.group[id] = a.w.orgs[i].group
		if a.group[id] == "" {
			a.group[id] = "alone " + string(id)
		}
	}
	for _, u := range o.units {
		e := a.units[u]
		if e == nil {
			e = &evidence{ids: map[version]int32{}, states: map[address][][]disclosure.Sum{}}
			a.units[u] = e
		}
		e.before = len(e.told)
		for c, err := range Cells(reference(), o.at[u].Figures) {
			if err != nil {
				a.t.Fatal(err)
			}
			f := &c.Figure
			if f.Indicator == "" {
				continue // counts of organisations: who takes part is no secret
			}
			q := calculation.Query{
				Indicators: []impact.IndicatorCode{f.Indicator}, Territories: []impact.TerritoryKey{f.Territory}, Periods: []impact.Period{f.Period},
				Vintage: vintage, KeepRefused: true, Qualifiers: f.Qualifiers,
			}
			if c.Cut != "" {
				q.Cuts = []calculation.Dimension{c.Cut}
			}
			made, err := cube.Made(q)
			if err != nil {
				a.t.Fatal(err)
			}
			i := slices.IndexFunc(made, func(m calculation.Made) bool { return slices.Equal(m.Codes, f.Codes) })
			if i < 0 || len(made[i].Sums) == 0 || !Released(made[i].Kind) {
				continue // a kind that no release shows tells nothing
			}
			sums := e.sums(made[i].Sums)
			at := addressOf(f, c.Cut)
			e.states[at] = append(e.states[at], sums)
			if f.Status == impact.Suppressed || c.Moved != number {
				continue // withheld, or still the figure of an earlier release
			}
			if f.Value != nil && made[i].Value != nil && *f.Value != *made[i].Value {
				a.t.Errorf("release %d, %v: shows %s, the facts make %s", number, at, f.Value, made[i].Value)
			}
			e.told = append(e.told, sums...)
		}
	}
}

func (e *evidence) sums(made []calculation.Sum) (out []disclosure.Sum) {
	for _, m := range made {
		s := disclosure.Sum{People: m.People}
		for _, x := range m.Terms {
			v := version{x.Fact, x.Organisation, x.Value}
			i, ok := e.ids[v]
			if !ok {
				i = int32(len(e.table.Facts))
				e.ids[v] = i
				e.table.Facts = append(e.table.Facts, disclosure.Fact{Value: x.Value, Signed: m.Signed})
				e.orgs = append(e.orgs, x.Organisation)
			}
			s.Terms = append(s.Terms, disclosure.Term{Fact: i, Num: x.Num, Den: x.Den})
		}
		out = append(out, s)
	}
	return out
}

// unit makes of all that was kept of a unit what an auditor takes: everything
// told stands against every state of every cell and every change between two.
func (a *archive) unit(u Unit) (*disclosure.Table, []*disclosure.Sum) {
	e := a.units[u]
	t := &disclosure.Table{Facts: slices.Clone(e.table.Facts)}
	groups := map[string]int32{}
	for i, id := range e.orgs {
		name := a.group[id]
		g, ok := groups[name]
		if !ok {
			g = int32(len(groups))
			groups[name] = g
		}
		t.Facts[i].Group = g
		for n, is := range a.w.waived {
			t.Facts[i].Waived = t.Facts[i].Waived || is && a.w.id(n) == id
		}
	}
	var told []*disclosure.Sum
	t.Published = e.told[:e.before]
	for i := range e.told[e.before:] {
		told = append(told, &e.told[e.before+i])
	}
	cells := slices.SortedFunc(maps.Keys(e.states), func(a, b address) int { return a.compare(&b) })
	for _, at := range cells {
		states := e.states[at]
		for i, x := range states {
			t.Figures = append(t.Figures, disclosure.Figure{Name: fmt.Sprintf("%v in state %d", at, i), Sums: x})
			for j, y := range states[:i] {
				for k := range min(len(x), len(y)) {
					d, err := less(sorted(x[k]), sorted(y[k]))
					if err != nil {
						a.t.Fatal(err)
					}
					if len(d.Terms) > 0 {
						t.Figures = append(t.Figures, disclosure.Figure{Name: fmt.Sprintf("%v between states %d and %d, sum %d", at, j, i, k), Sums: []disclosure.Sum{d}})
					}
				}
			}
		}
	}
	return t, told
}

// withheld is the same as a case: what is told stands as figures that are
// shown, the rest is withheld.
func (a *archive) withheld(u Unit) (*disclosure.Table, []disclosure.Decision) {
	t, told := a.unit(u)
	decisions := make([]disclosure.Decision, 0, len(t.Figures)+len(told))
	for range t.Figures {
		decisions = append(decisions, disclosure.Decision{Reason: disclosure.WouldTell})
	}
	for i, s := range told {
		t.Figures = append(t.Figures, disclosure.Figure{Name: fmt.Sprintf("told %d", i), Sums: []disclosure.Sum{*s}})
		decisions = append(decisions, disclosure.Decision{})
	}
	return t, decisions
}

func sorted(s disclosure.Sum) disclosure.Sum {
	s.Terms = slices.Clone(s.Terms)
	slices.SortFunc(s.Terms, func(a, b disclosure.Term) int { return int(a.Fact) - int(b.Fact) })
	return s
}

// check has the auditor look at all, and the solver at some.
func (a *archive) check(name string, u Unit, solver bool) (secrets int) {
	t, decisions := a.withheld(u)
	report, err := audit.Run(t, decisions, disclosure.Strict1)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, f := range report.Findings {
		a.t.Errorf("%s, %v: auditor: %s", name, u, f)
	}
	if report.Unsettled > 0 {
		a.t.Errorf("%s, %v: %d secrets unsettled", name, u, report.Unsettled)
	}
	if solver {
		all := audit.Secrets(t, disclosure.Strict1)
		var some []audit.Secret
		for range min(20, len(all)) {
			some = append(some, all[a.r.IntN(len(all))])
		}
		var before []*disclosure.Sum
		for i := range t.Published {
			before = append(before, &t.Published[i])
		}
		for _, b := range attack.Solve(a.t, t, audit.Told(t, decisions, disclosure.Strict1), some) {
			if len(attack.Solve(a.t, t, before, []audit.Secret{*b.Secret})) == 0 {
				a.t.Errorf("%s, %v: solver: %s", name, u, b)
			}
		}
	}
	return report.Secrets
}

// Whoever keeps three successive releases, with facts that came late, were
// corrected or taken back, and organisations that changed hands, recovers no
// value, and no change of one.
func TestReleasesKeptTogetherTellNothing(t *testing.T) {
	attack.Solver(t)
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 5))
			w := anyWorld(t, r, 12+int(seed)*5, 2025)
			for i := range w.orgs {
				w.waived[i] = r.IntN(15) == 0
			}
			a := newArchive(t, w)
			var before *out
			secrets, shown := 0, 0
			for number := impact.ReleaseNumber(1); number <= 3; number++ {
				o := build(t, w.input(number, before))
				a.add(o, number)
				for _, u := range o.units {
					secrets += a.check(fmt.Sprintf("release %d", number), u, seed == 0)
				}
				shown += o.built.Counts.Shown
				before = o
				w.late(r, 0.15, 2025)
				if i, j := r.IntN(len(w.orgs)), r.IntN(len(w.orgs)); r.IntN(2) == 0 {
					w.orgs[i].group = "holding of " + fmt.Sprint(j)
					w.orgs[j].group = w.orgs[i].group
				}
			}
			if secrets == 0 || shown == 0 {
				t.Errorf("%d secrets, %d figures shown: nothing was tested", secrets, shown)
			}
			t.Logf("%d secrets against %d figures shown", secrets, shown)
		})
	}
}

// Releases that know nothing of each other, each of them safe, give changes
// away together: what finds nothing above can find something.
func TestReleasesApartTellTooMuch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 5))
	w := anyWorld(t, r, 16, 2025)
	a := newArchive(t, w)
	exact := 0
	for number := impact.ReleaseNumber(1); number <= 2; number++ {
		o := build(t, w.input(number, nil))
		a.add(o, number)
		for _, u := range o.units {
			table, decisions := a.withheld(u)
			report, err := audit.Run(table, decisions, disclosure.Strict1)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range report.Findings {
				if number == 1 {
					t.Errorf("the first release: %s", f)
				}
				if f.Kind == audit.Exact {
					exact++
				}
			}
		}
		w.late(r, 0.15, 2025)
	}
	t.Logf("%d values and changes recovered exactly", exact)
	if exact == 0 {
		t.Error("two releases that know nothing of each other tell nothing: the attack proves nothing")
	}
}
