package disclosure

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

var many = flag.Int("disclosure.many", 100, "tables of each kind that TestTime protects")

// lyon is an invented Lyon: 58 communes in 10 CTM, of which Lyon and
// Villeurbanne are communes alone, 5,000 organisations whose sizes follow
// Pareto and whose places follow Zipf.
type lyon struct {
	r       *rand.Rand
	size    []float64
	home    []int
	profile [][3]int // class, kind, size
}

const lyonCommunes, lyonBoroughs = 58, 10

var lyonCuts = [3]int{4, 10, 5}

func newLyon(seed uint64) *lyon {
	l := &lyon{r: rand.New(rand.NewPCG(seed, 7))}
	for range 5000 {
		size := math.Pow(l.r.Float64(), -1/1.3)
		l.size = append(l.size, size)
		l.home = append(l.home, l.place())
		l.profile = append(l.profile, [3]int{l.r.IntN(1 + l.r.IntN(lyonCuts[0])), l.r.IntN(1 + l.r.IntN(lyonCuts[1])), min(int(math.Log2(size)), lyonCuts[2]-1)})
	}
	return l
}

// place is a commune, the n-th one with a chance of 1÷n.
func (l *lyon) place() int {
	return min(int(math.Exp(l.r.Float64()*math.Log(lyonCommunes+1)))-1, lyonCommunes-1)
}

func lyonBorough(c int) int {
	if c < 2 {
		return c
	}
	return 2 + c%(lyonBoroughs-2)
}

type lyonFact struct{ indicator, org, commune, quarter int }

// table is a family of indicators in one year, with about so many facts each;
// each ratio ties an indicator to the next.
func (l *lyon) table(indicators, facts, ratios int) *Table {
	t := &Table{}
	var at []lyonFact
	groups := map[int]int32{}
	paired := make([]map[int]bool, ratios)
	orgs := map[int]bool{}
	for i := range indicators {
		start := len(at)
		for len(at) < start+facts {
			org := l.r.IntN(len(l.size))
			if i > 0 && l.r.Float64() < 0.8 { // who answers one indicator of a family answers the others
				org = at[l.r.IntN(len(at))].org
			}
			orgs[org] = true
			for k := 0; k < 1 || l.r.IntN(3) == 0 && k < 4; k++ {
				c := l.home[org]
				if k > 0 {
					c = l.place()
				}
				for q := range 4 {
					f := lyonFact{i, org, c, q}
					if slices.Contains(at[start:], f) {
						continue
					}
					g, ok := groups[org]
					if !ok {
						g = int32(len(groups))
						groups[org] = g
					}
					value := impact.Quantity(l.size[org]*(0.5+l.r.Float64())*10*float64(impact.One)) / 1000 * 1000
					if l.r.IntN(20) == 0 {
						value = 0
					}
					t.Facts = append(t.Facts, Fact{Group: g, Value: value})
					at = append(at, f)
				}
			}
		}
	}
	for k := range ratios {
		n, d := map[int]bool{}, map[int]bool{}
		for _, f := range at {
			n[f.org] = n[f.org] || f.indicator == k
			d[f.org] = d[f.org] || f.indicator == k+1
		}
		paired[k] = map[int]bool{}
		for org := range n {
			paired[k][org] = n[org] && d[org]
		}
	}
	add := func(cell string, rank Rank, in func(lyonFact) bool) {
		sum := func(i int, only map[int]bool) (s Sum) {
			for id, f := range at {
				if f.indicator == i && in(f) && (only == nil || only[f.org]) {
					s.Terms = append(s.Terms, Term{int32(id), 1, 1})
				}
			}
			return s
		}
		for i := range indicators {
			if s := sum(i, nil); len(s.Terms) > 0 {
				rank.Contributor = -len(s.Terms)
				t.Figures = append(t.Figures, Figure{fmt.Sprintf("i%d %s", i, cell), rank, []Sum{s}})
			}
		}
		for k := range ratios {
			if n, d := sum(k, paired[k]), sum(k+1, paired[k]); len(n.Terms) > 0 && len(d.Terms) > 0 {
				rank.Contributor = -len(d.Terms)
				t.Figures = append(t.Figures, Figure{fmt.Sprintf("r%d %s", k, cell), rank, []Sum{n, d}})
			}
		}
	}
	for q := -1; q < 4; q++ {
		part, when := q >= 0, func(f lyonFact) bool { return q < 0 || f.quarter == q }
		add(fmt.Sprintf("metropole %d", q), Rank{Level: 0, Part: part}, when)
		for b := range lyonBoroughs {
			add(fmt.Sprintf("ctm%02d %d", b, q), Rank{Level: 1, Part: part}, func(f lyonFact) bool { return when(f) && lyonBorough(f.commune) == b })
		}
		for c := range lyonCommunes {
			add(fmt.Sprintf("commune%02d %d", c, q), Rank{Level: 2, Part: part}, func(f lyonFact) bool { return when(f) && f.commune == c })
		}
	}
	for cut, n := range lyonCuts {
		for k := range n {
			is := func(f lyonFact) bool { return l.profile[f.org][cut] == k }
			add(fmt.Sprintf("metropole cut%d=%d", cut, k), Rank{Level: 0, Cut: true}, is)
			for b := range lyonBoroughs {
				add(fmt.Sprintf("ctm%02d cut%d=%d", b, cut, k), Rank{Level: 1, Cut: true}, func(f lyonFact) bool { return is(f) && lyonBorough(f.commune) == b })
			}
		}
	}
	return t
}

// release tells what a first release shows, and gives the table of the next
// one: some values were corrected, some facts are new.
func (l *lyon) next(t *Table, decisions []Decision, late, corrected float64) *Table {
	out := &Table{Facts: slices.Clone(t.Facts), Published: slices.Clone(t.Published), Secrets: slices.Clone(t.Secrets)}
	was := make([]int32, len(t.Facts)) // fact now → fact then
	for i := range t.Facts {
		was[i] = int32(i)
		switch x := l.r.Float64(); {
		case x < late:
			was[i] = -1
		case x < late+corrected:
			was[i] = int32(len(out.Facts))
			old := out.Facts[i]
			old.Value = impact.Quantity(float64(old.Value) * (0.8 + 0.4*l.r.Float64()))
			out.Facts = append(out.Facts, old)
		}
	}
	for i := range t.Figures {
		f := t.Figures[i]
		moved := false
		var then, diffs []Sum
		for _, s := range f.Sums {
			var old, diff Sum
			for _, term := range s.Terms {
				if int(term.Fact) < len(was) && was[term.Fact] != term.Fact {
					diff.Terms = append(diff.Terms, term)
					if was[term.Fact] < 0 {
						continue
					}
					term.Fact = was[term.Fact]
					diff.Terms = append(diff.Terms, Term{term.Fact, -term.Num, term.Den})
				}
				old.Terms = append(old.Terms, term)
			}
			then, diffs = append(then, old), append(diffs, diff)
			moved = moved || len(diff.Terms) > 0
		}
		f.Rank.Moved = moved
		if decisions[i].Reason == Shown {
			out.Published = append(out.Published, then...)
			for _, d := range diffs {
				if len(d.Terms) > 0 {
					out.Secrets = append(out.Secrets, d)
				}
			}
		} else {
			f.Rank.Moved = true
			out.Secrets = append(out.Secrets, then...)
		}
		out.Figures = append(out.Figures, f)
	}
	return out
}

// processorTime leaves out what other programs on the machine take.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestTime measures, in time of processors, the collector's included.
//
//	go test ./pkg/disclosure -run TestTime -v -disclosure.many 600
func TestTime(t *testing.T) {
	if !testing.Verbose() {
		t.Skip("measures only with -v")
	}
	l := newLyon(1)
	kinds := []struct {
		name string
		n    int
		make func() *Table
	}{
		{"one indicator, 830 facts", *many, func() *Table { return l.table(1, 830, 0) }},
		{"one indicator, 200 facts", *many, func() *Table { return l.table(1, 200, 0) }},
		{"one indicator, 3000 facts", *many / 10, func() *Table { return l.table(1, 3000, 0) }},
		{"8 indicators, 3 ratios, 830 facts each", *many / 20, func() *Table { return l.table(8, 830, 3) }},
		{"… a second release, 8 % late, 3 % corrected", *many / 5, func() *Table {
			one := l.table(1, 830, 0)
			return l.next(one, mustProtect(t, one, Strict1), 0.08, 0.03)
		}},
		{"… a third", *many / 5, func() *Table {
			one := l.table(1, 830, 0)
			two := l.next(one, mustProtect(t, one, Strict1), 0.08, 0.03)
			return l.next(two, mustProtect(t, two, Strict1), 0.04, 0.02)
		}},
	}
	for _, k := range kinds {
		var exact, took []time.Duration
		var total time.Duration
		reasons := map[Reason]int{}
		cells := 0
		for range max(k.n, 1) {
			table := k.make()
			start := processorTime()
			p, err := decide(table, Strict1)
			if err != nil {
				t.Fatal(err)
			}
			exact = append(exact, processorTime()-start)
			p.widen()
			took = append(took, processorTime()-start)
			total += took[len(took)-1]
			for _, d := range p.decisions {
				reasons[d.Reason]++
				cells++
			}
		}
		slices.Sort(exact)
		slices.Sort(took)
		share := func(r Reason) float64 { return 100 * float64(reasons[r]) / float64(cells) }
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("%s: %d tables of %d figures; exact p50 %v; with intervals p50 %v, p95 %v, max %v, together %v; shown %.1f %%, withheld alone %.1f %%, for exactness %.1f %%, for intervals %.1f %%; %d MB taken from the system so far",
			k.name, len(took), cells/len(took), exact[len(exact)/2], took[len(took)/2], took[len(took)*95/100], took[len(took)-1], total,
			share(Shown), 100-share(Shown)-share(WouldTell)-share(WouldNarrow), share(WouldTell), share(WouldNarrow), m.Sys>>20)
	}
}

func BenchmarkProtect(b *testing.B) {
	l := newLyon(2)
	tables := make([]*Table, 8)
	for i := range tables {
		tables[i] = l.table(1, 830, 0)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		mustProtect(b, tables[i%len(tables)], Strict1)
	}
}
