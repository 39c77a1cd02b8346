package disclosure

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// worlds runs a test on many random tables; a failure names the seed.
func worlds(t *testing.T, n int, run func(t *testing.T, r *rand.Rand, w world)) {
	if testing.Short() {
		n /= 10
	}
	for seed := range n {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		w := randomWorld(r)
		ok := t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { run(t, r, w) })
		if !ok {
			t.Fatalf("world of seed %d: %+v", seed, w)
		}
	}
}

func mustProtect(t testing.TB, table *Table, rules Rules) []Decision {
	t.Helper()
	d, err := Protect(table, rules)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// shownSums is what everybody is told after the decisions.
func shownSums(table *Table, decisions []Decision) []*Sum {
	sums := historySums(table)
	for i := range table.Figures {
		if decisions[i].Reason == Shown {
			sums = append(sums, figureSums(&table.Figures[i])...)
		}
	}
	return sums
}

func historySums(table *Table) (sums []*Sum) {
	for i := range table.Published {
		sums = append(sums, &table.Published[i])
	}
	for i := range table.Identities {
		sums = append(sums, &table.Identities[i])
	}
	return sums
}

func figureSums(f *Figure) (sums []*Sum) {
	for i := range f.Sums {
		sums = append(sums, &f.Sums[i])
	}
	return sums
}

func allSums(table *Table) (sums []*Sum) {
	for i := range table.Figures {
		sums = append(sums, figureSums(&table.Figures[i])...)
	}
	for i := range table.Secrets {
		sums = append(sums, &table.Secrets[i])
	}
	return sums
}

// leak names a secret that somebody derives from sums and did not from history.
func (n naive) leak(told []*Sum) string {
	for g := int32(-1); g < int32(n.groups()); g++ {
		now, before := n.told(told, g), n.told(historySums(n.t), g)
		for i, s := range allSums(n.t) {
			if v := n.row(s, g); n.secret(s, -1) && n.secret(s, g) && now.has(v) && !before.has(v) {
				return fmt.Sprintf("sum %d is derived by group %d", i, g)
			}
		}
	}
	return ""
}

func (n naive) groups() (most int) {
	for _, f := range n.t.Facts {
		most = max(most, int(f.Group)+1)
	}
	return most
}

func TestNobodyDerivesASecret(t *testing.T) {
	won := 0
	worlds(t, 1500, func(t *testing.T, r *rand.Rand, w world) {
		table := w.table(r)
		n := naive{table, Strict1}
		decisions := mustProtect(t, table, Strict1)
		for i := range table.Figures {
			f := &table.Figures[i]
			if decisions[i].Reason != Shown {
				continue
			}
			for j := range f.Sums {
				if n.secret(&f.Sums[j], -1) {
					t.Errorf("%s is shown and a secret alone", f.Name)
				}
			}
		}
		if l := n.leak(shownSums(table, decisions)); l != "" {
			t.Error(l)
		}
		// The same attack wins when only the rules are applied.
		for i := range decisions {
			if decisions[i].Reason == WouldTell || decisions[i].Reason == WouldNarrow {
				decisions[i].Reason = Shown
			}
		}
		if n.leak(shownSums(table, decisions)) != "" {
			won++
		}
	})
	if won == 0 {
		t.Error("the attack never wins: it proves nothing")
	}
}

// What hides a figure for the sake of another cannot be spared, before
// intervals are looked at.
func TestNothingIsWithheldWithoutNeed(t *testing.T) {
	worlds(t, 400, func(t *testing.T, r *rand.Rand, w world) {
		table := w.table(r)
		n := naive{table, Strict1}
		p, err := decide(table, Strict1)
		if err != nil {
			t.Fatal(err)
		}
		decisions := p.decisions
		told := shownSums(table, decisions)
		for i := range decisions {
			if decisions[i].Reason == WouldTell && n.leak(append(told[:len(told):len(told)], figureSums(&table.Figures[i])...)) == "" {
				t.Errorf("%s could be shown", table.Figures[i].Name)
			}
		}
	})
}

func TestDecisionsDoNotDependOnOrder(t *testing.T) {
	worlds(t, 400, func(t *testing.T, r *rand.Rand, w world) {
		table := w.table(r)
		want := map[string]Decision{}
		for i, d := range mustProtect(t, table, Strict1) {
			want[table.Figures[i].Name] = d
		}
		shuffled := shuffle(r, table)
		for i, d := range mustProtect(t, shuffled, Strict1) {
			if name := shuffled.Figures[i].Name; want[name] != d {
				t.Errorf("%s: %v, and %v in another order", name, want[name], d)
			}
		}
	})
}

// shuffle renumbers facts and groups and moves figures.
func shuffle(r *rand.Rand, t *Table) *Table {
	out := &Table{Facts: make([]Fact, len(t.Facts))}
	fact := r.Perm(len(t.Facts))
	group := r.Perm(naive{t: t}.groups())
	for i, f := range t.Facts {
		f.Group = int32(group[f.Group])
		out.Facts[fact[i]] = f
	}
	sums := func(list []Sum) (out []Sum) {
		for _, s := range list {
			terms := make([]Term, len(s.Terms))
			for i, j := range r.Perm(len(s.Terms)) {
				terms[i] = s.Terms[j]
				terms[i].Fact = int32(fact[terms[i].Fact])
			}
			out = append(out, Sum{Terms: terms, People: s.People})
		}
		return out
	}
	for _, i := range r.Perm(len(t.Figures)) {
		f := t.Figures[i]
		f.Sums = sums(f.Sums)
		out.Figures = append(out.Figures, f)
	}
	out.Published, out.Secrets, out.Identities = sums(t.Published), sums(t.Secrets), sums(t.Identities)
	return out
}
