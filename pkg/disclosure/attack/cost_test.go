package attack

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/disclosure/audit"
	"github.com/grandlyon/retombees/pkg/impact"
)

// tabulated is a complete table with all its margins, of organisations of very
// different sizes.
func tabulated(seed uint64, sides ...int) *disclosure.Table {
	r := rand.New(rand.NewPCG(seed, 11))
	t := &disclosure.Table{}
	size := make([]float64, 60)
	for i := range size {
		size[i] = math.Exp(r.NormFloat64())
	}
	cells := 1
	for _, n := range sides {
		cells *= n
	}
	places := [][]int{}
	for c := range cells {
		place, rest := make([]int, len(sides)), c
		for d, n := range sides {
			place[d], rest = rest%n, rest/n
		}
		for _, g := range r.Perm(len(size))[:min(1+r.IntN(4)+r.IntN(8), 12)] {
			t.Facts = append(t.Facts, disclosure.Fact{Group: int32(g), Value: impact.Quantity(1+size[g]*r.Float64()*100) * impact.One})
			places = append(places, place)
		}
	}
	var margins func(at []int)
	margins = func(at []int) {
		if len(at) < len(sides) {
			for k := -1; k < sides[len(at)]; k++ {
				margins(append(append([]int{}, at...), k))
			}
			return
		}
		f := disclosure.Figure{Name: fmt.Sprint(at), Sums: make([]disclosure.Sum, 1)}
		for _, k := range at {
			if k >= 0 {
				f.Rank.Level++
			}
		}
		for i, place := range places {
			in := true
			for d, k := range at {
				in = in && (k < 0 || place[d] == k)
			}
			if in {
				f.Sums[0].Terms = append(f.Sums[0].Terms, disclosure.Term{Fact: int32(i), Num: 1, Den: 1})
			}
		}
		f.Rank.Contributor = -len(f.Sums[0].Terms)
		t.Figures = append(t.Figures, f)
	}
	margins(nil)
	return t
}

// optimum withholds as little as can be so that no secret follows from what is
// shown (room false), or so that each has its room. For each secret and side
// there are other values of the inner cells, at least 0, which move it by as
// much as it needs and move no cell that is shown:
//
//	minimise Σ price(c)·z(c), z(c) = 1 when c is withheld, 1 for each secret
//	for each secret s, and up and down:
//	  −M·z(c) ≤ Σ d(a), a in c ≤ M·z(c)        for each cell c
//	  Σ d(a), a in s ≥ Each (up), ≤ −Each (down), and beyond ±Either on one of them
//	  d(a) ≥ −value(a)
//
// Without room: one side, d free, Σ d(a) over s = 1. It gives -1 when it does
// not end in a minute.
func optimum(t testing.TB, table *disclosure.Table, rules disclosure.Rules, room, value bool) float64 {
	secrets := audit.Secrets(table, rules)
	primary := map[string]bool{}
	for _, s := range secrets {
		primary[s.Name] = true
	}
	if len(secrets) == 0 {
		return 0
	}
	// Inner cells in the place of facts: the attacker knows no finer.
	member := map[int32]string{}
	for c := range table.Figures {
		for _, x := range table.Figures[c].Sums[0].Terms {
			member[x.Fact] += fmt.Sprintf("%d,", c)
		}
	}
	atomOf, index := map[int32]int{}, map[string]int{}
	var amount []float64
	for f := range table.Facts {
		k, ok := index[member[int32(f)]]
		if !ok {
			k = len(amount)
			index[member[int32(f)]] = k
			amount = append(amount, 0)
		}
		atomOf[int32(f)] = k
		amount[k] += float64(table.Facts[f].Value) / unit
	}
	atoms := make([][]int, len(table.Figures))
	total := 0.0
	for c := range table.Figures {
		seen := map[int]bool{}
		for _, x := range table.Figures[c].Sums[0].Terms {
			if k := atomOf[x.Fact]; !seen[k] {
				seen[k] = true
				atoms[c] = append(atoms[c], k)
			}
		}
	}
	for _, a := range amount {
		total += a
	}
	var objective, rows, bounds, binary bytes.Buffer
	for c := range table.Figures {
		if primary[table.Figures[c].Name] {
			continue
		}
		price := 1.0
		if value {
			price = 0
			for _, k := range atoms[c] {
				price += amount[k] / total
			}
		}
		fmt.Fprintf(&objective, "+%.9f z%d\n", price, c)
		fmt.Fprintf(&binary, "z%d\n", c)
	}
	sides := []string{"u", "w"}
	if !room {
		sides = sides[:1]
	}
	for i, s := range secrets {
		var mine int
		for c := range table.Figures {
			if table.Figures[c].Name == s.Name {
				mine = c
			}
		}
		for n, side := range sides {
			d := func(k int) string { return fmt.Sprintf("%s%d_%d", side, i, k) }
			sum := func(c int) {
				for _, k := range atoms[c] {
					fmt.Fprintf(&rows, "+1 %s\n", d(k))
				}
			}
			for c := range table.Figures {
				if c == mine || primary[table.Figures[c].Name] {
					continue
				}
				far := 12.0
				if room {
					far = 4*max(s.Each, s.Either)/unit + 1
				}
				sum(c)
				fmt.Fprintf(&rows, "-%.6f z%d <= 0\n", far, c)
				sum(c)
				fmt.Fprintf(&rows, "+%.6f z%d >= 0\n", far, c)
			}
			for k, a := range amount {
				switch {
				case !room:
					fmt.Fprintf(&bounds, "%s free\n", d(k))
				default:
					fmt.Fprintf(&bounds, "%s >= -%.6f\n", d(k), a)
				}
			}
			each, either := s.Each/unit, s.Either/unit
			down := min(each, s.Value/unit)
			switch sum(mine); {
			case !room:
				fmt.Fprintf(&rows, "= 1\n")
			case n == 0: // at least Each, and Either unless it is down that goes so far
				fmt.Fprintf(&rows, "-%.6f y%d >= %.6f\n", either-each, i, each)
				fmt.Fprintf(&binary, "y%d\n", i)
			default: // Σ ≤ −down, and −Either when y = 0: −Either·(1−y)…
				fmt.Fprintf(&rows, "-%.6f y%d <= %.6f\n", either-down, i, -either)
			}
		}
	}
	dir := t.TempDir()
	lp, sol := filepath.Join(dir, "program.lp"), filepath.Join(dir, "solution")
	program := "Minimize\nobj:\n" + objective.String() + "Subject To\n" + rows.String() + "Bounds\n" + bounds.String() + "Binary\n" + binary.String() + "End\n"
	if err := os.WriteFile(lp, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), Solver(t), "--lp", lp, "--cuts", "--tmlim", "60", "--write", sol).CombinedOutput()
	if err != nil {
		t.Fatalf("glpsol: %v\n%s", err, out)
	}
	text, err := os.ReadFile(sol)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(text)) {
		if w := strings.Fields(line); len(w) == 6 && w[0] == "s" { // s mip m n o objective
			best, err := strconv.ParseFloat(w[5], 64)
			if err != nil || w[4] != "o" {
				return -1
			}
			return best
		}
	}
	t.Fatalf("glpsol wrote no status:\n%s", out)
	return 0
}

// What secrecy costs beyond the rules: secondary suppressions of ours against
// the least that any method needs, on tables small enough to know it. Ours also
// protects from contributors, which the optimum does not.
func BenchmarkSuppressionCost(b *testing.B) {
	for _, sides := range [][]int{{4, 4}, {6, 4}, {3, 3, 2}} {
		b.Run(fmt.Sprint(sides), func(b *testing.B) {
			var cells, primary, ours, exact, room, most, oursValue, roomValue, unsolved float64
			tables := 12
			if len(sides) > 2 {
				tables = 6 // the optimum takes its time
			}
			for b.Loop() {
				for seed := range uint64(tables) {
					table := tabulated(seed, sides...)
					rules := disclosure.Strict1
					decisions, err := disclosure.Protect(table, rules)
					if err != nil {
						b.Fatal(err)
					}
					least, leastRoom, leastValue := optimum(b, table, rules, false, false), optimum(b, table, rules, true, false), optimum(b, table, rules, true, true)
					if least < 0 || leastRoom < 0 || leastValue < 0 {
						unsolved++
						continue
					}
					exact, room, roomValue = exact+least, room+leastRoom, roomValue+leastValue
					total := 0.0
					for i := range table.Facts {
						total += float64(table.Facts[i].Value)
					}
					first := map[string]bool{}
					for _, s := range audit.Secrets(table, rules) {
						first[s.Name] = true
					}
					for i, d := range decisions {
						cells++
						v := 0.0
						for _, x := range table.Figures[i].Sums[0].Terms {
							v += float64(table.Facts[x.Fact].Value)
						}
						most += v / total
						switch {
						case first[table.Figures[i].Name]:
							primary++
						case d.Reason != disclosure.Shown:
							ours++
							oursValue += v / total
						}
					}
				}
			}
			b.ReportMetric(cells/float64(b.N), "cells")
			b.ReportMetric(100*primary/cells, "primary-%")
			b.ReportMetric(100*ours/cells, "ours-%")
			b.ReportMetric(100*exact/cells, "optimum-exact-%")
			b.ReportMetric(100*room/cells, "optimum-%")
			b.ReportMetric(100*oursValue/most, "ours-value-%")
			b.ReportMetric(100*roomValue/most, "optimum-value-%")
			b.ReportMetric(unsolved/float64(b.N), "unsolved")
		})
	}
}
