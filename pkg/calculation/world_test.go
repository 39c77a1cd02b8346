package calculation

import (
	"fmt"
	"iter"
	"math/big"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

// A small reference of its own: the tests of the arithmetic must not move when
// the catalogue does.

type terr struct {
	key      impact.TerritoryKey
	id       impact.TerritoryID
	typ      impact.TerritoryType
	parent   impact.TerritoryID
	from, to string
	next     []impact.Succession
}

const (
	france impact.TerritoryKey = iota + 1
	aura
	metropole
	ctmLyon
	ctmLones
	ctmEst
	lyon
	lyon8
	lyon9
	villeurbanne
	oullins // until 2023
	pierreBenite
	oullinsPierreBenite // since 2024, same id as oullins
	old                 // split in 2024: 0.6 north, 0.4 south
	north
	south
	albigny
)

func day(s string) impact.Date {
	d, f := impact.ParseDate(s)
	if f != nil {
		panic(f.Code)
	}
	return d
}

func period(s string) impact.Period {
	if a, b, ok := strings.Cut(s, "/"); ok && len(a) == 4 {
		return impact.Period{Start: period(a).Start, End: period(b).End}
	}
	p, f := impact.ParsePeriod(s)
	if f != nil {
		panic(s + ": " + string(f.Code))
	}
	return p
}

func qty(s string) impact.Quantity {
	q, f := impact.ParseQuantity(s)
	if f != nil {
		panic(s + ": " + string(f.Code))
	}
	return q
}

func reference() impact.Reference {
	r := impact.Reference{Version: "test"}
	for _, t := range []terr{
		{france, "pays-FR", impact.Country, "", "", "", nil},
		{aura, "region-84", impact.Region, "pays-FR", "", "", nil},
		{metropole, "metropole-200046977", impact.Metropole, "region-84", "", "", nil},
		{ctmLyon, "ctm-lyon", impact.CTM, "metropole-200046977", "", "", nil},
		{ctmLones, "ctm-lones-et-coteaux", impact.CTM, "metropole-200046977", "", "", nil},
		{ctmEst, "ctm-est", impact.CTM, "metropole-200046977", "", "", nil},
		{lyon, "commune-69123", impact.Commune, "ctm-lyon", "", "", nil},
		{lyon8, "arrondissement-69388", impact.Arrondissement, "commune-69123", "", "", nil},
		{lyon9, "arrondissement-69389", impact.Arrondissement, "commune-69123", "", "", nil},
		{villeurbanne, "commune-69266", impact.Commune, "ctm-est", "", "", nil},
		{oullins, "commune-69149", impact.Commune, "ctm-lones-et-coteaux", "", "2023-12-31", []impact.Succession{{ID: "commune-69149", Share: impact.One}}},
		{pierreBenite, "commune-69152", impact.Commune, "ctm-lones-et-coteaux", "", "2023-12-31", []impact.Succession{{ID: "commune-69149", Share: impact.One}}},
		{oullinsPierreBenite, "commune-69149", impact.Commune, "ctm-lones-et-coteaux", "2024-01-01", "", nil},
		{old, "commune-69900", impact.Commune, "ctm-est", "", "2023-12-31", []impact.Succession{{ID: "commune-69901", Share: qty("0.6")}, {ID: "commune-69902", Share: qty("0.4")}}},
		{north, "commune-69901", impact.Commune, "ctm-est", "2024-01-01", "", nil},
		{south, "commune-69902", impact.Commune, "ctm-est", "2024-01-01", "", nil},
		{albigny, "commune-69003", impact.Commune, "ctm-est", "", "", nil},
	} {
		from, to := impact.MinDate, impact.MaxDate
		if t.from != "" {
			from = day(t.from)
		}
		if t.to != "" {
			to = day(t.to)
		}
		r.Territories = append(r.Territories, impact.Territory{
			Key: t.key, ID: t.id, Type: t.typ, Code: string(t.id), Name: string(t.id),
			Parent: t.parent, ValidFrom: from, ValidTo: to, Successors: t.next,
		})
	}
	r.Units = []impact.Unit{{Code: "1", Base: "1", Num: 1, Den: 1}}
	r.ImpactTypes = []impact.ImpactType{
		{Code: "environment"},
		{Code: "environment.waste", Parent: "environment"},
		{Code: "inclusion"},
		{Code: "inclusion.insertion", Parent: "inclusion"},
	}
	ind := func(code impact.IndicatorCode, kind impact.MeasureKind, change func(*impact.Indicator)) {
		i := impact.Indicator{
			Key: impact.IndicatorKey(len(r.Indicators) + 1), Code: code, Kind: kind, Unit: "1", Decimals: 2,
			Label: impact.Text{FR: string(code), EN: string(code)}, ImpactType: "environment.waste", MethodologyVersion: "1",
		}
		if change != nil {
			change(&i)
		}
		r.Indicators = append(r.Indicators, i)
	}
	ratio := func(form impact.Form, decimals int, num, den string) func(*impact.Indicator) {
		return func(i *impact.Indicator) {
			i.Form, i.Scale, i.Decimals = form, impact.One, decimals
			i.Numerator, i.Denominator = codes(num), codes(den)
		}
	}
	ind("waste_collected", impact.Flow, nil)
	ind("waste_reused", impact.Flow, nil)
	ind("waste_recycled", impact.Flow, nil)
	ind("waste_energy_recovered", impact.Flow, nil)
	ind("recovery_rate", impact.Ratio, ratio(impact.Quotient, 4, "waste_reused waste_recycled waste_energy_recovered", "waste_collected"))
	ind("insertion_hours", impact.Flow, func(i *impact.Indicator) { i.ImpactType = "inclusion.insertion" })
	ind("insertion_people", impact.Distinct, func(i *impact.Indicator) { i.ImpactType, i.Decimals = "inclusion.insertion", 0 })
	ind("jobs_created_net", impact.SignedFlow, nil)
	ind("headcount", impact.Stock, nil)
	ind("women", impact.Stock, nil)
	ind("women_share", impact.Ratio, ratio(impact.Quotient, 4, "women", "headcount"))
	ind("fte_total", impact.StockAvg, func(i *impact.Indicator) { i.HomogeneousBy = []string{"headcount_method"} })
	ind("mean_headcount", impact.StockAvg, nil)
	ind("staff_departures", impact.Flow, nil)
	ind("staff_turnover_rate", impact.Ratio, ratio(impact.Quotient, 4, "staff_departures", "mean_headcount"))
	ind("purchases_total", impact.Flow, nil)
	ind("purchases_local", impact.Flow, func(i *impact.Indicator) { i.HomogeneousBy = []string{"local_scope"} })
	ind("local_supply_share", impact.Ratio, func(i *impact.Indicator) {
		ratio(impact.Quotient, 4, "purchases_local", "purchases_total")(i)
		i.HomogeneousBy = []string{"local_scope"}
	})
	ind("ghg_scope1", impact.Flow, nil)
	ind("ghg_scope2_location", impact.Flow, nil)
	ind("turnover", impact.Flow, nil)
	ind("ghg_intensity", impact.Ratio, func(i *impact.Indicator) {
		ratio(impact.Quotient, 3, "ghg_scope1 ghg_scope2_location", "turnover")(i)
		i.Scale = 1_000_000 * impact.One
	})
	ind("ghg_scope3", impact.Flow, func(i *impact.Indicator) { i.NotAdditiveOver = []string{"organisation"} })
	ind("ghg_avoided", impact.Flow, nil)
	ind("gross_pay_women", impact.Flow, nil)
	ind("paid_hours_women", impact.Flow, nil)
	ind("gross_pay_men", impact.Flow, nil)
	ind("paid_hours_men", impact.Flow, nil)
	ind("hourly_pay_women", impact.Ratio, ratio(impact.Quotient, 2, "gross_pay_women", "paid_hours_women"))
	ind("hourly_pay_men", impact.Ratio, ratio(impact.Quotient, 2, "gross_pay_men", "paid_hours_men"))
	ind("gender_pay_gap", impact.Ratio, ratio(impact.Complement, 4, "hourly_pay_women", "hourly_pay_men"))
	ind("nps_promoters", impact.Flow, nil)
	ind("nps_detractors", impact.Flow, nil)
	ind("nps_answers", impact.Flow, nil)
	ind("nps", impact.SurveyShare, ratio(impact.Difference, 4, "nps_promoters nps_detractors", "nps_answers"))
	ind("satisfaction_answers", impact.Flow, nil)
	ind("satisfaction", impact.SurveyMean, func(i *impact.Indicator) { i.Weight = "satisfaction_answers" })
	ind("ess_agreement", impact.Boolean, func(i *impact.Indicator) { i.Decimals = 0 })
	ind("pay_ratio", impact.Dispersion, nil)
	ind("score", impact.Score, func(i *impact.Indicator) { i.HomogeneousBy = []string{"method_version"} })
	ind("structures_awarded", impact.Flow, nil)
	return r
}

func codes(s string) (out []impact.IndicatorCode) {
	for len(s) > 0 {
		n := 0
		for n < len(s) && s[n] != ' ' {
			n++
		}
		out = append(out, impact.IndicatorCode(s[:n]))
		s = s[min(n+1, len(s)):]
	}
	return out
}

func catalogue(t interface{ Fatal(...any) }) *impact.Catalogue {
	cat, err := impact.NewCatalogue(reference())
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

// world is the feed of a test.
type world struct {
	t    testing.TB
	cat  *impact.Catalogue
	orgs map[string]*Organisation
	list []*Organisation
	qs   []impact.Questionnaire
	// cells in the order they were stated, last state of each
	cells []Change
}

func newWorld(t testing.TB) *world {
	return &world{t: t, cat: catalogue(t), orgs: map[string]*Organisation{}}
}

// org gives the organisation of that name, made on first use.
func (w *world) org(name string) *Organisation {
	if o := w.orgs[name]; o != nil {
		return o
	}
	o := &Organisation{Key: impact.OrganisationKey(len(w.list) + 1), ID: impact.OrganisationID(name), LegalUnit: "id:" + name, Group: name}
	w.orgs[name] = o
	w.list = append(w.list, o)
	return o
}

func (w *world) key(org string, ind impact.IndicatorCode, t impact.TerritoryKey, p, cut string) impact.CellKey {
	i := w.cat.Indicator(ind)
	if i == nil {
		w.t.Fatalf("no indicator %s", ind)
	}
	return impact.CellKey{Organisation: w.org(org).Key, Indicator: i.Key, Territory: t, Period: period(p), Cut: cut}
}

type with func(*impact.CellKey, *Fact)

func cut(s string) with { return func(k *impact.CellKey, _ *Fact) { k.Cut = s } }
func qualifier(n, v string) with {
	return func(_ *impact.CellKey, f *Fact) { f.Attrs.Qualifiers = map[string]string{n: v} }
}

func status(s impact.Status) with {
	return func(_ *impact.CellKey, f *Fact) { f.Status = s }
}
func covers(ids ...string) with { return func(_ *impact.CellKey, f *Fact) { f.Attrs.Covers = ids } }
func consolidates(ids ...string) with {
	return func(_ *impact.CellKey, f *Fact) { f.Attrs.Covers, f.Attrs.Perimeter = ids, "group" }
}

func class(c impact.OrganisationClass) with {
	return func(_ *impact.CellKey, f *Fact) { f.Attrs.Profile.Class = c }
}

// says states an approved value; "" with a status states its absence.
func (w *world) says(org string, ind impact.IndicatorCode, t impact.TerritoryKey, p, value string, opts ...with) *Change {
	k := w.key(org, ind, t, p, "")
	f := Fact{Status: impact.Normal}
	if value != "" {
		f.Value, f.HasValue = qty(value), true
	}
	for _, o := range opts {
		o(&k, &f)
	}
	w.cells = append(w.cells, Change{Key: k, Current: &f, State: impact.Approved})
	return &w.cells[len(w.cells)-1]
}

func seq[T any](xs []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, x := range xs {
			if !yield(x, nil) {
				return
			}
		}
	}
}

func (w *world) organisations() []Organisation {
	var out []Organisation
	for _, o := range w.list {
		out = append(out, *o)
	}
	return out
}

func (w *world) cube() *Cube {
	c := NewCube(w.cat)
	if err := c.Load(seq(w.organisations()), w.qs, seq(w.cells), 1); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// ask makes a query of one indicator, territory and bucket in vintage 2026.
func ask(ind impact.IndicatorCode, t impact.TerritoryKey, p string, change ...func(*Query)) Query {
	q := Query{Indicators: []impact.IndicatorCode{ind}, Territories: []impact.TerritoryKey{t}, Vintage: 2026, Periods: []impact.Period{period(p)}}
	for _, c := range change {
		c(&q)
	}
	return q
}

func (w *world) figures(q Query) []Figure {
	w.t.Helper()
	res, err := w.cube().Figures(q)
	if err != nil {
		w.t.Fatalf("%v: %v", q.Indicators, err)
	}
	return res.Figures
}

// one gives the only figure of a query.
func (w *world) one(q Query) Figure {
	w.t.Helper()
	q.IncludeEmpty = true
	fs := w.figures(q)
	if len(fs) != 1 {
		w.t.Fatalf("%v: %d figures, want 1: %+v", q.Indicators, len(fs), fs)
	}
	return fs[0]
}

func show(q *impact.Quantity) string {
	if q == nil {
		return "null"
	}
	return q.String()
}

func (f *Figure) text() string { return fmt.Sprintf("%s %c", show(f.Value), f.Status) }

func rat(a, b int64) *big.Rat { return big.NewRat(a, b) }

func ratString(r *big.Rat) string {
	if r == nil {
		return "null"
	}
	return r.RatString()
}
