package impact

// IndicatorCode is a stable snake_case code, never translated.
type IndicatorCode string

// ImpactTypeCode is a dotted code of two levels: "inclusion.insertion".
type ImpactTypeCode string

// IndicatorKey is the small stable number of an indicator, part of the
// reference data and never reused.
type IndicatorKey int32

// MeasureKind is the aggregation contract of an indicator (domain.md C1).
type MeasureKind string

// The eleven kinds.
const (
	Flow        MeasureKind = "flow"
	SignedFlow  MeasureKind = "signed_flow"
	Stock       MeasureKind = "stock"
	StockAvg    MeasureKind = "stock_avg"
	Ratio       MeasureKind = "ratio"
	SurveyMean  MeasureKind = "survey_mean"
	SurveyShare MeasureKind = "survey_share"
	Distinct    MeasureKind = "distinct"
	Boolean     MeasureKind = "boolean"
	Dispersion  MeasureKind = "dispersion"
	Score       MeasureKind = "score"
)

// Form is the shape of a quotient: n/d, 1 - n/d, (n1 - n2)/d.
type Form string

// Forms of ratios and survey shares.
const (
	Quotient   Form = "quotient"
	Complement Form = "complement"
	Difference Form = "difference"
)

// Direction tells which way is better.
type Direction string

// Directions; TowardZero is a signed gap, best at 0.
const (
	Higher     Direction = "higher"
	Lower      Direction = "lower"
	Neutral    Direction = "neutral"
	TowardZero Direction = "toward_zero"
)

// Indicator says what is measured and how values may be combined. See
// codelists/README.md for the meaning of each column.
type Indicator struct {
	Key                IndicatorKey
	Code               IndicatorCode
	Label, Definition  Text
	Unit               string // code of the unit list
	Kind               MeasureKind
	Direction          Direction
	Min, Max           *Quantity // hard bounds of one submitted value; nil = none
	WarnMin, WarnMax   *Quantity // per organisation and year
	Decimals           int       // of the output
	Numerator          []IndicatorCode
	Denominator        []IndicatorCode
	Weight             IndicatorCode // survey kinds: count of answers
	Form               Form
	Scale              Quantity // One when absent
	Derived            bool     // never submitted
	ImpactType         ImpactTypeCode
	SecondaryTypes     []ImpactTypeCode
	Crosswalk          []string // scheme:id, "~" at the end = near
	Source             string
	Personal           bool // counts people
	Frequency          string
	Set                string // core, component, companion, extension
	Number             int    // 1-67, 0 when none
	CountingPoint      string
	NotAdditiveOver    []string
	NeverAddedTo       []IndicatorCode
	HomogeneousBy      []string
	RequiredMetadata   []string
	Disaggregations    []string
	Note               string
	MethodologyVersion string
}

// Composed tells that figures of the indicator come from the values of others:
// its numerator and denominator.
func (i *Indicator) Composed() bool { return len(i.Numerator) > 0 }

// ImpactType is a nature of impact, level 1 ("inclusion") or 2
// ("inclusion.insertion").
type ImpactType struct {
	Code      ImpactTypeCode
	Parent    ImpactTypeCode // empty at level 1
	Class     string         // impact, lever
	Label     Text
	Crosswalk map[string][]string // sdg, iris, vsme_esrs, toms, spaser, ocds
}

// Unit is a unit of measure; value in Base = value x Num / Den, exactly.
type Unit struct {
	Code     string
	UCUM     string // empty where UCUM has no expression
	Label    Text
	Symbol   Text
	Quantity string // units of one quantity convert, no others
	Base     string
	Num, Den int64
	Aliases  []string
	Note     string
}

// Code is an entry of a code list: structure kinds, statuses, legal categories.
type Code struct {
	List  string
	Code  string
	Label Text
	Attrs map[string]string // the other columns, by name
}
