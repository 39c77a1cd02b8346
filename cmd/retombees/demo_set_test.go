package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

func testDemoSet(t testing.TB, on impact.Date) (*impact.Catalogue, demoSet) {
	t.Helper()
	c := testCatalogue(t)
	set, err := newDemoSet(c, on)
	if err != nil {
		t.Fatal(err)
	}
	return c, set
}

// total adds the values of an indicator of the set over a year.
func (s demoSet) total(t testing.TB, indicator string, year string) impact.Quantity {
	t.Helper()
	var sum impact.Quantity
	for _, o := range s.Organisations {
		for _, sub := range o.Submissions {
			for _, st := range sub.Statements {
				if st.Indicator == indicator && strings.HasPrefix(st.Period, year) {
					q, fault := impact.ParseQuantity(st.Value)
					if fault != nil {
						t.Fatal(fault)
					}
					sum += q
				}
			}
		}
	}
	return sum
}

func TestTheDemonstrationHasTheOrderOfMagnitudeOfTheProgramme(t *testing.T) {
	_, set := testDemoSet(t, today)
	for year, want := range map[string]struct{ collected, recovered string }{
		"2019": {"2080", "416"},  // 20 %
		"2021": {"3400", "2720"}, // 80 %
	} {
		collected := set.total(t, "waste_collected", year)
		recovered := set.total(t, "waste_reused", year) + set.total(t, "waste_recycled", year) + set.total(t, "waste_energy_recovered", year)
		if collected.String() != want.collected || recovered.String() != want.recovered {
			t.Errorf("%s: %s t collected, %s t recovered", year, collected, recovered)
		}
		if rest := set.total(t, "waste_disposed", year); rest != collected-recovered {
			t.Errorf("%s: %s t disposed of", year, rest)
		}
	}
	var fte impact.Quantity // of the fifteen firms, over the four quarters of 2021
	programme := demoSet{Organisations: set.Organisations[:15]}
	fte = programme.total(t, "insertion_fte", "2021")
	if fte/4 != 7*impact.One {
		t.Errorf("%s FTE of insertion in 2021", fte/4)
	}
}

func TestTheDemonstrationReachesEveryCommuneOfItsTime(t *testing.T) {
	c, set := testDemoSet(t, today)
	g := c.Gazetteer()
	for year, communes := range map[int]int{2023: 59, 2024: 58} {
		day := impact.NewDate(year, 1, 1)
		metropole := g.At(lyon, day)
		reached := map[impact.TerritoryKey]bool{}
		for _, o := range set.Organisations {
			for _, s := range o.Submissions {
				for _, st := range s.Statements {
					p, _ := impact.ParsePeriod(st.Period)
					if p.Start.Year() != year {
						continue
					}
					place := g.At(impact.TerritoryID(st.Territory), p.Start)
					if place == nil {
						t.Fatalf("%s is not in force in %s", st.Territory, st.Period)
					}
					reached[place.Key] = true
				}
			}
		}
		all := g.Descendants(metropole.Key, impact.Vintage(year), impact.Commune)
		if len(all) != communes {
			t.Errorf("%d: %d communes", year, len(all))
		}
		for _, commune := range all {
			if !reached[commune.Key] {
				t.Errorf("%d: nothing in %s", year, commune.Name)
			}
		}
	}
}

func TestTheDemonstrationIsInventedAndSaysSo(t *testing.T) {
	_, set := testDemoSet(t, today)
	seen := map[string]bool{}
	for _, o := range set.Organisations {
		if !strings.HasSuffix(o.Name, " (démo)") {
			t.Errorf("%q does not say that it is invented", o.Name)
		}
		if siret, fault := impact.CheckSIRET(o.SIRET); fault != nil || siret != o.SIRET {
			t.Errorf("%s: SIRET %s: %v", o.Name, o.SIRET, fault)
		}
		if !strings.HasPrefix(o.SIREN, "0000") || !strings.HasPrefix(o.SIRET, o.SIREN) {
			t.Errorf("%s: SIREN %s could be somebody's", o.Name, o.SIREN)
		}
		for _, once := range []string{o.SIRET, o.Name, o.ExternalIDs[0].ID} {
			if seen[once] {
				t.Errorf("%s twice", once)
			}
			seen[once] = true
		}
		for _, s := range o.Submissions {
			for _, st := range s.Statements {
				if st.Source != demoSource {
					t.Fatalf("%s: a statement without source %q", o.Name, demoSource)
				}
			}
		}
	}
}

func TestTheDemonstrationIsAlwaysTheSameAndNeverStatesTheFuture(t *testing.T) {
	_, a := testDemoSet(t, today)
	_, b := testDemoSet(t, today)
	if !reflect.DeepEqual(a, b) {
		t.Error("not the same twice")
	}
	day := impact.NewDate(2024, 5, 15)
	_, early := testDemoSet(t, day)
	n := 0
	for _, o := range early.Organisations {
		for _, s := range o.Submissions {
			for _, st := range s.Statements {
				if p, _ := impact.ParsePeriod(st.Period); p.End >= day {
					t.Fatalf("on %s, a statement about %s", day, st.Period)
				}
				n++
			}
		}
	}
	if n < 10_000 {
		t.Errorf("%d statements before %s", n, day)
	}
}

func TestTheDemonstrationPassesEveryCheckWithoutAWarning(t *testing.T) {
	c, set := testDemoSet(t, today)
	checker := &impact.Checker{Catalogue: c, Today: today}
	states := map[impact.SubmissionState]int{}
	statements := 0
	for i := range set.Organisations {
		o := &set.Organisations[i].Organisation
		o.Key = impact.OrganisationKey(i + 1)
		for _, f := range o.Check(c) {
			t.Errorf("%s: %s at %s: %s", o.Name, f.Code, f.Pointer, f.Detail.EN)
		}
		known := map[impact.Neighbour][]impact.Observation{}
		for _, s := range set.Organisations[i].Submissions {
			states[s.State]++
			rows := make([]*impact.Row, len(s.Statements))
			for n := range s.Statements {
				row := &impact.Row{Organisation: o}
				row.Resolved, row.Faults, row.Warnings = checker.Resolve(&s.Statements[n], o)
				rows[n] = row
			}
			checker.Reconcile(rows, known, nil)
			for n, row := range rows {
				statements++
				for _, f := range append(row.Faults, row.Warnings...) {
					t.Errorf("%s, %s %s %s = %s: %s: %s", o.Name, s.Statements[n].Indicator, s.Statements[n].Territory, s.Statements[n].Period, s.Statements[n].Value, f.Code, f.Detail.EN)
				}
				for _, cell := range row.Cells {
					k := impact.Neighbour{Organisation: o.Key, Indicator: cell.Indicator}
					known[k] = append(known[k], cell)
				}
			}
		}
		if t.Failed() && i > 20 { // enough has been said
			break
		}
	}
	for _, s := range []impact.SubmissionState{impact.Draft, impact.Submitted, impact.Approved, impact.Returned} {
		if states[s] == 0 {
			t.Errorf("no submission is %s", s)
		}
	}
	if statements > 50_000 {
		t.Errorf("%d statements: too many to load while somebody waits", statements)
	}
	t.Logf("%d statements, submissions %v", statements, states)
}
