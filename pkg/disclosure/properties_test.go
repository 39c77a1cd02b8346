package disclosure

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

// What everybody derives from the figures shown is shown, unless it is a secret
// alone: twins have one fate, and so has a ratio with its two sums.
func TestWhatIsDerivedIsShown(t *testing.T) {
	worlds(t, 400, func(t *testing.T, r *rand.Rand, w world) {
		table := w.table(r)
		n := naive{table, Strict1}
		decisions := mustProtect(t, table, Strict1)
		told := n.told(shownSums(table, decisions), -1)
		for i := range table.Figures {
			if why := decisions[i].Reason; why != WouldTell && why != WouldNarrow {
				continue
			}
			derived := true
			for _, s := range figureSums(&table.Figures[i]) {
				derived = derived && told.has(n.row(s, -1))
			}
			if derived {
				t.Errorf("%s is withheld (%s) and derived", table.Figures[i].Name, decisions[i].Reason)
			}
		}
	})
}

// Another unit of measure changes nothing.
func TestScaleChangesNothing(t *testing.T) {
	worlds(t, 300, func(t *testing.T, r *rand.Rand, w world) {
		w.zeros, w.yesNo = 0, false // zeros and persons have a width of their own
		table := w.table(r)
		want := mustProtect(t, table, Strict1)
		for i := range table.Facts {
			table.Facts[i].Value *= 8
		}
		for i, d := range mustProtect(t, table, Strict1) {
			if d != want[i] {
				t.Errorf("%s: %v, and %v eight times as large", table.Figures[i].Name, want[i], d)
			}
		}
	})
}

// Contributors that become one make no secret less secret.
func TestHoldingsMakeNoSumSafer(t *testing.T) {
	worlds(t, 400, func(t *testing.T, r *rand.Rand, w world) {
		w.signed, w.waived = false, 0
		table := w.table(r)
		merged := &Table{Facts: append([]Fact(nil), table.Facts...)}
		for i := range merged.Facts {
			if merged.Facts[i].Group == 1 {
				merged.Facts[i].Group = 0
			}
		}
		for i, s := range allSums(table) {
			mixed := false
			for _, term := range s.Terms {
				mixed = mixed || term.Num < 0
			}
			if !mixed && Strict1.Judge(table, *s) != Shown && Strict1.Judge(merged, *s) == Shown {
				t.Errorf("sum %d is a secret, and none of a holding", i)
			}
		}
	})
}

func TestJudge(t *testing.T) {
	units := func(values ...float64) (t Table, s Sum) {
		for i, v := range values {
			t.Facts = append(t.Facts, Fact{Group: int32(i), Value: impact.Quantity(v * float64(impact.One))})
			s.Terms = append(s.Terms, Term{int32(i), 1, 1})
		}
		return t, s
	}
	for _, c := range []struct {
		name   string
		values []float64
		change func(*Table, *Sum)
		rules  Rules
		want   Reason
		each   float64
	}{
		{"two", []float64{10, 10}, nil, Strict1, FewContributors, 1.765},
		{"one", []float64{100}, nil, Strict1, FewContributors, 17.65},
		{"three", []float64{10, 10, 10}, nil, Strict1, Shown, 0},
		{"three of one group", []float64{10, 10, 10}, func(t *Table, _ *Sum) { t.Facts[1].Group = 0 }, Strict1, FewContributors, 3.53},
		{"three, one waived", []float64{10, 10, 10}, func(t *Table, _ *Sum) { t.Facts[1].Waived = true }, Strict1, FewContributors, 1.765},
		{"all waived", []float64{10, 10}, func(t *Table, _ *Sum) { t.Facts[0].Waived, t.Facts[1].Waived = true, true }, Strict1, Shown, 0},
		{"exactly 85 %", []float64{85, 1, 14}, nil, Rules{Groups: 3, Share: 8500, P: 100, Width: 1000}, Shown, 0},
		{"more than 85 %", []float64{85.1, 0.9, 14}, nil, Rules{Groups: 3, Share: 8500, P: 100, Width: 1000}, Dominated, 0.1176},
		{"the second knows the first", []float64{50, 49, 1}, nil, Strict1, Dominated, 7.825},
		{"… less strictly", []float64{50, 20, 6}, nil, Standard1, Shown, 0},
		{"zero", []float64{0, 0, 0, 0}, nil, Strict1, NothingButZero, 0},
		{"zero of signed", []float64{0, 0, 0, 0}, func(t *Table, _ *Sum) {
			for i := range t.Facts {
				t.Facts[i].Signed = true
			}
		}, Strict1, Shown, 0},
		{"nothing left of large values", []float64{10, -10, 9, -9}, func(t *Table, _ *Sum) {
			for i := range t.Facts {
				t.Facts[i].Signed = true
			}
		}, Strict1, Shown, 0},
		{"few persons", []float64{1, 1, 1, 1}, func(_ *Table, s *Sum) { s.People = true }, Strict1, FewPeople, 0},
		{"five persons", []float64{1, 1, 1, 1, 1}, func(_ *Table, s *Sum) { s.People = true }, Strict1, Shown, 0},
		{"all say yes", []float64{1, 1, 1, 1, 1, 1}, func(t *Table, _ *Sum) {
			for i := range t.Facts {
				t.Facts[i].Max = impact.One
			}
		}, Strict1, NothingButZero, 0},
		{"weights", []float64{30, 40, 50}, func(_ *Table, s *Sum) { s.Terms[0].Den, s.Terms[1].Num, s.Terms[1].Den = 3, 1, 4 }, Strict1, Shown, 0},
		{"a difference of one", []float64{100, 101, 50, 50}, func(_ *Table, s *Sum) { s.Terms[0].Num, s.Terms[2].Num = -1, -1 }, Strict1, Shown, 0},
		{"a difference that one makes", []float64{100, 101, 50, 50, 7, 7.1}, func(t *Table, s *Sum) {
			t.Facts[1].Group, t.Facts[3].Group, t.Facts[5].Group = 0, 2, 4
			s.Terms[0].Num, s.Terms[2].Num, s.Terms[4].Num = -1, -1, -1
		}, Strict1, Dominated, 0},
		{"nothing", nil, nil, Strict1, Shown, 0},
	} {
		table, sum := units(c.values...)
		if c.change != nil {
			c.change(&table, &sum)
		}
		if got := c.rules.Judge(&table, sum); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := c.rules.Need(&table, sum).Each / float64(impact.One); c.each > 0 && (got < c.each*0.999 || got > c.each*1.001) {
			t.Errorf("%s: room %g on each side, want %g", c.name, got, c.each)
		}
	}
}

func TestNamedRules(t *testing.T) {
	for _, r := range []Rules{Strict1, Standard1} {
		if got, ok := NamedRules(r.Name); !ok || got != r {
			t.Errorf("%s: %v, %v", r.Name, got, ok)
		}
	}
	if _, ok := NamedRules("none"); ok {
		t.Error("a set of no name")
	}
}

func TestTablesThatAreNone(t *testing.T) {
	one := []Sum{{Terms: []Term{{0, 1, 1}}}}
	facts := []Fact{{Group: 0, Value: 1}}
	for name, table := range map[string]*Table{
		"two of a name":    {Facts: facts, Figures: []Figure{{Name: "a", Sums: one}, {Name: "a", Sums: one}}},
		"no such fact":     {Facts: facts, Figures: []Figure{{Name: "a", Sums: []Sum{{Terms: []Term{{1, 1, 1}}}}}}},
		"a fact twice":     {Facts: facts, Figures: []Figure{{Name: "a", Sums: []Sum{{Terms: []Term{{0, 1, 1}, {0, 1, 1}}}}}}},
		"a weight of 0":    {Facts: facts, Published: []Sum{{Terms: []Term{{0, 0, 1}}}}},
		"a weight by 0":    {Facts: facts, Secrets: []Sum{{Terms: []Term{{0, 1, 0}}}}},
		"a fact of no-one": {Facts: []Fact{{Group: -1}}, Figures: []Figure{{Name: "a", Sums: one}}},
	} {
		if _, err := Protect(table, Strict1); !errors.Is(err, ErrTable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d, err := Protect(&Table{}, Strict1); err != nil || len(d) != 0 {
		t.Errorf("nothing: %v, %v", d, err)
	}
}

func FuzzProtect(f *testing.F) {
	f.Add(uint64(1), uint8(10), uint8(30), uint16(0))
	f.Add(uint64(2), uint8(3), uint8(5), uint16(0xffff))
	f.Fuzz(func(t *testing.T, seed uint64, groups, facts uint8, bits uint16) {
		r := rand.New(rand.NewPCG(seed, 3))
		w := randomWorld(r)
		w.groups, w.facts = 1+int(groups)%40, 1+int(facts)%80
		w.signed, w.ratio, w.earlier, w.halves = bits&1 > 0, bits&2 > 0, bits&4 > 0, bits&8 > 0
		w.yesNo = bits&16 > 0 && !w.signed
		table := w.table(r)
		n := naive{table, Strict1}
		if l := n.leak(shownSums(table, mustProtect(t, table, Strict1))); l != "" {
			t.Error(l)
		}
	})
}
