package release

import (
	"testing"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/disclosure/attack"
	"github.com/grandlyon/retombees/pkg/impact"
)

// A quotient of nearly 1 makes wholes of parts: in each of three communes, three
// organisations use nothing, or little, but renewable energy, and a fourth tells
// its energy only. The part subtracted from the whole would be the fourth's value.
func wholeWorld(t *testing.T, other string) *world {
	w := newWorld(t)
	year := impact.YearPeriod(2025)
	for _, at := range []impact.TerritoryID{"commune-69266", "commune-69029", "commune-69034"} {
		for _, part := range []string{"100", "113", "126"} {
			org := len(w.orgs)
			w.orgs = append(w.orgs, member{profile: impact.Profile{Class: impact.Company}})
			w.says(org, "renewable_energy_consumed", at, year, part)
			whole := *number(part) + *number(other)
			w.says(org, "energy_consumed", at, year, whole.String())
		}
		org := len(w.orgs)
		w.orgs = append(w.orgs, member{profile: impact.Profile{Class: impact.Company}})
		w.says(org, "energy_consumed", at, year, []string{"77", "91", "68"}[org/4])
	}
	return w
}

func TestAPartNeverTellsTheWhole(t *testing.T) {
	w := wholeWorld(t, "0")
	now := build(t, w.input(1, nil))
	metropole := reference().Gazetteer().At("metropole-200046977", w.day).Key
	seen := false
	for at, c := range now.cells(t) {
		if at.indicator == "renewable_energy_share" && at.territory == metropole {
			seen = true
			if !c.Withheld() {
				t.Errorf("a share of %v is shown: the share of each is then known, and every value that lies between the part and the whole", c.Figure.Value)
			}
		}
	}
	if !seen {
		t.Fatal("no share")
	}
	for _, other := range []string{"0", "0.1", "3", "25"} {
		w := wholeWorld(t, other)
		now := build(t, w.input(1, nil))
		u := Unit{"energy_consumed", 2025}
		c, err := Case(reference(), now.at[u], 1, disclosure.Strict1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Table.Identities) == 0 {
			t.Fatal("nothing is known of parts and wholes")
		}
		for _, b := range attack.Attack(t, c.Table, c.Decisions, disclosure.Strict1) {
			t.Errorf("%s beside each part: %v", other, b)
		}
		shown := 0
		for _, d := range c.Decisions {
			if d.Reason == disclosure.Shown {
				shown++
			}
		}
		t.Logf("%s beside each part: %d of %d shown", other, shown, len(c.Decisions))
	}
}
