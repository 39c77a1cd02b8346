package calculation

import (
	"math/big"

	"github.com/grandlyon/retombees/pkg/impact"
)

// MethodVersion names the rules by which figures are made. It changes when a
// rule changes, and stands beside every figure.
const MethodVersion = "1.0"

// Dimension is something figures can be cut or filtered by.
type Dimension string

// Dimensions of cuts and filters. A disaggregation is spelled
// "disaggregation.sex": use Disaggregation.
const (
	ByOrganisationClass Dimension = "organisation_class"
	ByStructureKind     Dimension = "structure_kind"
	BySizeClass         Dimension = "size_class"
	ByOrganisation      Dimension = "organisation" // rights holders only
	ByProgramme         Dimension = "programme"    // rights holders only
)

// Disaggregation is the dimension of a disaggregation: "disaggregation.sex".
func Disaggregation(name string) Dimension { return Dimension("disaggregation." + name) }

// Filter keeps what carries one of the codes on the dimension. Several filters
// must all hold. An organisation filter holds from the very start: figures are
// then made as if nobody else had reported, so that a remainder never tells
// the value of another.
type Filter struct {
	Dimension Dimension
	Codes     []string // organisation: public ids
}

// Query asks for one figure per (indicator or impact type) × territory ×
// period × combination of cut codes.
type Query struct {
	// Indicators to compute, in the order of the answer. When empty,
	// ImpactTypes is used and figures are counts.
	Indicators []impact.IndicatorCode
	// ImpactTypes gives one figure per type, counting organisations and
	// observations of the type and its sub-types. Values of different
	// indicators are never added: such a figure has no value.
	ImpactTypes []impact.ImpactTypeCode
	// OnlyThisType leaves sub-types out of ImpactTypes ("inclusion!").
	OnlyThisType bool

	// Territories, each with all it contains, as they are in Vintage.
	Territories []impact.TerritoryKey
	Vintage     impact.Vintage
	// MergeTerritories makes one figure of all of them (Figure.Territory is
	// then 0); what two of them share counts once.
	MergeTerritories bool

	// Periods are the buckets: an observation counts in those that contain it.
	Periods []impact.Period
	// MergePeriods makes one figure of all buckets, by the time rule of the
	// kind; Figure.Period then runs from the first day to the last.
	MergePeriods bool
	// Prorata shares a flow that straddles a bucket by days (status E).
	Prorata bool

	// Cuts adds dimensions to the figures, codes in Figure.Codes.
	Cuts    []Dimension
	Filters []Filter
	// Qualifiers keeps the figures with exactly this Figure.Qualifiers.
	Qualifiers string

	// State is the least state that counts: Draft, Submitted, or Approved
	// (when empty). A cell whose current version is below it counts with its
	// approved version, if it has one.
	State impact.SubmissionState
	// AllowBounds answers a sum that has no meaning (distinct persons over
	// organisations) by its bounds instead of refusing.
	AllowBounds bool
	// KeepRefused answers a figure that cannot be added up with Refused set
	// and no value; otherwise one such figure refuses the whole query with the
	// error code "not_additive".
	KeepRefused bool
	// IncludeEmpty gives a row (null, O) where nothing was reported.
	IncludeEmpty bool
}

// Rows is how many figures the query can give, cuts apart, and Cells how many
// stored cells per period it may touch: what a limit is checked against.
func (q Query) Rows() int {
	lines, places, buckets := len(q.Indicators), len(q.Territories), len(q.Periods)
	if lines == 0 {
		lines = len(q.ImpactTypes)
	}
	if q.MergeTerritories {
		places = min(places, 1)
	}
	if q.MergePeriods {
		buckets = min(buckets, 1)
	}
	return lines * places * buckets
}

// Result is the answer to a query.
type Result struct {
	// Figures come in the order of the query: indicators (or types), then
	// territories, then periods, then codes of cuts, then qualifiers.
	Figures []Figure
	// Excluded sums up what was left out of the whole query; one observation
	// left out of ten figures counts ten times.
	Excluded []Exclusion
	// Seq is the commit the figures are true at.
	Seq int64
}

// Note is a remark on a figure, from the closed list of the contract.
type Note string

// Notes.
const (
	ZeroDenominator  Note = "zero_denominator"
	SplitMapping     Note = "split_mapping"
	ProrataDays      Note = "prorata"
	UpperBound       Note = "upper_bound"
	MissingComponent Note = "missing_component"
	MethodBreak      Note = "method_break"
)

// Reason says why an observation is not in a figure.
type Reason string

// Reasons of exclusion.
const (
	NotApproved         Reason = "not_approved"                     // its current version is below the state asked for
	CoarserTerritory    Reason = "territory_coarser_than_requested" // stated for a wider territory
	StraddlesBucket     Reason = "period_straddles_bucket"          // not contained in the bucket
	Transferred         Reason = "transferred"                      // passed on along the chain (E4)
	IncludedInGroup     Reason = "included_in_group"                // a consolidated value holds it (E2)
	IncludedInLegalUnit Reason = "included_in_legal_unit"           // the SIREN's value holds the SIRET's (E3)
	NegativeRemainder   Reason = "negative_remainder"               // covered members exceed their network (E1)
	NoPair              Reason = "missing_component"                // the other part of the quotient is missing
	OverlappingParts    Reason = "overlapping_parts"                // parts of an overlapping dimension do not add up
	NotDisaggregated    Reason = "not_disaggregated"                // has no part along the dimension asked for
	PartOfWhole         Reason = "part_of_whole"                    // the value without the cut holds it; not an omission
	OlderDate           Reason = "older_date"                       // a stock stated again later; not an omission
	WithoutNumber       Reason = "without_number"                   // L, M or O: answered, adds nothing
)

// Exclusion counts observations left out for one reason.
type Exclusion struct {
	Reason       Reason
	Observations int
}

// Figure is a result, never a fact.
type Figure struct {
	Indicator  impact.IndicatorCode  // empty for counts by impact type
	ImpactType impact.ImpactTypeCode // the type counted, or the primary type of the indicator
	Kind       impact.MeasureKind
	Territory  impact.TerritoryKey // 0 when territories are merged
	Vintage    impact.Vintage
	Period     impact.Period
	Codes      []string // beside Query.Cuts; "" where the organisation has no code
	// Qualifiers is what all values of this figure share where the indicator
	// is homogeneous by something ("local_scope=metropole"), else empty.
	Qualifiers string

	// Value is rounded to the decimals of the indicator; nil with a status
	// that says why. Of a boolean it is the share, of a dispersion or a score
	// the median, of a distinct count given by bounds the upper one.
	Value  *impact.Quantity
	Status impact.Status
	Notes  []Note
	// Refused names the dimension the kind cannot be added over:
	// "organisation", "territory" or "period".
	Refused string
	// OutOfRange warns that the figure of a quotient leaves its bounds.
	OutOfRange bool

	// Numerator and Denominator of a quotient, rounded to six decimals.
	Numerator, Denominator *impact.Quantity
	// Respondents of survey kinds.
	Respondents *impact.Quantity
	Bounds      *Bounds
	Answers     *Answers
	Quantiles   *Quantiles

	// AsOf is the last day a stock was stated for, AsOfFrom the first one,
	// since organisations do not close on the same day. Zero for other kinds:
	// see HasAsOf.
	HasAsOf        bool
	AsOf, AsOfFrom impact.Date
	// DaysCovered is the least number of days a contributor to an average
	// stock covers in the bucket; 0 for other kinds.
	DaysCovered int

	Organisations int // legal units with a number in the figure
	Observations  int // facts counted
	// Reporters ÷ Expected is the coverage: legal units that answered, over
	// legal units asked or answering (docs/method.md). Coverage has four
	// decimals; nil for counts by impact type and when nobody is expected.
	Reporters, Expected int
	Coverage            *impact.Quantity

	Excluded           []Exclusion
	MethodologyVersion string // of the indicator
	// Moved is the day of the release in which the figure last moved; 0 for a
	// live figure.
	Moved impact.Date
	// Additive tells that the figure is the sum of its disjoint parts.
	Additive bool

	exact    *big.Rat
	fraction expression // when exact is nil
}

// Exact is the value before rounding; nil when there is none. Of a figure that
// was released only what is published is known: Exact is that value.
func (f *Figure) Exact() *big.Rat {
	if f.Moved != 0 {
		if f.Value == nil {
			return nil
		}
		return f.Value.Rat()
	}
	if f.exact == nil && f.fraction.den != 0 {
		return new(big.Rat).SetFrac(f.fraction.num.big(), big.NewInt(f.fraction.den))
	}
	return f.exact
}

// Has tells that the figure carries the note.
func (f *Figure) Has(n Note) bool {
	for _, m := range f.Notes {
		if m == n {
			return true
		}
	}
	return false
}

// Bounds of a count of distinct persons or organisations: the largest single
// value, and the sum.
type Bounds struct{ Lower, Upper impact.Quantity }

// Answers to a yes or no.
type Answers struct {
	True, Answered int
	Share          *impact.Quantity // four decimals
}

// Quantiles of a dispersion (N at least 5) or of a score, each organisation
// counting once: inverse of the empirical distribution, averaged at jumps.
type Quantiles struct {
	N                int
	P25, Median, P75 *impact.Quantity
	Mean             *impact.Quantity // score only
}

// Explanation tells how one figure was made.
type Explanation struct {
	Figure  Figure
	Formula Formula
	Rules   []Rule
	// Inputs are the sums the formula is applied to, one per leaf component.
	Inputs   []Input
	Excluded []Exclusion
	// Contributors lists each observation that counts; of one input they sum
	// exactly to it. For rights holders only: the API drops it for others.
	Contributors []Contributor
	// LeftOut lists each observation that does not, with its reason.
	LeftOut       []LeftOut
	MethodVersion string
	// Previous is what was published before the figure last moved; nil for live
	// figures and for those that never moved.
	Previous *Previous
	// Withheld says, of a figure that disclosure control hides, which rules there
	// are: never which one it fell under.
	Withheld impact.Text
}

// Previous is the figure of an earlier release. Value is nil when that release
// had none or withheld it; Cause, of a closed list, says why it moved since.
type Previous struct {
	Release impact.ReleaseNumber
	Value   *impact.Quantity
	Cause   string
}

// UncontrolledSliceError refuses a query that is not made of published cells. It is
// an *impact.Error, with the code disclosure_uncontrolled_slice, for whoever
// unwraps it.
type UncontrolledSliceError struct {
	Refusal *impact.Error
	// Nearest are queries near it that are answered, the nearest first.
	Nearest []Query
}

// Error says the refusal in English, for logs.
func (u *UncontrolledSliceError) Error() string { return u.Refusal.Error() }

// Unwrap gives the refusal.
func (u *UncontrolledSliceError) Unwrap() error { return u.Refusal }

// Formula in words and for machines.
type Formula struct {
	Text    impact.Text
	Machine string
}

// Rule says how values combine over one dimension: organisations, territories,
// time, rounding, when_empty.
type Rule struct {
	Dimension string
	Text      impact.Text
}

// Input is one sum; Value is nil when nothing counts.
type Input struct {
	Indicator impact.IndicatorCode
	Value     *impact.Quantity // six decimals
}

// Contributor is one observation in one input. Value is what was stated (of a
// network that covers members, the remainder), Counted = Value × Weight what
// it adds.
type Contributor struct {
	Organisation impact.OrganisationID
	Indicator    impact.IndicatorCode
	Cell         impact.CellKey
	Value        impact.Quantity
	Status       impact.Status
	Weight       *big.Rat
	Counted      *big.Rat
}

// LeftOut is one observation that adds nothing.
type LeftOut struct {
	Organisation impact.OrganisationID
	Indicator    impact.IndicatorCode
	Cell         impact.CellKey
	Reason       Reason
}

// Availability is what a query could still ask for and get a value. Lists are
// sorted and hold only what has at least one number.
type Availability struct {
	Indicators      []impact.IndicatorCode  // composed ones when all their parts exist
	ImpactTypes     []impact.ImpactTypeCode // with their parents
	Territories     []impact.TerritoryKey   // in the vintage, with all that enclose them
	Periods         []impact.Period         // as stated
	Span            impact.Period           // first to last day; see Any
	Any             bool
	Classes         []string
	StructureKinds  []string
	SizeClasses     []string
	Disaggregations map[string][]string
	Observations    int
}
