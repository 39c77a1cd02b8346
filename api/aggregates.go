package api

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// FigureSource computes figures from facts; *calculation.Cube is one.
type FigureSource interface {
	Figures(calculation.Query) (*calculation.Result, error)
	Explain(calculation.Query) (*calculation.Explanation, error)
	Available(calculation.Query) (calculation.Availability, error)
	// Fingerprint changes when something the query could read changed.
	Fingerprint(calculation.Query) uint64
}

// Follower waits until the figures know a commit, and all those this replica
// has acknowledged.
type Follower interface {
	WaitFor(ctx context.Context, seq int64) error
}

// ObservationNamer gives the public id of a cell.
type ObservationNamer interface {
	ObservationID(context.Context, impact.CellKey) (impact.ObservationID, error)
}

// Limits of queries of figures (api.md 15).
const (
	maxComputed      = 1_000_000
	maxReturned      = 50_000
	maxAggregatePage = 10_000
	aggregatePage    = 1_000
)

// aggregateFormats are the readings of one query, the same rows in each.
var aggregateFormats = []Format{FormatJSON, FormatCSV, FormatFrenchCSV, FormatNDJSON, FormatGeoJSON, FormatXLSX, FormatParquet, FormatSDMXCSV, FormatJSONStat}

// liveBecause is said to callers without a token.
var liveBecause = impact.Text{
	FR: "Les chiffres en direct (release=live) demandent un jeton de titulaire de droits : une organisation pour ses propres données, ou le service instructeur. Les chiffres publics sont ceux de la dernière publication : ôtez release, ou écrivez release=latest.",
	EN: "Live figures (release=live) need a token of a rights holder: an organisation for its own data, or a steward. Public figures are those of the last release: leave release out, or write release=latest.",
}

// Aggregate is one figure. Members that a query did not ask for are absent;
// those that few rows need are absent when they have nothing to say.
type Aggregate struct {
	Indicator  string `json:"indicator,omitempty" example:"insertion_hours"`
	ImpactType string `json:"impact_type,omitempty" example:"inclusion.insertion"`
	// `_T` for the declared parent (totals=territory).
	Territory string `json:"territory,omitempty" example:"commune-69266"`
	Period    string `json:"period,omitempty" example:"2025-Q3"`
	// Cuts, when grouped by them; null for contributors without code.
	OrganisationClass *string           `json:"organisation_class,omitempty" extensions:"x-nullable"`
	StructureKind     *string           `json:"structure_kind,omitempty" extensions:"x-nullable"`
	SizeClass         *string           `json:"size_class,omitempty" extensions:"x-nullable"`
	Organisation      *string           `json:"organisation,omitempty" extensions:"x-nullable"`
	Disaggregation    map[string]string `json:"disaggregation,omitempty"`
	// Labels by dimension, in the languages asked for.
	Labels map[string]Label `json:"labels,omitempty"`
	// Exact decimal; null with a status that says why.
	Value      *impact.Quantity `json:"value,omitempty" swaggertype:"number" extensions:"x-nullable" example:"18420"`
	Unit       string           `json:"unit,omitempty" example:"h"`
	ObsStatus  string           `json:"obs_status" enums:"A,E,P,I,B,L,M,O,Q" example:"A"`
	ConfStatus string           `json:"conf_status" enums:"F,C" example:"F"`
	Vintage    string           `json:"vintage" example:"2026"`
	// Parts of a quotient.
	Numerator   *impact.Quantity `json:"numerator,omitempty" swaggertype:"number" extensions:"x-nullable"`
	Denominator *impact.Quantity `json:"denominator,omitempty" swaggertype:"number" extensions:"x-nullable"`
	// Organisations with a number in the figure, counted by legal unit; null
	// when the figure is withheld.
	Organisations *int `json:"n_organisations,omitempty" extensions:"x-nullable" example:"7"`
	Observations  *int `json:"n_observations,omitempty" extensions:"x-nullable"`
	// Organisations that answered ÷ organisations expected.
	Coverage       *impact.Quantity `json:"coverage,omitempty" swaggertype:"number" extensions:"x-nullable" example:"0.58"`
	ShareOfTotal   *impact.Quantity `json:"share_of_total,omitempty" swaggertype:"number" extensions:"x-nullable"`
	ChangePrevious *impact.Quantity `json:"change_previous,omitempty" swaggertype:"number" extensions:"x-nullable"`
	// Day of the release in which the figure last moved; of a live figure, the
	// day of the answer.
	AsOf string `json:"as_of" format:"date" example:"2026-11-22"`
	// One or several of zero_denominator split_mapping prorata upper_bound
	// missing_component method_break, separated by spaces.
	Note string `json:"note,omitempty"`
	// What all values of the figure share, where an indicator asks for it.
	Qualifiers string `json:"qualifiers,omitempty" example:"local_scope=metropole"`
	// Dimension over which values of this kind cannot be combined.
	NotAdditiveOver string `json:"not_additive_over,omitempty" enums:"organisation,territory,period"`
	// Last day a stock was stated for.
	StockDate   string           `json:"stock_date,omitempty" format:"date"`
	LowerBound  *impact.Quantity `json:"lower_bound,omitempty" swaggertype:"number"`
	UpperBound  *impact.Quantity `json:"upper_bound,omitempty" swaggertype:"number"`
	Respondents *impact.Quantity `json:"respondents,omitempty" swaggertype:"number"`
	P25         *impact.Quantity `json:"p25,omitempty" swaggertype:"number"`
	P75         *impact.Quantity `json:"p75,omitempty" swaggertype:"number"`
	Mean        *impact.Quantity `json:"mean,omitempty" swaggertype:"number"`
	CountTrue   *int             `json:"count_true,omitempty"`
	Answered    *int             `json:"count_answered,omitempty"`
	DaysCovered *int             `json:"days_covered,omitempty"`
	// False where an older figure stands: it may differ from the sum of its parts.
	Additive *bool           `json:"additive,omitempty"`
	Links    *AggregateLinks `json:"links,omitempty"`

	written json.RawMessage
} // @name Aggregate

// MarshalJSON writes the row as pages do.
func (a Aggregate) MarshalJSON() ([]byte, error) {
	if a.written == nil {
		return nil, errors.New("a row that no page wrote")
	}
	return a.written, nil
}

// Label is the text of a code in the languages asked for.
type Label struct {
	FR string `json:"fr,omitempty" example:"Villeurbanne"`
	EN string `json:"en,omitempty" example:"Villeurbanne"`
} // @name Label

// AggregateLinks leads to the explanation of a figure.
type AggregateLinks struct {
	Explain string `json:"explain" example:"/v1/aggregates/explain?indicator=insertion_hours&territory=commune-69266&period=2025-Q3&release=3"`
} // @name AggregateLinks

// AggregatePage is the answer to a query of figures.
type AggregatePage struct {
	Data  []Aggregate        `json:"data"`
	Meta  AggregateMeta      `json:"meta"`
	Links AggregatePageLinks `json:"links"`
} // @name AggregatePage

// AggregatePageLinks leads to this page, the next one and the other readings.
type AggregatePageLinks struct {
	Self         string  `json:"self"`
	Next         *string `json:"next" extensions:"x-nullable"`
	CSV          string  `json:"csv"`
	Availability string  `json:"availability"`
} // @name AggregatePageLinks

// AggregateMeta tells how the query was understood and what was left out.
type AggregateMeta struct {
	// The query with every default written, as POST /v1/aggregates/query takes it.
	Query map[string]any `json:"query"`
	// Number of the release; `live`: computed from today's facts, for rights holders.
	Release string `json:"release" example:"3"`
	// When the release was published; absent of live figures.
	PublishedAt string `json:"published_at,omitempty" format:"date-time"`
	// Version of the rules of calculation.
	Method string `json:"method" example:"1.0"`
	// Methodology version of each indicator.
	Methodology       map[string]string `json:"methodology"`
	RowCount          int               `json:"row_count"`
	Truncated         bool              `json:"truncated"`
	DisclosureControl DisclosureControl `json:"disclosure_control"`
	Excluded          []Excluded        `json:"excluded"`
	Warnings          []ProblemEntry    `json:"warnings"`
} // @name AggregateMeta

// DisclosureControl tells what statistical secrecy did to the answer. OK: every
// figure is shown; SUPPRESSED: some are withheld (null, Q, C); BLOCKED: no release
// answers such a query; LIVE: nothing was hidden, since the caller has a right on
// every contributor.
type DisclosureControl struct {
	Status string `json:"status" enums:"OK,SUPPRESSED,BLOCKED,LIVE" example:"SUPPRESSED"`
	// Rules the release was made with.
	Ruleset string `json:"ruleset,omitempty" example:"strict-1"`
	// Rows of this answer without figure, because of secrecy.
	SuppressedCells *int `json:"suppressed_cells,omitempty" example:"1"`
	// Page of the method, in plain words.
	Documentation string `json:"documentation,omitempty" example:"https://impact.example/docs/disclosure.md"`
} // @name DisclosureControl

func (d DisclosureControl) append(dst []byte) []byte {
	o := objectWriter{dst: append(dst, '{')}
	o.member("status")
	o.dst = format.AppendString(o.dst, d.Status)
	if d.Ruleset != "" {
		o.member("ruleset")
		o.dst = format.AppendString(o.dst, d.Ruleset)
	}
	if d.SuppressedCells != nil {
		o.member("suppressed_cells")
		o.dst = strconv.AppendInt(o.dst, int64(*d.SuppressedCells), 10)
	}
	if d.Documentation != "" {
		o.member("documentation")
		o.dst = format.AppendString(o.dst, d.Documentation)
	}
	return append(o.dst, '}')
}

// Excluded counts observations left out for one reason.
type Excluded struct {
	Reason       string `json:"reason" example:"territory_coarser_than_requested"`
	Observations int    `json:"observations" example:"12"`
} // @name Excluded

// listAggregates answers a query of figures.
//
//	@Summary		Figures by indicator, territory and period
//	@Description	The query language of figures. Values separated by commas are alternatives, a repeated parameter must hold as well. A value may be preceded by `eq: ne: gt: ge: lt: le: sw:`. Everyone reads the latest release, with or without a token: figures that passed disclosure control, those withheld being null with the statuses Q and C. A release answers declared cells only: another query is 422 `disclosure_uncontrolled_slice` with the nearest ones that are answered. `release=N` answers the same for ever. Before the first release the answer is 404. Today's figures, `release=live`, are for rights holders: an organisation names itself with `organisation=`, a steward reads all (and each reading is logged).
//	@ID				listAggregates
//	@Tags			aggregates
//	@Produce		json
//	@Produce		text/csv
//	@Produce		application/x-ndjson
//	@Produce		application/geo+json
//	@Produce		application/vnd.openxmlformats-officedocument.spreadsheetml.sheet
//	@Produce		application/vnd.apache.parquet
//	@Produce		application/vnd.sdmx.data+csv
//	@Security		BearerAuth
//	@Param			indicator			query	[]string	false	"Codes of indicators; all of them when absent"	collectionFormat(csv)	example(insertion_hours)
//	@Param			impact_type			query	[]string	false	"Natures of impact with their sub-types; `inclusion!` = that one only"	collectionFormat(csv)
//	@Param			territory			query	[]string	true	"Territories, each with all it contains; with territory_type, what they contain of that type"	collectionFormat(csv)	example(metropole-200046977)
//	@Param			territory_type		query	string		false	"Level of the rows"	Enums(pays,region,departement,metropole,ctm,commune,arrondissement)
//	@Param			period				query	[]string	true	"Periods: `2025`, `2025-Q3`, `2023/2025`, `2024/..`, `last:4Q`, `ytd:2025`, `latest`, `latest_period`"	collectionFormat(csv)	example(2023/2025)
//	@Param			granularity			query	string		false	"Length of the buckets; that of the periods written when absent"	Enums(year,semester,quarter,month)
//	@Param			group_by			query	[]string	false	"Dimensions of a row, in order, four at most: indicator, impact_type, territory, period, organisation_class, structure_kind, size_class, organisation, disaggregation.*"	collectionFormat(csv)	default(indicator,territory,period)
//	@Param			organisation_class	query	[]string	false	"Classes of organisations"	collectionFormat(csv)
//	@Param			structure_kind		query	[]string	false	"Kinds of structures: EI, AI, ACI…"	collectionFormat(csv)
//	@Param			size_class			query	[]string	false	"Size classes"	collectionFormat(csv)
//	@Param			organisation		query	string		false	"With release=live, one organisation: its id or `siret:…`; required of an organisation, which names itself"
//	@Param			qualifiers			query	string		false	"What the values of a figure share, where the indicator keeps them apart"	example(local_scope=metropole)
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
//	@Param			measures			query	[]string	false	"What a row carries: value, numerator, denominator, n_organisations, n_observations, coverage, share_of_total, change_previous"	collectionFormat(csv)	default(value,n_organisations,coverage)
//	@Param			value				query	[]string	false	"Condition on the result: `ge:100`"	collectionFormat(csv)
//	@Param			numerator			query	[]string	false	"Condition on the result"	collectionFormat(csv)
//	@Param			denominator			query	[]string	false	"Condition on the result"	collectionFormat(csv)
//	@Param			n_organisations		query	[]string	false	"Condition on the result: `ge:5`"	collectionFormat(csv)
//	@Param			n_observations		query	[]string	false	"Condition on the result"	collectionFormat(csv)
//	@Param			coverage			query	[]string	false	"Condition on the result"	collectionFormat(csv)
//	@Param			share_of_total		query	[]string	false	"Condition on the result"	collectionFormat(csv)
//	@Param			change_previous		query	[]string	false	"Condition on the result"	collectionFormat(csv)
//	@Param			order_by			query	[]string	false	"Dimensions and measures of the row; `-` before one for the largest first"	collectionFormat(csv)	example(-value,territory)
//	@Param			totals				query	string		false	"Adds rows whose territory is `_T`, the declared parent"	Enums(territory)
//	@Param			release				query	string		false	"`latest`, a number (`3`), or `live`: today's facts, for rights holders"	default(latest)	example(3)
//	@Param			as_of				query	string		false	"The release in force at that instant, in place of `release`"	format(date-time)
//	@Param			vintage				query	string		false	"Year of the official geographic code; the current one when absent"	example(2026)
//	@Param			state				query	string		false	"With release=live: least state of the submissions that count: `submitted` for stewards, and `draft` for an organisation on its own data"	Enums(approved,submitted,draft)	default(approved)
//	@Param			include_empty		query	boolean		false	"Also rows where nothing was reported (null, O)"	default(false)
//	@Param			labels				query	string		false	"Labels beside codes"	Enums(none,fr,en,both)	default(none)
//	@Param			allow_bounds		query	boolean		false	"Answers counts of distinct persons, which do not add up, by their bounds"	default(false)
//	@Param			split				query	string		false	"Shares a flow that straddles two buckets by days (status E)"	Enums(prorata_days)
//	@Param			limit				query	integer		false	"Rows of a page; 1,000 when absent (all of them in CSV and NDJSON)"	minimum(1)	maximum(10000)
//	@Param			cursor				query	string		false	"From links.next"
//	@Param			Consistency-Token	header	string		false	"Of a write: live figures wait until they know it"
//	@Success		200	{object}	AggregatePage
//	@Success		304	"Nothing moved"
//	@Header			200	{string}	Impact-Release	"Number of the release"
//	@Header			200	{string}	Impact-Disclosure-Control	"OK, SUPPRESSED or LIVE: what meta.disclosure_control.status says, for formats without meta"
//	@Failure		default	{object}	Problem
//	@Router			/v1/aggregates [get]
func (s *server) listAggregates(c *call) error {
	criteria, faults := criteriaOfQuery(c.query)
	return s.aggregates(c, criteria, faults)
}

// queryAggregates answers the same query written in JSON.
//
//	@Summary		Figures, the query written in JSON
//	@Description	The parameters of GET /v1/aggregates as members, for queries longer than 4 KiB. A list holds alternatives. Conditions that must hold as well, and conditions on the result, go into `filters`. Formats by Accept or suffix.
//	@ID				queryAggregates
//	@Tags			aggregates
//	@Accept			json
//	@Produce		json
//	@Produce		text/csv
//	@Produce		application/x-ndjson
//	@Produce		application/geo+json
//	@Produce		application/vnd.openxmlformats-officedocument.spreadsheetml.sheet
//	@Produce		application/vnd.apache.parquet
//	@Produce		application/vnd.sdmx.data+csv
//	@Security		BearerAuth
//	@Param			query	body		AggregateRequest	true	"The query"
//	@Param			Consistency-Token	header	string	false	"Of a write: live figures wait until they know it"
//	@Success		200		{object}	AggregatePage
//	@Header			200		{string}	Content-Location	"The same query as a GET, when it fits"
//	@Failure		default	{object}	Problem
//	@Router			/v1/aggregates/query [post]
func (s *server) queryAggregates(c *call) error {
	body, err := c.readBody()
	if err != nil {
		return err
	}
	criteria, faults, err := criteriaOfBody(body)
	if err != nil {
		return err
	}
	return s.aggregates(c, criteria, faults)
}

// AggregateRequest is a query of figures in JSON: the members are the
// parameters of GET /v1/aggregates.
type AggregateRequest struct {
	Indicator         []string            `json:"indicator,omitempty" example:"insertion_hours"`
	ImpactType        []string            `json:"impact_type,omitempty"`
	Territory         *AggregateTerritory `json:"territory,omitempty"`
	Period            *AggregatePeriod    `json:"period,omitempty"`
	GroupBy           []string            `json:"group_by,omitempty" example:"indicator,territory,period"`
	OrganisationClass []string            `json:"organisation_class,omitempty"`
	StructureKind     []string            `json:"structure_kind,omitempty"`
	SizeClass         []string            `json:"size_class,omitempty"`
	// Parts of the values, along one disaggregation each.
	ByAgeBand            []string          `json:"disaggregation.age_band,omitempty"`
	ByAgecCategory       []string          `json:"disaggregation.agec_category,omitempty"`
	ByAwardRole          []string          `json:"disaggregation.award_role,omitempty"`
	ByAxis               []string          `json:"disaggregation.axis,omitempty"`
	ByChannel            []string          `json:"disaggregation.channel,omitempty"`
	ByContributionStatus []string          `json:"disaggregation.contribution_status,omitempty"`
	ByEducationLevel     []string          `json:"disaggregation.education_level,omitempty"`
	ByEntryStatus        []string          `json:"disaggregation.entry_status,omitempty"`
	ByEwcChapter         []string          `json:"disaggregation.ewc_chapter,omitempty"`
	ByGhgCategory        []string          `json:"disaggregation.ghg_category,omitempty"`
	ByHazardous          []string          `json:"disaggregation.hazardous,omitempty"`
	ByLegalBasis         []string          `json:"disaggregation.legal_basis,omitempty"`
	ByMedium             []string          `json:"disaggregation.medium,omitempty"`
	ByQpvResident        []string          `json:"disaggregation.qpv_resident,omitempty"`
	ByReservedBasis      []string          `json:"disaggregation.reserved_basis,omitempty"`
	ByReuseStatus        []string          `json:"disaggregation.reuse_status,omitempty"`
	BySex                []string          `json:"disaggregation.sex,omitempty"`
	Organisation         string            `json:"organisation,omitempty"`
	Qualifiers           string            `json:"qualifiers,omitempty" example:"local_scope=metropole"`
	Measures             []string          `json:"measures,omitempty" example:"value,coverage"`
	Filters              []AggregateFilter `json:"filters,omitempty"`
	OrderBy              []string          `json:"order_by,omitempty" example:"-value"`
	Totals               string            `json:"totals,omitempty" enums:"territory"`
	Release              string            `json:"release,omitempty" example:"live"`
	Vintage              int               `json:"vintage,omitempty" example:"2026"`
	State                string            `json:"state,omitempty" enums:"approved,submitted,draft"`
	IncludeEmpty         bool              `json:"include_empty,omitempty"`
	Labels               string            `json:"labels,omitempty" enums:"none,fr,en,both"`
	AllowBounds          bool              `json:"allow_bounds,omitempty"`
	Split                string            `json:"split,omitempty" enums:"prorata_days"`
	Limit                int               `json:"limit,omitempty" minimum:"1" maximum:"10000"`
	Cursor               string            `json:"cursor,omitempty"`
} // @name AggregateRequest

// AggregateTerritory names territories; a list of ids in its place is read too.
type AggregateTerritory struct {
	In   []string `json:"in,omitempty" example:"metropole-200046977"`
	Type string   `json:"type,omitempty" example:"commune"`
} // @name AggregateTerritory

// AggregatePeriod names periods; a text or a list in its place is read too.
type AggregatePeriod struct {
	In          []string `json:"in,omitempty"`
	Range       string   `json:"range,omitempty" example:"2023/2025"`
	Granularity string   `json:"granularity,omitempty" example:"quarter"`
} // @name AggregatePeriod

// AggregateFilter is a condition that must hold. Without op, a text value is
// read as in a query string: "ge:100,lt:5".
type AggregateFilter struct {
	Field string `json:"field" example:"value"`
	Op    string `json:"op,omitempty" enums:"eq,ne,gt,ge,lt,le,sw" example:"ge"`
	Value any    `json:"value"`
} // @name AggregateFilter

func (s *server) aggregates(c *call, criteria []criterion, faults []impact.Fault) error {
	limit, cursor, criteria, err := c.aggregatePage(criteria)
	if err != nil {
		return err
	}
	q, err := s.readQuery(c, criteria, faults, false)
	if err != nil {
		return err
	}
	p := figurePage{limit: limit, cursor: cursor, today: impact.DateOf(s.Now()).String()}
	p.pairs = q.normalised()
	p.query, p.get = queryBody(p.pairs), queryString(p.pairs)
	switch cells := s.cells(q); {
	case cells > maxComputed:
		return tooManyCells(cells)
	case q.includeEmpty && len(q.conditions) == 0 && len(q.calculation().Cuts) == 0 && cells > maxReturned:
		return tooManyFigures(cells) // each cell is a row
	}
	if c.r.Method == http.MethodPost && len(p.get) < maxURI-len("/v1/aggregates?") {
		c.w.Header().Set("Content-Location", c.address("/v1/aggregates"+c.suffix, p.get))
	}
	if q.published != nil {
		return s.fromRelease(c, q, func() (*answer, error) { return s.figurePage(c, q, p, nil) })
	}
	if c.r.Method == http.MethodGet && c.fresh(s.liveTag(c, q.calculation(), p.query, p.today, limit, cursor)) {
		return nil
	}
	b := pageBuffers.Get().(*[]byte)
	a, err := s.figurePage(c, q, p, (*b)[:0])
	if err != nil {
		return err
	}
	if err := s.witness(c, p.get, q.organisation); err != nil {
		return err
	}
	if err := s.usedFor(c, q, a.rows); err != nil {
		return err
	}
	for name, v := range a.header {
		c.w.Header()[name] = v
	}
	c.write(http.StatusOK, c.format.Type, a.body)
	if cap(a.body) <= 1<<20 {
		*b = a.body
		pageBuffers.Put(b)
	}
	return nil
}

// figurePage computes one page, written after dst.
func (s *server) figurePage(c *call, q *aggregateQuery, p figurePage, dst []byte) (*answer, error) {
	id := digest(p.query)
	var position []string
	var err error
	if p.cursor != "" {
		if position, err = s.openCursor(p.cursor, id); err != nil {
			if e, ok := errors.AsType[*impact.Error](err); ok {
				e.Link = "/v1/aggregates?" + p.get
			}
			return nil, err
		}
	}
	rows, excluded, err := s.figures(q)
	if err != nil {
		return nil, err
	}
	counted := len(rows)
	if position != nil {
		if rows, err = s.after(q, rows, position); err != nil {
			return nil, err
		}
	}
	if len(rows) > p.limit {
		rows = rows[:p.limit]
		p.next = c.address("/v1/aggregates"+c.suffix, p.get+"&limit="+strconv.Itoa(p.limit)+"&cursor="+s.sealCursor(q.position(&rows[p.limit-1]), id))
	}
	p.rows, p.excluded = rows, excluded
	if dst, err = s.appendFigures(dst, c, q, p); err != nil {
		return nil, err
	}
	a := newAnswer(c.format.Type, dst)
	a.rows = counted
	if p.next != "" {
		a.header.Add("Link", "<"+p.next+`>; rel="next"`)
	}
	a.header.Set("Impact-Disclosure-Control", s.control(q, "", rows).Status)
	return a, nil
}

// aggregatePage takes limit and cursor off the query, from either spelling.
// Flat formats are whole unless a limit is asked: a file that stops in the
// middle looks complete.
func (c *call) aggregatePage(criteria []criterion) (limit int, cursor string, rest []criterion, err error) {
	limit = aggregatePage
	if c.format.Name != FormatJSON.Name {
		limit = maxReturned
	}
	if c.r.Method == http.MethodPost {
		rest = slices.Clone(criteria[:0])
		for _, k := range criteria {
			switch k.name {
			case "limit":
				n, e := strconv.Atoi(k.terms[0].value)
				if e != nil || n < 1 || n > maxAggregatePage || len(k.terms) > 1 {
					return 0, "", nil, impact.Refuse(k.at.mark(faultLimit(k.terms[0].value)))
				}
				limit = n
			case "cursor":
				cursor = k.terms[0].value
			default:
				rest = append(rest, k)
			}
		}
		return limit, cursor, rest, nil
	}
	if c.query.has("limit") {
		limit = c.query.integer("limit", aggregatePage, 1, maxAggregatePage)
	}
	cursor = c.query.one("cursor")
	return limit, cursor, criteria, c.query.err()
}

// readQuery finds the release that is read and resolves the query. For live
// figures it waits for the write they must see, and checks that the caller may
// ask.
func (s *server) readQuery(c *call, criteria []criterion, faults []impact.Fault, anywhere bool) (*aggregateQuery, error) {
	released, absent := s.releaseOf(c, criteria)
	if absent != nil && impact.KindOf(absent) != impact.NotFound {
		return nil, absent
	}
	r := aggregateReader{catalogue: s.Catalogue, today: impact.DateOf(s.Now()), anywhere: anywhere, inBody: c.r.Method == http.MethodPost}
	switch {
	case absent != nil: // said once the query is known to be readable
	case released != nil:
		// Whenever it is asked, the same query means the same cells.
		r.q.source, r.q.published = released, released.Release()
		r.today, r.vintage = r.q.published.Day, r.q.published.Vintage
	default:
		r.q.source = s.Figures
		if err := s.await(c); err != nil {
			return nil, err
		}
	}
	var (
		failed       error
		last         impact.Period
		found, known bool
	)
	r.latest = func(q *aggregateQuery, g impact.Granularity) (impact.Period, bool) {
		if !known && r.q.source != nil { // however often it is written
			known = true
			last, found, failed = s.latestPeriod(q, g)
		}
		return last, found
	}
	q, err := r.read(criteria, faults)
	if err = errors.Join(failed, err); err != nil {
		return nil, err
	}
	switch {
	case absent != nil:
		return nil, absent
	case released != nil:
		return q, s.leadOn(q, q.declared())
	}
	if err := c.rightHolder(); err != nil {
		return nil, err
	}
	return q, s.entitle(c, q)
}

// latestPeriod is the last bucket of length g with a value, the last period
// stated when g is empty.
func (s *server) latestPeriod(q *aggregateQuery, g impact.Granularity) (last impact.Period, found bool, err error) {
	cq := q.calculation()
	cq.Periods = nil
	available, err := q.source.Available(cq)
	if err != nil {
		return last, false, err
	}
	for _, p := range available.Periods {
		if g != "" {
			b := p.Buckets(g)
			if len(b) != 1 {
				continue // straddles: counts in no bucket
			}
			p = b[0]
		}
		if !found || p.End > last.End || p.End == last.End && p.Start > last.Start {
			last, found = p, true
		}
	}
	return last, found, nil
}

// await lets a reader see what this replica has acknowledged, and what another
// one has when the header given by the write is sent back.
func (s *server) await(c *call) error {
	token := c.r.Header.Get("Consistency-Token")
	if token == "" {
		token = "0"
	}
	seq, err := strconv.ParseInt(token, 10, 64)
	if err != nil || seq < 0 {
		return &impact.Error{
			Kind: impact.Malformed, Code: "invalid_header",
			Detail: bilingual("Consistency-Token n'est pas un jeton donné par cette API.", "Consistency-Token is not a token given by this API."),
			Hint:   bilingual("Renvoyez l'en-tête Consistency-Token d'une écriture, tel que reçu.", "Send back the Consistency-Token header of a write, as received."),
			Faults: []impact.Fault{{Code: "invalid_number", Header: "Consistency-Token", Value: token}},
		}
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), longestCatchUp)
	defer cancel()
	return s.Follower.WaitFor(ctx, seq)
}

// longestCatchUp bounds a token that names a commit nobody has made: 503 after it.
const longestCatchUp = 5 * time.Second

// entitle decides who may ask what (api.md 5.4). A partial sum is never taken
// for a territory's: an organisation names itself.
func (s *server) entitle(c *call, q *aggregateQuery) error {
	p := c.principal
	switch p.Role {
	case impact.RoleOrganisation, impact.RoleNetwork, impact.RoleSteward:
	default:
		return &impact.Error{
			Kind: impact.Forbidden, Code: "insufficient_scope",
			Detail: bilingual("Les chiffres en direct sont pour les titulaires de droits : une organisation sur ses données, ou le service instructeur.", "Live figures are for rights holders: an organisation on its own data, or a steward."),
			Hint:   bilingual("Les chiffres publiés sont à tous : release=latest.", "Published figures are everyone's: release=latest."),
		}
	}
	if !q.asOf.IsZero() {
		return impact.Refuse(q.place("as_of").mark(fault("unknown_reference", "",
			bilingual("La lecture des chiffres tels qu'ils étaient connus à un instant n'est pas encore servie.", "Figures as they were known at an instant are not served yet."),
			bilingual("Ôtez as_of ; l'historique d'une observation est à GET /v1/observations/{id}/history.", "Leave as_of out; the history of an observation is at GET /v1/observations/{id}/history."))))
	}
	if err := s.entitleOrganisation(c, q); err != nil {
		return err
	}
	if p.Role == impact.RoleNetwork {
		return s.entitleNetwork(c, q)
	}
	if q.state == impact.Draft && p.Role == impact.RoleSteward {
		return notYours(bilingual("Un brouillon n'appartient qu'à son organisation.", "A draft is its organisation's alone."),
			bilingual("Demandez state=submitted ou state=approved.", "Ask state=submitted or state=approved."))
	}
	return nil
}

func (s *server) entitleOrganisation(c *call, q *aggregateQuery) error {
	p := c.principal
	own := p.Organisation
	if p.Role == impact.RoleNetwork && q.organisation == "" {
		return notYours(
			bilingual("En direct, un réseau lit les données d'un membre, sous son mandat, et le nomme.", "Live, a network reads the data of one member, under its mandate, and names it."),
			bilingual("Ajoutez organisation= et l'id, siret:… ou siren:… d'un membre.", "Add organisation= and the id, siret:… or siren:… of a member."))
	}
	if p.Role == impact.RoleOrganisation && q.organisation == "" {
		return notYours(
			bilingual("En direct, une organisation ne lit que ses propres données, et le dit.", "Live, an organisation reads its own data only, and says so."),
			bilingual("Ajoutez organisation="+string(own)+".", "Add organisation="+string(own)+"."))
	}
	if q.organisation == "" || q.organisation == own {
		return nil
	}
	if p.Role == impact.RoleOrganisation && !strings.Contains(string(q.organisation), ":") {
		return notYours(
			bilingual("Ces chiffres sont ceux d'une autre organisation.", "These figures are those of another organisation."),
			bilingual("Votre jeton lit organisation="+string(own)+".", "Your token reads organisation="+string(own)+"."))
	}
	ref := string(q.organisation)
	found, warnings, err := s.find(c, ref)
	if err != nil {
		return err
	}
	at := q.place(dimOrganisation)
	for _, w := range warnings {
		q.warnings = append(q.warnings, at.mark(w))
	}
	switch {
	case p.Role == impact.RoleOrganisation:
		if !slices.ContainsFunc(found, func(o impact.Organisation) bool { return o.ID == own }) {
			return notYours(
				bilingual("Ces chiffres sont ceux d'une autre organisation, ou de personne.", "These figures are those of another organisation, or of nobody."),
				bilingual("Votre jeton lit organisation="+string(own)+".", "Your token reads organisation="+string(own)+"."))
		}
		q.organisation = own
	case len(found) == 0 && p.Role == impact.RoleNetwork:
		return notYours(
			bilingual("Cette organisation n'est pas un de vos membres, ou n'existe pas.", "This organisation is none of your members, or does not exist."),
			bilingual("GET /v1/mandates liste vos mandats.", "GET /v1/mandates lists your mandates."))
	case len(found) == 0:
		return impact.Refuse(at.mark(impact.UnknownOrganisation(ref)))
	case len(found) > 1:
		return impact.Refuse(at.mark(impact.AmbiguousOrganisation(ref, found)))
	default:
		q.organisation, q.of = found[0].ID, found[0].Key
	}
	return nil
}

// entitleNetwork asks that mandates of the organisation cover every indicator
// and period that the answer is made of.
func (s *server) entitleNetwork(c *call, q *aggregateQuery) error {
	var uses []impact.Use
	for _, indicator := range q.readIndicators(s.Catalogue) {
		for _, period := range q.readPeriods() {
			uses = append(uses, impact.Use{Organisation: q.of, Scope: impact.AggregatesLive, Indicator: indicator, Period: period})
		}
	}
	permits, err := s.Mandates.Mandated(c.r.Context(), c.principal, uses...)
	if err != nil {
		return err
	}
	q.mandates = map[impact.MandateID]int{}
	for _, permit := range permits {
		if permit.Fault != nil {
			// The period is not told: "latest" would tell what is on record.
			return notYours(permit.Fault.Detail, bilingual(
				"Demandez un mandat aggregates.live qui couvre tous les indicateurs et toutes les périodes lues : POST /v1/mandates.",
				"Ask for a mandate aggregates.live that covers every indicator and period read: POST /v1/mandates."))
		}
		if permit.Mandate != "" {
			q.mandates[permit.Mandate] = 0
		}
	}
	return nil
}

// readIndicators are those whose observations the answer is made of.
func (q *aggregateQuery) readIndicators(catalogue *impact.Catalogue) []impact.IndicatorKey {
	indicators := q.indicators
	if q.counting {
		indicators = catalogue.Indicators()
	}
	var keys []impact.IndicatorKey
	for _, ind := range indicators {
		if !ind.Composed() {
			keys = append(keys, ind.Key)
			continue
		}
		for _, leaf := range catalogue.Leaves(ind) {
			keys = append(keys, leaf.Key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// readPeriods are those whose observations the answer is made of: a change
// reads the period before, a share by days what straddles.
func (q *aggregateQuery) readPeriods() []impact.Period {
	if len(q.periods) == 0 || q.prorata {
		return []impact.Period{{Start: impact.MinDate, End: impact.MaxDate}}
	}
	periods := slices.Clone(q.periods)
	if q.measured(measureChangePrevious) {
		for _, p := range q.periods {
			periods = append(periods, previous(p))
		}
	}
	return periods
}

// usedFor leaves a line in the logs of the mandates that let a network read
// figures.
func (s *server) usedFor(c *call, q *aggregateQuery, rows int) error {
	for id := range q.mandates {
		q.mandates[id] = rows
	}
	if err := s.Mandates.LogUses(c.r.Context(), c.principal, string(impact.AggregatesLive), q.mandates); err != nil {
		return err
	}
	c.under(slices.Sorted(maps.Keys(q.mandates)))
	return nil
}

func notYours(detail, hint impact.Text) error {
	return &impact.Error{Kind: impact.Forbidden, Code: "not_mandated", Detail: detail, Hint: hint}
}

// cells counts what a query makes the calculation compute, cuts included.
func (s *server) cells(q *aggregateQuery) int {
	cq := q.calculation()
	n := cq.Rows()
	for _, d := range cq.Cuts {
		codes := 1
		name := strings.TrimPrefix(string(d), dimDisaggregation)
		if list := s.Catalogue.List(name); len(list) > 0 {
			codes = len(list) + 1 // and the organisations without code
		}
		if n > maxComputed {
			break
		}
		n *= codes
	}
	return n
}

func tooManyCells(n int) error {
	size := strconv.Itoa(n)
	return &impact.Error{
		Kind: impact.Invalid, Code: "result_too_large",
		Detail: bilingual("La requête demande "+size+" cellules ; une requête en calcule 1 000 000 au plus.", "The query asks for "+size+" cells; a query computes 1,000,000 at most."),
		Hint:   bilingual("Raccourcissez period, choisissez un territory_type plus large, ou retirez une dimension de group_by.", "Shorten period, choose a wider territory_type, or drop a dimension from group_by."),
		Link:   "/v1/aggregates/estimate",
	}
}

// liveTag names a live answer: what it could read, what was asked, by whom, on
// which day, by which version of the rules.
func (s *server) liveTag(c *call, cq calculation.Query, query []byte, today string, limit int, cursor string) string {
	var print [8]byte
	binary.BigEndian.PutUint64(print[:], s.Figures.Fingerprint(cq))
	id := digest(print[:], query, []byte(c.principal.Client), []byte(today), []byte(s.Version), []byte(calculation.MethodVersion),
		strconv.AppendInt(nil, int64(limit), 10), []byte(cursor))
	return c.weakTag("live-" + hex(id[:]))
}

// figurePage is one page on its way: what is asked, then what answers it.
type figurePage struct {
	limit  int
	cursor string
	pairs  []pair
	query  []byte // as a body
	get    string // as a query string
	today  string

	rows     []figureRow
	excluded []calculation.Exclusion
	next     string
}

// appendFigures writes a page in the format asked for.
func (s *server) appendFigures(dst []byte, c *call, q *aggregateQuery, p figurePage) ([]byte, error) {
	columns := q.columns(s, p.today)
	if c.format.Name == FormatJSON.Name {
		return s.appendPage(dst, c, q, columns, p), nil
	}
	return s.appendTable(dst, c, q, columns, p)
}

// pageBuffers are reused from one answer to the next.
var pageBuffers = sync.Pool{New: func() any { return new([]byte) }}

// appendPage writes the JSON answer by hand: it is the hot path.
func (s *server) appendPage(dst []byte, c *call, q *aggregateQuery, columns []column, p figurePage) []byte {
	dst = slices.Grow(dst, 2048+384*len(p.rows))
	dst = append(dst, `{"data":[`...)
	row := format.NewJSONRow(columns)
	for i := range p.rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = row.Append(dst, &p.rows[i])
	}
	dst = append(dst, `],"meta":{"query":`...)
	dst = append(dst, p.query...)
	dst = append(dst, `,"release":`...)
	dst = format.AppendString(dst, q.releaseText())
	if q.published != nil {
		dst = append(dst, `,"published_at":`...)
		dst = format.AppendString(dst, instant(q.published.PublishedAt))
	}
	dst = append(dst, `,"method":`...)
	dst = format.AppendString(dst, q.method())
	dst = append(dst, `,"methodology":{`...)
	var last *impact.Indicator
	told := make(map[*impact.Indicator]bool, len(q.indicators))
	for i := range p.rows {
		ind := p.rows[i].indicator
		if ind == nil || ind == last {
			continue
		}
		if last = ind; told[ind] {
			continue
		}
		if len(told) > 0 {
			dst = append(dst, ',')
		}
		told[ind] = true
		dst = format.AppendString(dst, string(ind.Code))
		dst = append(dst, ':')
		dst = format.AppendString(dst, q.methodology(ind))
	}
	dst = append(dst, `},"row_count":`...)
	dst = strconv.AppendInt(dst, int64(len(p.rows)), 10)
	dst = append(dst, `,"truncated":`...)
	dst = strconv.AppendBool(dst, p.next != "")
	dst = append(dst, `,"disclosure_control":`...)
	dst = s.control(q, "", p.rows).append(dst)
	dst = append(dst, `,"excluded":`...)
	dst = appendExcluded(dst, p.excluded)
	dst = append(dst, `,"warnings":`...)
	dst = c.appendWarnings(dst, q.warnings)
	dst = append(dst, `},"links":{"self":`...)
	self := c.address("/v1/aggregates", p.get)
	if c.r.Method == http.MethodGet {
		self = c.self()
	}
	dst = format.AppendString(dst, self)
	dst = append(dst, `,"next":`...)
	if p.next == "" {
		dst = append(dst, "null"...)
	} else {
		dst = format.AppendString(dst, p.next)
	}
	dst = append(dst, `,"csv":`...)
	dst = format.AppendString(dst, c.address("/v1/aggregates.csv", p.get))
	dst = append(dst, `,"availability":`...)
	dst = format.AppendString(dst, c.address("/v1/aggregates/availability", p.get))
	return append(dst, "}}\n"...)
}

func (c *call) appendWarnings(dst []byte, warnings []impact.Fault) []byte {
	if len(warnings) == 0 {
		return append(dst, "[]"...)
	}
	b, err := json.Marshal(c.entries(warnings))
	if err != nil {
		panic(err) // texts alone
	}
	return append(dst, b...)
}

func appendExcluded(dst []byte, excluded []calculation.Exclusion) []byte {
	dst = append(dst, '[')
	for i, e := range excluded {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"reason":`...)
		dst = format.AppendString(dst, string(e.Reason))
		dst = append(dst, `,"observations":`...)
		dst = strconv.AppendInt(dst, int64(e.Observations), 10)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}
