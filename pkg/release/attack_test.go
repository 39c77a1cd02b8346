package release

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/disclosure/audit"
	"github.com/grandlyon/retombees/pkg/impact"
)

// The auditor, who shares nothing with disclosure control, finds nothing in
// three releases.
func TestAuditOfReleasesInSuccession(t *testing.T) {
	for seed := range uint64(2) {
		r := rand.New(rand.NewPCG(seed, 41))
		w := anyWorld(t, r, 12, 2025)
		var before *out
		for n := impact.ReleaseNumber(1); n <= 3; n++ {
			now := build(t, w.input(n, before))
			for _, u := range now.units {
				c, err := Case(reference(), now.at[u], n, disclosure.Strict1, nil)
				if err != nil {
					t.Fatal(err)
				}
				report, err := audit.Run(c.Table, c.Decisions, disclosure.Strict1)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range report.Findings {
					t.Errorf("seed %d release %d unit %v: %s %v", seed, n, u, f.Kind, f)
				}
			}
			before = now
			w.late(r, 0.1, 2025)
		}
	}
}

// An attacker who keeps every release, and knows who takes part where, solves
// all that was ever published. Nothing here comes from the ledger: what was
// told is read from the text of the releases, what it rests on from the facts
// of the day. No contributor's part in any cell comes out, nor how much it
// moved.
func TestNobodyIsRecoveredFromAllReleases(t *testing.T) {
	recovered, withoutControl := 0, 0
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 43))
		w := anyWorld(t, r, 11, 2025)
		var before *out
		everything := map[string]*attacker{}
		bare := map[string]*attacker{} // what fails the rules alone is hidden, and nothing else
		var days []map[address][]calculation.Sum
		for n := impact.ReleaseNumber(1); n <= 3; n++ {
			now := build(t, w.input(n, before))
			made := w.sums(t)
			days = append(days, made)
			named := map[string]address{}
			for at := range made {
				named[at.name(reference().Gazetteer())] = at
			}
			for at, c := range now.cells(t) {
				if c.Withheld() || at.indicator == "" {
					continue
				}
				a := attackerOf(everything, familyOf(at.indicator))
				for _, s := range days[c.Moved-1][at] {
					a.learn(a.row(&s))
				}
			}
			for _, u := range now.units {
				c, err := Case(reference(), now.at[u], n, disclosure.Strict1, nil)
				if err != nil {
					t.Fatal(err)
				}
				for i, f := range c.Table.Figures {
					if primary(c.Decisions[i].Reason) {
						continue
					}
					at := named[f.Name]
					a := attackerOf(bare, familyOf(at.indicator))
					for _, s := range made[at] {
						a.learn(a.row(&s))
					}
				}
			}
			before = now
			w.late(r, 0.12, 2025)
		}
		for at, name := range map[*map[string]*attacker]string{&everything: "published", &bare: "primary only"} {
			n := 0
			for family, a := range *at {
				for _, secret := range parts(days, family) {
					if a.knows(secret.sum) {
						n++
						if name == "published" {
							t.Errorf("seed %d: %s comes out", seed, secret.name)
						}
					}
				}
			}
			if name == "published" {
				recovered += n
			} else {
				withoutControl += n
			}
		}
	}
	if withoutControl == 0 {
		t.Error("an attack that never wins shows nothing")
	}
	t.Logf("%d recovered; %d when only what fails the rules alone is hidden", recovered, withoutControl)
}

var families = sync.OnceValue(func() map[impact.IndicatorCode]string {
	m := map[impact.IndicatorCode]string{}
	for _, f := range Families(reference()) {
		for _, ind := range f.Indicators {
			m[ind.Code] = f.Code
		}
	}
	return m
})

func familyOf(code impact.IndicatorCode) string { return families()[code] }

// sums are what each cell would tell today.
func (w *world) sums(t testing.TB) map[address][]calculation.Sum {
	b, _, err := newBuilder(w.input(1, nil))
	if err != nil {
		t.Fatal(err)
	}
	out := map[address][]calculation.Sum{}
	for _, ind := range reference().Indicators() {
		for _, gran := range Granularities(ind) {
			queries := []calculation.Query{{Territories: b.places}}
			if gran == impact.Year {
				for _, cut := range Cuts {
					queries = append(queries, calculation.Query{Territories: b.cutPlaces, Cuts: []calculation.Dimension{cut}})
				}
			}
			for _, q := range queries {
				q.Indicators, q.Vintage, q.Periods, q.KeepRefused = []impact.IndicatorCode{ind.Code}, b.lattice.vintage, b.lattice.periods(2025, gran), true
				made, err := b.in.Cube.Made(q)
				if err != nil {
					t.Fatal(err)
				}
				for i := range made {
					out[addressOf(&made[i].Figure, made[i].Cut)] = made[i].Sums
				}
			}
		}
	}
	return out
}

type part struct {
	name string
	sum  calculation.Sum
}

// parts are what each group has in each cell in each release, and how much that
// moved from one release to a later one.
func parts(days []map[address][]calculation.Sum, family string) (out []part) {
	for n, day := range days {
		for at, sums := range day {
			if familyOf(at.indicator) != family {
				continue
			}
			for i := range sums {
				byGroup := map[string][]calculation.Term{}
				for _, term := range sums[i].Terms {
					byGroup[term.Group] = append(byGroup[term.Group], term)
				}
				for g, terms := range byGroup {
					name := fmt.Sprintf("%v sum %d of %s in %d", at, i, g, n+1)
					out = append(out, part{name, calculation.Sum{Terms: terms}})
					for m := range n {
						var moved []calculation.Term
						if old := days[m][at]; i < len(old) {
							for _, term := range old[i].Terms {
								if term.Group == g {
									term.Num = -term.Num
									moved = append(moved, term)
								}
							}
						}
						if len(moved) > 0 {
							out = append(out, part{fmt.Sprintf("%s since %d", name, m+1), calculation.Sum{Terms: append(moved, terms...)}})
						}
					}
				}
			}
		}
	}
	return out
}

// attacker keeps what it knows as rows in echelon form, modulo a prime.
type attacker struct {
	columns map[string]int
	rows    map[int]map[int]uint64 // by leading column
}

func attackerOf(m map[string]*attacker, family string) *attacker {
	if m[family] == nil {
		m[family] = &attacker{columns: map[string]int{}, rows: map[int]map[int]uint64{}}
	}
	return m[family]
}

const modulus = 1<<61 - 1

func mul(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	_, rest := bits.Div64(hi, lo, modulus)
	return rest
}

func inverse(a uint64) uint64 {
	r, e := uint64(1), uint64(modulus-2)
	for ; e > 0; e >>= 1 {
		if e&1 == 1 {
			r = mul(r, a)
		}
		a = mul(a, a)
	}
	return r
}

func residue(n int64) uint64 {
	if n < 0 {
		return modulus - uint64(-n)%modulus
	}
	return uint64(n) % modulus
}

// row writes a sum over the versions of facts.
func (a *attacker) row(s *calculation.Sum) map[int]uint64 {
	row := map[int]uint64{}
	for _, t := range s.Terms {
		name := fmt.Sprint(t.Fact, t.Value)
		col, ok := a.columns[name]
		if !ok {
			col = len(a.columns)
			a.columns[name] = col
		}
		if v := (row[col] + mul(residue(t.Num), inverse(residue(t.Den)))) % modulus; v != 0 {
			row[col] = v
		} else {
			delete(row, col)
		}
	}
	return row
}

// reduce takes what is known out of a row and gives its leading column.
func (a *attacker) reduce(row map[int]uint64) int {
	for {
		first := -1
		for c := range row {
			if a.rows[c] != nil {
				first = c
				break
			}
		}
		if first < 0 {
			for c := range row {
				return c
			}
			return -1
		}
		a.subtract(row, a.rows[first], row[first])
	}
}

// subtract takes times × by from row; by has 1 in its leading column.
func (a *attacker) subtract(row, by map[int]uint64, times uint64) {
	for c, v := range by {
		if x := (row[c] + modulus - mul(times, v)) % modulus; x != 0 {
			row[c] = x
		} else {
			delete(row, c)
		}
	}
}

func (a *attacker) learn(row map[int]uint64) {
	lead := a.reduce(row)
	if lead < 0 {
		return
	}
	inv := inverse(row[lead])
	for c, v := range row {
		row[c] = mul(v, inv)
	}
	// Every other row is freed of the new leading column: the form stays reduced.
	for _, other := range a.rows {
		if v := other[lead]; v != 0 {
			a.subtract(other, row, v)
		}
	}
	a.rows[lead] = row
}

func (a *attacker) knows(s calculation.Sum) bool {
	row := a.row(&s)
	return len(row) > 0 && a.reduce(row) < 0
}
