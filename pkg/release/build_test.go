package release

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
)

func TestBuildDoesNotDependOnOrder(t *testing.T) {
	for seed := range uint64(2) {
		w := anyWorld(t, rand.New(rand.NewPCG(seed, 1)), 25, 2025)
		first := build(t, w.input(1, nil))
		if first.built.Counts.Shown == 0 || first.built.Counts.Withheld == 0 {
			t.Fatalf("seed %d: a world that tests nothing: %+v", seed, first.built.Counts)
		}
		w.rename, w.order = true, rand.New(rand.NewPCG(seed, 2))
		for range 2 {
			other := build(t, w.input(1, nil))
			if other.built.Digest != first.built.Digest {
				for _, u := range first.units {
					if o := other.at[u]; o == nil || !bytes.Equal(o.Figures, first.at[u].Figures) {
						t.Errorf("seed %d: unit %v differs", seed, u)
					}
				}
			}
		}
	}
}

// Later releases are no less certain: the names of organisations, and the order
// of what the database gives, do not show in what is told the second time.
func TestLaterBuildsDoNotDependOnOrder(t *testing.T) {
	for seed := range uint64(2) {
		w := anyWorld(t, rand.New(rand.NewPCG(seed, 3)), 20, 2025)
		first := build(t, w.input(1, nil))
		w.rename, w.order = true, rand.New(rand.NewPCG(seed, 4))
		renamed := build(t, w.input(1, nil))
		w.rename, w.order = false, nil
		w.late(rand.New(rand.NewPCG(seed, 5)), 0.1, 2025)
		second := build(t, w.input(2, first))
		w.rename, w.order = true, rand.New(rand.NewPCG(seed, 6))
		if other := build(t, w.input(2, renamed)); other.built.Digest != second.built.Digest {
			t.Errorf("seed %d: another second release", seed)
			for _, u := range second.units {
				if o := other.at[u]; o == nil || !bytes.Equal(o.Figures, second.at[u].Figures) {
					t.Errorf("seed %d: unit %v differs", seed, u)
				}
			}
		}
	}
}

func TestAnUnchangedUnitIsTheSameBytes(t *testing.T) {
	w := anyWorld(t, rand.New(rand.NewPCG(7, 7)), 30, 2024, 2025)
	first := build(t, w.input(1, nil))
	second := build(t, w.input(2, first))
	if second.built.Digest != first.built.Digest || second.built.Reused != len(first.units) {
		t.Errorf("%d of %d units used again, digest equal: %t", second.built.Reused, len(first.units), second.built.Digest == first.built.Digest)
	}
	if c := second.built.Counts; c.Unchanged != c.Cells || c.Shown != first.built.Counts.Shown || c.Withheld != first.built.Counts.Withheld {
		t.Errorf("counts %+v after %+v", c, first.built.Counts)
	}

	// A write in one family and year moves nothing else.
	w.says(3, "headcount", "commune-69266", impact.YearPeriod(2025), "41")
	third := build(t, w.input(3, second))
	for _, u := range third.units {
		moved := !reflect.DeepEqual(third.at[u], second.at[u])
		if may := u == (Unit{"headcount", 2025}) || u == (Unit{CountsFamily, 2025}); moved && !may {
			t.Errorf("unit %v moved", u)
		}
	}
	if fourth := build(t, w.input(4, third)); fourth.built.Digest != third.built.Digest || fourth.built.Reused != len(third.units) {
		t.Errorf("after a write, %d of %d units used again", fourth.built.Reused, len(third.units))
	}
	if bytes.Equal(third.at[Unit{"headcount", 2025}].Ledger, second.at[Unit{"headcount", 2025}].Ledger) {
		t.Error("the unit written to did not move")
	}
	// Built from nothing, the digest is the one of the facts alone.
	if alone := build(t, w.input(1, nil)); alone.built.Digest == second.built.Digest {
		t.Error("a write changed no digest")
	}
}

// A shown cell of a first release is the figure everybody entitled reads live.
func TestShownFiguresAreLiveFigures(t *testing.T) {
	w := anyWorld(t, rand.New(rand.NewPCG(11, 1)), 40, 2024, 2025)
	o := build(t, w.input(1, nil))
	checkShown(t, w, o.cells(t), func(c *Cell) bool { return c.Moved == 1 })
}

func checkShown(t *testing.T, w *world, cells map[address]*Cell, fresh func(*Cell) bool) (shown int) {
	t.Helper()
	cube := w.cube()
	for at, c := range cells {
		if c.Withheld() {
			checkTellsNothing(t, at, c)
			continue
		}
		if !fresh(c) {
			continue
		}
		shown++
		q := calculation.Query{Territories: []impact.TerritoryKey{at.territory}, Periods: []impact.Period{at.period}, Vintage: c.Figure.Vintage, KeepRefused: true}
		if at.indicator != "" {
			q.Indicators = []impact.IndicatorCode{at.indicator}
		} else {
			q.ImpactTypes = []impact.ImpactTypeCode{at.count}
		}
		if at.cut != "" {
			q.Cuts = []calculation.Dimension{at.cut}
		}
		res, err := cube.Figures(q)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(res.Figures, func(f calculation.Figure) bool { return addressOf(&f, at.cut) == at })
		if i < 0 {
			t.Errorf("%v: shown, and not a live figure", at)
			continue
		}
		live := &res.Figures[i]
		if figureText(live) != figureText(&c.Figure) {
			t.Errorf("%v: released %s\nlive %s", at, figureText(&c.Figure), figureText(live))
		}
	}
	return shown
}

// checkTellsNothing reads every member of a withheld figure: the name of the
// cell, its method and the status are all there is.
func checkTellsNothing(t *testing.T, at address, c *Cell) {
	t.Helper()
	may := []string{"Indicator", "ImpactType", "Kind", "Territory", "Vintage", "Period", "Codes", "Qualifiers", "MethodologyVersion", "Status"}
	v := reflect.ValueOf(c.Figure)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !slices.Contains(may, name) && !v.Field(i).IsZero() {
			t.Errorf("%v: withheld, and tells %s", at, name)
		}
	}
	if c.Figure.Status != impact.Suppressed {
		t.Errorf("%v: status %c", at, c.Figure.Status)
	}
}

// Where a flow and all of its parts are shown, they add up.
func TestShownPartsAddUp(t *testing.T) {
	w := anyWorld(t, rand.New(rand.NewPCG(13, 1)), 60, 2025)
	cells := build(t, w.input(1, nil)).cells(t)
	checked := 0
	for at, whole := range cells {
		f := &whole.Figure
		if f.Kind != impact.Flow || at.cut != "" || at.period.Granularity() != impact.Year || whole.Withheld() || f.Value == nil {
			continue
		}
		sum, all := impact.Quantity(0), true
		for _, child := range reference().Gazetteer().Children(at.territory, f.Vintage) {
			part := at
			part.territory = child.Key
			if c := cells[part]; c != nil && !c.Withheld() {
				sum += *c.Figure.Value
			} else {
				all = all && c == nil
			}
		}
		if all && sum != 0 {
			checked++
			if sum != *f.Value {
				t.Errorf("%v: %s, its parts %s", at, f.Value, sum)
			}
		}
	}
	if checked == 0 {
		t.Error("nothing was checked")
	}
}

// Through several releases, with late, corrected and withdrawn facts, a shown
// cell is the figure of today, or is dated earlier and is what was shown then.
func TestReleasesInSuccession(t *testing.T) {
	for seed := range uint64(2) {
		r := rand.New(rand.NewPCG(seed, 17))
		w := anyWorld(t, r, 24, 2025)
		before := build(t, w.input(1, nil))
		was := before.cells(t)
		kept, moved := 0, 0
		for n := impact.ReleaseNumber(2); n <= 3; n++ {
			w.late(r, 0.08, 2025)
			now := build(t, w.input(n, before))
			cells := now.cells(t)
			live, names := map[address]bool{}, map[string]address{}
			for at := range cells {
				names[at.name(reference().Gazetteer())] = at
			}
			for _, u := range now.units {
				c, err := Case(reference(), now.at[u], n, disclosure.Strict1, w.input(n, nil).Waived)
				if err != nil {
					t.Fatal(err)
				}
				for i, f := range c.Table.Figures {
					live[names[f.Name]] = c.Decisions[i].Reason == disclosure.Shown
				}
			}
			checkShown(t, w, cells, func(c *Cell) bool { return c.Moved == n || live[addressOf(&c.Figure, c.Cut)] })
			for at, c := range cells {
				old := was[at]
				switch {
				case c.Withheld():
				case c.Moved == n:
					moved++
				case old == nil || old.Withheld():
					t.Errorf("seed %d release %d: %v: moved in %d, and was not shown before", seed, n, at, c.Moved)
				case c.Moved != old.Moved || !same(&c.Figure, &old.Figure):
					t.Errorf("seed %d release %d: %v: another figure under the date of %d", seed, n, at, c.Moved)
				case !live[at] && at.indicator != "":
					kept++
				}
				if old != nil && c.Moved == n && !old.Withheld() && (c.Before == nil) != (old.Figure.Value == nil) {
					t.Errorf("seed %d release %d: %v: shown before, and not told", seed, n, at)
				}
				if c.Withheld() && (old == nil) != (c.Cause == FirstRelease && c.Moved == n) && old == nil {
					t.Errorf("seed %d release %d: %v: %s", seed, n, at, c.Cause)
				}
			}
			before, was = now, cells
		}
		if kept == 0 || moved == 0 {
			t.Errorf("seed %d: nothing was tested: %d kept, %d moved", seed, kept, moved)
		}
		t.Logf("seed %d: %d kept, %d moved, %+v", seed, kept, moved, before.built.Counts)
	}
}

func TestCauses(t *testing.T) {
	w := newWorld(t)
	for range 13 {
		w.orgs = append(w.orgs, member{profile: impact.Profile{Class: impact.Company, StructureKind: "EI", SizeClass: "small"}})
	}
	const at = "commune-69266"
	y := impact.YearPeriod(2025)
	for i := range 9 {
		w.says(i, "items_reused", at, y, "100")
	}
	w.day = impact.NewDate(2026, 1, 20) // 2025 is not closed
	if o := build(t, w.input(1, nil)); o.built.Counts.Cells != 0 {
		t.Fatalf("%+v before the year is closed", o.built.Counts)
	}
	w.day = impact.NewDate(2026, 6, 1)
	first := build(t, w.input(1, nil))
	line := address{indicator: "items_reused", territory: place(t, at), period: y}
	c := first.cells(t)[line]
	if c == nil || c.Withheld() || c.Cause != FirstRelease || c.Moved != 1 || *c.Figure.Value != *number("900") || c.Figure.Status != impact.Normal {
		t.Fatalf("first release: %+v", c)
	}
	// One more organisation would be recognised: the figure stays.
	w.says(9, "items_reused", at, y, "50")
	second := build(t, w.input(2, first))
	if c := second.cells(t)[line]; *c.Figure.Value != *number("900") || c.Moved != 1 {
		t.Errorf("one late organisation is told: %s in %d", c.Figure.Value, c.Moved)
	}
	// Four of like size are not: it counts with the other three.
	for i := 10; i < 13; i++ {
		w.says(i, "items_reused", at, y, "55")
	}
	third := build(t, w.input(3, second))
	if c := third.cells(t)[line]; *c.Figure.Value != *number("1115") || c.Moved != 3 || c.Cause != LateSubmissions || *c.Before != *number("900") {
		t.Errorf("late submissions: %s in %d, %s", c.Figure.Value, c.Moved, c.Cause)
	}
	// Corrections of three and more.
	for i := range 4 {
		w.says(i, "items_reused", at, y, "120")
	}
	fourth := build(t, w.input(4, third))
	if c := fourth.cells(t)[line]; *c.Figure.Value != *number("1195") || c.Cause != Corrections || *c.Before != *number("1115") {
		t.Errorf("corrections: %s, %s", c.Figure.Value, c.Cause)
	}
	// Withdrawals of four.
	for i := range 4 {
		delete(w.facts, statement{i, "items_reused", at, y})
	}
	fifth := build(t, w.input(5, fourth))
	if c := fifth.cells(t)[line]; c.Withheld() || *c.Figure.Value != *number("715") || c.Cause != Withdrawals {
		t.Errorf("withdrawals: %+v", c)
	}
	// Two left: withheld, and what was shown before is told as such.
	for i := 4; i < 11; i++ {
		delete(w.facts, statement{i, "items_reused", at, y})
	}
	sixth := build(t, w.input(6, fifth))
	if c := sixth.cells(t)[line]; !c.Withheld() || c.Cause != DisclosureChange || *c.Before != *number("715") {
		t.Errorf("two left: %+v", c)
	}
	if n := sixth.built.Counts; n.Hidden == 0 {
		t.Errorf("counts %+v", n)
	}
	// Nobody left: no cell, and the unit keeps what it told.
	clear(w.facts)
	w.says(0, "headcount", at, y, "3")
	seventh := build(t, w.input(7, sixth))
	if c := seventh.cells(t)[line]; c != nil {
		t.Errorf("nobody left: %+v", c)
	}
	if u := seventh.at[Unit{"items_reused", 2025}]; u == nil {
		t.Error("a unit forgot what it told")
	} else if l, err := readLedger(u.Ledger); err != nil || len(l.facts) == 0 {
		t.Errorf("a unit forgot what it told: %v", err)
	}
}

func TestQuartersAreProvisional(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.orgs = append(w.orgs, member{})
		for _, p := range impact.YearPeriod(2025).Buckets(impact.Quarter) {
			w.says(i, "waste_collected", "commune-69266", p, "10")
		}
	}
	w.day = impact.NewDate(2025, 9, 1) // two quarters are closed
	first := build(t, w.input(1, nil))
	cells := first.cells(t)
	n := 0
	for at, c := range cells {
		if at.indicator == "" {
			continue
		}
		if at.period.Granularity() != impact.Quarter || at.period.End > impact.NewDate(2025, 6, 30) || c.Figure.Status != impact.Provisional {
			t.Errorf("%v %c", at, c.Figure.Status)
		}
		n++
	}
	if n == 0 {
		t.Fatal("no quarter")
	}
	w.day = impact.NewDate(2026, 3, 1)
	second := build(t, w.input(2, first))
	line := address{indicator: "waste_collected", territory: place(t, "commune-69266"), period: impact.YearPeriod(2025).Buckets(impact.Quarter)[0]}
	if c := second.cells(t)[line]; c.Figure.Status != impact.Normal || c.Cause != Finalised || c.Moved != 2 || *c.Before != *number("60") {
		t.Errorf("%+v", c)
	}
	line.period = impact.YearPeriod(2025)
	if c := second.cells(t)[line]; c.Cause != FirstRelease || *c.Figure.Value != *number("240") {
		t.Errorf("%+v", c)
	}
}

// Who agreed to be recognised may take it back: what was told stays told, and
// nothing more is.
func TestWaiverGivenAndTakenBack(t *testing.T) {
	w := newWorld(t)
	const at = "commune-69266"
	y := impact.YearPeriod(2025)
	for i, v := range []string{"1000", "10", "12", "11"} {
		w.orgs = append(w.orgs, member{})
		w.says(i, "items_reused", at, y, v)
	}
	line := address{indicator: "items_reused", territory: place(t, at), period: y}
	if c := build(t, w.input(1, nil)).cells(t)[line]; !c.Withheld() {
		t.Fatalf("dominated, and shown: %+v", c)
	}
	w.waived = map[int]bool{0: true}
	first := build(t, w.input(1, nil))
	if c := first.cells(t)[line]; c.Withheld() {
		t.Fatal("the largest agreed, and the sum is withheld")
	}
	w.waived = nil
	second := build(t, w.input(2, first))
	if c := second.cells(t)[line]; !c.Withheld() {
		t.Error("consent was taken back, and the sum is shown again")
	}
	c, err := Case(reference(), second.at[Unit{"items_reused", 2025}], 2, disclosure.Strict1, nil)
	if err != nil || len(c.Table.Published) == 0 {
		t.Errorf("what was told is forgotten: %v", err)
	}
}

// A figure kept from a release that was withdrawn since is not shown again.
func TestFiguresOfAWithdrawnReleaseAreNotKept(t *testing.T) {
	w := newWorld(t)
	const at = "commune-69266"
	y := impact.YearPeriod(2025)
	for i := range 8 {
		w.orgs = append(w.orgs, member{})
		if i < 6 {
			w.says(i, "items_reused", at, y, "100")
		}
	}
	first := build(t, w.input(1, nil))
	w.says(6, "items_reused", at, y, "50")
	line := address{indicator: "items_reused", territory: place(t, at), period: y}
	in := w.input(2, first)
	if c := build(t, in).cells(t)[line]; c.Withheld() || c.Moved != 1 {
		t.Fatalf("%+v", c)
	}
	in.Withdrawn = []impact.ReleaseNumber{1}
	if c := build(t, in).cells(t)[line]; !c.Withheld() {
		t.Errorf("%+v", c)
	}
}

// When organisations become one group, what they told counts as one.
func TestGroupsMerge(t *testing.T) {
	w := newWorld(t)
	const at = "commune-69266"
	y := impact.YearPeriod(2025)
	for i := range 4 {
		w.orgs = append(w.orgs, member{})
		w.says(i, "items_reused", at, y, "100")
	}
	first := build(t, w.input(1, nil))
	line := address{indicator: "items_reused", territory: place(t, at), period: y}
	if c := first.cells(t)[line]; c.Withheld() {
		t.Fatal("four alike")
	}
	w.orgs[0].group, w.orgs[1].group, w.orgs[2].group = "holding", "holding", "holding"
	if c := build(t, w.input(2, first)).cells(t)[line]; !c.Withheld() {
		t.Errorf("two groups: %+v", c)
	}
}

// The territories of another year, the same figures: nothing moved, and what is
// kept is kept.
func TestAnotherVintage(t *testing.T) {
	w := newWorld(t)
	const at = "commune-69266"
	y := impact.YearPeriod(2025)
	for i := range 8 {
		w.orgs = append(w.orgs, member{})
		if i < 7 {
			w.says(i, "items_reused", at, y, "100")
		}
	}
	first := build(t, w.input(1, nil))
	w.day = impact.NewDate(2027, 3, 1)
	line := address{indicator: "items_reused", territory: place(t, at), period: y}
	second := build(t, w.input(2, first))
	if c := second.cells(t)[line]; c.Figure.Vintage != 2027 || c.Moved != 1 || c.Cause != FirstRelease || c.Withheld() {
		t.Errorf("another vintage: %+v", c)
	}
	w.says(7, "items_reused", at, y, "60")
	w.day = impact.NewDate(2028, 3, 1)
	if c := build(t, w.input(3, second)).cells(t)[line]; c.Figure.Vintage != 2028 || c.Moved != 1 || *c.Figure.Value != *number("700") {
		t.Errorf("kept in another vintage: %+v", c)
	}
}

// When the catalogue ties two families, or parts one, what was told is not
// forgotten.
func TestFamiliesThatChange(t *testing.T) {
	const at = "commune-69266"
	y := impact.YearPeriod(2025)
	line := address{indicator: "items_reused", territory: place(t, at), period: y}
	tied := reference().Reference()
	tied.Version += "+"
	tied.Indicators = slices.Clone(tied.Indicators)
	for i := range tied.Indicators {
		if ind := &tied.Indicators[i]; ind.Code == "recovery_rate" {
			ind.Denominator = append(slices.Clone(ind.Denominator), "items_reused")
		}
	}
	other, err := impact.NewCatalogue(tied)
	if err != nil {
		t.Fatal(err)
	}
	for _, cats := range [][2]*impact.Catalogue{{reference(), other}, {other, reference()}} {
		w := newWorld(t)
		w.cat = cats[0]
		for i := range 8 {
			w.orgs = append(w.orgs, member{})
			if i < 7 {
				w.says(i, "items_reused", at, y, "100")
				w.says(i, "waste_collected", at, y, "100")
			}
		}
		first := build(t, w.input(1, nil))
		if c := first.cells(t)[line]; c == nil || c.Withheld() {
			t.Fatal("nothing is told")
		}
		w.cat = cats[1]
		w.says(7, "items_reused", at, y, "60")
		second := build(t, w.input(2, first))
		if c := second.cells(t)[line]; c.Moved != 1 || *c.Figure.Value != *number("700") {
			t.Errorf("forgotten: %+v", c)
		}
		for _, u := range second.units {
			if u.Family == CountsFamily {
				continue
			}
			if _, wanted := first.at[u]; !wanted && !slices.ContainsFunc(Families(w.cat), func(f Family) bool { return f.Code == u.Family }) {
				t.Errorf("unit %v is of no family", u)
			}
		}
	}
}

func TestKindsThatAreNotReleased(t *testing.T) {
	w := anyWorld(t, rand.New(rand.NewPCG(19, 1)), 60, 2025)
	n := 0
	for at, c := range build(t, w.input(1, nil)).cells(t) {
		if at.indicator == "pay_ratio" {
			n++
			if !c.Withheld() {
				t.Errorf("%v is shown", at)
			}
		}
	}
	if n == 0 {
		t.Error("no pay ratio")
	}
}

func TestBuildStops(t *testing.T) {
	w := anyWorld(t, rand.New(rand.NewPCG(23, 1)), 20, 2024, 2025)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Build(ctx, w.input(1, nil), func(*Sealed) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	full := errors.New("disk full")
	if _, err := Build(context.Background(), w.input(1, nil), func(*Sealed) error { return full }); !errors.Is(err, full) {
		t.Errorf("a unit that cannot be kept: %v", err)
	}
	w.input(1, nil)
	if _, err := Build(context.Background(), w.input(0, nil), nil); err == nil {
		t.Error("a release without a number")
	}
}

func TestFamilies(t *testing.T) {
	in := map[impact.IndicatorCode]string{}
	for _, f := range Families(reference()) {
		if f.Code != string(f.Indicators[0].Code) {
			t.Errorf("family %s begins with %s", f.Code, f.Indicators[0].Code)
		}
		for _, ind := range f.Indicators {
			if in[ind.Code] != "" {
				t.Errorf("%s is in %s and %s", ind.Code, in[ind.Code], f.Code)
			}
			in[ind.Code] = f.Code
		}
	}
	if len(in) != len(reference().Indicators()) {
		t.Errorf("%d of %d indicators", len(in), len(reference().Indicators()))
	}
	for _, ind := range reference().Indicators() {
		for _, part := range slices.Concat(ind.Numerator, ind.Denominator) {
			if in[part] != in[ind.Code] {
				t.Errorf("%s and its part %s are apart", ind.Code, part)
			}
		}
	}
	if in["transition_exits"] != in["insertion_exits"] {
		t.Error("exits that add up are apart")
	}
}

func TestLattice(t *testing.T) {
	l := NewLattice(reference(), impact.NewDate(2026, 6, 1), 45)
	metropole, commune := place(t, "metropole-200046977"), place(t, "commune-69266")
	y := impact.YearPeriod(2025)
	q := y.Buckets(impact.Quarter)[1]
	for _, c := range []struct {
		slice    Slice
		declared bool
		nearest  Slice
	}{
		{Slice{Indicator: "waste_collected", Territory: commune, Period: y}, true, Slice{}},
		{Slice{Indicator: "waste_collected", Territory: commune, Period: q}, true, Slice{}},
		{Slice{Indicator: "headcount", Territory: commune, Period: q}, false, Slice{Indicator: "headcount", Territory: commune, Period: y}},
		{Slice{Indicator: "headcount", Territory: metropole, Period: y, Cut: calculation.ByOrganisationClass}, true, Slice{}},
		{
			Slice{Indicator: "headcount", Territory: commune, Period: y, Cut: calculation.ByOrganisationClass},
			false,
			Slice{Indicator: "headcount", Territory: place(t, "ctm-villeurbanne"), Period: y, Cut: calculation.ByOrganisationClass},
		},
		{Slice{Indicator: "headcount", Territory: commune, Period: y, Cut: calculation.Disaggregation("sex")}, false, Slice{Indicator: "headcount", Territory: commune, Period: y}},
		{Slice{Indicator: "headcount", Territory: commune, Period: impact.YearPeriod(2026)}, false, Slice{}},
		{Slice{ImpactType: "environment", Territory: commune, Period: y}, true, Slice{}},
		{Slice{ImpactType: "environment", Territory: commune, Period: q}, false, Slice{ImpactType: "environment", Territory: commune, Period: y}},
	} {
		if l.Declares(c.slice) != c.declared {
			t.Errorf("%+v declared: %t", c.slice, !c.declared)
		}
		near, ok := l.Nearest(c.slice)
		switch {
		case c.declared && near != c.slice:
			t.Errorf("%+v: nearest %+v", c.slice, near)
		case !c.declared && (ok != (c.nearest != Slice{}) || near != c.nearest):
			t.Errorf("%+v: nearest %+v %t", c.slice, near, ok)
		}
	}
	// Every cell of a build is declared.
	w := anyWorld(t, rand.New(rand.NewPCG(29, 1)), 20, 2025)
	for at := range build(t, w.input(1, nil)).cells(t) {
		if !l.Declares(Slice{Indicator: at.indicator, ImpactType: at.count, Territory: at.territory, Period: at.period, Cut: at.cut}) {
			t.Errorf("%v is not declared", at)
		}
	}
}

func TestLedgerRoundTrip(t *testing.T) {
	w := anyWorld(t, rand.New(rand.NewPCG(31, 1)), 30, 2025)
	first := build(t, w.input(1, nil))
	w.late(rand.New(rand.NewPCG(31, 2)), 0.1, 2025)
	second := build(t, w.input(2, first))
	for _, o := range []*out{first, second} {
		for _, u := range o.units {
			l, err := readLedger(o.at[u].Ledger)
			if err != nil {
				t.Fatal(err)
			}
			again, err := l.encode()
			if err != nil || !bytes.Equal(again, o.at[u].Ledger) {
				t.Errorf("%v: another ledger when written again: %v", u, err)
			}
			joined := openBook(l)
			joined.header = l.header
			if len(joined.facts) != len(l.facts) || len(joined.sums) != len(l.sums) || len(joined.tracks) != len(l.tracks) {
				t.Errorf("%v: joined: %d facts of %d, %d sums of %d", u, len(joined.facts), len(l.facts), len(joined.sums), len(l.sums))
			}
			for n := range len(o.at[u].Ledger) / 37 {
				_, _ = readLedger(o.at[u].Ledger[:37*n]) // must not panic
			}
		}
	}
	if len(slices.Collect(maps.Keys(second.at))) == 0 {
		t.Error("nothing was built")
	}
}

func FuzzReadLedger(f *testing.F) {
	w := anyWorld(f, rand.New(rand.NewPCG(37, 1)), 10, 2025)
	o := build(f, w.input(1, nil))
	for _, u := range o.units {
		f.Add(o.at[u].Ledger)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := readLedger(text)
		if err != nil {
			return
		}
		if _, err := l.encode(); err != nil {
			t.Error(err)
		}
	})
}
