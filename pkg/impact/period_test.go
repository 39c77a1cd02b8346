package impact_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/impact"
)

func TestParsePeriod(t *testing.T) {
	for _, c := range []struct{ in, want, suggestion string }{
		{"2024", "2024", ""},
		{"2024-A1", "2024", ""},
		{"2024-S1", "2024-S1", ""},
		{"2024-S2", "2024-S2", ""},
		{"2024-Q1", "2024-Q1", ""},
		{"2024Q4", "2024-Q4", ""},
		{"2024-03", "2024-03", ""},
		{"2024-M03", "2024-03", ""},
		{"202403", "2024-03", ""},
		{"2023-07-01/2024-06-30", "2023-07-01/2024-06-30", ""},
		{"2024-01-01/2024-12-31", "2024", ""}, // a named period has one name
		{"2024-01-01/2024-06-30", "2024-S1", ""},
		{"2024-02-01/2024-02-29", "2024-02", ""},
		{"2024-02-01/2024-02-28", "2024-02-01/2024-02-28", ""},
		{"2024-T1", "ambiguous_period", "2024-Q1"},
		{"T1 2024", "ambiguous_period", "2024-Q1"},
		{"2024T4", "ambiguous_period", "2024-Q4"},
		{"2024-W05", "period_not_allowed", ""},
		{"2024-Q5", "unknown_period_format", ""},
		{"2024-S3", "unknown_period_format", ""},
		{"2024-13", "unknown_period_format", ""},
		{"2024-00", "unknown_period_format", ""},
		{"0000", "unknown_period_format", ""},
		{" 2024-q1", "unknown_period_format", "2024-Q1"},
		{"Q1 2024", "unknown_period_format", "2024-Q1"},
		{"2024-01/2024-06", "unknown_period_format", "2024-S1"},
		{"2024-03-05", "unknown_period_format", "2024-03-05/2024-03-05"},
		{"2024-06-30/2024-01-01", "unknown_period_format", "2024-S1"},
		{"2024-02-30/2024-03-01", "unknown_period_format", ""},
		{"", "unknown_period_format", ""},
		{"last year", "unknown_period_format", ""},
	} {
		p, f := impact.ParsePeriod(c.in)
		got, suggestion := p.String(), ""
		if f != nil {
			got, suggestion = string(f.Code), f.Suggestion
			wellSaid(t, *f)
		}
		if got != c.want || suggestion != c.suggestion {
			t.Errorf("ParsePeriod(%q) = %s (suggestion %q), want %s (%q)", c.in, got, suggestion, c.want, c.suggestion)
		}
	}
}

func TestParseDate(t *testing.T) {
	for _, c := range []struct{ in, want, suggestion string }{
		{"2024-02-29", "2024-02-29", ""},
		{"2023-02-29", "invalid_date", ""},
		{"31/12/2024", "invalid_date", "2024-12-31"},
		{"2024-1-1", "invalid_date", ""},
		{"5021-02-18", "5021-02-18", ""},
	} {
		d, f := impact.ParseDate(c.in)
		got, suggestion := d.String(), ""
		if f != nil {
			got, suggestion = string(f.Code), f.Suggestion
			wellSaid(t, *f)
		}
		if got != c.want || suggestion != c.suggestion {
			t.Errorf("ParseDate(%q) = %s (%q), want %s (%q)", c.in, got, suggestion, c.want, c.suggestion)
		}
	}
}

func TestDaysAreThoseOfParis(t *testing.T) {
	late := time.Date(2024, 12, 31, 23, 30, 0, 0, time.UTC)
	if d := impact.DateOf(late); d.String() != "2025-01-01" {
		t.Errorf("half past eleven in London is already %s in Paris", d)
	}
	if impact.MinDate.String() != "" || impact.MaxDate.String() != "" {
		t.Error("an open end is not a day")
	}
}

func TestPeriodQueries(t *testing.T) {
	today := impact.NewDate(2026, 11, 25)
	latest := func() (impact.Period, bool) { return impact.YearPeriod(2025).Buckets(impact.Quarter)[1], true }
	for _, c := range []struct {
		in   string
		g    impact.Granularity
		want string // or a fault code
	}{
		{"2025", "", "2025"},
		{"2025", impact.Quarter, "2025-Q1 2025-Q2 2025-Q3 2025-Q4"},
		{"2023/2025", "", "2023 2024 2025"},
		{"2023/2025", impact.Year, "2023 2024 2025"},
		{"2024-01/2024-03", "", "2024-01 2024-02 2024-03"},
		{"2024/2024-Q2", "", "2024-Q1 2024-Q2"},
		{"2024-01-01/P3M", "", "2024-Q1"},
		{"2024-01-31/P1M", "", "2024-01-31/2024-02-29"},
		{"2024-01-01/P1Y", impact.Semester, "2024-S1 2024-S2"},
		{"2024-02-01/P29D", "", "2024-02"},
		{"2024/..", "", "2024 2025 2026"},
		{"../2001-S1", "", "2000-S1 2000-S2 2001-S1"},
		{"2025,2023,2025", "", "2023 2025"},
		{"2023-07-01/2024-06-30", "", "2023-07-01/2024-06-30"},
		{"last:4Q", "", "2025-Q4 2026-Q1 2026-Q2 2026-Q3"},
		{"last:1Y", impact.Semester, "2025-S1 2025-S2"},
		{"last:2M", "", "2026-09 2026-10"},
		{"last:3y", "", "2023 2024 2025"},
		{"ytd:2026", "", "2026-01-01/2026-11-25"},
		{"ytd:2026", impact.Quarter, "2026-Q1 2026-Q2 2026-Q3 2026-Q4"},
		{"ytd:2025", "", "2025"},
		{"ytd:2027", "", ""},
		{"latest", "", "2025-Q2"},
		{"latest_period", "", "2025"},
		{"latest_period", impact.Quarter, "2026-Q3"},
		{"0001/9999", impact.Year, "2000 2001 2002 2003 2004 2005 2006 2007 2008 2009 2010 2011 2012 2013 2014 2015 2016 2017 2018 2019 2020 2021 2022 2023 2024 2025 2026 2027"},
		{"3000/9999", impact.Month, ""},
		{"1998", "", "1998"},
		{"2026/2024", "", "unknown_period_format"},
		{"../..", "", "unknown_period_format"},
		{"../P3M", "", "unknown_period_format"},
		{"last:0Q", "", "unknown_period_format"},
		{"last:4W", "", "unknown_period_format"},
		{"ytd:26", "", "unknown_period_format"},
		{"latest:1", "", "unknown_period_format"},
		{"2024-T1", "", "ambiguous_period"},
		{"2024-T1/2024-T2", "", "ambiguous_period"},
		{"2024,", "", "unknown_period_format"},
	} {
		q, f := impact.ParsePeriodQuery(c.in)
		var got []string
		if f != nil {
			got = []string{string(f.Code)}
			wellSaid(t, *f)
		} else {
			for _, p := range q.Resolve(today, c.g, latest) {
				got = append(got, p.String())
			}
			if again, f := impact.ParsePeriodQuery(q.String()); f != nil || again.String() != q.String() {
				t.Errorf("%q is written %q, which reads differently", c.in, q)
			}
		}
		if d := cmp.Diff(strings.Join(got, " "), c.want); d != "" {
			t.Errorf("%q by %q: %s", c.in, c.g, d)
		}
	}
	never, _ := impact.ParsePeriodQuery("latest")
	if got := never.Resolve(today, impact.Year, func() (impact.Period, bool) { return impact.Period{}, false }); len(got) != 0 {
		t.Errorf("latest without any value: %v", got)
	}
}

func TestPeriodProperties(t *testing.T) {
	day := rapid.Map(rapid.IntRange(0, 40000), func(n int) impact.Date { return impact.Date(n) })
	t.Run("a day is the day that was written", rapid.MakeCheck(func(t *rapid.T) {
		d := day.Draw(t, "day")
		if want := time.Unix(int64(d)*86400, 0).UTC(); d.Time() != want || d.String() != want.Format(time.DateOnly) {
			t.Fatalf("%d is %s, want %s", d, d, want)
		}
		back, f := impact.ParseDate(d.String())
		if f != nil || back != d {
			t.Fatalf("%s came back as %s", d, back)
		}
	}))
	t.Run("a period is the period that was written", rapid.MakeCheck(func(t *rapid.T) {
		start := day.Draw(t, "start")
		p := impact.Period{Start: start, End: start + impact.Date(rapid.IntRange(0, 800).Draw(t, "length"))}
		if rapid.Bool().Draw(t, "named") {
			g := rapid.SampledFrom([]impact.Granularity{impact.Year, impact.Semester, impact.Quarter, impact.Month}).Draw(t, "g")
			p = p.Buckets(g)[0]
			if p.Granularity() != g {
				t.Fatalf("%s is a %s, want %s", p, p.Granularity(), g)
			}
		}
		back, f := impact.ParsePeriod(p.String())
		if f != nil || back != p {
			t.Fatalf("%s came back as %s", p, back)
		}
	}))
	t.Run("buckets partition the days", rapid.MakeCheck(func(t *rapid.T) {
		start := day.Draw(t, "start")
		p := impact.Period{Start: start, End: start + impact.Date(rapid.IntRange(0, 2000).Draw(t, "length"))}
		g := rapid.SampledFrom([]impact.Granularity{impact.Year, impact.Semester, impact.Quarter, impact.Month}).Draw(t, "g")
		bs := p.Buckets(g)
		if !bs[0].Overlaps(p) || !bs[len(bs)-1].Overlaps(p) || bs[0].Start > p.Start || bs[len(bs)-1].End < p.End {
			t.Fatalf("%s is not covered by %v", p, bs)
		}
		for i, b := range bs {
			if b.Granularity() != g || i > 0 && bs[i-1].End+1 != b.Start {
				t.Fatalf("%v leave a gap or overlap", bs)
			}
		}
	}))
}

func FuzzParsePeriod(f *testing.F) {
	for _, s := range []string{"2024", "2024-Q1", "202403", "2024-T1", "2023-07-01/2024-06-30", "2024-W05", "9999-12", "T1 2024"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, fault := impact.ParsePeriod(s)
		if fault != nil {
			wellSaid(t, *fault)
			if fault.Suggestion != "" {
				if _, again := impact.ParsePeriod(fault.Suggestion); again != nil {
					t.Fatalf("%q: the suggestion %q is refused", s, fault.Suggestion)
				}
			}
			return
		}
		if back, fault := impact.ParsePeriod(p.String()); fault != nil || back != p || p.Start > p.End {
			t.Fatalf("%q read as %s, which reads as %s, %v", s, p, back, fault)
		}
	})
}

func FuzzParsePeriodQuery(f *testing.F) {
	for _, s := range []string{"2023/2025", "2024-01-01/P3M", "2024/..", "../2023-12", "last:4Q", "ytd:2025", "latest", "2024,2025-Q1"} {
		f.Add(s)
	}
	today := impact.NewDate(2026, 11, 25)
	f.Fuzz(func(t *testing.T, s string) {
		q, fault := impact.ParsePeriodQuery(s)
		if fault != nil {
			wellSaid(t, *fault)
			return
		}
		again, fault := impact.ParsePeriodQuery(q.String())
		if fault != nil {
			t.Fatalf("%q is written %q, which is refused: %v", s, q, fault)
		}
		a, b := q.Resolve(today, "", nil), again.Resolve(today, "", nil)
		if d := cmp.Diff(a, b); d != "" {
			t.Fatalf("%q is written %q: %s", s, q, d)
		}
		for i, p := range a {
			if p.Start > p.End || i > 0 && a[i-1].Start > p.Start {
				t.Fatalf("%q gives %v", s, a)
			}
		}
	})
}

func TestReadPeriod(t *testing.T) {
	for _, c := range []struct{ in, want, warning string }{
		{"2025", "2025", ""},
		{" 2025-q3 ", "2025-Q3", ""},
		{"T3 2025", "2025-Q3", "trimestre_read_as_quarter"},
		{"t3-2025", "2025-Q3", "trimestre_read_as_quarter"},
		{"2025-T3", "2025-Q3", "trimestre_read_as_quarter"},
		{"2025T3", "2025-Q3", "trimestre_read_as_quarter"},
		{"2025 / T3", "2025-Q3", "trimestre_read_as_quarter"},
		{"3e trimestre 2025", "2025-Q3", ""},
		{"3ème Trimestre 2025", "2025-Q3", ""},
		{"1er trimestre 2025", "2025-Q1", ""},
		{"trimestre 3 2025", "2025-Q3", ""},
		{"2nd quarter of 2025", "2025-Q2", ""},
		{"Q3 2025", "2025-Q3", ""},
		{"S1 2025", "2025-S1", ""},
		{"2e semestre 2025", "2025-S2", ""},
		{"mars 2025", "2025-03", ""},
		{"Août 2025", "2025-08", ""},
		{"Sept. 2025", "2025-09", ""},
		{"March 2025", "2025-03", ""},
		{"03/2025", "2025-03", ""},
		{"3/2025", "2025-03", ""},
		{"2025/03", "2025-03", ""},
		{"Année 2025", "2025", ""},
		{"exercice 2025", "2025", ""},
		{"du 01/07/2023 au 30/06/2024", "2023-07-01/2024-06-30", ""},
		{"01/07/2023 - 30/06/2024", "2023-07-01/2024-06-30", ""},
		{"2023-07-01 / 2024-06-30", "2023-07-01/2024-06-30", ""},
		{"juil-25", "2025-07", "source_value_mapped"},
		{"juil. 2025", "2025-07", ""},
		{"mars 25", "2025-03", "source_value_mapped"},
		{"S1 25", "2025-S1", "source_value_mapped"},
		{"1er trim. 25", "2025-Q1", "source_value_mapped"},
		{"T3 25", "2025-Q3", "trimestre_read_as_quarter"},
		{"T3-25", "2025-Q3", "trimestre_read_as_quarter"},
		{"1T2026", "2026-Q1", "trimestre_read_as_quarter"},
		{"3T 2025", "2025-Q3", "trimestre_read_as_quarter"},
		{"3T25", "2025-Q3", "trimestre_read_as_quarter"},
		{"T32025", "2025-Q3", "trimestre_read_as_quarter"},
		{"2S2025", "2025-S2", ""},
		{"25 juil", "unknown_period_format", ""},
		{"T5 25", "unknown_period_format", ""},
		{"3M2025", "unknown_period_format", ""},
		{"25", "unknown_period_format", ""},
		{"01/01/2025-31/12/2025", "unknown_period_format", ""},
		{"T5 2025", "unknown_period_format", ""},
		{"S3 2025", "unknown_period_format", ""},
		{"trimestre 2025", "unknown_period_format", ""},
		{"1er 2025", "unknown_period_format", ""},
		{"13/2025", "unknown_period_format", ""},
		{"03/25", "unknown_period_format", ""},
		{"31/12/2025", "unknown_period_format", ""},
		{"2025 2024", "unknown_period_format", ""},
		{"mars avril 2025", "unknown_period_format", ""},
		{"2024-W05", "period_not_allowed", ""},
		{"", "unknown_period_format", ""},
		{strings.Repeat("mars ", 20), "unknown_period_format", ""},
	} {
		p, w, f := impact.ReadPeriod(c.in)
		got, warning := p.String(), ""
		if f != nil {
			got = string(f.Code)
			wellSaid(t, *f)
		}
		if w != nil {
			warning = string(w.Code)
			wellSaid(t, *w)
			if w.Suggestion != got {
				t.Errorf("%q: suggestion %q", c.in, w.Suggestion)
			}
		}
		if got != c.want || warning != c.warning {
			t.Errorf("ReadPeriod(%q) = %s %q, want %s %q", c.in, got, warning, c.want, c.warning)
		}
	}
}

func TestARefusedPeriodShowsWhatPeopleWrite(t *testing.T) {
	for in, hint := range map[string]string{
		"trois": "T3 2025", "01/07/2025": "écrivez 2025-07", "2025-07-01": "2025-07-01/2025-07-01",
	} {
		_, _, f := impact.ReadPeriod(in)
		if f == nil || !strings.Contains(f.Hint.FR, hint) {
			t.Errorf("%q: %+v", in, f)
		}
	}
}

func TestReadDate(t *testing.T) {
	for in, want := range map[string]string{
		"2024-12-31": "2024-12-31", "31/12/2024": "2024-12-31", "31.12.2024": "2024-12-31", "31-12-2024": "2024-12-31",
		"1/7/2024": "2024-07-01", " 01/07/2024 ": "2024-07-01", "31 décembre 2024": "2024-12-31", "1er janv. 2024": "2024-01-01",
		"2024-12-31 00:00:00": "2024-12-31", "2024-12-31T00:00:00Z": "2024-12-31",
		"12/31/2024": "invalid_date", "31/12/24": "invalid_date", "30/02/2024": "invalid_date", "2024-12-31 08:00": "invalid_date",
		"2024/12/31": "invalid_date", "hier": "invalid_date", "": "invalid_date",
	} {
		d, f := impact.ReadDate(in)
		got := d.String()
		if f != nil {
			got = string(f.Code)
			wellSaid(t, *f)
		}
		if got != want {
			t.Errorf("ReadDate(%q) = %s, want %s", in, got, want)
		}
	}
}

// What people write is read the same however it is spaced, and what is canonical
// stays what it is.
func FuzzReadPeriod(f *testing.F) {
	for _, s := range []string{"T3 2025", "3e trimestre 2025", "mars 2025", "01/07/2023 - 30/06/2024", "2025-Q3", "juil-25", "3T25", "du 1er mai 2025 au 2 mai 2025", "\xff/\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, _, fault := impact.ReadPeriod(s)
		if fault != nil {
			return
		}
		if p.Start > p.End {
			t.Errorf("%q gives %s", s, p)
		}
		again, w, fault := impact.ReadPeriod(p.String())
		if fault != nil || w != nil || again != p {
			t.Errorf("%q gives %s, which reads as %s", s, p, again)
		}
	})
}
