// Package attack recovers secrets from published figures, for tests: everything
// that is told becomes one linear program over the facts themselves, which GLPK,
// a solver that is none of ours, pushes as far as it goes.
package attack

import (
	"bufio"
	"bytes"
	"fmt"
	"math/big"
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

// Breach is a secret that what is told leaves less room than it needs.
type Breach struct {
	Secret    *audit.Secret
	Low, High float64
}

// Exact tells that nothing at all is left.
func (b Breach) Exact() bool { return b.High-b.Low <= 1e-6*(1+max(b.High, -b.High)) }

func (b Breach) String() string {
	return fmt.Sprintf("%s, sum %d = %g: between %g and %g, needs %g on each side, %g on one", b.Secret.Name, b.Secret.Index, b.Secret.Value, b.Low, b.High,
		b.Secret.Each, b.Secret.Either)
}

// Attack solves for every secret of the table, with what is shown under the
// decisions; nil decisions show all that the rules alone allow.
func Attack(t testing.TB, table *disclosure.Table, decisions []disclosure.Decision, rules disclosure.Rules) []Breach {
	t.Helper()
	return Solve(t, table, audit.Told(table, decisions, rules), audit.Secrets(table, rules))
}

// batch is how many secrets one program holds.
const batch = 20

// Solve bounds each secret by what is told and gives those too narrow.
func Solve(t testing.TB, table *disclosure.Table, told []*disclosure.Sum, secrets []audit.Secret) []Breach {
	t.Helper()
	var asked []*audit.Secret
	for i := range secrets {
		if s := &secrets[i]; s.Each > 0 || s.Either > 0 {
			asked = append(asked, s)
		}
	}
	var out []Breach
	for len(asked) > 0 {
		n := min(batch, len(asked))
		for i, b := range solve(t, table, told, asked[:n]) {
			if !asked[i].Enough(b[0], b[1]) {
				out = append(out, Breach{asked[i], b[0], b[1]})
			}
		}
		asked = asked[n:]
	}
	return out
}

// unit is a fact's: a program in millionths would ask too much of floats.
const unit = float64(impact.One)

// solve writes one program: for each secret two copies of all facts that agree
// with all that is told, one with the secret as large as can be, one as small.
// It stops at four times the room a secret needs, so that all end.
func solve(t testing.TB, table *disclosure.Table, told []*disclosure.Sum, secrets []*audit.Secret) [][2]float64 {
	t.Helper()
	var objective, rows, bounds bytes.Buffer
	at := 0
	var where [][2]int
	for k, s := range secrets {
		var places [2]int
		far := 4*max(s.Each, s.Either)/unit + 1
		for side, name := range []string{"a", "b"} {
			x := func(fact int32) string { return fmt.Sprintf("%s%d_%d", name, k, fact) }
			used := map[int32]bool{}
			write := func(sum *disclosure.Sum) (*big.Rat, bool) {
				scale := common(sum)
				value, some := new(big.Rat), false
				for _, term := range sum.Terms {
					if table.Facts[term.Fact].Waived {
						continue
					}
					w := new(big.Rat).Mul(big.NewRat(term.Num, term.Den), new(big.Rat).SetInt(scale))
					fmt.Fprintf(&rows, "%+d %s\n", w.Num(), x(term.Fact))
					used[term.Fact], some = true, true
					value.Add(value, w.Mul(w, table.Facts[term.Fact].Value.Rat()))
				}
				return value, some
			}
			for _, sum := range told {
				from := rows.Len()
				if v, some := write(sum); some {
					fmt.Fprintf(&rows, "= %s\n", v.FloatString(6))
					at++
				} else {
					rows.Truncate(from)
				}
			}
			if v, some := write(s.Sum); some {
				places[side] = at
				at++
				f, _ := v.Float64()
				if side == 0 {
					fmt.Fprintf(&rows, "<= %.9f\n", f+far*scaleOf(s.Sum))
				} else {
					fmt.Fprintf(&rows, ">= %.9f\n", f-far*scaleOf(s.Sum))
				}
				for _, term := range s.Sum.Terms {
					if table.Facts[term.Fact].Waived {
						continue
					}
					w := float64(term.Num) / float64(term.Den)
					if side == 1 {
						w = -w
					}
					fmt.Fprintf(&objective, "%+.12g %s\n", w, x(term.Fact))
				}
			}
			for i := range table.Facts {
				switch f := &table.Facts[i]; {
				case !used[int32(i)]:
				case f.Signed:
					fmt.Fprintf(&bounds, "%s free\n", x(int32(i)))
				case f.Max > 0:
					fmt.Fprintf(&bounds, "0 <= %s <= %s\n", x(int32(i)), f.Max)
				}
			}
		}
		where = append(where, places)
	}
	values := run(t, "Maximize\nobj:\n"+objective.String()+"Subject To\n"+rows.String()+"Bounds\n"+bounds.String()+"End\n", at)
	out := make([][2]float64, len(secrets))
	for k, s := range secrets {
		scale := scaleOf(s.Sum)
		out[k] = [2]float64{values[where[k][1]] / scale * unit, values[where[k][0]] / scale * unit}
	}
	return out
}

// common is what makes the weights of a sum whole.
func common(s *disclosure.Sum) *big.Int {
	scale := big.NewInt(1)
	for _, term := range s.Terms {
		d := big.NewInt(term.Den)
		scale.Mul(scale, d.Quo(d, new(big.Int).GCD(nil, nil, scale, d)))
	}
	return scale
}

func scaleOf(s *disclosure.Sum) float64 {
	f, _ := new(big.Float).SetInt(common(s)).Float64()
	return f
}

// Solver finds glpsol, without which the test fails.
func Solver(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("glpsol")
	if err != nil {
		t.Fatal("glpsol is missing: run `make glpk`, or install GLPK (Debian and Ubuntu: apt-get install glpk-utils; macOS: brew install glpk)")
	}
	return path
}

// run solves a program in the CPLEX LP format and gives the value of each row.
func run(t testing.TB, program string, rows int) []float64 {
	t.Helper()
	dir := t.TempDir()
	lp, sol := filepath.Join(dir, "program.lp"), filepath.Join(dir, "solution")
	if err := os.WriteFile(lp, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), Solver(t), "--lp", lp, "--write", sol).CombinedOutput()
	if err != nil {
		t.Fatalf("glpsol: %v\n%s", err, out)
	}
	f, err := os.Open(sol)
	if err != nil {
		t.Fatalf("glpsol gave no solution: %v\n%s", err, out)
	}
	defer f.Close()
	values := make([]float64, rows)
	optimal := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		switch w := strings.Fields(lines.Text()); {
		case len(w) >= 6 && w[0] == "s": // s bas m n f f objective
			optimal = w[4] == "f" && w[5] == "f"
		case len(w) >= 4 && w[0] == "i":
			i, _ := strconv.Atoi(w[1])
			if values[i-1], err = strconv.ParseFloat(w[3], 64); err != nil {
				t.Fatalf("glpsol wrote %q", lines.Text())
			}
		}
	}
	if err := lines.Err(); err != nil || !optimal {
		t.Fatalf("glpsol found no optimum (%v):\n%s", err, out)
	}
	return values
}
