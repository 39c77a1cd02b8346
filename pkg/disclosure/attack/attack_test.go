package attack

import (
	"flag"
	"fmt"
	"slices"
	"testing"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/disclosure/audit"
)

var (
	worlds = flag.Int("attack.worlds", 40, "how many random worlds are attacked")
	from   = flag.Uint64("attack.seed", 1, "of the first world")
)

func protect(t *testing.T, table *disclosure.Table, rules disclosure.Rules) []disclosure.Decision {
	t.Helper()
	decisions, err := disclosure.Protect(table, rules)
	if err != nil {
		t.Fatal(err)
	}
	return decisions
}

// check attacks one release with the solver and with the auditor. What earlier
// releases told is told: of secrets that they left no room, nothing is asked.
func check(t *testing.T, name string, table *disclosure.Table, decisions []disclosure.Decision, rules disclosure.Rules) {
	t.Helper()
	report, err := audit.Run(table, decisions, rules)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		t.Errorf("%s: auditor: %s", name, f)
	}
	if report.Unsettled > 0 {
		t.Errorf("%s: auditor: %d secrets unsettled", name, report.Unsettled)
	}
	breaches := Attack(t, table, decisions, rules)
	if len(breaches) > 0 && len(table.Published) > 0 {
		var before []audit.Secret
		for _, b := range breaches {
			before = append(before, *b.Secret)
		}
		var told []*disclosure.Sum
		for i := range table.Published {
			told = append(told, &table.Published[i])
		}
		for i := range table.Identities {
			told = append(told, &table.Identities[i])
		}
		old := Solve(t, table, told, before)
		breaches = slices.DeleteFunc(breaches, func(b Breach) bool {
			return slices.ContainsFunc(old, func(o Breach) bool { return o.Secret.Name == b.Secret.Name && o.Secret.Index == b.Secret.Index })
		})
	}
	for _, b := range breaches {
		t.Errorf("%s: solver: %s", name, b)
	}
}

// Of three successive releases nobody recovers a value.
func TestNothingIsRecovered(t *testing.T) {
	Solver(t)
	for i := range *worlds {
		seed := *from + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(seed)
			rules := disclosure.Strict1
			if seed%4 == 0 {
				rules = disclosure.Standard1
			}
			for release := 1; release <= 3; release++ {
				table := w.table()
				decisions := protect(t, table, rules)
				check(t, fmt.Sprintf("release %d", release), table, decisions, rules)
				w.publish(table, decisions)
				w.pass()
			}
		})
	}
}

// With primary suppression only, the solver recovers values, and the auditor
// finds the same ones: what finds nothing above can find something.
func TestTheAttackerCanWin(t *testing.T) {
	exact, narrow, insiders := 0, 0, 0
	for i := range *worlds {
		w := newWorld(*from + uint64(i))
		table := w.table()
		report, err := audit.Run(table, nil, disclosure.Strict1)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]audit.Kind{}
		for _, f := range report.Findings {
			if f.Kind == audit.Insider {
				insiders++
				continue
			}
			found[fmt.Sprint(f.Secret, f.Sum)] = f.Kind
		}
		for _, b := range Attack(t, table, nil, disclosure.Strict1) {
			name := fmt.Sprint(b.Secret.Name, b.Secret.Index)
			kind, ok := found[name]
			if !ok {
				t.Errorf("world %d: the solver recovers what the auditor does not: %s", *from+uint64(i), b)
			}
			if (kind == audit.Exact) && !b.Exact() {
				t.Errorf("world %d: exact for the auditor, not for the solver: %s", *from+uint64(i), b)
			}
			if kind == audit.Exact {
				exact++
			} else {
				narrow++
			}
			delete(found, name)
		}
		for _, s := range audit.Secrets(table, disclosure.Strict1) {
			name := fmt.Sprint(s.Name, s.Index)
			if kind, ok := found[name]; ok && (s.Each > 0 || s.Either > 0) {
				t.Errorf("world %d: the auditor recovers (%s) what the solver does not: %s", *from+uint64(i), kind, name)
			}
		}
	}
	t.Logf("primary suppression only, %d worlds: %d exact, %d too narrow, %d by insiders", *worlds, exact, narrow, insiders)
	if exact == 0 || narrow == 0 || insiders == 0 {
		t.Errorf("%d exact, %d narrow, %d insiders: the attack proves nothing", exact, narrow, insiders)
	}
}
