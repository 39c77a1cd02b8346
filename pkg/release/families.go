package release

import (
	"slices"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Family is a set of indicators whose figures tell something of one another:
// a quotient and its components, a survey mean and its answers, a whole and
// its parts. Nothing published of one family is a sum over facts of another.
type Family struct {
	Code       string // of its first indicator, in alphabetical order
	Indicators []*impact.Indicator
}

// CountsFamily holds the counts of organisations by impact type. It is no
// family of indicators: who takes part is no secret, what they state is.
const CountsFamily = "_impact_types"

// sameThing is an identity between the values of one organisation for one
// place and period, which everybody may take for granted since the checks
// refuse whatever breaks it: whole = Σ parts.
type sameThing struct {
	whole impact.IndicatorCode
	parts []impact.IndicatorCode
}

// identities holds by definition. Balances that tolerate a difference (waste
// collected and its outlets) are not identities: they tell nothing exact. That a
// part is at most its whole tells a lot: see wholeOf.
var identities = []sameThing{
	{"dynamic_exits", []impact.IndicatorCode{"durable_exits", "transition_exits", "positive_exits"}},
}

// whole is a quotient whose numerators are parts of its denominator, for every
// organisation: the checks refuse whatever breaks it.
type whole struct {
	key   impact.IndicatorKey
	whole impact.IndicatorKey
	parts []impact.IndicatorKey
}

// wholeOf reads the parts and the whole of an indicator; false when it has none.
func wholeOf(cat *impact.Catalogue, ind *impact.Indicator) (w whole, ok bool) {
	// Promoters less detractors: both are parts of the answers.
	difference := ind.Form == impact.Difference && ind.Max != nil && *ind.Max == impact.One && ind.Scale == impact.One
	if !ind.PartOfWhole() && !difference || len(ind.Denominator) != 1 {
		return w, false
	}
	w.key = ind.Key
	for i, code := range append([]impact.IndicatorCode{ind.Denominator[0]}, ind.Numerator...) {
		part := cat.Indicator(code)
		switch {
		case part == nil || part.Composed() || part.Min == nil || *part.Min < 0:
			return w, false
		case i == 0:
			w.whole = part.Key
		default:
			w.parts = append(w.parts, part.Key)
		}
	}
	return w, len(w.parts) > 0
}

// Families parts the indicators of a catalogue, in the order of their codes.
func Families(cat *impact.Catalogue) []Family {
	above := map[impact.IndicatorCode]impact.IndicatorCode{}
	var root func(impact.IndicatorCode) impact.IndicatorCode
	root = func(c impact.IndicatorCode) impact.IndicatorCode {
		if up := above[c]; up != "" && up != c {
			return root(up)
		}
		return c
	}
	tie := func(a, b impact.IndicatorCode) {
		// The smaller code is the root: it names the family.
		if a, b = root(a), root(b); a < b {
			above[b] = a
		} else if b < a {
			above[a] = b
		}
	}
	for _, ind := range cat.Indicators() {
		for _, part := range slices.Concat(ind.Numerator, ind.Denominator) {
			tie(ind.Code, part)
		}
		if ind.Weight != "" {
			tie(ind.Code, ind.Weight)
		}
	}
	for _, same := range identities {
		if cat.Indicator(same.whole) == nil {
			continue
		}
		for _, part := range same.parts {
			if cat.Indicator(part) != nil {
				tie(same.whole, part)
			}
		}
	}
	members := map[impact.IndicatorCode][]*impact.Indicator{}
	for _, ind := range cat.Indicators() {
		members[root(ind.Code)] = append(members[root(ind.Code)], ind)
	}
	var out []Family
	for code, inds := range members {
		slices.SortFunc(inds, func(a, b *impact.Indicator) int { return compareText(a.Code, b.Code) })
		out = append(out, Family{string(code), inds})
	}
	slices.SortFunc(out, func(a, b Family) int { return compareText(a.Code, b.Code) })
	return out
}

func compareText[T ~string](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Released tells that figures of the kind may be shown. Order statistics and
// counts of distinct persons are not: they are somebody's own figure, and no
// sum protects them. Nor are means of answers: a mean at the end of its scale
// tells everybody's, and the ends of scales are not known here.
func Released(k impact.MeasureKind) bool {
	switch k {
	case impact.Distinct, impact.Dispersion, impact.Score, impact.SurveyMean:
		return false
	}
	return true
}
