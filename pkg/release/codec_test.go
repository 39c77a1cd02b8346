package release

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
)

var reference = sync.OnceValue(func() *impact.Catalogue {
	ref, err := codelist.Load()
	if err != nil {
		panic(err)
	}
	cat, err := impact.NewCatalogue(ref)
	if err != nil {
		panic(err)
	}
	return cat
})

func place(t testing.TB, id impact.TerritoryID) impact.TerritoryKey {
	t.Helper()
	at := reference().Gazetteer().At(id, impact.Vintage(2026).Day())
	if at == nil {
		t.Fatalf("no territory %s", id)
	}
	return at.Key
}

func number(s string) *impact.Quantity {
	q, f := impact.ParseQuantity(s)
	if f != nil {
		panic(s)
	}
	return &q
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func maybe(r *rand.Rand) *impact.Quantity {
	if r.IntN(3) == 0 {
		return nil
	}
	q := impact.Quantity(r.Int64N(int64(2*impact.MaxQuantity))) - impact.MaxQuantity
	if r.IntN(2) == 0 {
		q = impact.Quantity(r.IntN(100)) * impact.One
	}
	return &q
}

// anyCell gives a cell of which every member may be there or not.
func anyCell(r *rand.Rand, ind *impact.Indicator, where impact.TerritoryKey, p impact.Period, cut calculation.Dimension, code string) Cell {
	c := Cell{
		Figure: calculation.Figure{Territory: where, Vintage: 2026, Period: p, Status: impact.Suppressed},
		Cut:    cut, Moved: impact.ReleaseNumber(1 + r.IntN(3)),
		Cause: pick(r, FirstRelease, LateSubmissions, Corrections, DisclosureChange), Before: maybe(r),
	}
	f := &c.Figure
	if cut != "" {
		f.Codes = []string{code}
	}
	if ind == nil {
		f.ImpactType = pick(r, reference().ImpactTypes()...).Code
	} else {
		f.Indicator, f.ImpactType, f.Kind, f.MethodologyVersion = ind.Code, ind.ImpactType, ind.Kind, ind.MethodologyVersion
	}
	if r.IntN(4) == 0 {
		return c
	}
	f.Status = pick(r, impact.Normal, impact.Estimated, impact.Provisional, impact.Imputed, impact.Break)
	f.Value = maybe(r)
	if f.Value == nil && ind != nil {
		f.Status = pick(r, impact.NotCollected, impact.NotApplicable, impact.Missing)
	}
	f.Organisations, f.Observations, f.Reporters, f.Expected = r.IntN(90), r.IntN(900), r.IntN(90), 90+r.IntN(9)
	f.Additive = r.IntN(2) == 0
	for _, n := range []calculation.Note{calculation.ZeroDenominator, calculation.SplitMapping, calculation.MethodBreak} {
		if r.IntN(6) == 0 {
			f.Notes = append(f.Notes, n)
		}
	}
	for _, n := range []calculation.Reason{calculation.NotApproved, calculation.CoarserTerritory} {
		if r.IntN(6) == 0 {
			f.Excluded = append(f.Excluded, calculation.Exclusion{Reason: n, Observations: r.IntN(9)})
		}
	}
	if r.IntN(3) == 0 {
		f.Numerator, f.Denominator, f.Respondents, f.Coverage = maybe(r), maybe(r), maybe(r), maybe(r)
		f.OutOfRange = r.IntN(2) == 0
	}
	if r.IntN(8) == 0 {
		f.Answers = &calculation.Answers{True: r.IntN(4), Answered: r.IntN(9), Share: maybe(r)}
	}
	if r.IntN(8) == 0 {
		f.HasAsOf, f.AsOf, f.AsOfFrom = true, p.End, p.End-impact.Date(r.IntN(9))
	}
	f.DaysCovered = r.IntN(2) * r.IntN(366)
	return c
}

// anyCells gives cells with different names.
func anyCells(r *rand.Rand, n int) []Cell {
	var out []Cell
	seen := map[string]bool{}
	places := reference().Gazetteer().Descendants(reference().Gazetteer().At("pays-FR", impact.Vintage(2026).Day()).Key, 2026, "")
	for range n {
		ind := pick(r, append(slices.Clone(reference().Indicators()), nil)...)
		p := impact.YearPeriod(2015 + r.IntN(10))
		if r.IntN(2) == 0 {
			p = pick(r, p.Buckets(impact.Quarter)...)
		}
		cut, code := calculation.Dimension(""), ""
		if r.IntN(3) == 0 {
			cut, code = calculation.ByStructureKind, pick(r, "", "EI", "ACI", `od"d, "code"`)
		}
		c := anyCell(r, ind, pick(r, places...).Key, p, cut, code)
		c.Figure.Qualifiers = pick(r, "", "", "local_scope=metropole", "a=é;b=\"c\", d")
		if k := nameOf(&c); !seen[k] {
			seen[k] = true
			out = append(out, c)
		}
	}
	return out
}

func nameOf(c *Cell) string {
	return fmt.Sprint(c.Figure.Indicator != "", c.line(), c.Figure.Territory, c.Figure.Period, c.Cut, c.code(), c.Figure.Qualifiers)
}

// Decoding gives back what was encoded, and the text does not depend on the
// order of the cells.
func TestCodecRoundTrip(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 4))
		cells := anyCells(r, 60)
		text, err := Encode(reference(), cells)
		if err != nil {
			t.Fatal(err)
		}
		r.Shuffle(len(cells), func(i, j int) { cells[i], cells[j] = cells[j], cells[i] })
		again, err := Encode(reference(), cells)
		if err != nil || !bytes.Equal(text, again) {
			t.Fatalf("seed %d: the text depends on the order (%v)", seed, err)
		}
		back, err := Decode(reference(), text)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		want := map[string]Cell{}
		for _, c := range cells {
			want[nameOf(&c)] = c
		}
		for _, c := range back {
			if w := want[nameOf(&c)]; !reflect.DeepEqual(w, c) {
				t.Fatalf("seed %d:\n got %+v\nwant %+v", seed, c, w)
			}
		}
		if len(back) != len(cells) {
			t.Fatalf("seed %d: %d cells, want %d", seed, len(back), len(cells))
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	where := place(t, "commune-69266")
	hours := reference().Indicator("insertion_hours")
	good := func() Cell {
		return Cell{
			Figure: calculation.Figure{
				Indicator: hours.Code, ImpactType: hours.ImpactType, Kind: hours.Kind, Territory: where, Vintage: 2026,
				Period: impact.YearPeriod(2025), Value: number("12.5"), Status: impact.Normal, Organisations: 4,
			},
			Moved: 1, Cause: FirstRelease,
		}
	}
	if _, err := Encode(reference(), []Cell{good()}); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Cell){
		"territory":          func(c *Cell) { c.Figure.Territory = 0 },
		"vintage":            func(c *Cell) { c.Figure.Territory, c.Figure.Vintage = place(t, "commune-69149"), 2020 },
		"nothing counted":    func(c *Cell) { c.Figure.Indicator, c.Figure.ImpactType = "", "" },
		"kind":               func(c *Cell) { c.Figure.Kind = "" },
		"code without a cut": func(c *Cell) { c.Figure.Codes = []string{"EI"} },
		"cut without a code": func(c *Cell) { c.Cut = calculation.ByStructureKind },
		"bounds":             func(c *Cell) { c.Figure.Bounds = &calculation.Bounds{} },
		"period":             func(c *Cell) { c.Figure.Period = impact.Period{Start: 9, End: 8} },
		"never moved":        func(c *Cell) { c.Moved = 0 },
		"value and no value": func(c *Cell) { c.Figure.Status = impact.Missing },
		"withheld value":     func(c *Cell) { c.Figure.Status = impact.Suppressed },
		"withheld count": func(c *Cell) {
			c.Figure.Status, c.Figure.Value = impact.Suppressed, nil
		},
		"control character": func(c *Cell) { c.Figure.Qualifiers = "a\nb" },
		"not UTF-8":         func(c *Cell) { c.Figure.Qualifiers = "\xff" },
	} {
		c := good()
		spoil(&c)
		if text, err := Encode(reference(), []Cell{c}); err == nil {
			t.Errorf("%s: accepted:\n%s", name, text)
		}
	}
	if _, err := Encode(reference(), []Cell{good(), good()}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("two cells with one name: %v", err)
	}
}

// A text of another time: columns gone, moved, and unknown ones.
func TestDecodeOtherColumns(t *testing.T) {
	cells, err := Decode(reference(), []byte("period,colour,value,indicator,measure_kind,territory,vintage,obs_status,moved\r\n"+
		"2025-Q3,\"red, blue\",18420.5,insertion_hours,flow,commune-69266,2026,A,7\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Cell{
		Figure: calculation.Figure{
			Indicator: "insertion_hours", Kind: impact.Flow, Territory: place(t, "commune-69266"), Vintage: 2026,
			Period: impact.YearPeriod(2025).Buckets(impact.Quarter)[2], Value: number("18420.5"), Status: impact.Normal,
		},
		Moved: 7,
	}
	if !reflect.DeepEqual(cells, []Cell{want}) {
		t.Errorf("got %+v", cells)
	}
	if _, err := Decode(reference(), []byte("indicator,territory\n")); err == nil || !strings.Contains(err.Error(), "vintage") {
		t.Errorf("without its columns: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	text, err := Encode(reference(), anyCells(rand.New(rand.NewPCG(1, 2)), 12))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("period,territory,vintage,obs_status,moved\n2025,commune-69266,2026,Q,1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cells, err := Decode(reference(), text)
		if err != nil {
			return
		}
		once, err := Encode(reference(), cells)
		if err != nil {
			if strings.Contains(err.Error(), "twice") || strings.Contains(err.Error(), "a text with") {
				return
			}
			t.Fatalf("read but not written: %v", err)
		}
		back, err := Decode(reference(), once)
		if err != nil {
			t.Fatalf("written but not read: %v\n%s", err, once)
		}
		twice, err := Encode(reference(), back)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("not stable (%v):\n%s\n%s", err, once, twice)
		}
	})
}
