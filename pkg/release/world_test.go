package release

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
)

// world is who states what, in a few communes of Lyon over some years.
type world struct {
	t      testing.TB
	orgs   []member
	facts  map[statement]impact.Quantity
	waived map[int]bool
	day    impact.Date
	// rename changes ids and keys of organisations, order what comes first.
	rename bool
	order  *rand.Rand
	cat    *impact.Catalogue
}

type member struct {
	group   string
	profile impact.Profile
}

type statement struct {
	org       int
	indicator impact.IndicatorCode
	territory impact.TerritoryID
	period    impact.Period
}

func newWorld(t testing.TB) *world {
	return &world{t: t, facts: map[statement]impact.Quantity{}, waived: map[int]bool{}, day: impact.NewDate(2026, 6, 1), cat: reference()}
}

func (w *world) id(i int) impact.OrganisationID {
	if w.rename {
		i = 7919*i%10007 + 1
	}
	return impact.OrganisationID(fmt.Sprintf("org%05d", i))
}

func (w *world) key(i int) impact.OrganisationKey {
	if w.rename {
		return impact.OrganisationKey(len(w.orgs) - i)
	}
	return impact.OrganisationKey(i + 1)
}

func (w *world) says(org int, ind impact.IndicatorCode, at impact.TerritoryID, p impact.Period, value string) {
	w.facts[statement{org, ind, at, p}] = *number(value)
}

func shuffled[T any](w *world, xs []T) iter.Seq2[T, error] {
	if w.order != nil {
		w.order.Shuffle(len(xs), func(i, j int) { xs[i], xs[j] = xs[j], xs[i] })
	}
	return func(yield func(T, error) bool) {
		for _, x := range xs {
			if !yield(x, nil) {
				return
			}
		}
	}
}

func (w *world) cube() *calculation.Cube {
	cat := w.cat
	var orgs []calculation.Organisation
	for i, m := range w.orgs {
		o := calculation.Organisation{Key: w.key(i), ID: w.id(i), LegalUnit: "siren:" + string(w.id(i)), Group: m.group, Profile: m.profile}
		if o.Group == "" {
			o.Group = o.LegalUnit
		} else if w.rename {
			o.Group = "other:" + m.group
		}
		orgs = append(orgs, o)
	}
	var cells []calculation.Change
	for s, v := range w.facts {
		at := cat.Gazetteer().At(s.territory, s.period.End)
		if at == nil {
			w.t.Fatalf("no territory %s", s.territory)
		}
		cells = append(cells, calculation.Change{
			Key: impact.CellKey{
				Organisation: w.key(s.org), Indicator: cat.Indicator(s.indicator).Key, Territory: at.Key, Period: s.period,
			},
			Current: &calculation.Fact{Value: v, HasValue: true, Status: impact.Normal, Attrs: calculation.Attrs{Profile: w.orgs[s.org].profile}},
			State:   impact.Approved,
		})
	}
	c := calculation.NewCube(cat)
	if err := c.Load(shuffled(w, orgs), nil, shuffled(w, cells), 1); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// out is a release as it was published.
type out struct {
	built *Built
	units []Unit
	at    map[Unit]*Sealed
}

func (w *world) input(number impact.ReleaseNumber, before *out) Input {
	in := Input{
		Cube: w.cube(), Day: w.day, Embargo: 45, Number: number, Rules: disclosure.Strict1, Workers: 2,
		Waived: func(id impact.OrganisationID) bool {
			for i, is := range w.waived {
				if is && w.id(i) == id {
					return true
				}
			}
			return false
		},
	}
	if before != nil {
		in.Earlier = before.units
		in.Before = func(u Unit) (*Sealed, error) { return before.at[u], nil }
	}
	return in
}

func build(t testing.TB, in Input) *out {
	t.Helper()
	o := &out{at: map[Unit]*Sealed{}}
	var err error
	o.built, err = Build(context.Background(), in, func(s *Sealed) error {
		o.units = append(o.units, s.Unit)
		o.at[s.Unit] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *out) cells(t testing.TB) map[address]*Cell {
	t.Helper()
	m := map[address]*Cell{}
	for _, u := range o.units {
		for c, err := range Cells(reference(), o.at[u].Figures) {
			if err != nil {
				t.Fatal(err)
			}
			m[addressOf(&c.Figure, c.Cut)] = c
		}
	}
	return m
}

var lyonnais = []impact.TerritoryID{
	"arrondissement-69388", "arrondissement-69387", "commune-69266", "commune-69256", "commune-69259", "commune-69029", "commune-69034", "commune-69069", "commune-69081",
}

var told = []struct {
	code   impact.IndicatorCode
	period impact.Granularity
}{
	{"waste_collected", impact.Quarter},
	{"waste_reused", impact.Quarter},
	{"waste_recycled", impact.Quarter},
	{"waste_energy_recovered", impact.Quarter},
	{"headcount", impact.Year},
	{"women", impact.Year},
	{"jobs_created_net", impact.Year},
	{"insertion_exits", impact.Quarter},
	{"durable_exits", impact.Quarter},
	{"staff_departures", impact.Year},
	{"mean_headcount", impact.Year},
	{"employee_satisfaction", impact.Year},
	{"employee_satisfaction_answers", impact.Year},
	{"nps_promoters", impact.Year},
	{"nps_detractors", impact.Year},
	{"nps_answers", impact.Year},
	{"pay_ratio", impact.Year},
}

// anyWorld has n organisations of unequal size; some are of one group.
func anyWorld(t testing.TB, r *rand.Rand, n int, years ...int) *world {
	w := newWorld(t)
	for i := range n {
		m := member{profile: impact.Profile{
			Class: pick(r, impact.Association, impact.Company, impact.Cooperative), StructureKind: pick(r, "", "ACI", "EI"), SizeClass: pick(r, "small", "large"),
		}}
		if r.IntN(6) == 0 {
			m.group = fmt.Sprintf("holding%d", r.IntN(3))
		}
		w.orgs = append(w.orgs, m)
		for range 1 + r.IntN(2) {
			w.state(r, i, pick(r, lyonnais...), years)
		}
	}
	return w
}

func (w *world) state(r *rand.Rand, org int, at impact.TerritoryID, years []int) {
	scale := int64(1 + r.ExpFloat64()*20)
	for _, y := range years {
		skip := 3 + r.IntN(6)
		for n, line := range told {
			if r.IntN(skip) == 0 {
				continue
			}
			periods := impact.YearPeriod(y).Buckets(line.period)
			for _, p := range periods {
				if len(periods) > 1 && r.IntN(5) == 0 {
					continue
				}
				v := 1 + r.Int64N(10*scale)
				switch {
				case line.code == "jobs_created_net":
					v -= 5 * scale
				case r.IntN(9) == 0:
					v = 0
				case line.code == "employee_satisfaction":
					v = 1 + r.Int64N(10)
				}
				_ = n
				w.facts[statement{org, line.code, at, p}] = impact.Quantity(v) * impact.One
			}
		}
		// exits that add up
		for _, p := range impact.YearPeriod(y).Buckets(impact.Quarter) {
			if durable, ok := w.facts[statement{org, "durable_exits", at, p}]; ok && r.IntN(2) == 0 {
				a, b := impact.Quantity(r.IntN(4))*impact.One, impact.Quantity(r.IntN(4))*impact.One
				w.facts[statement{org, "transition_exits", at, p}], w.facts[statement{org, "positive_exits", at, p}] = a, b
				w.facts[statement{org, "dynamic_exits", at, p}] = durable + a + b
			}
		}
	}
}

// late gives some organisations more to say, corrects and takes back.
func (w *world) late(r *rand.Rand, share float64, years ...int) {
	keys := slices.SortedFunc(func(yield func(statement) bool) {
		for s := range w.facts {
			if !yield(s) {
				return
			}
		}
	}, func(a, b statement) int {
		return slices.Compare([]string{fmt.Sprint(a)}, []string{fmt.Sprint(b)})
	})
	for _, s := range keys {
		switch x := r.Float64() / share; {
		case x < 0.5:
			w.facts[s] += impact.Quantity(1+r.IntN(30)) * impact.One
		case x < 0.8:
			delete(w.facts, s)
		}
	}
	for i := range w.orgs {
		if r.Float64() < share {
			w.state(r, i, pick(r, lyonnais...), years)
		}
	}
}
