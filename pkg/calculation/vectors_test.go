package calculation

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

// The worked vectors of domain.md E. Those that other rooms hold (units, SIRET
// checks, DECP, radius, display) are not here: E8, E14, E16, E20, E25, E28,
// E32, E34 are refused, converted or decided before a fact reaches the cube.

type vector struct {
	name  string
	world func(*world)
	query Query
	want  string // value and status
	check func(*testing.T, Figure)
}

func excluded(f Figure, r Reason) int {
	for _, e := range f.Excluded {
		if e.Reason == r {
			return e.Observations
		}
	}
	return 0
}

func wantExcluded(r Reason, n int) func(*testing.T, Figure) {
	return func(t *testing.T, f Figure) {
		if got := excluded(f, r); got != n {
			t.Errorf("excluded %s: %d, want %d (%v)", r, got, n, f.Excluded)
		}
	}
}

func wantCounts(orgs, obs int) func(*testing.T, Figure) {
	return func(t *testing.T, f Figure) {
		if f.Organisations != orgs || f.Observations != obs {
			t.Errorf("%d organisations, %d observations; want %d, %d", f.Organisations, f.Observations, orgs, obs)
		}
	}
}

func wantNote(n Note) func(*testing.T, Figure) {
	return func(t *testing.T, f Figure) {
		if !f.Has(n) {
			t.Errorf("notes %v, want %s", f.Notes, n)
		}
	}
}

func both(cs ...func(*testing.T, Figure)) func(*testing.T, Figure) {
	return func(t *testing.T, f Figure) {
		for _, c := range cs {
			c(t, f)
		}
	}
}

var bounds = func(q *Query) { q.AllowBounds = true }

var vectors = []vector{
	{"E1 network remainder", func(w *world) {
		w.says("network", "insertion_hours", lyon, "2025", "1000", covers("A", "B"))
		w.says("A", "insertion_hours", lyon, "2025", "300")
	}, ask("insertion_hours", lyon, "2025"), "1000 A", wantCounts(2, 2)},
	{"E1 member in a finer territory and a shorter period", func(w *world) {
		w.says("network", "insertion_hours", metropole, "2025", "1000", covers("A", "B"))
		w.says("A", "insertion_hours", lyon8, "2025-Q1", "300")
		w.says("B", "insertion_hours", villeurbanne, "2025-Q2", "200")
	}, ask("insertion_hours", metropole, "2025"), "1000 A", wantCounts(3, 3)},
	{"E1 negative remainder adds nothing and is flagged", func(w *world) {
		w.says("network", "insertion_hours", lyon, "2025", "100", covers("A"))
		w.says("A", "insertion_hours", lyon, "2025", "300")
	}, ask("insertion_hours", lyon, "2025"), "300 A", both(wantExcluded(NegativeRemainder, 1), wantCounts(1, 1))},
	{"E1 not covered: both count", func(w *world) {
		w.says("network", "insertion_hours", lyon, "2025", "1000", covers("B"))
		w.says("A", "insertion_hours", lyon, "2025", "300")
	}, ask("insertion_hours", lyon, "2025"), "1300 A", nil},
	{"E1 covered by SIREN", func(w *world) {
		w.org("A").SIREN, w.org("A").LegalUnit = "123456782", "siren:123456782"
		w.says("network", "insertion_hours", lyon, "2025", "1000", covers("123456782"))
		w.says("A", "insertion_hours", lyon, "2025", "300")
	}, ask("insertion_hours", lyon, "2025"), "1000 A", nil},
	{"E1 network of networks", func(w *world) {
		w.says("N1", "insertion_hours", lyon, "2025", "1000", covers("N2"))
		w.says("N2", "insertion_hours", lyon, "2025", "500", covers("A"))
		w.says("A", "insertion_hours", lyon, "2025", "300")
	}, ask("insertion_hours", lyon, "2025"), "1000 A", wantCounts(3, 3)},
	{"E1 an organisation sees its own value, not a remainder", func(w *world) {
		w.says("network", "insertion_hours", lyon, "2025", "1000", covers("A"))
		w.says("A", "insertion_hours", lyon, "2025", "300")
	}, ask("insertion_hours", lyon, "2025", func(q *Query) { q.Filters = []Filter{{ByOrganisation, []string{"network"}}} }), "1000 A", nil},
	{"E2 consolidated group", func(w *world) {
		w.org("S1").SIREN = "123456782"
		w.says("G", "waste_collected", metropole, "2025", "500", consolidates("123456782"))
		w.says("S1", "waste_collected", lyon, "2025", "120")
	}, ask("waste_collected", metropole, "2025"), "500 A", both(wantExcluded(IncludedInGroup, 1), wantCounts(1, 1))},
	{"E2 the subsidiary still counts where the group is not", func(w *world) {
		w.org("S1").SIREN = "123456782"
		w.says("G", "waste_collected", metropole, "2025", "500", consolidates("123456782"))
		w.says("S1", "waste_collected", lyon, "2025", "120")
	}, ask("waste_collected", lyon, "2025"), "120 A", wantExcluded(CoarserTerritory, 1)},
	{"E3 two establishments of one legal unit are one organisation", func(w *world) {
		for _, n := range []string{"A", "B"} {
			w.org(n).SIREN, w.org(n).SIRET, w.org(n).LegalUnit = "123456782", "1234567820001"+n, "siren:123456782"
			w.says(n, "waste_collected", lyon, "2025", "10")
		}
	}, ask("waste_collected", lyon, "2025"), "20 A", wantCounts(1, 2)},
	{"E3 the legal unit holds its establishment", func(w *world) {
		for _, n := range []string{"unit", "site"} {
			w.org(n).SIREN, w.org(n).LegalUnit = "123456782", "siren:123456782"
		}
		w.org("site").SIRET = "12345678200010"
		w.says("unit", "waste_collected", lyon, "2025", "100")
		w.says("site", "waste_collected", lyon, "2025", "30")
	}, ask("waste_collected", lyon, "2025"), "100 A", wantExcluded(IncludedInLegalUnit, 1)},
	{"E4 passed on along the chain", func(w *world) {
		w.says("A", "waste_collected", lyon, "2025", "100", func(_ *impact.CellKey, f *Fact) { f.Attrs.TransferredTo = "12345678200010" })
		w.says("Iloé", "waste_collected", lyon, "2025", "100")
	}, ask("waste_collected", lyon, "2025"), "100 A", wantExcluded(Transferred, 1)},
	{"E5 mean of ratios", func(w *world) {
		w.says("A", "women", lyon, "2025", "20")
		w.says("A", "headcount", lyon, "2025", "100")
		w.says("B", "women", lyon, "2025", "810")
		w.says("B", "headcount", lyon, "2025", "900")
	}, ask("women_share", lyon, "2025"), "0.83 A", wantCounts(2, 4)},
	{"E6 stock at the end", fourQuarters("headcount"), ask("headcount", lyon, "2025"), "7 A", func(t *testing.T, f Figure) {
		if f.AsOf != day("2025-12-31") || excluded(f, OlderDate) != 0 {
			t.Errorf("as of %s, excluded %v", f.AsOf, f.Excluded)
		}
	}},
	{"E6 stock, day-weighted mean", fourQuarters("mean_headcount"), ask("mean_headcount", lyon, "2025"), "7.25 A", func(t *testing.T, f Figure) {
		if got := ratString(f.Exact()); got != "2647/365" || f.DaysCovered != 365 {
			t.Errorf("exact %s over %d days, want 2647/365 over 365", got, f.DaysCovered)
		}
	}},
	{"E7 distinct people by bounds", func(w *world) {
		w.says("A", "insertion_people", lyon, "2025-Q1", "300")
		w.says("A", "insertion_people", lyon, "2025-Q2", "280")
	}, ask("insertion_people", lyon, "2025", bounds), "580 E", both(wantNote(UpperBound), func(t *testing.T, f Figure) {
		if f.Bounds == nil || f.Bounds.Lower != qty("300") || f.Bounds.Upper != qty("580") {
			t.Errorf("bounds %+v", f.Bounds)
		}
	})},
	{
		"E7 one cell is itself", func(w *world) { w.says("A", "insertion_people", lyon, "2025-Q1", "300") },
		ask("insertion_people", lyon, "2025"), "300 A", nil,
	},
	{"E7 parts of one cell are disjoint", func(w *world) {
		w.says("A", "insertion_people", lyon, "2025", "3", cut("sex=F"))
		w.says("A", "insertion_people", lyon, "2025", "4", cut("sex=M"))
	}, ask("insertion_people", lyon, "2025"), "7 A", nil},
	{"E9 scope 3 does not add up over organisations", func(w *world) {
		w.says("A", "ghg_scope3", lyon, "2025", "100")
		w.says("B", "ghg_scope3", lyon, "2025", "80")
	}, ask("ghg_scope3", lyon, "2025", bounds), "180 E", func(t *testing.T, f Figure) {
		if f.Bounds == nil || f.Bounds.Lower != qty("100") {
			t.Errorf("bounds %+v", f.Bounds)
		}
	}},
	{"E10 merger", func(w *world) {
		w.says("A", "waste_collected", oullins, "2023", "12")
		w.says("B", "waste_collected", pierreBenite, "2023", "5")
	}, ask("waste_collected", oullinsPierreBenite, "2023"), "17 A", nil},
	{"E10 stock of both in one organisation", func(w *world) {
		w.says("A", "headcount", oullins, "2023", "12")
		w.says("A", "headcount", pierreBenite, "2023", "5")
		w.says("A", "headcount", oullinsPierreBenite, "2024", "18")
	}, ask("headcount", oullinsPierreBenite, "2023/2024"), "18 A", nil},
	{"E10 and the same in the vintage before, without its neighbour", func(w *world) {
		w.says("A", "headcount", oullins, "2023", "12")
		w.says("A", "headcount", pierreBenite, "2023", "5")
		w.says("A", "headcount", oullinsPierreBenite, "2024", "18")
		w.says("A", "headcount", villeurbanne, "2023", "100")
	}, ask("headcount", metropole, "2023/2024", func(q *Query) { q.Vintage = 2023 }), "118 A", nil},
	{"E10 two former communes that do not close on the same day", func(w *world) {
		w.says("A", "headcount", oullins, "2023-Q1", "12")
		w.says("A", "headcount", pierreBenite, "2023-Q2", "5")
	}, ask("headcount", oullinsPierreBenite, "2023"), "17 A", nil},
	{
		"E10 new commune in an old vintage", func(w *world) { w.says("A", "waste_collected", oullinsPierreBenite, "2024", "17") },
		ask("waste_collected", oullins, "2024", func(q *Query) { q.Vintage = 2023 }), "null O", wantExcluded(CoarserTerritory, 1),
	},
	{
		"E10 its Métropole does not change", func(w *world) { w.says("A", "waste_collected", oullinsPierreBenite, "2024", "17") },
		ask("waste_collected", metropole, "2024", func(q *Query) { q.Vintage = 2023 }), "17 A", nil,
	},
	{
		"E10 split by declared weight", func(w *world) { w.says("A", "waste_collected", old, "2023", "10") },
		ask("waste_collected", north, "2023"), "6 E", wantNote(SplitMapping),
	},
	{
		"E10 a split leaves what holds it exact", func(w *world) { w.says("A", "waste_collected", old, "2023", "10") },
		ask("waste_collected", ctmEst, "2023"), "10 A", nil,
	},
	{"E12 a commune includes its arrondissements", func(w *world) {
		w.says("A", "waste_collected", lyon8, "2025", "8")
		w.says("B", "waste_collected", lyon, "2025", "1")
	}, ask("waste_collected", lyon, "2025"), "9 A", nil},
	{"E12 and not the reverse", func(w *world) {
		w.says("A", "waste_collected", lyon8, "2025", "8")
		w.says("B", "waste_collected", lyon, "2025", "1")
	}, ask("waste_collected", lyon8, "2025"), "8 A", wantExcluded(CoarserTerritory, 1)},
	{
		"E12 a territory and a part of it merge to one", func(w *world) { w.says("A", "waste_collected", lyon8, "2025", "8") },
		ask("waste_collected", lyon, "2025", func(q *Query) { q.Territories, q.MergeTerritories = []impact.TerritoryKey{lyon, lyon8}, true }), "8 A", nil,
	},
	{
		"E18 straddler is left out", func(w *world) { w.says("A", "waste_collected", lyon, "2023-07-01/2024-06-30", "1200") },
		ask("waste_collected", lyon, "2024"), "null O", wantExcluded(StraddlesBucket, 1),
	},
	{
		"E18 or shared by days", func(w *world) { w.says("A", "waste_collected", lyon, "2023-07-01/2024-06-30", "1200") },
		ask("waste_collected", lyon, "2024", func(q *Query) { q.Prorata = true }), "596.72 E", both(wantNote(ProrataDays), func(t *testing.T, f Figure) {
			if got := ratString(f.Exact()); got != ratString(qty("1200").Rat().Mul(qty("1200").Rat(), rat(182, 366))) {
				t.Errorf("exact %s", got)
			}
		}),
	},
	{
		"E18 a stock is never shared by days", func(w *world) { w.says("A", "headcount", lyon, "2023-07-01/2024-06-30", "12") },
		ask("headcount", lyon, "2024", func(q *Query) { q.Prorata = true }), "null O", wantExcluded(StraddlesBucket, 1),
	},
	{"E22 unknown is not zero", func(w *world) {
		w.says("A", "headcount", lyon, "2025", "10")
		w.says("B", "headcount", lyon, "2025", "", status(impact.NotCollected))
	}, ask("headcount", lyon, "2025"), "10 A", both(wantCounts(1, 1), func(t *testing.T, f Figure) {
		if f.Reporters != 2 || f.Expected != 2 {
			t.Errorf("reporters %d of %d, want 2 of 2", f.Reporters, f.Expected)
		}
	})},
	{"E22 zero is a value", func(w *world) { w.says("A", "headcount", lyon, "2025", "0") }, ask("headcount", lyon, "2025"), "0 A", wantCounts(1, 1)},
	{"E22 nothing is null, missing", func(*world) {}, ask("headcount", lyon, "2025"), "null O", nil},
	{
		"E22 not collected", func(w *world) { w.says("B", "headcount", lyon, "2025", "", status(impact.NotCollected)) },
		ask("headcount", lyon, "2025"), "null L", nil,
	},
	{
		"E22 not applicable", func(w *world) { w.says("B", "headcount", lyon, "2025", "", status(impact.NotApplicable)) },
		ask("headcount", lyon, "2025"), "null M", nil,
	},
	{"E23 survey mean by respondents", func(w *world) {
		w.says("A", "satisfaction", lyon, "2025", "4")
		w.says("A", "satisfaction_answers", lyon, "2025", "10")
		w.says("B", "satisfaction", lyon, "2025", "2")
		w.says("B", "satisfaction_answers", lyon, "2025", "30")
		w.says("C", "satisfaction", lyon, "2025", "5")
	}, ask("satisfaction", lyon, "2025"), "2.5 A", both(wantExcluded(NoPair, 1), wantNote(MissingComponent), func(t *testing.T, f Figure) {
		if show(f.Respondents) != "40" || f.Reporters != 2 || f.Expected != 3 {
			t.Errorf("respondents %s, reporters %d of %d", show(f.Respondents), f.Reporters, f.Expected)
		}
	})},
	{"E31 attribution share", func(w *world) {
		w.says("A", "ghg_avoided", lyon, "2025", "100", func(_ *impact.CellKey, f *Fact) { f.Attrs.Share = qty("0.25") })
		w.says("B", "ghg_avoided", lyon, "2025", "10")
	}, ask("ghg_avoided", lyon, "2025"), "35 A", nil},
	{"E33 rounded once, half to even", func(w *world) {
		w.says("A", "waste_collected", lyon, "2025", "0.0024")
		w.says("B", "waste_collected", lyon, "2025", "0.0026")
	}, ask("waste_collected", lyon, "2025"), "0 A", nil}, // 0.005 at two decimals: even
	{"E33 not the sum of rounded parts", func(w *world) {
		for _, n := range []string{"A", "B", "C"} {
			w.says(n, "waste_collected", lyon, "2025", "0.004")
		}
	}, ask("waste_collected", lyon, "2025"), "0.01 A", nil},

	{"C1 signed flows compensate", func(w *world) {
		w.says("A", "jobs_created_net", lyon, "2025", "5")
		w.says("B", "jobs_created_net", lyon, "2025", "-7")
	}, ask("jobs_created_net", lyon, "2025"), "-2 A", nil},
	{"C1 zero denominator", func(w *world) {
		w.says("A", "women", lyon, "2025", "0")
		w.says("A", "headcount", lyon, "2025", "0")
	}, ask("women_share", lyon, "2025"), "null M", wantNote(ZeroDenominator)},
	{"C1 missing component takes the organisation out of both", func(w *world) {
		w.says("A", "women", lyon, "2025", "20")
		w.says("A", "headcount", lyon, "2025", "100")
		w.says("B", "women", lyon, "2025", "50")
	}, ask("women_share", lyon, "2025"), "0.2 A", both(wantExcluded(NoPair, 1), wantCounts(1, 2), func(t *testing.T, f Figure) {
		if show(f.Coverage) != "0.5" {
			t.Errorf("coverage %s, want 0.5", show(f.Coverage))
		}
	})},
	{"C2 #19 one scope is absent", func(w *world) {
		w.says("A", "ghg_scope1", lyon, "2025", "20")
		w.says("A", "turnover", lyon, "2025", "1000000")
	}, ask("ghg_intensity", lyon, "2025"), "null O", wantNote(MissingComponent)},
	{"C2 #19 per million euros", func(w *world) {
		w.says("A", "ghg_scope1", lyon, "2025", "20")
		w.says("A", "ghg_scope2_location", lyon, "2025", "5.5")
		w.says("A", "turnover", lyon, "2025", "2000000")
	}, ask("ghg_intensity", lyon, "2025"), "12.75 A", nil},
	{"C1 complement: pay gap", func(w *world) {
		w.says("A", "gross_pay_women", lyon, "2025", "180000")
		w.says("A", "paid_hours_women", lyon, "2025", "10000")
		w.says("A", "gross_pay_men", lyon, "2025", "200000")
		w.says("A", "paid_hours_men", lyon, "2025", "10000")
	}, ask("gender_pay_gap", lyon, "2025"), "0.1 A", wantCounts(1, 4)},
	{"C1 difference: promoters less detractors", func(w *world) {
		w.says("A", "nps_promoters", lyon, "2025", "10")
		w.says("A", "nps_detractors", lyon, "2025", "25")
		w.says("A", "nps_answers", lyon, "2025", "50")
	}, ask("nps", lyon, "2025"), "-0.3 A", func(t *testing.T, f Figure) {
		if show(f.Respondents) != "50" || show(f.Numerator) != "-15" {
			t.Errorf("respondents %s, numerator %s", show(f.Respondents), show(f.Numerator))
		}
	}},
	{"C1 flow over average stock: not annualised", func(w *world) {
		w.says("A", "staff_departures", lyon, "2025-Q1", "2")
		w.says("A", "staff_departures", lyon, "2025-Q2", "1")
		w.says("A", "mean_headcount", lyon, "2025-S1", "30")
	}, ask("staff_turnover_rate", lyon, "2025"), "0.1 A", nil},
	{"C1 only the days both cover", func(w *world) {
		w.says("A", "staff_departures", lyon, "2025-Q1", "3")
		w.says("A", "staff_departures", lyon, "2025-Q2", "100")
		w.says("A", "mean_headcount", lyon, "2025-Q1", "30")
	}, ask("staff_turnover_rate", lyon, "2025"), "0.1 A", wantExcluded(NoPair, 1)},
	{"C1 stocks at their last common date", func(w *world) {
		w.says("A", "women", lyon, "2025-Q1", "4")
		w.says("A", "headcount", lyon, "2025-Q1", "10")
		w.says("A", "headcount", lyon, "2025-Q2", "20")
	}, ask("women_share", lyon, "2025"), "0.4 A", func(t *testing.T, f Figure) {
		if f.AsOf != day("2025-03-31") {
			t.Errorf("as of %s", f.AsOf)
		}
	}},
	{"C1 components at two levels of one place", func(w *world) {
		w.says("A", "women", lyon, "2025", "4")
		w.says("A", "women", villeurbanne, "2025", "2")
		w.says("A", "headcount", metropole, "2025", "10")
	}, ask("women_share", metropole, "2025"), "0.6 A", nil},
	{"C1 organisations do not close on the same day", func(w *world) {
		w.says("A", "headcount", lyon, "2025-Q3", "10")
		w.says("B", "headcount", lyon, "2025", "5")
		w.says("A", "headcount", lyon, "2025-Q1", "99")
	}, ask("headcount", lyon, "2025"), "15 A", func(t *testing.T, f Figure) {
		if f.AsOf != day("2025-12-31") || f.AsOfFrom != day("2025-09-30") {
			t.Errorf("as of %s to %s", f.AsOfFrom, f.AsOf)
		}
	}},
	{"C1 a stock stated later for a finer place replaces the wider one", func(w *world) {
		w.says("A", "headcount", lyon, "2025-Q3", "10")
		w.says("A", "headcount", lyon8, "2025-Q4", "9")
	}, ask("headcount", lyon, "2025"), "9 A", nil},
	{
		"C1 an average of half a year is the mean of that half", func(w *world) { w.says("A", "mean_headcount", lyon, "2025-S1", "30") },
		ask("mean_headcount", lyon, "2025"), "30 A", func(t *testing.T, f Figure) {
			if f.DaysCovered != 181 {
				t.Errorf("days covered %d", f.DaysCovered)
			}
		},
	},
	{"C1 yes or no, last answer of each", func(w *world) {
		w.says("A", "ess_agreement", lyon, "2025-Q1", "1")
		w.says("A", "ess_agreement", lyon, "2025-Q2", "0")
		w.says("B", "ess_agreement", lyon, "2025", "1")
		w.says("C", "ess_agreement", lyon, "2025", "1")
	}, ask("ess_agreement", lyon, "2025"), "0.6667 A", func(t *testing.T, f Figure) {
		if f.Answers == nil || f.Answers.True != 2 || f.Answers.Answered != 3 {
			t.Errorf("answers %+v", f.Answers)
		}
	}},
	{"C1 dispersion of four is not described", dispersion("1", "2", "3", "4"), ask("pay_ratio", lyon, "2025"), "null L", func(t *testing.T, f Figure) {
		if f.Quantiles == nil || f.Quantiles.N != 4 {
			t.Errorf("quantiles %+v", f.Quantiles)
		}
	}},
	{"C1 dispersion of five", dispersion("1", "2", "3", "4", "10"), ask("pay_ratio", lyon, "2025"), "3 A", func(t *testing.T, f Figure) {
		if q := f.Quantiles; show(q.P25) != "2" || show(q.P75) != "4" {
			t.Errorf("quartiles %s %s", show(q.P25), show(q.P75))
		}
	}},
	{"C1 median of six is averaged at the jump", dispersion("1", "2", "3", "4", "5", "6"), ask("pay_ratio", lyon, "2025"), "3.5 A", nil},
	{"C1 score: median, and mean within one method", func(w *world) {
		w.says("A", "score", lyon, "2025", "40", qualifier("method_version", "2"))
		w.says("B", "score", lyon, "2025", "60", qualifier("method_version", "2"))
		w.says("C", "score", lyon, "2025", "80", qualifier("method_version", "2"))
		w.says("C", "score", lyon, "2025", "10", qualifier("method_version", "2"), cut("axis=inclusion"))
	}, ask("score", lyon, "2025"), "60 A", func(t *testing.T, f Figure) {
		if show(f.Quantiles.Mean) != "60" || f.Qualifiers != "method_version=2" {
			t.Errorf("mean %s, %s", show(f.Quantiles.Mean), f.Qualifiers)
		}
	}},
	{"C1 parts add up when there is no whole", func(w *world) {
		w.says("A", "insertion_hours", lyon, "2025", "3", cut("sex=F"))
		w.says("A", "insertion_hours", lyon, "2025", "4", cut("sex=M"))
		w.says("A", "insertion_hours", lyon, "2025", "5", cut("age_band=under_26"))
	}, ask("insertion_hours", lyon, "2025"), "7 A", wantCounts(1, 2)},
	{"C1 and the whole holds them when there is", func(w *world) {
		w.says("A", "insertion_hours", lyon, "2025", "10")
		w.says("A", "insertion_hours", lyon, "2025", "3", cut("sex=F"))
		w.says("A", "insertion_hours", lyon, "2025", "2", cut("programme=iloe"))
	}, ask("insertion_hours", lyon, "2025"), "10 A", wantCounts(1, 1)},
	{"C1 programmes add up, each with its own parts", func(w *world) {
		w.says("A", "insertion_hours", lyon, "2025", "5", cut("programme=x"))
		w.says("A", "insertion_hours", lyon, "2025", "1", cut("programme=x;sex=F"))
		w.says("A", "insertion_hours", lyon, "2025", "2", cut("programme=y;sex=F"))
		w.says("A", "insertion_hours", lyon, "2025", "2", cut("programme=y;sex=M"))
	}, ask("insertion_hours", lyon, "2025"), "9 A", nil},
	{"C1 roles overlap: never summed", func(w *world) {
		w.says("A", "structures_awarded", lyon, "2025", "3", cut("award_role=holder"))
		w.says("A", "structures_awarded", lyon, "2025", "4", cut("award_role=subcontractor"))
	}, ask("structures_awarded", lyon, "2025"), "null O", wantExcluded(OverlappingParts, 2)},
	{"C5 worst status", func(w *world) {
		w.says("A", "headcount", lyon, "2025", "1", status(impact.Provisional))
		w.says("B", "headcount", lyon, "2025", "2", status(impact.Estimated))
		w.says("C", "headcount", lyon, "2025", "3", status(impact.Imputed))
	}, ask("headcount", lyon, "2025"), "6 E", nil},
	{"C5 two method versions: break", func(w *world) {
		for _, v := range []string{"1", "2"} {
			w.says("A"+v, "headcount", lyon, "2025", "1", func(_ *impact.CellKey, f *Fact) { f.Attrs.Method = v })
		}
	}, ask("headcount", lyon, "2025"), "2 B", wantNote(MethodBreak)},
}

func fourQuarters(ind impact.IndicatorCode) func(*world) {
	return func(w *world) {
		for i, v := range []string{"7", "7", "8", "7"} {
			w.says("A", ind, lyon, "2025-Q"+string(rune('1'+i)), v)
		}
	}
}

func dispersion(values ...string) func(*world) {
	return func(w *world) {
		for i, v := range values {
			w.says(string(rune('A'+i)), "pay_ratio", lyon, "2025", v)
		}
	}
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			w := newWorld(t)
			v.world(w)
			q := v.query
			if len(q.Periods) == 0 {
				t.Fatal("no period")
			}
			f := w.one(q)
			if got := f.text(); got != v.want {
				t.Errorf("got %s, want %s", got, v.want)
			}
			if v.check != nil {
				v.check(t, f)
			}
		})
	}
}

func TestRefusalsNameTheDimension(t *testing.T) {
	for _, c := range []struct {
		dimension string
		world     func(*world)
	}{
		{"organisation", func(w *world) {
			w.says("A", "insertion_people", lyon8, "2025-Q1", "1")
			w.says("B", "insertion_people", lyon, "2025-Q2", "1")
		}},
		{"territory", func(w *world) {
			w.says("A", "insertion_people", lyon8, "2025-Q1", "1")
			w.says("A", "insertion_people", lyon9, "2025-Q2", "1")
		}},
		{"period", func(w *world) {
			w.says("A", "insertion_people", lyon8, "2025-Q1", "1")
			w.says("A", "insertion_people", lyon8, "2025-Q2", "1")
		}},
	} {
		t.Run(c.dimension, func(t *testing.T) {
			w := newWorld(t)
			c.world(w)
			_, err := w.cube().Figures(ask("insertion_people", lyon, "2025"))
			e, ok := errors.AsType[*impact.Error](err)
			if !ok || e.Code != "not_additive" || !strings.Contains(err.Error(), "not_additive_over:"+c.dimension) {
				t.Fatalf("got %v", err)
			}
			f := w.one(ask("insertion_people", lyon, "2025", func(q *Query) { q.KeepRefused = true }))
			if f.Value != nil || f.Refused != c.dimension {
				t.Errorf("%s, refused %q", f.text(), f.Refused)
			}
		})
	}
}

// E5 and E6 of C6: the figure of a quotient is the quotient of figures, never
// a figure of quotients.
func TestDerivedOfAggregateIsNotAggregateOfDerived(t *testing.T) {
	w := newWorld(t)
	w.says("A", "women", lyon8, "2025", "20")
	w.says("A", "headcount", lyon8, "2025", "100")
	w.says("B", "women", lyon9, "2025", "810")
	w.says("B", "headcount", lyon9, "2025", "900")
	a, b, all := w.one(ask("women_share", lyon8, "2025")), w.one(ask("women_share", lyon9, "2025")), w.one(ask("women_share", lyon, "2025"))
	mean := a.Exact()
	mean.Add(mean, b.Exact()).Quo(mean, rat(2, 1))
	if show(all.Value) != "0.83" || ratString(mean) != "11/20" {
		t.Errorf("quotient of sums %s, mean of quotients %s", show(all.Value), ratString(mean))
	}
}

func TestQualifiersNeverMeet(t *testing.T) {
	w := newWorld(t)
	w.says("A", "purchases_local", lyon, "2025", "20", qualifier("local_scope", "metropole"))
	w.says("A", "purchases_total", lyon, "2025", "100")
	w.says("B", "purchases_local", lyon, "2025", "30", qualifier("local_scope", "region"))
	w.says("B", "purchases_total", lyon, "2025", "40")
	fs := w.figures(ask("local_supply_share", lyon, "2025"))
	var got []string
	for _, f := range fs {
		got = append(got, f.Qualifiers+" "+show(f.Value))
	}
	want := []string{"local_scope=metropole 0.2", "local_scope=region 0.75"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	f := w.one(ask("local_supply_share", lyon, "2025", func(q *Query) { q.Qualifiers = "local_scope=region" }))
	if show(f.Value) != "0.75" {
		t.Errorf("chosen qualifier: %s", show(f.Value))
	}
}

// E24: a fact keeps the class its organisation had.
func TestClassIsFrozen(t *testing.T) {
	w := newWorld(t)
	w.says("A", "waste_collected", lyon, "2025-Q1", "3", class(impact.Association))
	w.says("A", "waste_collected", lyon, "2025-Q2", "4", class(impact.Company))
	w.says("B", "waste_collected", lyon, "2025", "5", class(impact.Company))
	w.org("A").Profile.Class = impact.Company
	fs := w.figures(ask("waste_collected", lyon, "2025", func(q *Query) { q.Cuts = []Dimension{ByOrganisationClass} }))
	var got []string
	for _, f := range fs {
		got = append(got, f.Codes[0]+" "+show(f.Value))
	}
	if want := []string{"association 3", "company 9"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	f := w.one(ask("waste_collected", lyon, "2025", func(q *Query) { q.Filters = []Filter{{ByOrganisationClass, []string{"association"}}} }))
	if show(f.Value) != "3" {
		t.Errorf("filtered: %s", show(f.Value))
	}
}

func TestDisaggregation(t *testing.T) {
	w := newWorld(t)
	w.says("A", "insertion_hours", lyon, "2025", "10")
	w.says("A", "insertion_hours", lyon, "2025", "6", cut("sex=F"))
	w.says("A", "insertion_hours", lyon, "2025", "4", cut("sex=M"))
	w.says("B", "insertion_hours", lyon, "2025", "1", cut("age_band=a;sex=F"))
	w.says("B", "insertion_hours", lyon, "2025", "2", cut("age_band=b;sex=F"))
	w.says("C", "insertion_hours", lyon, "2025", "100")
	res, err := w.cube().Figures(ask("insertion_hours", lyon, "2025", func(q *Query) { q.Cuts = []Dimension{Disaggregation("sex")} }))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range res.Figures {
		got = append(got, f.Codes[0]+" "+show(f.Value))
	}
	if want := []string{"F 9", "M 4"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if want := []Exclusion{{NotDisaggregated, 1}}; !slices.Equal(res.Excluded, want) {
		t.Errorf("excluded %v, want %v", res.Excluded, want)
	}
	if f := w.one(ask("insertion_hours", lyon, "2025")); show(f.Value) != "113" {
		t.Errorf("without cut: %s", show(f.Value))
	}
	f := w.one(ask("insertion_hours", lyon, "2025", func(q *Query) { q.Filters = []Filter{{Disaggregation("sex"), []string{"F"}}} }))
	if show(f.Value) != "9" {
		t.Errorf("filtered: %s", show(f.Value))
	}
}

func TestStates(t *testing.T) {
	w := newWorld(t)
	w.says("A", "waste_collected", lyon, "2025", "10") // approved
	correction := w.says("B", "waste_collected", lyon, "2025", "200")
	correction.State, correction.Approved = impact.Submitted, &Fact{Value: qty("20"), HasValue: true, Status: impact.Normal}
	w.says("C", "waste_collected", lyon, "2025", "3000").State = impact.Draft
	w.says("D", "waste_collected", lyon, "2025", "40000").State = impact.Returned
	for state, want := range map[impact.SubmissionState]string{"": "30", impact.Approved: "30", impact.Submitted: "210", impact.Draft: "43210"} {
		f := w.one(ask("waste_collected", lyon, "2025", func(q *Query) { q.State = state }))
		if show(f.Value) != want {
			t.Errorf("state %q: %s, want %s", state, show(f.Value), want)
		}
		if state == impact.Approved && excluded(f, NotApproved) != 3 {
			t.Errorf("state %q: excluded %v", state, f.Excluded)
		}
	}
}

// Σ over the communes of the Métropole never holds Lyon and its arrondissements.
func TestImpactTypesAreCounts(t *testing.T) {
	w := newWorld(t)
	w.says("A", "waste_collected", lyon8, "2025", "10")
	w.says("A", "waste_reused", lyon, "2025", "10")
	w.says("B", "insertion_hours", lyon, "2025-Q1", "5")
	w.says("B", "insertion_hours", lyon, "2025-Q2", "5")
	w.says("C", "insertion_hours", metropole, "2025", "5")
	w.says("C", "insertion_hours", lyon, "2025", "", status(impact.NotCollected))
	q := ask("", lyon, "2025")
	q.Indicators, q.ImpactTypes = nil, []impact.ImpactTypeCode{"environment", "environment.waste", "inclusion"}
	fs := w.figures(q)
	want := [][2]int{{1, 2}, {1, 2}, {1, 2}}
	for i, f := range fs {
		if f.Value != nil || f.Organisations != want[i][0] || f.Observations != want[i][1] {
			t.Errorf("%s: %s, %d organisations, %d observations", f.ImpactType, show(f.Value), f.Organisations, f.Observations)
		}
	}
	q.OnlyThisType = true
	if fs = w.figures(q); len(fs) != 1 {
		t.Errorf("only level 1: %d figures", len(fs))
	}
}

func TestCoverage(t *testing.T) {
	w := newWorld(t)
	w.qs = []impact.Questionnaire{{
		Code: "q", From: day("2025-01-01"), To: day("2025-12-31"), StructureKinds: []string{"EI"},
		Indicators: []impact.QuestionnaireItem{{Indicator: "women_share"}},
	}}
	for _, n := range []string{"asked and answers", "asked and silent", "asked elsewhere", "other kind", "asked twin"} {
		o := w.org(n)
		o.Questionnaires, o.Profile.StructureKind = []string{"q"}, "EI"
		o.Sites = []impact.Site{{Territory: "commune-69266", From: impact.MinDate, To: impact.MaxDate}}
	}
	w.org("asked elsewhere").Sites[0].Territory = "commune-69123"
	w.org("other kind").Profile.StructureKind = "AI"
	w.org("asked twin").LegalUnit = w.org("asked and silent").LegalUnit
	w.says("asked and answers", "headcount", villeurbanne, "2025", "10")
	w.says("not asked", "headcount", villeurbanne, "2025", "10")
	for _, c := range []struct {
		ind       impact.IndicatorCode
		place     impact.TerritoryKey
		bucket    string
		reporters int
		expected  int
	}{
		{"headcount", villeurbanne, "2025", 2, 3},
		{"headcount", metropole, "2025", 2, 4},
		{"headcount", villeurbanne, "2024", 0, 0},
		{"women_share", villeurbanne, "2025", 0, 3}, // both answer one part only
		{"waste_collected", villeurbanne, "2025", 0, 0},
	} {
		f := w.one(ask(c.ind, c.place, c.bucket))
		if f.Reporters != c.reporters || f.Expected != c.expected {
			t.Errorf("%s %d %s: %d of %d, want %d of %d", c.ind, c.place, c.bucket, f.Reporters, f.Expected, c.reporters, c.expected)
		}
	}
}

func TestMergedPeriods(t *testing.T) {
	w := newWorld(t)
	w.says("A", "headcount", lyon, "2024", "5")
	w.says("A", "headcount", lyon, "2025", "6")
	w.says("A", "waste_collected", lyon, "2024-07-01/2025-06-30", "7")
	merged := func(q *Query) {
		q.Periods, q.MergePeriods = []impact.Period{period("2025"), period("2024")}, true
	}
	if f := w.one(ask("headcount", lyon, "2024", merged)); show(f.Value) != "6" || f.Period != (impact.Period{Start: day("2024-01-01"), End: day("2025-12-31")}) {
		t.Errorf("stock %s over %s", show(f.Value), f.Period)
	}
	if f := w.one(ask("waste_collected", lyon, "2024", merged)); show(f.Value) != "7" {
		t.Errorf("flow %s", show(f.Value))
	}
}
