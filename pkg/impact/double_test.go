package impact_test

import (
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

func TestCountedTwice(t *testing.T) {
	c := checker()
	say := func(territory, period, perimeter string, covers ...string) *impact.Observation {
		st := hours(func(s *impact.Statement) {
			s.Territory, s.Period, s.Perimeter, s.Covers = territory, period, perimeter, covers
		})
		row, faults, _ := c.Resolve(&st, &impact.Organisation{Key: 1, ID: "one"})
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		return &row.Cells[0]
	}
	cut := func(o *impact.Observation, text string) *impact.Observation { o.Cut = text; return o }
	none := func(o *impact.Observation) *impact.Observation {
		o.Value, o.Status = nil, impact.NotCollected
		return o
	}
	const here, then = "commune-69266", "2025-Q3"
	unit := impact.Standing{ID: "unit", Name: "Siège", SIREN: "356000000"}
	shop := impact.Standing{ID: "shop", Name: "Atelier", SIREN: "356000000", SIRET: "35600000000048"}
	twin := impact.Standing{ID: "twin", Name: "Atelier EI", SIREN: "356000000", SIRET: "35600000000048"}
	other := impact.Standing{ID: "other", Name: "Ailleurs", SIREN: "732829320"}
	bare := impact.Standing{ID: "bare", Name: "Sans numéro"}
	value := func(by impact.Standing, o *impact.Observation) impact.Claim { return impact.Claim{By: by, Value: o} }
	network := func(o *impact.Observation) impact.Claim { return impact.Claim{By: other, Network: "Réseau", Value: o} }
	for name, x := range map[string]struct {
		o     *impact.Observation
		of    impact.Standing
		claim impact.Claim
		want  impact.FaultCode
	}{
		"a total beside an establishment":          {say(here, then, ""), unit, value(shop, say(here, then, "establishment")), "parent_and_establishment"},
		"an establishment beside the total":        {say(here, then, "establishment"), shop, value(unit, say(here, then, "legal_unit")), "parent_and_establishment"},
		"an establishment that speaks for all":     {say(here, then, "legal_unit"), shop, value(twin, say(here, then, "")), "parent_and_establishment"},
		"two establishments":                       {say(here, then, ""), shop, value(twin, say(here, then, "establishment")), ""},
		"two structures without establishment":     {say(here, then, ""), unit, value(unit, say(here, then, "")), ""},
		"another territory":                        {say("commune-69029", then, ""), unit, value(shop, say(here, then, "")), ""},
		"another period":                           {say(here, "2025-Q2", ""), unit, value(shop, say(here, then, "")), ""},
		"no number here":                           {none(say(here, then, "")), unit, value(shop, say(here, then, "")), ""},
		"no number there":                          {say(here, then, ""), unit, value(shop, none(say(here, then, ""))), ""},
		"a part beside the whole":                  {cut(say(here, then, ""), "sex=F"), unit, value(shop, say(here, then, "")), "parent_and_establishment"},
		"two different parts":                      {cut(say(here, then, ""), "sex=F"), unit, value(shop, cut(say(here, then, ""), "sex=M")), ""},
		"another legal unit":                       {say(here, then, ""), unit, value(other, say(here, then, "")), ""},
		"nobody has a SIREN":                       {say(here, then, ""), bare, value(impact.Standing{ID: "b"}, say(here, then, "")), ""},
		"a member, by its SIREN":                   {say(here, then, ""), unit, network(say(here, then, "programme", "356000000")), "covered_by_network"},
		"a member, by its id":                      {say(here, then, ""), bare, network(say(here, then, "programme", "bare")), "covered_by_network"},
		"a member that is not covered":             {say(here, then, ""), bare, network(say(here, then, "programme", "356000000")), ""},
		"covered by who is no network of its":      {say(here, then, ""), unit, value(other, say(here, then, "programme", "356000000")), ""},
		"the network's figure of another quarter":  {say(here, then, ""), unit, network(say(here, "2025-Q2", "programme", "356000000")), ""},
		"the network's figure of a wider place":    {say(here, then, ""), unit, network(say("metropole-200046977", then, "programme", "356000000")), ""},
		"a member of a network without own figure": {say(here, then, ""), unit, network(none(say(here, then, "programme", "356000000"))), ""},
	} {
		f := c.CountedTwice(x.o, &x.of, []impact.Claim{x.claim})
		got := impact.FaultCode("")
		if f != nil {
			got = f.Code
			wellSaid(t, *f)
			if strings.Contains(f.Detail.EN, "1840") {
				t.Errorf("%s tells a value of somebody else: %s", name, f.Detail.EN)
			}
		}
		if got != x.want {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
	// Scores and means never make totals of organisations: nothing is doubled.
	score := say(here, then, "")
	for i := range c.Catalogue.Indicators() {
		if ind := c.Catalogue.Indicators()[i]; ind.Kind == impact.Boolean {
			score.Indicator = ind.Key
		}
	}
	if f := c.CountedTwice(score, &unit, []impact.Claim{value(shop, score)}); f != nil {
		t.Error(f)
	}
}

func TestRunningTotals(t *testing.T) {
	c := checker()
	warned := func(values ...string) (warnings int) {
		var statements []impact.Statement
		for i, v := range values {
			statements = append(statements, hours(func(s *impact.Statement) {
				s.Period, s.Value = "2025-Q"+string(rune('1'+i)), v
			}))
		}
		rows := batchOf(t, statements...)
		c.Reconcile(rows, nil, nil)
		for _, r := range rows {
			if len(r.Faults) > 0 {
				t.Fatal(r.Faults)
			}
			for _, w := range r.Warnings {
				if w.Code == "plausibility" {
					wellSaid(t, w)
					warnings++
				}
			}
		}
		return warnings
	}
	for series, x := range map[string]struct {
		values []string
		want   int
	}{
		"domain.md E8":           {[]string{"10", "25", "40"}, 1},
		"a whole year":           {[]string{"100", "210", "290", "400"}, 2},
		"level":                  {[]string{"100", "100", "100", "100"}, 0},
		"growing":                {[]string{"100", "110", "121", "133"}, 0},
		"growing fast":           {[]string{"100", "140", "196"}, 0},
		"up and down":            {[]string{"100", "250", "240"}, 0},
		"two values":             {[]string{"100", "200"}, 0},
		"a start from nothing":   {[]string{"0", "10", "20"}, 0},
		"one strong quarter":     {[]string{"10", "20", "200"}, 0},
		"growth that slows":      {[]string{"100", "190", "200", "201"}, 0},
		"a total that stagnates": {[]string{"100", "200", "200"}, 0},
	} {
		if got := warned(x.values...); got != x.want {
			t.Errorf("%s: %d warnings, want %d", series, got, x.want)
		}
	}
	// What is stored counts too, and months as well as quarters.
	stored := batchOf(t, hours(func(s *impact.Statement) { s.Period, s.Value = "2025-01", "10" }), hours(func(s *impact.Statement) { s.Period, s.Value = "2025-02", "20" }))
	next := batchOf(t, hours(func(s *impact.Statement) { s.Period, s.Value = "2025-03", "31" }))
	c.Reconcile(next, knownFrom(stored), nil)
	if len(next[0].Warnings) != 1 || next[0].Warnings[0].Code != "plausibility" {
		t.Errorf("%+v", next[0].Warnings)
	}
}

func TestOverwrites(t *testing.T) {
	if f := impact.Overwrites(impact.ReportedByNetwork); f != nil {
		t.Error(f)
	}
	for _, by := range []impact.Reporter{impact.ReportedByOrganisation, impact.ReportedByOtherNetwork} {
		f := impact.Overwrites(by)
		if f == nil || f.Code != "reported_by_other" {
			t.Fatal(f)
		}
		wellSaid(t, *f)
	}
	if impact.Overwrites(impact.ReportedByOrganisation).Detail == impact.Overwrites(impact.ReportedByOtherNetwork).Detail {
		t.Error("who stated the value is not said")
	}
}
