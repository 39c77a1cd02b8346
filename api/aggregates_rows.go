package api

import (
	"cmp"
	"errors"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// totalTerritory is the code of the declared parent in rows of totals (SDMX).
const totalTerritory = "_T"

// figureRow is one figure with what formats write beside it.
type figureRow struct {
	*calculation.Figure
	indicator *impact.Indicator // nil for counts by impact type
	place     *impact.Territory // nil when territories are merged
	total     bool
	period    string
	share     *impact.Quantity
	change    *impact.Quantity
}

func (r *figureRow) territory() string {
	switch {
	case r.total:
		return totalTerritory
	case r.place == nil:
		return ""
	}
	return string(r.place.ID)
}

func (r *figureRow) line() string {
	if r.indicator == nil {
		return ""
	}
	return string(r.indicator.Code)
}

// figures computes the rows a query asks for, filtered and in order.
func (s *server) figures(q *aggregateQuery) ([]figureRow, []calculation.Exclusion, error) {
	if q.impossible() {
		return nil, nil, nil
	}
	res, err := q.source.Figures(q.calculation())
	if err != nil {
		return nil, nil, beyond(err)
	}
	rows := make([]figureRow, 0, len(res.Figures))
	rows = s.rows(rows, q, res.Figures, false)
	if q.totals || q.measured(measureShareOfTotal) {
		whole, err := q.source.Figures(q.whole())
		if err != nil {
			return nil, nil, beyond(err)
		}
		q.share(rows, whole.Figures)
		if q.totals {
			rows = s.rows(rows, q, whole.Figures, true)
		}
	}
	if q.measured(measureChangePrevious) {
		before, err := q.source.Figures(q.before())
		if err != nil {
			return nil, nil, beyond(err)
		}
		q.change(rows, before.Figures)
	}
	if len(q.conditions) > 0 {
		rows = slices.DeleteFunc(rows, func(r figureRow) bool {
			return slices.ContainsFunc(q.conditions, func(c condition) bool { return !c.holds(r.measure(c.measure)) })
		})
	}
	if len(rows) > maxReturned {
		return nil, nil, tooManyFigures(len(rows))
	}
	q.sort(rows)
	return rows, res.Excluded, nil
}

func (s *server) rows(rows []figureRow, q *aggregateQuery, figures []calculation.Figure, total bool) []figureRow {
	gazetteer := s.Catalogue.Gazetteer()
	var (
		of     impact.Period
		period string
		ind    *impact.Indicator
		place  *impact.Territory
	)
	for i := range figures {
		f := &figures[i]
		if f.Period != of || period == "" {
			of, period = f.Period, q.periodText(f.Period)
		}
		if f.Indicator != "" && (ind == nil || ind.Code != f.Indicator) {
			ind = s.Catalogue.Indicator(f.Indicator)
		}
		if f.Territory == 0 {
			place = nil
		} else if place == nil || place.Key != f.Territory {
			place = gazetteer.ByKey(f.Territory)
		}
		r := figureRow{Figure: f, place: place, total: total, period: period}
		if f.Indicator != "" {
			r.indicator = ind
		}
		rows = append(rows, r)
	}
	return rows
}

// periodText is the shared spelling of a bucket: no text is made per row.
func (q *aggregateQuery) periodText(p impact.Period) string {
	if q.spelled == nil {
		q.spelled = make(map[impact.Period]string, len(q.periods))
	}
	s, ok := q.spelled[p]
	if !ok {
		s = p.String()
		q.spelled[p] = s
	}
	return s
}

// sameBut names a figure apart from its territory or its period.
type sameBut struct {
	line       string
	territory  impact.TerritoryKey
	period     impact.Period
	codes      string
	qualifiers string
}

func identity(f *calculation.Figure) sameBut {
	line := string(f.Indicator)
	if line == "" {
		line = string(f.ImpactType)
	}
	return sameBut{line, f.Territory, f.Period, strings.Join(f.Codes, "\x00"), f.Qualifiers}
}

// share gives each row its part of the declared parent, null where parts do
// not add up to it.
func (q *aggregateQuery) share(rows []figureRow, whole []calculation.Figure) {
	totals := make(map[sameBut]*calculation.Figure, len(whole))
	for i := range whole {
		k := identity(&whole[i])
		k.territory = 0
		totals[k] = &whole[i]
	}
	for i := range rows {
		r := &rows[i]
		k := identity(r.Figure)
		k.territory = 0
		t := totals[k]
		if t == nil || !r.Additive || !t.Additive || r.Exact() == nil || t.Exact() == nil || t.Exact().Sign() == 0 {
			continue
		}
		r.share = quantity(new(big.Rat).Quo(r.Exact(), t.Exact()))
	}
}

// change gives each row its difference with the period before.
func (q *aggregateQuery) change(rows []figureRow, before []calculation.Figure) {
	values := make(map[sameBut]*calculation.Figure, len(before))
	for i := range before {
		values[identity(&before[i])] = &before[i]
	}
	for i := range rows {
		r := &rows[i]
		if r.total {
			continue
		}
		k := identity(r.Figure)
		k.period = previous(k.period)
		if b := values[k]; b != nil && b.Exact() != nil && r.Exact() != nil {
			if d := quantity(new(big.Rat).Sub(r.Exact(), b.Exact())); d != nil {
				rounded, err := impact.QuantityFromRat(d.Rat(), r.indicator.Decimals)
				if err == nil {
					r.change = &rounded
				}
			}
		}
	}
}

// quantity rounds to six decimals, half to even; nil when out of range.
func quantity(r *big.Rat) *impact.Quantity {
	v, err := impact.QuantityFromRat(r, 6)
	if err != nil {
		return nil
	}
	return &v
}

// measure gives the number a condition or an order is about.
func (r *figureRow) measure(name string) *impact.Quantity {
	switch name {
	case measureValue:
		return r.Value
	case measureNumerator:
		return r.Numerator
	case measureDenominator:
		return r.Denominator
	case measureCoverage:
		return r.Coverage
	case measureShareOfTotal:
		return r.share
	case measureChangePrevious:
		return r.change
	case measureOrganisations:
		return r.count(r.Organisations)
	case measureObservations:
		return r.count(r.Observations)
	}
	return nil
}

// withheld tells that disclosure control hides the figure: no number at all is
// told of it.
func (r *figureRow) withheld() bool { return r.Status == impact.Suppressed }

func (r *figureRow) count(n int) *impact.Quantity {
	if r.withheld() {
		return nil
	}
	v := impact.Quantity(n) * impact.One
	return &v
}

// sortKeys completes order_by by what makes a row unique.
func (q *aggregateQuery) sortKeys() []sortKey {
	keys := slices.Clone(q.order)
	for _, g := range q.groupBy {
		if !slices.ContainsFunc(keys, func(k sortKey) bool { return k.field == g }) {
			keys = append(keys, sortKey{field: g})
		}
	}
	return append(keys, sortKey{field: "qualifiers"})
}

func (q *aggregateQuery) sort(rows []figureRow) {
	keys := q.sortKeys()
	slices.SortStableFunc(rows, func(a, b figureRow) int { return q.compare(keys, &a, &b) })
}

// compare orders two rows. What has no value comes last in either direction,
// and so does the declared parent.
func (q *aggregateQuery) compare(keys []sortKey, a, b *figureRow) int {
	for _, k := range keys {
		c, fixed := q.compareField(k.field, a, b)
		if c == 0 {
			continue
		}
		if k.descending && !fixed {
			return -c
		}
		return c
	}
	return 0
}

func (q *aggregateQuery) compareField(field string, a, b *figureRow) (c int, fixed bool) {
	switch field {
	case dimIndicator:
		return cmp.Compare(a.indicator.Key, b.indicator.Key), false
	case dimImpactType:
		return cmp.Compare(a.ImpactType, b.ImpactType), false
	case dimTerritory:
		if a.total != b.total {
			if a.total {
				return 1, true
			}
			return -1, true
		}
		return cmp.Compare(a.territory(), b.territory()), false
	case dimPeriod:
		return byStart(a.Period, b.Period), false
	case "qualifiers":
		return cmp.Compare(a.Qualifiers, b.Qualifiers), false
	}
	if isCut(field) {
		i := q.cutIndex(field)
		return cmp.Compare(a.Codes[i], b.Codes[i]), false
	}
	x, y := a.measure(field), b.measure(field)
	switch {
	case x == nil && y == nil:
		return 0, true
	case x == nil:
		return 1, true
	case y == nil:
		return -1, true
	}
	return cmp.Compare(*x, *y), false
}

// cutIndex is the place of a cut among the codes of a figure.
func (q *aggregateQuery) cutIndex(dimension string) int {
	i := 0
	for _, g := range q.groupBy {
		if g == dimension {
			return i
		}
		if isCut(g) {
			i++
		}
	}
	return -1
}

// position writes where a row stands, for the cursor of the next page.
func (q *aggregateQuery) position(r *figureRow) []string {
	keys := q.sortKeys()
	out := make([]string, len(keys))
	for i, k := range keys {
		switch k.field {
		case dimIndicator:
			out[i] = r.line()
		case dimImpactType:
			out[i] = string(r.ImpactType)
		case dimTerritory:
			out[i] = r.territory()
		case dimPeriod:
			out[i] = r.period
		case "qualifiers":
			out[i] = r.Qualifiers
		default:
			if isCut(k.field) {
				out[i] = r.Codes[q.cutIndex(k.field)]
			} else if v := r.measure(k.field); v != nil {
				out[i] = v.String()
			}
		}
	}
	return out
}

// after gives the rows that follow a position, which need not exist any more.
func (s *server) after(q *aggregateQuery, rows []figureRow, position []string) ([]figureRow, error) {
	keys := q.sortKeys()
	if len(position) != len(keys) {
		return nil, invalidCursor()
	}
	pivot := figureRow{Figure: &calculation.Figure{Codes: make([]string, len(q.groupBy))}}
	for i, k := range keys {
		v := position[i]
		switch k.field {
		case dimIndicator:
			if pivot.indicator = s.Catalogue.Indicator(impact.IndicatorCode(v)); pivot.indicator == nil {
				return nil, invalidCursor()
			}
		case dimImpactType:
			pivot.ImpactType = impact.ImpactTypeCode(v)
		case dimTerritory:
			pivot.total = v == totalTerritory
			pivot.place = &impact.Territory{ID: impact.TerritoryID(v)}
		case dimPeriod:
			p, f := impact.ParsePeriod(v)
			if f != nil {
				return nil, invalidCursor()
			}
			pivot.Period = p
		case "qualifiers":
			pivot.Qualifiers = v
		default:
			if isCut(k.field) {
				pivot.Codes[q.cutIndex(k.field)] = v
			} else if err := pivot.set(k.field, v); err != nil {
				return nil, err
			}
		}
	}
	i, _ := slices.BinarySearchFunc(rows, &pivot, func(r figureRow, p *figureRow) int {
		if q.compare(keys, &r, p) <= 0 {
			return -1
		}
		return 1
	})
	return rows[i:], nil
}

func (r *figureRow) set(measure, text string) error {
	if text == "" {
		if measure == measureOrganisations || measure == measureObservations {
			r.Status = impact.Suppressed // what else has no count
		}
		return nil
	}
	v, f := impact.ParseQuantity(text)
	if f != nil {
		return invalidCursor()
	}
	switch measure {
	case measureValue:
		r.Value = &v
	case measureNumerator:
		r.Numerator = &v
	case measureDenominator:
		r.Denominator = &v
	case measureCoverage:
		r.Coverage = &v
	case measureShareOfTotal:
		r.share = &v
	case measureChangePrevious:
		r.change = &v
	case measureOrganisations:
		r.Organisations = int(v / impact.One)
	case measureObservations:
		r.Observations = int(v / impact.One)
	}
	return nil
}

type (
	column = format.Column[figureRow]
	cell   = format.Cell
)

// columns describes the rows of a query, for every format. today is the day of
// the reading; explain begins the address of the explanation of a row.
func (q *aggregateQuery) columns(s *server, today string) []column {
	cs := make([]column, 0, 24)
	labels := map[string]func(*figureRow) impact.Text{}
	for _, g := range q.groupBy {
		d := q.dimension(s, g)
		cs = append(cs, d.columns...)
		labels[g] = d.label
	}
	cs = append(cs, q.objects(labels)...)
	code := func(name string, of func(*figureRow) string) {
		cs = append(cs, column{Name: name, Coded: true, Cell: func(r *figureRow) cell { return format.Code(of(r)) }})
	}
	number := func(name string, of func(*figureRow) *impact.Quantity) {
		cs = append(cs, column{Name: name, Cell: func(r *figureRow) cell { return format.Number(of(r)) }})
	}
	if q.measured(measureValue) {
		number(measureValue, func(r *figureRow) *impact.Quantity { return r.Value })
		code("unit", func(r *figureRow) string { return r.indicator.Unit })
	}
	code("obs_status", func(r *figureRow) string { return statusText[r.Status] })
	code("conf_status", func(r *figureRow) string {
		if r.withheld() {
			return "C"
		}
		return "F"
	})
	vintage := q.vintage.String()
	code("vintage", func(*figureRow) string { return vintage })
	for _, m := range []string{measureNumerator, measureDenominator} {
		if q.measured(m) {
			number(m, func(r *figureRow) *impact.Quantity { return r.measure(m) })
		}
	}
	if q.measured(measureOrganisations) {
		cs = append(cs, column{Name: measureOrganisations, Cell: func(r *figureRow) cell { return r.integer(r.Organisations) }})
	}
	if q.measured(measureObservations) {
		cs = append(cs, column{Name: measureObservations, Cell: func(r *figureRow) cell { return r.integer(r.Observations) }})
	}
	for _, m := range []string{measureCoverage, measureShareOfTotal, measureChangePrevious} {
		if q.measured(m) {
			number(m, func(r *figureRow) *impact.Quantity { return r.measure(m) })
		}
	}
	day, moved := impact.Date(0), ""
	code("as_of", func(r *figureRow) string {
		switch {
		case r.Moved == 0:
			return today
		case r.Moved != day || moved == "": // no text is made per row
			day, moved = r.Moved, r.Moved.String()
		}
		return moved
	})
	return append(cs, q.remarks()...)
}

func (r *figureRow) integer(n int) cell {
	if r.withheld() {
		return cell{}
	}
	return format.Integer(int64(n))
}

// dimension gives the column of a dimension, with its label when asked.
func (q *aggregateQuery) dimension(s *server, name string) dimensionColumns {
	c := column{Name: name, Coded: true}
	var label func(*figureRow) impact.Text
	switch name {
	case dimIndicator:
		c.Cell = func(r *figureRow) cell { return format.Code(r.line()) }
		label = func(r *figureRow) impact.Text { return r.indicator.Label }
	case dimImpactType:
		c.Cell = func(r *figureRow) cell { return format.Code(string(r.ImpactType)) }
		label = func(r *figureRow) impact.Text {
			if t := s.Catalogue.ImpactType(r.ImpactType); t != nil {
				return t.Label
			}
			return impact.Text{}
		}
	case dimTerritory:
		c.Cell = func(r *figureRow) cell { return format.Code(r.territory()) }
		label = func(r *figureRow) impact.Text {
			switch {
			case r.total && q.parent == nil:
				return impact.Text{FR: "Ensemble", EN: "All together"}
			case r.place == nil:
				return impact.Text{}
			}
			return impact.Text{FR: r.place.Name, EN: r.place.Name}
		}
	case dimPeriod:
		c.Cell = func(r *figureRow) cell { return format.Code(r.period) }
		return dimensionColumns{columns: []column{c}}
	default:
		i := q.cutIndex(name)
		c.Coded = false
		c.Cell = func(r *figureRow) cell { return format.Code(r.Codes[i]) }
		list := strings.TrimPrefix(name, dimDisaggregation)
		if name == dimOrganisation {
			return dimensionColumns{columns: []column{c}}
		}
		label = func(r *figureRow) impact.Text {
			if known := s.Catalogue.Code(list, r.Codes[i]); known != nil {
				return known.Label
			}
			return impact.Text{}
		}
	}
	if strings.HasPrefix(name, dimDisaggregation) {
		c.FlatOnly = true // one object in JSON
	}
	flat := func(suffix string, lang impact.Lang) column {
		return column{Name: name + suffix, FlatOnly: true, Cell: func(r *figureRow) cell { return format.Text(label(r).In(lang)) }}
	}
	switch q.labels {
	case "fr", "en":
		return dimensionColumns{[]column{c, flat("_label", impact.Lang(q.labels))}, label}
	case "both":
		return dimensionColumns{[]column{c, flat("_label_fr", impact.French), flat("_label_en", impact.English)}, label}
	}
	c.Label = func(r *figureRow) string { return label(r).FR }
	return dimensionColumns{[]column{c}, label}
}

// dimensionColumns are the columns of one dimension, and its label.
type dimensionColumns struct {
	columns []column
	label   func(*figureRow) impact.Text
}

// objects are the members that JSON keeps together: parts of a disaggregation,
// and labels.
func (q *aggregateQuery) objects(labels map[string]func(*figureRow) impact.Text) (cs []column) {
	if slices.ContainsFunc(q.groupBy, func(g string) bool { return strings.HasPrefix(g, dimDisaggregation) }) {
		cs = append(cs, column{Name: "disaggregation", JSONOnly: true, Cell: func(r *figureRow) cell {
			o := objectWriter{dst: []byte{'{'}}
			for _, g := range q.groupBy {
				if name, ok := strings.CutPrefix(g, dimDisaggregation); ok {
					o.member(name)
					o.dst = format.AppendString(o.dst, r.Codes[q.cutIndex(g)])
				}
			}
			return format.JSON(string(append(o.dst, '}')))
		}})
	}
	if q.labels == "none" {
		return cs
	}
	return append(cs, column{Name: "labels", JSONOnly: true, Cell: func(r *figureRow) cell {
		o := objectWriter{dst: []byte{'{'}}
		for _, g := range q.groupBy {
			of := labels[g]
			if of == nil {
				continue
			}
			t := of(r)
			o.member(strings.TrimPrefix(g, dimDisaggregation))
			inner := objectWriter{}
			if q.labels != "en" {
				inner.member("fr")
				inner.dst = format.AppendString(inner.dst, t.FR)
			}
			if q.labels != "fr" {
				inner.member("en")
				inner.dst = format.AppendString(inner.dst, t.In(impact.English))
			}
			o.dst = append(append(append(o.dst, '{'), inner.dst...), '}')
		}
		return format.JSON(string(append(o.dst, '}')))
	}})
}

// remarks are the columns that few rows need: left out of a JSON row that has
// nothing to say there.
func (q *aggregateQuery) remarks() []column {
	var cs []column
	add := func(name string, of func(*figureRow) cell) {
		cs = append(cs, column{Name: name, Optional: true, Cell: of})
	}
	add("note", func(r *figureRow) cell { return format.Code(noteText(r.Notes)) })
	add("qualifiers", func(r *figureRow) cell { return format.Code(r.Qualifiers) })
	add("not_additive_over", func(r *figureRow) cell { return format.Code(r.Refused) })
	add("stock_date", func(r *figureRow) cell {
		if !r.HasAsOf {
			return cell{}
		}
		return format.Code(r.AsOf.String())
	})
	if q.measured(measureValue) {
		add("lower_bound", func(r *figureRow) cell {
			if r.Bounds == nil {
				return cell{}
			}
			return format.Number(&r.Bounds.Lower)
		})
		add("upper_bound", func(r *figureRow) cell {
			if r.Bounds == nil {
				return cell{}
			}
			return format.Number(&r.Bounds.Upper)
		})
		add("respondents", func(r *figureRow) cell { return format.Number(r.Respondents) })
		quantile := func(name string, of func(*calculation.Quantiles) *impact.Quantity) {
			add(name, func(r *figureRow) cell {
				if r.Quantiles == nil {
					return cell{}
				}
				return format.Number(of(r.Quantiles))
			})
		}
		quantile("p25", func(x *calculation.Quantiles) *impact.Quantity { return x.P25 })
		quantile("p75", func(x *calculation.Quantiles) *impact.Quantity { return x.P75 })
		quantile("mean", func(x *calculation.Quantiles) *impact.Quantity { return x.Mean })
		add("count_true", func(r *figureRow) cell {
			if r.Answers == nil {
				return cell{}
			}
			return format.Integer(int64(r.Answers.True))
		})
		add("count_answered", func(r *figureRow) cell {
			if r.Answers == nil {
				return cell{}
			}
			return format.Integer(int64(r.Answers.Answered))
		})
		add("days_covered", func(r *figureRow) cell {
			if r.DaysCovered == 0 {
				return cell{}
			}
			return format.Integer(int64(r.DaysCovered))
		})
	}
	if q.published != nil {
		older := func(r *figureRow) bool {
			switch r.Kind {
			case impact.Flow, impact.SignedFlow, impact.Stock:
				return !r.Additive && !r.withheld() && r.Value != nil
			}
			return false
		}
		additive := func(yes cell) func(*figureRow) cell {
			return func(r *figureRow) cell {
				if older(r) {
					return yes
				}
				return cell{}
			}
		}
		cs = append(cs,
			column{Name: "additive", Optional: true, JSONOnly: true, Cell: additive(format.JSON("false"))},
			column{Name: "additive", FlatOnly: true, Cell: additive(format.Code("false"))})
	}
	if before, after, ok := q.explainLink(); ok {
		cs = append(cs, column{Name: "links", JSONOnly: true, Optional: true, Cell: func(r *figureRow) cell {
			if r.total || r.indicator == nil {
				return cell{}
			}
			if r.Qualifiers != "" && q.qualifiers == "" {
				return format.JSON(before + string(r.indicator.Code) + "&territory=" + r.territory() + "&period=" + r.period + "&qualifiers=" + url.QueryEscape(quoted(r.Qualifiers)) + after)
			}
			return format.JSON(before + string(r.indicator.Code) + "&territory=" + r.territory() + "&period=" + r.period + after)
		}})
	}
	return cs
}

// explainLink gives what stands around the cell in the address of its
// explanation; ok is false when a row is not one cell.
func (q *aggregateQuery) explainLink() (before, after string, ok bool) {
	if !q.grouped(dimIndicator) || !q.grouped(dimTerritory) || !q.grouped(dimPeriod) || slices.ContainsFunc(q.groupBy, isCut) {
		return "", "", false
	}
	var rest []pair
	for _, p := range q.normalised() {
		switch p.name {
		case "vintage", dimClass, dimStructureKind, dimSizeClass, dimOrganisation, "qualifiers", "release", "split", "allow_bounds":
			rest = append(rest, p)
		case "state":
			if q.state != impact.Approved {
				rest = append(rest, p)
			}
		default:
			if strings.HasPrefix(p.name, dimDisaggregation) {
				rest = append(rest, p)
			}
		}
	}
	tail := format.AppendString(nil, "&"+queryString(rest))
	return `{"explain":"/v1/aggregates/explain?indicator=`, string(tail[1:]) + "}", true
}

// statusText holds the letters as strings, so that a row makes none.
var statusText = func() (t [256]string) {
	for i := range t {
		if i > ' ' && i < 0x7F {
			t[i] = string(rune(i))
		}
	}
	return t
}()

func noteText(notes []calculation.Note) string {
	switch len(notes) {
	case 0:
		return ""
	case 1:
		return string(notes[0])
	}
	out := make([]string, len(notes))
	for i, n := range notes {
		out[i] = string(n)
	}
	return strings.Join(out, " ")
}

// beyond words the one failure of arithmetic a query can meet.
func beyond(err error) error {
	if !errors.Is(err, impact.ErrOverflow) {
		return err
	}
	return &impact.Error{
		Kind: impact.Invalid, Code: "result_too_large", Err: err,
		Detail: bilingual("Un chiffre dépasse 10¹² unités : une valeur déclarée est sans doute fausse.", "A figure exceeds 10¹² units: a stated value is probably wrong."),
		Hint:   bilingual("Demandez une période plus courte ou un territoire plus petit pour la trouver.", "Ask for a shorter period or a smaller territory to find it."),
	}
}

func tooManyFigures(n int) error {
	size := strconv.Itoa(n)
	return &impact.Error{
		Kind: impact.Invalid, Code: "result_too_large",
		Detail: bilingual("La réponse aurait "+size+" lignes ; une réponse en a "+strconv.Itoa(maxReturned)+" au plus.",
			"The answer would have "+size+" rows; an answer has "+strconv.Itoa(maxReturned)+" at most."),
		Hint: bilingual("Réduisez period, ou retirez une dimension de group_by ; GET /v1/aggregates/estimate compte avant de calculer.",
			"Shorten period, or drop a dimension from group_by; GET /v1/aggregates/estimate counts before computing."),
		Link: "/v1/aggregates/estimate",
	}
}
