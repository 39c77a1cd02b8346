package api

import (
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// explainParams are the parameters that name one cell.
const explainParams = "indicator territory period granularity vintage organisation_class structure_kind size_class " +
	"organisation qualifiers disaggregation.* release as_of state allow_bounds split labels"

// availabilityParams select what may still be asked, estimateParams what would
// be computed.
const (
	availabilityParams = "mode indicator impact_type territory territory_type period granularity vintage " +
		"organisation_class structure_kind size_class organisation disaggregation.* release as_of state"
	estimateParams = "indicator impact_type territory territory_type period granularity group_by vintage " +
		"organisation_class structure_kind size_class organisation disaggregation.* measures totals release state"
)

// Explanation tells how one figure was made.
type Explanation struct {
	Cell        Aggregate          `json:"cell"`
	Formula     ExplanationFormula `json:"formula"`
	MeasureKind string             `json:"measure_kind" example:"ratio"`
	// Version of the indicator's methodology, and of the rules of calculation.
	MethodologyVersion string `json:"methodology_version" example:"1.3"`
	Method             string `json:"method" example:"1.0"`
	// How values combine: organisations, territories, time, rounding, when_empty.
	Rules map[string]Text `json:"rules"`
	// The sums the formula is applied to.
	Inputs   []ExplanationInput `json:"inputs"`
	Excluded []Excluded         `json:"excluded"`
	// Of a published figure, what the release before the one in which it last
	// moved showed; null when it showed nothing.
	Previous *PreviousFigure `json:"previous,omitempty" extensions:"x-nullable"`
	// Why a published figure is withheld, in general words: which rule it was is
	// never told.
	Withheld *Text `json:"withheld,omitempty"`
	// Each observation that counts; of one input they add up to it. Null unless live.
	Contributors []Contributor `json:"contributors" extensions:"x-nullable"`
	// Each observation that adds nothing, with its reason. Null unless live.
	LeftOut []LeftOut       `json:"left_out" extensions:"x-nullable"`
	Links   Links           `json:"links"`
	Meta    ExplanationMeta `json:"meta"`
} // @name AggregateExplanation

// PreviousFigure is what an earlier release showed, and why it moved since.
type PreviousFigure struct {
	Release string           `json:"release" example:"2"`
	Value   *impact.Quantity `json:"value" swaggertype:"number" extensions:"x-nullable" example:"0.79"`
	Cause   string           `json:"cause" enums:"first_release,late_submissions,corrections,withdrawals,several,method,disclosure_control,finalised" example:"late_submissions"`
} // @name AggregatePrevious

// ExplanationMeta tells how the query was understood.
type ExplanationMeta struct {
	Release string `json:"release" example:"3"`
	// When the release was published; absent of live figures.
	PublishedAt       string            `json:"published_at,omitempty" format:"date-time"`
	DisclosureControl DisclosureControl `json:"disclosure_control"`
	Warnings          []ProblemEntry    `json:"warnings"`
} // @name AggregateExplanationMeta

// ExplanationFormula is the formula in words and for machines.
type ExplanationFormula struct {
	FR      string `json:"fr" example:"(réemployé + recyclé + énergie) ÷ collecté"`
	EN      string `json:"en"`
	Machine string `json:"machine" example:"(waste_reused+waste_recycled+waste_energy_recovered)/waste_collected"`
} // @name AggregateFormula

// ExplanationInput is one sum; null when nothing counts.
type ExplanationInput struct {
	Indicator string           `json:"indicator" example:"waste_collected"`
	Value     *impact.Quantity `json:"value" swaggertype:"number" extensions:"x-nullable" example:"3400"`
	Unit      string           `json:"unit" example:"t"`
	Links     AggregateLinks   `json:"links"`
} // @name AggregateInput

// Contributor is one observation in one input: counted = value × weight.
type Contributor struct {
	Organisation string           `json:"organisation"`
	Observation  string           `json:"observation"`
	Indicator    string           `json:"indicator"`
	Territory    string           `json:"territory"`
	Period       string           `json:"period"`
	Cut          string           `json:"cut,omitempty" example:"sex=F"`
	Value        impact.Quantity  `json:"value" swaggertype:"number"`
	ObsStatus    string           `json:"obs_status"`
	Weight       *impact.Quantity `json:"weight" swaggertype:"number" extensions:"x-nullable"`
	Counted      *impact.Quantity `json:"counted" swaggertype:"number" extensions:"x-nullable"`
} // @name AggregateContributor

// LeftOut is one observation that adds nothing to the figure.
type LeftOut struct {
	Organisation string `json:"organisation"`
	Observation  string `json:"observation"`
	Indicator    string `json:"indicator"`
	Territory    string `json:"territory"`
	Period       string `json:"period"`
	Cut          string `json:"cut,omitempty"`
	Reason       string `json:"reason" example:"not_approved"`
} // @name AggregateLeftOut

// explainAggregate tells how one figure was made.
//
//	@Summary		How one figure was made
//	@Description	Formula, rules, inputs and exclusions of one cell. Of a published figure, what was shown before and why it moved; of a withheld one, why in general words and no number. Of a live figure, each observation behind it, for whoever has a right on all of them. 422 `not_one_cell` when the query names several.
//	@ID				explainAggregate
//	@Tags			aggregates
//	@Produce		json
//	@Security		BearerAuth
//	@Param			indicator			query	string		true	"One indicator"		example(recovery_rate)
//	@Param			territory			query	string		true	"One territory"		example(metropole-200046977)
//	@Param			period				query	string		true	"One period"		example(2025)
//	@Param			granularity			query	string		false	"Length of the bucket"	Enums(year,semester,quarter,month)
//	@Param			organisation_class	query	[]string	false	"Classes of organisations"	collectionFormat(csv)
//	@Param			structure_kind		query	[]string	false	"Kinds of structures"	collectionFormat(csv)
//	@Param			size_class			query	[]string	false	"Size classes"	collectionFormat(csv)
//	@Param			organisation		query	string		false	"With release=live, one organisation; required of an organisation, which names itself"
//	@Param			disaggregation.age_band	query	[]string	false	"Parts of the values: age band"	collectionFormat(csv)
//	@Param			disaggregation.agec_category	query	[]string	false	"Parts of the values: AGEC product family"	collectionFormat(csv)
//	@Param			disaggregation.award_role	query	[]string	false	"Parts of the values: role in the award"	collectionFormat(csv)
//	@Param			disaggregation.axis	query	[]string	false	"Parts of the values: axis of the Métropole's tool"	collectionFormat(csv)
//	@Param			disaggregation.channel	query	[]string	false	"Parts of the values: channel of the consultation"	collectionFormat(csv)
//	@Param			disaggregation.contribution_status	query	[]string	false	"Parts of the values: state of the contribution"	collectionFormat(csv)
//	@Param			disaggregation.education_level	query	[]string	false	"Parts of the values: education level"	collectionFormat(csv)
//	@Param			disaggregation.entry_status	query	[]string	false	"Parts of the values: status at entry"	collectionFormat(csv)
//	@Param			disaggregation.ewc_chapter	query	[]string	false	"Parts of the values: chapter of the European waste list"	collectionFormat(csv)
//	@Param			disaggregation.ghg_category	query	[]string	false	"Parts of the values: scope 3 category"	collectionFormat(csv)
//	@Param			disaggregation.hazardous	query	[]string	false	"Parts of the values: hazardousness"	collectionFormat(csv)
//	@Param			disaggregation.legal_basis	query	[]string	false	"Parts of the values: legal basis"	collectionFormat(csv)
//	@Param			disaggregation.medium	query	[]string	false	"Parts of the values: receiving medium"	collectionFormat(csv)
//	@Param			disaggregation.qpv_resident	query	[]string	false	"Parts of the values: resident of a priority neighbourhood"	collectionFormat(csv)
//	@Param			disaggregation.reserved_basis	query	[]string	false	"Parts of the values: basis of the reservation"	collectionFormat(csv)
//	@Param			disaggregation.reuse_status	query	[]string	false	"Parts of the values: reuse status"	collectionFormat(csv)
//	@Param			disaggregation.sex	query	[]string	false	"Parts of the values: sex"	collectionFormat(csv)
//	@Param			qualifiers			query	string		false	"What the values of the figure share, where the indicator keeps them apart"	example(local_scope=metropole)
//	@Param			release				query	string		false	"`latest`, a number (`3`), or `live`: today's facts, for rights holders"	default(latest)	example(3)
//	@Param			as_of				query	string		false	"The release in force at that instant, in place of `release`"	format(date-time)
//	@Param			vintage				query	string		false	"Year of the official geographic code"
//	@Param			state				query	string		false	"With release=live: least state of the submissions that count: `submitted` for stewards, and `draft` for an organisation on its own data"	Enums(approved,submitted,draft)	default(approved)
//	@Param			allow_bounds		query	boolean		false	"Bounds of counts that do not add up"	default(false)
//	@Param			split				query	string		false	"Shares a flow that straddles two buckets by days"	Enums(prorata_days)
//	@Param			labels				query	string		false	"Labels beside codes"	Enums(none,fr,en,both)	default(none)
//	@Param			Consistency-Token	header	string		false	"Of a write: live figures wait until they know it"
//	@Success		200	{object}	Explanation
//	@Success		304	"Nothing moved"
//	@Failure		default	{object}	Problem
//	@Router			/v1/aggregates/explain [get]
func (s *server) explainAggregate(c *call) error {
	criteria, faults := criteriaOfQuery(c.query)
	q, err := s.readQuery(c, criteria, faults, false)
	if err != nil {
		return err
	}
	if len(q.indicators) != 1 || len(q.territories) != 1 || len(q.periods) != 1 || q.impossible() {
		return notOneCell(len(q.indicators), len(q.territories), len(q.periods))
	}
	if q.published != nil {
		return s.fromRelease(c, q, func() (*answer, error) { return s.explanation(c, q) })
	}
	a, err := s.explanation(c, q)
	if err != nil {
		return err
	}
	if err := s.witness(c, queryString(q.normalised()), q.organisation); err != nil {
		return err
	}
	if err := s.usedFor(c, q, 1); err != nil {
		return err
	}
	c.write(http.StatusOK, FormatJSON.Type, a.body)
	return nil
}

func (s *server) explanation(c *call, q *aggregateQuery) (*answer, error) {
	e, err := q.source.Explain(q.calculation())
	if err != nil {
		return nil, err
	}
	row := s.rows(nil, q, []calculation.Figure{e.Figure}, false)
	q.measures = []string{measureValue, measureNumerator, measureDenominator, measureOrganisations, measureObservations, measureCoverage}
	today := impact.DateOf(s.Now()).String()
	out := Explanation{
		Formula:            ExplanationFormula{FR: e.Formula.Text.FR, EN: e.Formula.Text.In(impact.English), Machine: e.Formula.Machine},
		MeasureKind:        string(e.Figure.Kind),
		MethodologyVersion: e.Figure.MethodologyVersion,
		Method:             q.method(),
		Rules:              make(map[string]Text, len(e.Rules)),
		Inputs:             make([]ExplanationInput, 0, len(e.Inputs)),
		Excluded:           excludedOf(e.Excluded),
		Links:              Links{Self: c.self()},
		Meta:               ExplanationMeta{Release: q.releaseText(), DisclosureControl: s.control(q, "", row), Warnings: c.entries(q.warnings)},
	}
	out.Cell.written = format.NewJSONRow(q.columns(s, today)).Append(nil, &row[0])
	for _, r := range e.Rules {
		out.Rules[r.Dimension] = text(r.Text)
	}
	var own struct{ Links AggregateLinks }
	if err := json.Unmarshal(out.Cell.written, &own); err != nil {
		return nil, err
	}
	before, after, _ := strings.Cut(own.Links.Explain, "indicator="+row[0].line())
	for _, in := range e.Inputs {
		wire := ExplanationInput{Indicator: string(in.Indicator), Value: in.Value, Links: AggregateLinks{Explain: before + "indicator=" + string(in.Indicator) + after}}
		if ind := s.Catalogue.Indicator(in.Indicator); ind != nil {
			wire.Unit = ind.Unit
		}
		out.Inputs = append(out.Inputs, wire)
	}
	if q.published != nil {
		out.Meta.PublishedAt = instant(q.published.PublishedAt)
		history(e, &out)
		return c.jsonAnswer(out)
	}
	out.Contributors, out.LeftOut = make([]Contributor, 0, len(e.Contributors)), make([]LeftOut, 0, len(e.LeftOut))
	for _, k := range e.Contributors {
		id, err := s.ObservationIDs.ObservationID(c.r.Context(), k.Cell)
		if err != nil {
			return nil, err
		}
		out.Contributors = append(out.Contributors, Contributor{
			Organisation: string(k.Organisation), Observation: string(id), Indicator: string(k.Indicator),
			Territory: s.territoryID(k.Cell.Territory), Period: k.Cell.Period.String(), Cut: k.Cell.Cut,
			Value: k.Value, ObsStatus: statusText[k.Status], Weight: rational(k.Weight), Counted: rational(k.Counted),
		})
	}
	for _, k := range e.LeftOut {
		id, err := s.ObservationIDs.ObservationID(c.r.Context(), k.Cell)
		if err != nil {
			return nil, err
		}
		out.LeftOut = append(out.LeftOut, LeftOut{
			Organisation: string(k.Organisation), Observation: string(id), Indicator: string(k.Indicator),
			Territory: s.territoryID(k.Cell.Territory), Period: k.Cell.Period.String(), Cut: k.Cell.Cut, Reason: string(k.Reason),
		})
	}
	return c.jsonAnswer(out)
}

// history tells what is public of how a published figure came to be.
func history(e *calculation.Explanation, out *Explanation) {
	if !e.Withheld.IsZero() {
		why := text(e.Withheld)
		out.Withheld = &why
	}
	if p := e.Previous; p != nil {
		out.Previous = &PreviousFigure{Release: strconv.Itoa(int(p.Release)), Value: p.Value, Cause: p.Cause}
	}
}

func (s *server) territoryID(k impact.TerritoryKey) string {
	if t := s.Catalogue.Gazetteer().ByKey(k); t != nil {
		return string(t.ID)
	}
	return ""
}

// rational rounds to six decimals, half to even.
func rational(r *big.Rat) *impact.Quantity {
	if r == nil {
		return nil
	}
	return quantity(r)
}

func excludedOf(list []calculation.Exclusion) []Excluded {
	out := make([]Excluded, len(list))
	for i, e := range list {
		out[i] = Excluded{string(e.Reason), e.Observations}
	}
	return out
}

func notOneCell(indicators, territories, periods int) error {
	var fr, en []string
	for _, d := range []struct {
		n            int
		name, fr, en string
	}{
		{indicators, dimIndicator, "indicateurs", "indicators"},
		{territories, dimTerritory, "territoires", "territories"},
		{periods, dimPeriod, "périodes", "periods"},
	} {
		if d.n != 1 {
			size := big.NewInt(int64(d.n)).String()
			fr, en = append(fr, size+" "+d.fr), append(en, size+" "+d.en)
		}
	}
	return &impact.Error{
		Kind: impact.Invalid, Code: "not_one_cell",
		Detail: bilingual("Une explication porte sur une cellule ; la requête en nomme "+strings.Join(fr, ", ")+".", "An explanation is of one cell; the query names "+strings.Join(en, ", ")+"."),
		Hint:   bilingual("Donnez un indicateur, un territoire et une période ; chaque ligne de GET /v1/aggregates porte le lien de son explication.", "Give one indicator, one territory and one period; each row of GET /v1/aggregates carries the link to its explanation."),
	}
}

// AggregateAvailability is what a query can still ask for and get a value.
type AggregateAvailability struct {
	Mode string `json:"mode" enums:"exact,available" example:"exact"`
	// Values with at least one number, by dimension.
	Dimensions AvailableDimensions `json:"dimensions"`
	// First and last day stated; null when there is nothing.
	From         *string          `json:"from" format:"date" extensions:"x-nullable"`
	To           *string          `json:"to" format:"date" extensions:"x-nullable"`
	Observations int              `json:"n_observations"`
	Links        Links            `json:"links"`
	Meta         AvailabilityMeta `json:"meta"`
} // @name AggregateAvailability

// AvailabilityMeta tells what was read.
type AvailabilityMeta struct {
	Release string `json:"release" example:"3"`
	// When the release was published; absent of live figures.
	PublishedAt       string            `json:"published_at,omitempty" format:"date-time"`
	DisclosureControl DisclosureControl `json:"disclosure_control"`
	Warnings          []ProblemEntry    `json:"warnings"`
} // @name AggregateAvailabilityMeta

// AvailableDimensions lists values by dimension.
type AvailableDimensions struct {
	Indicator         []string            `json:"indicator"`
	ImpactType        []string            `json:"impact_type"`
	Territory         []string            `json:"territory"`
	Period            []string            `json:"period"`
	OrganisationClass []string            `json:"organisation_class"`
	StructureKind     []string            `json:"structure_kind"`
	SizeClass         []string            `json:"size_class"`
	Disaggregations   map[string][]string `json:"disaggregations"`
} // @name AvailableDimensions

// listAvailableAggregates tells what a query can still ask for.
//
//	@Summary		Values each dimension can still take
//	@Description	`mode=exact`: the values found in what is selected. `mode=available`: for each dimension, the values that would give a figure if its own condition were changed, the others kept.
//	@ID				listAvailableAggregates
//	@Tags			aggregates
//	@Produce		json
//	@Security		BearerAuth
//	@Param			mode				query	string		false	"exact or available"	Enums(exact,available)	default(exact)
//	@Param			indicator			query	[]string	false	"Codes of indicators"	collectionFormat(csv)
//	@Param			impact_type			query	[]string	false	"Natures of impact"	collectionFormat(csv)
//	@Param			territory			query	[]string	false	"Territories"	collectionFormat(csv)
//	@Param			territory_type		query	string		false	"Level"	Enums(pays,region,departement,metropole,ctm,commune,arrondissement)
//	@Param			period				query	[]string	false	"Periods"	collectionFormat(csv)
//	@Param			granularity			query	string		false	"Length of the buckets"	Enums(year,semester,quarter,month)
//	@Param			organisation_class	query	[]string	false	"Classes of organisations"	collectionFormat(csv)
//	@Param			structure_kind		query	[]string	false	"Kinds of structures"	collectionFormat(csv)
//	@Param			size_class			query	[]string	false	"Size classes"	collectionFormat(csv)
//	@Param			organisation		query	string		false	"With release=live, one organisation; required of an organisation, which names itself"
//	@Param			disaggregation.age_band	query	[]string	false	"Parts of the values: age band"	collectionFormat(csv)
//	@Param			disaggregation.agec_category	query	[]string	false	"Parts of the values: AGEC product family"	collectionFormat(csv)
//	@Param			disaggregation.award_role	query	[]string	false	"Parts of the values: role in the award"	collectionFormat(csv)
//	@Param			disaggregation.axis	query	[]string	false	"Parts of the values: axis of the Métropole's tool"	collectionFormat(csv)
//	@Param			disaggregation.channel	query	[]string	false	"Parts of the values: channel of the consultation"	collectionFormat(csv)
//	@Param			disaggregation.contribution_status	query	[]string	false	"Parts of the values: state of the contribution"	collectionFormat(csv)
//	@Param			disaggregation.education_level	query	[]string	false	"Parts of the values: education level"	collectionFormat(csv)
//	@Param			disaggregation.entry_status	query	[]string	false	"Parts of the values: status at entry"	collectionFormat(csv)
//	@Param			disaggregation.ewc_chapter	query	[]string	false	"Parts of the values: chapter of the European waste list"	collectionFormat(csv)
//	@Param			disaggregation.ghg_category	query	[]string	false	"Parts of the values: scope 3 category"	collectionFormat(csv)
//	@Param			disaggregation.hazardous	query	[]string	false	"Parts of the values: hazardousness"	collectionFormat(csv)
//	@Param			disaggregation.legal_basis	query	[]string	false	"Parts of the values: legal basis"	collectionFormat(csv)
//	@Param			disaggregation.medium	query	[]string	false	"Parts of the values: receiving medium"	collectionFormat(csv)
//	@Param			disaggregation.qpv_resident	query	[]string	false	"Parts of the values: resident of a priority neighbourhood"	collectionFormat(csv)
//	@Param			disaggregation.reserved_basis	query	[]string	false	"Parts of the values: basis of the reservation"	collectionFormat(csv)
//	@Param			disaggregation.reuse_status	query	[]string	false	"Parts of the values: reuse status"	collectionFormat(csv)
//	@Param			disaggregation.sex	query	[]string	false	"Parts of the values: sex"	collectionFormat(csv)
//	@Param			release				query	string		false	"`latest`, a number (`3`), or `live`: today's facts, for rights holders"	default(latest)	example(3)
//	@Param			as_of				query	string		false	"The release in force at that instant, in place of `release`"	format(date-time)
//	@Param			vintage				query	string		false	"Year of the official geographic code"
//	@Param			state				query	string		false	"With release=live: least state of the submissions that count: `submitted` for stewards, and `draft` for an organisation on its own data"	Enums(approved,submitted,draft)	default(approved)
//	@Param			Consistency-Token	header	string		false	"Of a write: live figures wait until they know it"
//	@Success		200	{object}	AggregateAvailability
//	@Success		304	"Nothing moved"
//	@Failure		default	{object}	Problem
//	@Router			/v1/aggregates/availability [get]
func (s *server) listAvailableAggregates(c *call) error {
	mode := c.query.enum("mode", "exact", "exact", "available")
	if err := c.query.err(); err != nil {
		return err
	}
	criteria, faults := criteriaOfQuery(c.query)
	criteria = slices.DeleteFunc(criteria, func(k criterion) bool { return k.name == "mode" })
	q, err := s.readQuery(c, criteria, faults, true)
	if err != nil {
		return err
	}
	if q.published != nil {
		return s.fromRelease(c, q, func() (*answer, error) { return s.availability(c, q, mode) })
	}
	if c.fresh(s.liveTag(c, q.calculation(), queryBody(q.normalised()), mode, 0, "")) {
		return nil
	}
	if err := s.witness(c, queryString(q.normalised()), q.organisation); err != nil {
		return err
	}
	if err := s.usedFor(c, q, 1); err != nil {
		return err
	}
	a, err := s.availability(c, q, mode)
	if err != nil {
		return err
	}
	c.write(http.StatusOK, FormatJSON.Type, a.body)
	return nil
}

func (s *server) availability(c *call, q *aggregateQuery, mode string) (*answer, error) {
	exact, err := q.source.Available(q.calculation())
	if err != nil {
		return nil, err
	}
	out := AggregateAvailability{
		Mode: mode, Dimensions: s.available(exact), Observations: exact.Observations, Links: Links{Self: c.self()},
		Meta: AvailabilityMeta{Release: q.releaseText(), DisclosureControl: s.control(q, "OK", nil), Warnings: c.entries(q.warnings)},
	}
	if q.published != nil {
		out.Meta.PublishedAt = instant(q.published.PublishedAt)
	}
	if exact.Any {
		from, to := exact.Span.Start.String(), exact.Span.End.String()
		out.From, out.To = &from, &to
	}
	if mode == "available" {
		if out.Dimensions, err = s.widened(q); err != nil {
			return nil, err
		}
	}
	return c.jsonAnswer(out)
}

// widened asks once per dimension that has a condition, without it.
func (s *server) widened(q *aggregateQuery) (AvailableDimensions, error) {
	var failed error
	without := func(change func(*aggregateQuery)) AvailableDimensions {
		wide := *q
		change(&wide)
		a, err := q.source.Available(wide.calculation())
		failed = errors.Join(failed, err)
		return s.available(a)
	}
	all := s.Catalogue.Indicators()
	byIndicator := without(func(w *aggregateQuery) { w.indicators = all })
	out := AvailableDimensions{
		Indicator:         byIndicator.Indicator,
		ImpactType:        byIndicator.ImpactType,
		Territory:         without(func(w *aggregateQuery) { w.territories = nil }).Territory,
		Period:            without(func(w *aggregateQuery) { w.periods = nil }).Period,
		OrganisationClass: without(func(w *aggregateQuery) { w.classes = nil }).OrganisationClass,
		StructureKind:     without(func(w *aggregateQuery) { w.structureKinds = nil }).StructureKind,
		SizeClass:         without(func(w *aggregateQuery) { w.sizeClasses = nil }).SizeClass,
		Disaggregations:   without(func(w *aggregateQuery) { w.disaggregations = nil }).Disaggregations,
	}
	return out, failed
}

func (s *server) available(a calculation.Availability) AvailableDimensions {
	out := AvailableDimensions{
		Indicator: texts(a.Indicators), ImpactType: texts(a.ImpactTypes), Territory: make([]string, 0, len(a.Territories)), Period: make([]string, 0, len(a.Periods)),
		OrganisationClass: texts(a.Classes), StructureKind: texts(a.StructureKinds), SizeClass: texts(a.SizeClasses), Disaggregations: a.Disaggregations,
	}
	for _, k := range a.Territories {
		out.Territory = append(out.Territory, s.territoryID(k))
	}
	slices.Sort(out.Territory)
	for _, p := range a.Periods {
		out.Period = append(out.Period, p.String())
	}
	if out.Disaggregations == nil {
		out.Disaggregations = map[string][]string{}
	}
	return out
}

func texts[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

// AggregateEstimate is the size of an answer, before it is computed.
type AggregateEstimate struct {
	// Rows at most: rows without value are left out of the answer.
	Rows int `json:"rows" example:"6960"`
	// Cells the calculation goes through.
	Cells int `json:"cells" example:"6960"`
	// The answer would be computed and returned.
	Fits   bool           `json:"fits"`
	Limits EstimateLimits `json:"limits"`
	Links  EstimateLinks  `json:"links"`
	Meta   Warned         `json:"meta"`
} // @name AggregateEstimate

// EstimateLimits are the limits an estimate is compared with.
type EstimateLimits struct {
	Cells int `json:"cells" example:"1000000"`
	Rows  int `json:"rows" example:"50000"`
	Page  int `json:"page" example:"10000"`
} // @name AggregateEstimateLimits

// EstimateLinks leads to the query itself.
type EstimateLinks struct {
	Self       string `json:"self"`
	Aggregates string `json:"aggregates"`
} // @name AggregateEstimateLinks

// estimateAggregates counts before computing.
//
//	@Summary		Size of an answer, before it is computed
//	@ID				estimateAggregates
//	@Tags			aggregates
//	@Produce		json
//	@Security		BearerAuth
//	@Param			indicator			query	[]string	false	"Codes of indicators; all of them when absent"	collectionFormat(csv)
//	@Param			impact_type			query	[]string	false	"Natures of impact"	collectionFormat(csv)
//	@Param			territory			query	[]string	true	"Territories"	collectionFormat(csv)
//	@Param			territory_type		query	string		false	"Level of the rows"	Enums(pays,region,departement,metropole,ctm,commune,arrondissement)
//	@Param			period				query	[]string	true	"Periods"	collectionFormat(csv)
//	@Param			granularity			query	string		false	"Length of the buckets"	Enums(year,semester,quarter,month)
//	@Param			group_by			query	[]string	false	"Dimensions of a row"	collectionFormat(csv)
//	@Param			organisation_class	query	[]string	false	"Classes of organisations"	collectionFormat(csv)
//	@Param			structure_kind		query	[]string	false	"Kinds of structures"	collectionFormat(csv)
//	@Param			size_class			query	[]string	false	"Size classes"	collectionFormat(csv)
//	@Param			organisation		query	string		false	"With release=live, one organisation"
//	@Param			disaggregation.age_band	query	[]string	false	"Parts of the values: age band"	collectionFormat(csv)
//	@Param			disaggregation.agec_category	query	[]string	false	"Parts of the values: AGEC product family"	collectionFormat(csv)
//	@Param			disaggregation.award_role	query	[]string	false	"Parts of the values: role in the award"	collectionFormat(csv)
//	@Param			disaggregation.axis	query	[]string	false	"Parts of the values: axis of the Métropole's tool"	collectionFormat(csv)
//	@Param			disaggregation.channel	query	[]string	false	"Parts of the values: channel of the consultation"	collectionFormat(csv)
//	@Param			disaggregation.contribution_status	query	[]string	false	"Parts of the values: state of the contribution"	collectionFormat(csv)
//	@Param			disaggregation.education_level	query	[]string	false	"Parts of the values: education level"	collectionFormat(csv)
//	@Param			disaggregation.entry_status	query	[]string	false	"Parts of the values: status at entry"	collectionFormat(csv)
//	@Param			disaggregation.ewc_chapter	query	[]string	false	"Parts of the values: chapter of the European waste list"	collectionFormat(csv)
//	@Param			disaggregation.ghg_category	query	[]string	false	"Parts of the values: scope 3 category"	collectionFormat(csv)
//	@Param			disaggregation.hazardous	query	[]string	false	"Parts of the values: hazardousness"	collectionFormat(csv)
//	@Param			disaggregation.legal_basis	query	[]string	false	"Parts of the values: legal basis"	collectionFormat(csv)
//	@Param			disaggregation.medium	query	[]string	false	"Parts of the values: receiving medium"	collectionFormat(csv)
//	@Param			disaggregation.qpv_resident	query	[]string	false	"Parts of the values: resident of a priority neighbourhood"	collectionFormat(csv)
//	@Param			disaggregation.reserved_basis	query	[]string	false	"Parts of the values: basis of the reservation"	collectionFormat(csv)
//	@Param			disaggregation.reuse_status	query	[]string	false	"Parts of the values: reuse status"	collectionFormat(csv)
//	@Param			disaggregation.sex	query	[]string	false	"Parts of the values: sex"	collectionFormat(csv)
//	@Param			measures			query	[]string	false	"What a row carries"	collectionFormat(csv)
//	@Param			totals				query	string		false	"Adds the declared parent"	Enums(territory)
//	@Param			release				query	string		false	"`latest`, a number (`3`), or `live`: today's facts, for rights holders"	default(latest)	example(3)
//	@Param			vintage				query	string		false	"Year of the official geographic code"
//	@Param			state				query	string		false	"With release=live: least state of the submissions that count: `submitted` for stewards, and `draft` for an organisation on its own data"	Enums(approved,submitted,draft)	default(approved)
//	@Success		200	{object}	AggregateEstimate
//	@Failure		default	{object}	Problem
//	@Router			/v1/aggregates/estimate [get]
func (s *server) estimateAggregates(c *call) error {
	criteria, faults := criteriaOfQuery(c.query)
	q, err := s.readQuery(c, criteria, faults, false)
	if err != nil {
		return err
	}
	cells := s.cells(q)
	rows := cells
	if q.totals && len(q.territories) > 0 {
		rows += cells / len(q.territories)
	}
	return c.answer(http.StatusOK, AggregateEstimate{
		Rows: rows, Cells: cells, Fits: cells <= maxComputed && rows <= maxReturned,
		Limits: EstimateLimits{maxComputed, maxReturned, maxAggregatePage},
		Links:  EstimateLinks{Self: c.self(), Aggregates: c.address("/v1/aggregates", queryString(q.normalised()))},
		Meta:   Warned{c.entries(q.warnings)},
	})
}
