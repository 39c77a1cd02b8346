package release

import (
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// selection is a query that selects cells. It belongs to one call.
type selection struct {
	lines   []line
	cut     calculation.Dimension
	codes   []string // that are kept; nil = all
	periods []bucket
}

// line is an indicator, or the count of an impact type.
type line struct {
	blockKey
	indicator *impact.Indicator // nil for counts
}

// bucket is a period asked for, and its number in the set; -1 when no cell has it.
type bucket struct {
	impact.Period
	at     int32
	closed bool
}

// Figures gives the cells a query selects, in the order of a cube. Cells that do
// not exist give no figure, or with IncludeEmpty one without value (O; Q for
// what is never released). Errors: disclosure_uncontrolled_slice, as a
// *calculation.UncontrolledSliceError; vintage_not_released; validation_failed for
// codes the reference data does not have.
func (s *Set) Figures(q calculation.Query) (*calculation.Result, error) {
	sel, err := s.plan(q)
	if err != nil {
		return nil, err
	}
	res := &calculation.Result{Seq: s.release.Seq}
	res.Figures = make([]calculation.Figure, 0, min(q.Rows(), len(s.rows)))
	excluded := map[calculation.Reason]int{}
	for _, l := range sel.lines {
		b, known := s.at[blockKey{l.counts, l.code, sel.cut}]
		for _, t := range q.Territories {
			var from, to int32
			if known {
				from, to = s.rowsOf(b, t)
			}
			for _, p := range sel.periods {
				some := false
				for i := s.seek(from, to, p.at); i < to && int32(s.rows[i].period) == p.at; i++ {
					r := &s.rows[i]
					if sel.codes != nil && !slices.Contains(sel.codes, s.codes[r.code][0]) || q.Qualifiers != "" && s.quals[r.quals] != q.Qualifiers {
						continue
					}
					some = true
					for _, e := range s.excluded[r.excluded] {
						excluded[e.Reason] += e.Observations
					}
					res.Figures = append(res.Figures, calculation.Figure{})
					s.fill(&res.Figures[len(res.Figures)-1], r, l.blockKey, t, len(q.Cuts) > 0)
				}
				if !some && q.IncludeEmpty && q.Qualifiers == "" && len(q.Cuts) == 0 && p.closed && declared(l.indicator, p.Period) {
					res.Figures = append(res.Figures, s.empty(l, t, p.Period))
				}
			}
		}
	}
	if q.MergeTerritories {
		for i := range res.Figures {
			res.Figures[i].Territory = 0
		}
	}
	for _, reason := range reasonsInOrder {
		if n := excluded[reason]; n > 0 {
			res.Excluded = append(res.Excluded, calculation.Exclusion{Reason: reason, Observations: n})
		}
	}
	return res, nil
}

// reasonsInOrder is how exclusions are listed.
var reasonsInOrder = [...]calculation.Reason{
	calculation.NotApproved, calculation.CoarserTerritory, calculation.StraddlesBucket, calculation.Transferred, calculation.IncludedInGroup,
	calculation.IncludedInLegalUnit, calculation.NegativeRemainder, calculation.NoPair, calculation.OverlappingParts, calculation.NotDisaggregated,
	calculation.PartOfWhole, calculation.OlderDate, calculation.WithoutNumber,
}

// seek is the first row of [from, to) of the period.
func (s *Set) seek(from, to, period int32) int32 {
	if period < 0 {
		return to
	}
	for from < to {
		m := (from + to) / 2
		if int32(s.rows[m].period) < period {
			from = m + 1
		} else {
			to = m
		}
	}
	return from
}

// empty is the figure of a cell that nobody's observation is in.
func (s *Set) empty(l line, t impact.TerritoryKey, p impact.Period) calculation.Figure {
	f := calculation.Figure{Territory: t, Vintage: s.release.Vintage, Period: p, Status: impact.Missing, Moved: s.release.Day}
	if l.indicator == nil {
		f.ImpactType = impact.ImpactTypeCode(l.code)
		return f
	}
	f.Indicator, f.ImpactType, f.Kind, f.MethodologyVersion = l.indicator.Code, l.indicator.ImpactType, l.indicator.Kind, l.indicator.MethodologyVersion
	if !Released(l.indicator.Kind) {
		f.Status = impact.Suppressed
	}
	return f
}

// declared tells that figures of the indicator, or counts when it is nil, are
// released for periods of that length.
func declared(ind *impact.Indicator, p impact.Period) bool {
	g := p.Granularity()
	if ind == nil {
		return g == impact.Year
	}
	return slices.Contains(Granularities(ind), g)
}

// closed tells that the period ended early enough to be in the release.
func (s *Set) closed(p impact.Period) bool {
	return p.End+impact.Date(s.release.Embargo) <= s.release.Day
}

// plan turns a query into a selection of cells, or refuses it with all that
// stands in the way.
func (s *Set) plan(q calculation.Query) (*selection, error) {
	sel, why, err := s.read(q)
	if err != nil {
		return nil, err
	}
	if len(why) > 0 {
		return nil, s.uncontrolled(q, why)
	}
	return sel, nil
}

// read gives what a query selects, and why it is not made of cells.
func (s *Set) read(q calculation.Query) (sel *selection, why []impact.Text, err error) {
	if q.Vintage != 0 && q.Vintage != s.release.Vintage {
		return nil, nil, s.notOfVintage(q.Vintage)
	}
	object := func(fr, en string) { why = append(why, impact.Text{FR: fr, EN: en}) }
	sel = &selection{}
	for _, code := range q.Indicators {
		ind := s.cat.Indicator(code)
		if ind == nil {
			return nil, nil, unknown("unknown_indicator", "indicator", string(code))
		}
		sel.lines = append(sel.lines, line{blockKey{code: string(code)}, ind})
	}
	if len(q.Indicators) == 0 {
		for _, code := range q.ImpactTypes {
			if s.cat.ImpactType(code) == nil {
				return nil, nil, unknown("unknown_impact_type", "impact_type", string(code))
			}
			sel.lines = append(sel.lines, line{blockKey{counts: true, code: string(code)}, nil})
			if q.OnlyThisType && len(s.cat.Under(code)) > 1 {
				object("« "+string(code)+"! » sépare une nature d'impact de ses sous-natures, que les publications comptent avec elle", "“"+string(code)+"!” sets an impact type apart from its sub-types, which releases count with it")
			}
		}
	}
	switch {
	case q.State != "" && q.State != impact.Approved:
		object("seules les déclarations approuvées sont publiées", "only approved submissions are released")
	case q.Prorata:
		object("le partage au prorata des jours n'est pas publié", "sharing by days is not released")
	case q.AllowBounds:
		object("les bornes ne sont pas publiées", "bounds are not released")
	}
	if q.MergeTerritories && len(q.Territories) > 1 {
		object("une somme de territoires choisis n'est pas publiée ; chaque territoire l'est", "a sum over chosen territories is not released; each territory is")
	}
	if q.MergePeriods && len(q.Periods) > 1 {
		object("une somme de périodes choisies n'est pas publiée ; chaque période l'est", "a sum over chosen periods is not released; each period is")
	}
	s.readCut(q, sel, object)
	s.readPlaces(q, sel.cut, object)
	s.readPeriods(q, sel, object)
	return sel, why, nil
}

// readCut finds the one cut of a query, written as a dimension of rows or as a
// filter.
func (s *Set) readCut(q calculation.Query, sel *selection, object func(fr, en string)) {
	cut := func(d calculation.Dimension) {
		switch {
		case d == sel.cut:
		case !slices.Contains(Cuts, d):
			object("rien n'est publié par « "+string(d)+" »", "nothing is released by “"+string(d)+"”")
		case sel.cut != "":
			object("« "+string(sel.cut)+" » et « "+string(d)+" » ne se croisent pas dans les tableaux publiés", "“"+string(sel.cut)+"” and “"+string(d)+"” are not crossed in the published cubes")
		default:
			sel.cut = d
		}
	}
	for _, d := range q.Cuts {
		cut(d)
	}
	for _, f := range q.Filters {
		cut(f.Dimension)
		if f.Dimension != sel.cut {
			continue
		}
		if sel.codes == nil {
			sel.codes = slices.Clone(f.Codes)
			if sel.codes == nil {
				sel.codes = []string{}
			}
			continue
		}
		sel.codes = slices.DeleteFunc(sel.codes, func(c string) bool { return !slices.Contains(f.Codes, c) })
	}
	if len(q.Cuts) == 0 && len(sel.codes) > 1 {
		d := string(sel.cut)
		object("plusieurs codes de « "+d+" » seraient additionnés", "several codes of “"+d+"” would be added up")
	}
	if sel.cut != "" && len(q.Indicators) == 0 {
		object("les nombres d'organisations par nature d'impact ne sont pas publiés par « "+string(sel.cut)+" »", "counts of organisations by impact type are not released by “"+string(sel.cut)+"”")
	}
}

func (s *Set) readPlaces(q calculation.Query, cut calculation.Dimension, object func(fr, en string)) {
	for _, k := range q.Territories {
		t := s.cat.Gazetteer().ByKey(k)
		if t != nil && cut != "" && !slices.Contains(CutLevels, t.Type) {
			object("« "+string(cut)+" » n'est publié que pour la Métropole et ses CTM, pas pour "+string(t.ID), "“"+string(cut)+"” is released for the Métropole and its CTM only, not for "+string(t.ID))
			return
		}
		if t != nil && !slices.Contains(Levels, t.Type) {
			object("rien n'est publié pour un territoire de ce niveau : "+string(t.ID), "nothing is released for a territory of this level: "+string(t.ID))
			return
		}
	}
}

// readPeriods resolves periods. Indicators named one by one must be released for
// each of them; of a broad question, one that is will do.
func (s *Set) readPeriods(q calculation.Query, sel *selection, object func(fr, en string)) {
	open := len(q.Periods) > 0
	for _, p := range q.Periods {
		b := bucket{p, -1, s.closed(p)}
		if at, known := s.periodAt[p]; known {
			b.at, b.closed = at, true
		}
		open = open && !b.closed
		sel.periods = append(sel.periods, b)
	}
	if q.MergePeriods && len(q.Periods) > 1 {
		return // said already
	}
	if sel.cut != "" {
		for _, p := range q.Periods {
			if p.Granularity() != impact.Year {
				object("« "+string(sel.cut)+" » n'est publié que par année, pas pour "+p.String(), "“"+string(sel.cut)+"” is released by year only, not for "+p.String())
				return
			}
		}
	}
	some := len(sel.lines)*len(q.Periods) == 0
	for _, l := range sel.lines {
		for _, p := range q.Periods {
			if declared(l.indicator, p) {
				some = true
			} else if !q.KeepRefused {
				object(l.code+" n'est pas publié pour "+p.String()+" : "+lengths(l.indicator, "année", "semestre", "trimestre"),
					l.code+" is not released for "+p.String()+": "+lengths(l.indicator, "year", "semester", "quarter"))
				return
			}
		}
	}
	switch {
	case !some:
		object("rien n'est publié pour des périodes de cette durée", "nothing is released for periods of that length")
	case open:
		days := strconv.Itoa(s.release.Embargo)
		object("la publication ne contient pas encore "+q.Periods[0].String()+", une période y entrant "+days+" jours après sa fin",
			"the release does not hold "+q.Periods[0].String()+" yet, since a period comes in "+days+" days after its end")
	}
}

// lengths names the lengths of periods an indicator is released for.
func lengths(ind *impact.Indicator, year, semester, quarter string) string {
	if ind == nil {
		return year
	}
	var out []string
	for _, g := range Granularities(ind) {
		switch g {
		case impact.Year:
			out = append(out, year)
		case impact.Semester:
			out = append(out, semester)
		case impact.Quarter:
			out = append(out, quarter)
		}
	}
	return strings.Join(out, ", ")
}

func (s *Set) uncontrolled(q calculation.Query, why []impact.Text) error {
	var fr, en []string
	for _, w := range why {
		fr, en = append(fr, w.FR), append(en, w.EN)
	}
	return &calculation.UncontrolledSliceError{
		Refusal: &impact.Error{
			Kind: impact.Invalid, Code: "disclosure_uncontrolled_slice",
			Detail: impact.Text{
				FR: "Cette requête ne porte pas sur des cellules publiées : " + strings.Join(fr, " ; ") + ".",
				EN: "This query is not made of published cells: " + strings.Join(en, "; ") + ".",
			},
			Hint: impact.Text{
				FR: "Une requête publique choisit des cellules protégées ensemble, et n'en additionne aucune : un indicateur ou une nature d'impact, un territoire, une année (ou le trimestre, le semestre des indicateurs suivis ainsi), et au plus une dimension parmi organisation_class, structure_kind et size_class.",
				EN: "A public query selects cells that were protected together, and adds none up: an indicator or an impact type, a territory, a year (or the quarter or semester of indicators followed that way), and at most one dimension among organisation_class, structure_kind and size_class.",
			},
		},
		Nearest: s.Nearest(q),
	}
}

func (s *Set) notOfVintage(v impact.Vintage) error {
	asked, has := v.String(), s.release.Vintage.String()
	return &impact.Error{
		Kind: impact.Invalid, Code: "vintage_not_released",
		Detail: impact.Text{
			FR: "La publication ne contient pas le millésime géographique " + asked + " : ses territoires sont ceux de " + has + ".",
			EN: "The release does not hold the vintage " + asked + ": its territories are those of " + has + ".",
		},
		Hint: impact.Text{
			FR: "Demandez vintage=" + has + ", ou n'en demandez aucun ; une publication plus ancienne a son propre millésime.",
			EN: "Ask for vintage=" + has + ", or for none; an older release has a vintage of its own.",
		},
		Faults: []impact.Fault{{Code: "unknown_code", Parameter: "vintage", Value: asked, Suggestion: has}},
	}
}

func unknown(code impact.FaultCode, parameter, value string) error {
	return impact.Refuse(impact.Fault{
		Code: code, Parameter: parameter, Value: value,
		Detail: impact.Text{FR: "Ce code n'est pas dans les données de référence.", EN: "The reference data does not have this code."},
		Hint:   impact.Text{FR: "Voyez la liste des codes.", EN: "See the list of codes."},
	})
}

// most queries offered in the place of one that is refused.
const most = 3

// Nearest gives queries near one that is refused, the nearest first, each of
// which is answered.
func (s *Set) Nearest(q calculation.Query) []calculation.Query {
	base := q
	base.State, base.Prorata, base.AllowBounds, base.MergeTerritories, base.MergePeriods = "", false, false, false, false
	base.Vintage, base.Cuts, base.Filters = s.release.Vintage, nil, nil
	base.OnlyThisType = false
	base.Territories = s.lifted(q.Territories, Levels)
	var dims []calculation.Dimension
	dims = append(dims, q.Cuts...)
	for _, f := range q.Filters {
		dims = append(dims, f.Dimension)
	}
	var try []calculation.Query
	if len(q.Indicators) > 0 {
		for i, d := range dims {
			if !slices.Contains(Cuts, d) || slices.Contains(dims[:i], d) {
				continue
			}
			c := base
			c.Cuts, c.Territories, c.Periods = []calculation.Dimension{d}, s.lifted(base.Territories, CutLevels), s.years(q.Periods)
			for _, f := range q.Filters {
				if f.Dimension == d {
					c.Filters = append(c.Filters, f)
				}
			}
			try = append(try, c)
		}
	}
	plain := base
	if q.MergePeriods && len(q.Periods) > 1 {
		// The sum asked for may be a period that is published.
		whole := q.Periods[0]
		for _, p := range q.Periods {
			whole.Start, whole.End = min(whole.Start, p.Start), max(whole.End, p.End)
		}
		if whole.Granularity() != impact.Interval {
			plain.Periods = []impact.Period{whole}
			try = append(try, plain)
		}
	}
	plain.Periods = q.Periods
	try = append(try, plain)
	plain.Periods = s.years(q.Periods)
	try = append(try, plain)
	out := make([]calculation.Query, 0, most)
	for _, c := range try {
		if _, why, err := s.read(c); err != nil || len(why) > 0 || len(c.Territories)*len(c.Periods) == 0 || len(out) == most ||
			slices.ContainsFunc(out, func(o calculation.Query) bool {
				return slices.Equal(o.Cuts, c.Cuts) && slices.Equal(o.Periods, c.Periods)
			}) {
			continue
		}
		out = append(out, c)
	}
	return out
}

// lifted replaces territories that are at none of the levels by the narrowest
// around them that is.
func (s *Set) lifted(keys []impact.TerritoryKey, levels []impact.TerritoryType) []impact.TerritoryKey {
	g := s.cat.Gazetteer()
	var out []impact.TerritoryKey
	for _, k := range keys {
		t := g.ByKey(k)
		if t == nil {
			continue
		}
		if !slices.Contains(levels, t.Type) {
			ups := g.Ancestors(k, s.release.Vintage)
			i := slices.IndexFunc(ups, func(t *impact.Territory) bool { return slices.Contains(levels, t.Type) })
			if i < 0 {
				continue
			}
			k = ups[i].Key
		}
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

// years are the closed years around periods, the last one of the release when
// there is none.
func (s *Set) years(periods []impact.Period) []impact.Period {
	var out []impact.Period
	for _, p := range periods {
		first, last := p.Start.Year(), p.End.Year()
		for y := max(first, last-100); y <= last; y++ {
			if p := impact.YearPeriod(y); s.closed(p) && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	if len(out) == 0 {
		for y := s.release.Day.Year(); y > s.release.Day.Year()-3; y-- {
			if p := impact.YearPeriod(y); s.closed(p) {
				return []impact.Period{p}
			}
		}
	}
	slices.SortFunc(out, comparePeriods)
	return out
}
