package calculation

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"slices"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/impact"
)

// dump writes everything a cube holds, in an order of its own.
func (c *Cube) dump() string {
	f := c.facts
	var out []string
	for i := range f.lines {
		n := 0
		for slot, b := range f.lines[i].blocks {
			if b == nil {
				continue
			}
			for j, p := range b.periods {
				for _, r := range b.rows[b.start(j):b.ends[j]] {
					a := &f.attrs[r.attr]
					out = append(out, fmt.Sprint(c.layout.indicators[i].Code, slot, p, f.members[r.member].Key, r.value, a.states, a.status, a.cut, a.quals, a.share,
						a.covers, a.profile, a.method, a.number, a.group, a.moved))
					n++
				}
			}
		}
		out = append(out, fmt.Sprint("line ", i, " ", n, " ", f.lines[i].count, " ", f.lines[i].digest))
	}
	sort.Strings(out)
	return fmt.Sprint(f.count, f.whoDigest, "\n", strings.Join(out, "\n"))
}

func dumpFigures(t interface{ Fatal(...any) }, c *Cube, q Query) string {
	res, err := c.Figures(q)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range res.Figures {
		out = append(out, dumpFigure(&f))
	}
	return strings.Join(out, "\n") + fmt.Sprint(res.Excluded)
}

func dumpFigure(f *Figure) string {
	return fmt.Sprint(f.Indicator, f.ImpactType, f.Territory, f.Period, f.Codes, f.Qualifiers, f.text(), ratString(f.Exact()), f.Notes, f.Bounds,
		show(f.Numerator), show(f.Denominator), f.Organisations, f.Observations, f.Reporters, f.Expected, f.AsOf, f.AsOfFrom, f.DaysCovered, f.Excluded)
}

func everything(cat *impact.Catalogue, v impact.Vintage) Query {
	q := Query{Vintage: v, Periods: []impact.Period{period("2023"), period("2024"), period("2024-Q2"), period("2023/2024")}, AllowBounds: true, State: impact.Submitted}
	for _, ind := range cat.Indicators() {
		q.Indicators = append(q.Indicators, ind.Code)
	}
	for _, t := range cat.Gazetteer().All() {
		if t.ValidFrom <= v.Day() && v.Day() <= t.ValidTo {
			q.Territories = append(q.Territories, t.Key)
		}
	}
	return q
}

func shuffled[T any](t *rapid.T, xs []T) []T {
	if len(xs) < 2 {
		return xs
	}
	return rapid.Permutation(xs).Draw(t, "order")
}

func TestOrderChangesNothing(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(r, t)
		a, b := w.cube(), NewCube(w.cat)
		if err := b.Load(seq(shuffled(r, w.organisations())), w.qs, seq(shuffled(r, w.cells)), 1); err != nil {
			r.Fatal(err)
		}
		q := everything(w.cat, 2026)
		if x, y := dumpFigures(r, a, q), dumpFigures(r, b, q); x != y {
			r.Fatalf("\n%s\n---\n%s", x, y)
		}
		if a.Fingerprint(q) != b.Fingerprint(q) {
			r.Fatal("fingerprints differ")
		}
		q.Cuts = []Dimension{ByOrganisationClass, Disaggregation("sex")}
		if x, y := dumpFigures(r, a, q), dumpFigures(r, b, q); x != y {
			r.Fatalf("cut:\n%s\n---\n%s", x, y)
		}
	})
}

// The short way of plain flows gives what the long way gives: a filter that
// keeps everything forces the long one.
func TestDirectIsGeneral(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(r, t)
		if rapid.Bool().Draw(r, "approved only") {
			for i := range w.cells {
				w.cells[i].State, w.cells[i].Approved = impact.Approved, nil
			}
		}
		c := w.cube()
		q := everything(w.cat, rapid.SampledFrom([]impact.Vintage{2023, 2024}).Draw(r, "vintage"))
		short := dumpFigures(r, c, q)
		q.Filters = []Filter{{ByOrganisationClass, []string{"association", "company"}}}
		if long := dumpFigures(r, c, q); short != long {
			r.Fatalf("short\n%s\n--- long\n%s", short, long)
		}
	})
}

// A correction is a recomputation from scratch: whatever the changes applied,
// the cube is the one that a fresh load of their outcome makes.
func TestApplyIsLoad(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(r, t)
		final := slices.Clone(w.cells)
		split := rapid.IntRange(0, len(final)).Draw(r, "loaded first")
		c := NewCube(w.cat)
		if err := c.Load(seq(w.organisations()), w.qs, seq(final[:split]), 1); err != nil {
			r.Fatal(err)
		}
		commit := int64(2)
		apply := func(cells ...Change) {
			if err := c.Apply(commit, Changes{Cells: cells}); err != nil {
				r.Fatal(err)
			}
			commit++
		}
		apply(final[split:]...)
		for range rapid.IntRange(0, 20).Draw(r, "changes") {
			if len(final) == 0 {
				break
			}
			i := rapid.IntRange(0, len(final)-1).Draw(r, "cell")
			switch rapid.IntRange(0, 2).Draw(r, "what") {
			case 0: // deleted
				final[i].Current, final[i].Approved, final[i].State = nil, nil, impact.Approved
			case 1: // deletion that awaits review
				final[i].State = impact.Draft
				final[i].Approved, final[i].Current = final[i].Current, nil
			default:
				drawState(r, &final[i], false)
			}
			apply(final[i])
		}
		fresh := NewCube(w.cat)
		if err := fresh.Load(seq(w.organisations()), w.qs, seq(final), commit); err != nil {
			r.Fatal(err)
		}
		if x, y := c.dump(), fresh.dump(); x != y {
			r.Fatalf("applied\n%s\n--- loaded\n%s", x, y)
		}
		q := everything(w.cat, 2024)
		if x, y := dumpFigures(r, c, q), dumpFigures(r, fresh, q); x != y {
			r.Fatalf("applied\n%s\n--- loaded\n%s", x, y)
		}
	})
}

// A write moves the figures of its own indicator and of those made of it, in
// the territories that hold it, and no other; the fingerprint tells.
func TestNoForeignFigureMoves(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(r, t)
		c := w.cube()
		q := everything(w.cat, 2024)
		before := map[string]string{}
		prints := map[impact.IndicatorCode]uint64{}
		note := func(into map[string]string) {
			res, err := c.Figures(q)
			if err != nil {
				r.Fatal(err)
			}
			for _, f := range res.Figures {
				into[fmt.Sprint(f.Indicator, " ", f.Territory, " ", f.Period, f.Codes, f.Qualifiers)] = f.text() + fmt.Sprint(f.Observations, f.Organisations)
			}
		}
		note(before)
		for _, ind := range w.cat.Indicators() {
			prints[ind.Code] = c.Fingerprint(Query{Indicators: []impact.IndicatorCode{ind.Code}})
		}
		key := w.key("Z", "waste_reused", villeurbanne, "2024-Q2", "")
		if err := c.Apply(2, Changes{Cells: []Change{{Key: key, State: impact.Approved, Current: &Fact{Value: qty("1"), HasValue: true, Status: impact.Normal}}}}); err != nil {
			r.Fatal(err)
		}
		after := map[string]string{}
		note(after)
		holders := []impact.TerritoryKey{villeurbanne, ctmEst, metropole, aura, france}
		for k, v := range after {
			var ind impact.IndicatorCode
			var place impact.TerritoryKey
			if _, err := fmt.Sscan(k, &ind, &place); err != nil {
				r.Fatal(err)
			}
			if before[k] != v && (ind != "waste_reused" && ind != "recovery_rate" || !slices.Contains(holders, place)) {
				r.Fatalf("%s moved from %s to %s", k, before[k], v)
			}
		}
		for _, ind := range w.cat.Indicators() {
			moved := prints[ind.Code] != c.Fingerprint(Query{Indicators: []impact.IndicatorCode{ind.Code}})
			if reads := ind.Code == "waste_reused" || ind.Code == "recovery_rate"; moved != reads {
				r.Fatalf("fingerprint of %s moved: %v", ind.Code, moved)
			}
		}
		if err := c.Apply(3, Changes{Cells: []Change{{Key: key}}}); err != nil {
			r.Fatal(err)
		}
		for _, ind := range w.cat.Indicators() {
			if prints[ind.Code] != c.Fingerprint(Query{Indicators: []impact.IndicatorCode{ind.Code}}) {
				r.Fatalf("fingerprint of %s does not come back", ind.Code)
			}
		}
	})
}

// Σ children = parent for flows and stocks on a disjoint cover; the Métropole
// is the same in every vintage.
func TestAdditivity(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(r, t)
		// Only what is stated at the finest level is a disjoint cover.
		w.cells = slices.DeleteFunc(w.cells, func(c Change) bool {
			return c.Key.Territory == metropole || c.Key.Territory == ctmLones
		})
		c := w.cube()
		for _, ind := range []impact.IndicatorCode{"waste_collected", "jobs_created_net", "headcount", "mean_headcount"} {
			for _, year := range []string{"2023", "2024"} {
				var of [3]*big.Rat
				for i, v := range []impact.Vintage{2023, 2024, 2026} {
					q := ask(ind, metropole, year, func(q *Query) { q.Vintage = v })
					of[i] = sumOf(r, c, q)
					children := ask(ind, metropole, year, func(q *Query) {
						q.Vintage, q.Territories = v, nil
						for _, t := range w.cat.Gazetteer().Descendants(metropole, v, impact.Commune) {
							q.Territories = append(q.Territories, t.Key)
						}
					})
					ctms := children
					ctms.Territories = []impact.TerritoryKey{ctmLyon, ctmLones, ctmEst}
					if got := sumOf(r, c, ctms); ratString(got) != ratString(of[i]) {
						r.Fatalf("%s %s vintage %d: CTM add up to %s, Métropole %s", ind, year, v, ratString(got), ratString(of[i]))
					}
					if v == 2023 && year == "2024" {
						continue // a commune of 2024 has no place of its own in 2023
					}
					if got := sumOf(r, c, children); ratString(got) != ratString(of[i]) {
						r.Fatalf("%s %s vintage %d: communes add up to %s, Métropole %s", ind, year, v, ratString(got), ratString(of[i]))
					}
				}
				if ratString(of[0]) != ratString(of[1]) || ratString(of[1]) != ratString(of[2]) {
					r.Fatalf("%s %s: Métropole differs between vintages: %v", ind, year, of)
				}
			}
		}
	})
}

func sumOf(t *rapid.T, c *Cube, q Query) *big.Rat {
	res, err := c.Figures(q)
	if err != nil {
		t.Fatal(err)
	}
	var sum *big.Rat
	for _, f := range res.Figures {
		if r := f.Exact(); r != nil {
			if sum == nil {
				sum = new(big.Rat)
			}
			sum.Add(sum, r)
		}
	}
	return sum
}

// Splitting a flow in two disjoint periods changes nothing; multiplying
// numerator and denominator by k changes no ratio; the aggregate ratio lies
// between its extremes.
func TestFlowsAndRatios(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		whole, halves, scaled := newWorld(t), newWorld(t), newWorld(t)
		k := rapid.Int64Range(1, 1000).Draw(r, "k")
		var least, most *big.Rat
		for i := range rapid.IntRange(1, 6).Draw(r, "organisations") {
			name := fmt.Sprint("org", i)
			v := rapid.Int64Range(0, 1e9).Draw(r, "flow")
			first := rapid.Int64Range(0, v).Draw(r, "first half")
			whole.says(name, "waste_collected", lyon, "2025", impact.Quantity(v).String())
			halves.says(name, "waste_collected", lyon, "2025-S1", impact.Quantity(first).String())
			halves.says(name, "waste_collected", lyon, "2025-S2", impact.Quantity(v-first).String())
			n, d := rapid.Int64Range(0, 1e9).Draw(r, "n"), rapid.Int64Range(1, 1e9).Draw(r, "d")
			whole.says(name, "women", lyon, "2025", impact.Quantity(n).String())
			whole.says(name, "headcount", lyon, "2025", impact.Quantity(d).String())
			scaled.says(name, "women", lyon, "2025", impact.Quantity(n*k).String())
			scaled.says(name, "headcount", lyon, "2025", impact.Quantity(d*k).String())
			ratio := big.NewRat(n, d)
			if least == nil || ratio.Cmp(least) < 0 {
				least = ratio
			}
			if most == nil || ratio.Cmp(most) > 0 {
				most = ratio
			}
		}
		if a, b := whole.one(ask("waste_collected", lyon, "2025")), halves.one(ask("waste_collected", lyon, "2025")); ratString(a.Exact()) != ratString(b.Exact()) {
			r.Fatalf("whole %s, halves %s", ratString(a.Exact()), ratString(b.Exact()))
		}
		a, b := whole.one(ask("women_share", lyon, "2025")), scaled.one(ask("women_share", lyon, "2025"))
		if ratString(a.Exact()) != ratString(b.Exact()) {
			r.Fatalf("ratio %s, times %d: %s", ratString(a.Exact()), k, ratString(b.Exact()))
		}
		if v := a.Exact(); v.Cmp(least) < 0 || v.Cmp(most) > 0 {
			r.Fatalf("%s outside [%s; %s]", ratString(v), ratString(least), ratString(most))
		}
	})
}

// Adding an organisation with only nulls changes coverage alone.
func TestOnlyNullsChangeCoverageAlone(t *testing.T) {
	w := newWorld(t)
	w.says("A", "women", lyon, "2025", "20")
	w.says("A", "headcount", lyon, "2025", "100")
	w.says("B", "women", lyon, "2025", "1")
	ratio, stock := w.one(ask("women_share", lyon, "2025")), w.one(ask("headcount", lyon, "2025"))
	w.says("Z", "women", lyon, "2025", "", status(impact.NotApplicable))
	w.says("Z", "headcount", lyon, "2025", "", status(impact.NotApplicable))
	for _, before := range []Figure{ratio, stock} {
		after := w.one(ask(before.Indicator, lyon, "2025"))
		if after.Reporters != before.Reporters+1 || after.Expected != before.Expected+1 {
			t.Errorf("%s: coverage %d of %d, was %d of %d", before.Indicator, after.Reporters, after.Expected, before.Reporters, before.Expected)
		}
		if after.text() != before.text() || after.Organisations != before.Organisations || after.Observations != before.Observations || len(after.Excluded) != len(before.Excluded) {
			t.Errorf("%s: more than coverage moved: %+v, was %+v", before.Indicator, after, before)
		}
	}
}

func TestOverflowIsAnError(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.says(fmt.Sprint(i), "waste_collected", lyon, "2025", "500000000000")
	}
	if _, err := w.cube().Figures(ask("waste_collected", lyon, "2025")); !errors.Is(err, impact.ErrOverflow) {
		t.Errorf("1.5 × 10^12: %v", err)
	}
	if f := w.one(ask("waste_collected", lyon, "2025", func(q *Query) { q.Filters = []Filter{{ByOrganisation, []string{"0", "1"}}} })); show(f.Value) != "1000000000000" {
		t.Errorf("10^12: %s", f.text())
	}
}

// listSource is the smallest Source: what SQL would answer.
type listSource struct {
	w     *world
	asked Scope
}

func (s *listSource) Organisations(context.Context) iter.Seq2[Organisation, error] {
	return seq(s.w.organisations())
}

func (s *listSource) Questionnaires(context.Context) ([]impact.Questionnaire, error) {
	return s.w.qs, nil
}

func (s *listSource) Cells(_ context.Context, scope Scope) iter.Seq2[Change, error] {
	s.asked = scope
	var in []Change
	for _, c := range s.w.cells {
		if slices.Contains(scope.Indicators, c.Key.Indicator) && slices.Contains(scope.Territories, c.Key.Territory) && scope.Span.Overlaps(c.Key.Period) {
			in = append(in, c)
		}
	}
	return seq(in)
}

func TestSourceGivesTheSameFigures(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(r, t)
		q := drawQuery(r)
		res, err := FiguresFrom(context.Background(), w.cat, &listSource{w: w}, q)
		if err != nil {
			r.Fatal(err)
		}
		want, err := w.cube().Figures(q)
		if err != nil {
			r.Fatal(err)
		}
		if len(res.Figures) != 1 || res.Figures[0].text() != want.Figures[0].text() || fmt.Sprint(res.Excluded) != fmt.Sprint(want.Excluded) {
			r.Fatalf("from the source %+v %v\nfrom the cube %+v %v", res.Figures[0], res.Excluded, want.Figures[0], want.Excluded)
		}
	})
}

// Contributors of an explanation sum to its inputs, and what is left out is
// listed with its reason.
func TestExplanationsAddUp(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawWorld(r, t)
		q := drawQuery(r)
		x, err := w.cube().Explain(q)
		if err != nil {
			r.Fatal(err)
		}
		sums := map[impact.IndicatorCode]*big.Rat{}
		for _, c := range x.Contributors {
			if sums[c.Indicator] == nil {
				sums[c.Indicator] = new(big.Rat)
			}
			sums[c.Indicator].Add(sums[c.Indicator], c.Counted)
		}
		for _, in := range x.Inputs {
			got := "null"
			if s := sums[in.Indicator]; s != nil {
				q, err := impact.QuantityFromRat(s, 6)
				if err != nil {
					r.Fatal(err)
				}
				got = q.String()
			}
			if got != show(in.Value) {
				r.Fatalf("%s: contributors add up to %s, input %s", in.Indicator, got, show(in.Value))
			}
		}
		if ind := w.cat.Indicator(q.Indicators[0]); !ind.Composed() && ratString(sums[ind.Code]) != ratString(x.Figure.Exact()) {
			r.Fatalf("contributors add up to %s, figure %s", ratString(sums[ind.Code]), ratString(x.Figure.Exact()))
		}
		listed := map[Reason]int{}
		for _, l := range x.LeftOut {
			listed[l.Reason]++
		}
		for _, e := range x.Excluded {
			if listed[e.Reason] != e.Observations {
				r.Fatalf("%s: %d listed, %d counted", e.Reason, listed[e.Reason], e.Observations)
			}
		}
		if x.Figure.Observations > len(x.Contributors) {
			r.Fatalf("%d observations, %d contributors", x.Figure.Observations, len(x.Contributors))
		}
	})
}

func TestExplainSaysTheFormula(t *testing.T) {
	w := newWorld(t)
	w.says("Iloé", "waste_collected", lyon8, "2021", "3400")
	w.says("Iloé", "waste_reused", lyon8, "2021", "1000")
	w.says("Iloé", "waste_recycled", lyon8, "2021", "1000")
	w.says("Iloé", "waste_energy_recovered", lyon8, "2021", "720")
	w.says("B", "waste_collected", metropole, "2021", "1")
	x, err := w.cube().Explain(ask("recovery_rate", metropole, "2021"))
	if err != nil {
		t.Fatal(err)
	}
	if x.Figure.text() != "0.8 A" {
		t.Errorf("figure %s", x.Figure.text())
	}
	if want := "(waste_reused+waste_recycled+waste_energy_recovered)/waste_collected"; x.Formula.Machine != want {
		t.Errorf("formula %s", x.Formula.Machine)
	}
	if len(x.Inputs) != 4 || len(x.Contributors) != 4 || len(x.LeftOut) != 1 || x.LeftOut[0].Reason != NoPair {
		t.Errorf("inputs %v, contributors %v, left out %v", x.Inputs, x.Contributors, x.LeftOut)
	}
	for code, want := range map[impact.IndicatorCode]string{
		"gender_pay_gap": "1-gross_pay_women/paid_hours_women/(gross_pay_men/paid_hours_men)",
		"nps":            "(nps_promoters-nps_detractors)/nps_answers",
		"ghg_intensity":  "1000000*(ghg_scope1+ghg_scope2_location)/turnover",
		"satisfaction":   "sum(satisfaction*satisfaction_answers)/sum(satisfaction_answers)",
	} {
		if got := FormulaOf(w.cat, w.cat.Indicator(code)).Machine; got != want {
			t.Errorf("%s: %s, want %s", code, got, want)
		}
	}
	for _, ind := range w.cat.Indicators() {
		for _, r := range RulesOf(ind) {
			if r.Text.FR == "" || r.Text.EN == "" {
				t.Errorf("%s: rule %s says nothing", ind.Code, r.Dimension)
			}
		}
	}
	_, err = w.cube().Explain(ask("recovery_rate", metropole, "2021", func(q *Query) { q.Territories = append(q.Territories, lyon) }))
	if e, ok := errors.AsType[*impact.Error](err); !ok || e.Code != "not_one_cell" {
		t.Errorf("two territories: %v", err)
	}
}

func TestAvailability(t *testing.T) {
	w := newWorld(t)
	w.says("A", "women", lyon8, "2025-Q1", "20", class(impact.Association), cut("sex=F"))
	w.says("A", "headcount", lyon8, "2025-Q2", "100", class(impact.Association))
	w.says("B", "insertion_hours", pierreBenite, "2023", "5", class(impact.Company))
	w.says("B", "turnover", lyon, "2025", "5").State = impact.Draft
	c := w.cube()
	a, err := c.Available(Query{Vintage: 2026})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(a.Indicators, a.ImpactTypes, a.Territories, a.Periods, a.Span, a.Classes, a.Disaggregations, a.Observations)
	want := fmt.Sprintln("[headcount insertion_hours women women_share]", "[environment environment.waste inclusion inclusion.insertion]",
		[]impact.TerritoryKey{france, aura, metropole, ctmLyon, ctmLones, lyon, lyon8, oullinsPierreBenite},
		[]impact.Period{period("2023"), period("2025-Q1"), period("2025-Q2")}, period("2023-01-01/2025-06-30"), "[association company]", "map[sex:[F]]", 3)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if a, err = c.Available(ask("women_share", lyon, "2025")); err != nil || a.Observations != 2 || len(a.Indicators) != 1 {
		t.Errorf("one indicator: %+v, %v", a, err)
	}
	if a, err = c.Available(ask("women_share", villeurbanne, "2025")); err != nil || a.Any {
		t.Errorf("nothing there: %+v, %v", a, err)
	}
}

func TestRefusedQueries(t *testing.T) {
	w := newWorld(t)
	for name, q := range map[string]Query{
		"unknown_indicator":   {Indicators: []impact.IndicatorCode{"nope"}},
		"unknown_impact_type": {ImpactTypes: []impact.ImpactTypeCode{"nope"}},
		"unknown_territory":   {Territories: []impact.TerritoryKey{999}},
		"unknown_code":        {Cuts: []Dimension{"nope"}},
	} {
		_, err := w.cube().Figures(q)
		e, ok := errors.AsType[*impact.Error](err)
		if !ok || e.Kind != impact.Invalid || len(e.Faults) != 1 || string(e.Faults[0].Code) != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadFeedsAreRefusedWhole(t *testing.T) {
	w := newWorld(t)
	w.says("A", "waste_collected", lyon, "2025", "1")
	c := w.cube()
	before := c.dump()
	good := w.says("B", "waste_collected", lyon, "2025", "1")
	bad := *good
	bad.Key.Indicator = w.cat.Indicator("recovery_rate").Key
	if err := c.Apply(2, Changes{Cells: []Change{*good, bad}}); err == nil {
		t.Error("a composed indicator has no cell")
	}
	if err := c.Load(seq(w.organisations()), nil, seq([]Change{*good, *good}), 3); err == nil {
		t.Error("a cell fed twice is an error")
	}
	if c.dump() != before || c.Seq() != 1 {
		t.Error("a refused feed left a trace")
	}
	if err := c.Apply(1, Changes{Cells: []Change{*good}}); err != nil || c.dump() != before {
		t.Error("a commit already applied is ignored")
	}
}

func TestOrganisationsMove(t *testing.T) {
	w := newWorld(t)
	w.says("A", "waste_collected", lyon, "2025", "1")
	w.says("B", "waste_collected", lyon, "2025", "2")
	c := w.cube()
	q := ask("waste_collected", lyon, "2025")
	before := c.Fingerprint(q)
	a, b := *w.org("A"), *w.org("B")
	a.LegalUnit, a.SIREN, a.SIRET = "siren:123456782", "123456782", "12345678200010"
	b.LegalUnit, b.SIREN = "siren:123456782", "123456782"
	if err := c.Apply(2, Changes{Organisations: []Organisation{a, b}}); err != nil {
		t.Fatal(err)
	}
	res, err := c.Figures(q)
	if err != nil {
		t.Fatal(err)
	}
	f := res.Figures[0]
	if f.text() != "2 A" || f.Organisations != 1 || excluded(f, IncludedInLegalUnit) != 1 || f.Reporters != 1 {
		t.Errorf("one legal unit: %s, %d organisations, %v", f.text(), f.Organisations, f.Excluded)
	}
	if c.Fingerprint(q) == before {
		t.Error("the fingerprint must tell")
	}
	if err := c.Apply(3, Changes{Organisations: []Organisation{*w.org("A"), *w.org("B")}}); err != nil {
		t.Fatal(err)
	}
	if c.Fingerprint(q) != before {
		t.Error("the fingerprint must come back")
	}
}

func TestFactOf(t *testing.T) {
	v := qty("2.5")
	f, err := FactOf(&impact.Observation{CellKey: impact.CellKey{Cut: "sex=F"}, Value: &v, Status: impact.Estimated, Details: impact.Details{AttributionShare: "0.5", Perimeter: "group"}})
	if err != nil || f.Value != v || !f.HasValue || f.Attrs.Share != qty("0.5") || f.Attrs.Cut != "sex=F" || f.Attrs.Perimeter != "group" {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err = FactOf(&impact.Observation{Details: impact.Details{AttributionShare: "half"}}); err == nil {
		t.Error("a share that is not a number")
	}
	o := OrganisationOf(&impact.Organisation{Key: 7, ID: "o", SIREN: "123456782", Class: impact.Mutual})
	if o.LegalUnit != "siren:123456782" || o.Group != o.LegalUnit || o.Profile.Class != impact.Mutual {
		t.Errorf("%+v", o)
	}
}
