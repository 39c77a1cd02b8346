package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ImpactType is a nature of impact.
type ImpactType struct {
	Code   string  `json:"code" example:"inclusion.insertion"`
	Parent *string `json:"parent" extensions:"x-nullable" example:"inclusion"`
	// An impact, or a lever that makes impacts possible.
	Class string `json:"class" enums:"impact,lever" example:"impact"`
	Label Text   `json:"label"`
	// Codes of other frames: sdg, iris, vsme_esrs, toms, spaser, ocds.
	Crosswalk map[string][]string `json:"crosswalk"`
	// Codes of the types just below.
	Children []string `json:"children"`
	Links    Links    `json:"links"`
}

// ImpactTypePage is the taxonomy.
type ImpactTypePage = Page[ImpactType] // @name ImpactTypePage

func (s *server) impactType(t *impact.ImpactType) ImpactType {
	w := ImpactType{
		Code: string(t.Code), Parent: optional(t.Parent), Class: t.Class, Label: text(t.Label), Crosswalk: t.Crosswalk, Children: []string{},
		Links: Links{Self: s.PublicURL + "/v1/impact-types/" + string(t.Code)},
	}
	if w.Crosswalk == nil {
		w.Crosswalk = map[string][]string{}
	}
	for _, code := range s.Catalogue.Under(t.Code) {
		if code != t.Code {
			w.Children = append(w.Children, string(code))
		}
	}
	return w
}

// reference is the tag of answers made of reference data alone.
func (c *call) reference() string { return c.weakTag(c.s.Catalogue.Reference().Version) }

// listImpactTypes gives the taxonomy.
//
//	@Summary		The taxonomy of impacts
//	@Description	Natures of impact, on two levels, with their codes in other frames (SDG, IRIS+, ESRS…).
//	@ID				listImpactTypes
//	@Tags			reference
//	@Produce		json
//	@Success		200		{object}	ImpactTypePage
//	@Failure		default	{object}	Problem
//	@Router			/v1/impact-types [get]
func (s *server) listImpactTypes(c *call) error {
	if c.fresh(c.reference()) {
		return nil
	}
	var rows []ImpactType
	for _, t := range s.Catalogue.ImpactTypes() {
		rows = append(rows, s.impactType(t))
	}
	return c.answer(http.StatusOK, page(c, rows, nil))
}

// getImpactType gives one nature of impact.
//
//	@Summary		One nature of impact
//	@Description	A code that does not exist is 404, with the nearest code as suggestion.
//	@ID				getImpactType
//	@Tags			reference
//	@Produce		json
//	@Param			code	path		string	true	"Code"	example(inclusion.insertion)
//	@Success		200		{object}	ImpactType
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/impact-types/{code} [get]
func (s *server) getImpactType(c *call) error {
	t, f := s.Catalogue.FindImpactType(c.param("code"))
	if f != nil {
		return absent(f)
	}
	if c.fresh(c.reference()) {
		return nil
	}
	return c.answer(http.StatusOK, s.impactType(t))
}

// absent is the 404 of a code in a path: it says what is near.
func absent(f *impact.Fault) error {
	return &impact.Error{Kind: impact.NotFound, Code: "not_found", Detail: f.Detail, Hint: f.Hint, Faults: []impact.Fault{*f}}
}

// Indicator says what is measured and how its values combine.
type Indicator struct {
	Code       string `json:"code" example:"insertion_hours"`
	Label      Text   `json:"label"`
	Definition Text   `json:"definition"`
	Unit       string `json:"unit" example:"h"`
	UnitLabel  Text   `json:"unit_label"`
	// How values combine: flow, signed_flow, stock, stock_avg, ratio, survey_mean, survey_share, distinct, boolean, dispersion, score.
	MeasureKind string      `json:"measure_kind" enums:"flow,signed_flow,stock,stock_avg,ratio,survey_mean,survey_share,distinct,boolean,dispersion,score" example:"flow"`
	Combination Combination `json:"combination"`
	// Which way is better.
	Direction string `json:"direction" enums:"higher,lower,neutral,toward_zero" example:"higher"`
	// Bounds of one submitted value; null when there is none.
	Min *impact.Quantity `json:"min" swaggertype:"number" extensions:"x-nullable" example:"0"`
	Max *impact.Quantity `json:"max" swaggertype:"number" extensions:"x-nullable"`
	// Beyond these a value is accepted with a warning.
	WarnMin *impact.Quantity `json:"warn_min" swaggertype:"number" extensions:"x-nullable"`
	WarnMax *impact.Quantity `json:"warn_max" swaggertype:"number" extensions:"x-nullable"`
	// Decimals of published figures.
	Decimals       int      `json:"decimals" example:"0"`
	ImpactType     string   `json:"impact_type" example:"inclusion.insertion"`
	SecondaryTypes []string `json:"secondary_impact_types"`
	// Codes of the parts of a ratio; empty when the indicator is sent as one value.
	Numerator   []string `json:"numerator"`
	Denominator []string `json:"denominator"`
	// Count of answers of a survey.
	Weight *string `json:"weight" extensions:"x-nullable"`
	// Shape of the quotient: quotient n/d, complement 1-n/d, difference (n1-n2)/d.
	Form  *string         `json:"form" enums:"quotient,complement,difference" extensions:"x-nullable"`
	Scale impact.Quantity `json:"scale" swaggertype:"number" example:"1"`
	// Computed, never sent.
	Derived bool `json:"derived"`
	// Counts people.
	Personal  bool   `json:"personal"`
	Frequency string `json:"frequency,omitempty" example:"Q"`
	Set       string `json:"set" enums:"core,component,companion,extension" example:"core"`
	// Number in the core set; null outside it.
	Number *int `json:"number" extensions:"x-nullable"`
	// Where in a chain of organisations a thing is counted once.
	CountingPoint   string   `json:"counting_point,omitempty"`
	NotAdditiveOver []string `json:"not_additive_over"`
	NeverAddedTo    []string `json:"never_added_to"`
	HomogeneousBy   []string `json:"homogeneous_by"`
	// Members that an observation of this indicator must carry.
	RequiredMetadata []string `json:"required_metadata"`
	// Dimensions a value may be cut by.
	Disaggregations []string `json:"disaggregations"`
	// Codes of other frames, "scheme:code"; "~" at the end means near.
	Crosswalk          []string       `json:"crosswalk"`
	Source             string         `json:"source,omitempty"`
	Note               string         `json:"note,omitempty"`
	MethodologyVersion string         `json:"methodology_version" example:"1"`
	Links              IndicatorLinks `json:"links"`
}

// Combination is the rule of each dimension.
type Combination struct {
	Organisations string `json:"over_organisations" example:"sum"`
	Territories   string `json:"over_territories" example:"sum"`
	Time          string `json:"over_time" example:"sum_of_disjoint_periods"`
	// What a figure over no observation is.
	WhenEmpty string `json:"when_empty" example:"null"`
}

// IndicatorLinks leads to the versions of an indicator and to its impact type.
type IndicatorLinks struct {
	Self       string `json:"self"`
	Versions   string `json:"versions"`
	ImpactType string `json:"impact_type"`
}

// IndicatorPage is a page of indicators.
type IndicatorPage = Page[Indicator] // @name IndicatorPage

func (s *server) indicator(i *impact.Indicator) Indicator {
	self := s.PublicURL + "/v1/indicators/" + string(i.Code)
	w := Indicator{
		Code: string(i.Code), Label: text(i.Label), Definition: text(i.Definition), Unit: i.Unit, MeasureKind: string(i.Kind), Direction: string(i.Direction),
		Min: i.Min, Max: i.Max, WarnMin: i.WarnMin, WarnMax: i.WarnMax, Decimals: i.Decimals,
		ImpactType: string(i.ImpactType), SecondaryTypes: impact.Words(i.SecondaryTypes),
		Numerator: impact.Words(i.Numerator), Denominator: impact.Words(i.Denominator), Weight: optional(i.Weight), Form: optional(i.Form), Scale: i.Scale,
		Derived: i.Derived, Personal: i.Personal, Frequency: i.Frequency, Set: i.Set, CountingPoint: i.CountingPoint,
		NotAdditiveOver: impact.Words(i.NotAdditiveOver), NeverAddedTo: impact.Words(i.NeverAddedTo), HomogeneousBy: impact.Words(i.HomogeneousBy),
		RequiredMetadata: impact.Words(i.RequiredMetadata), Disaggregations: impact.Words(i.Disaggregations), Crosswalk: impact.Words(i.Crosswalk),
		Source: i.Source, Note: i.Note, MethodologyVersion: i.MethodologyVersion,
		Links: IndicatorLinks{Self: self, Versions: self + "/versions", ImpactType: s.PublicURL + "/v1/impact-types/" + string(i.ImpactType)},
	}
	if u := s.Catalogue.Unit(i.Unit); u != nil {
		w.UnitLabel = text(u.Label)
	}
	if i.Number > 0 {
		w.Number = &i.Number
	}
	if k := s.Catalogue.Code("measure_kind", string(i.Kind)); k != nil {
		w.Combination = Combination{Organisations: k.Attrs["over_organisations"], Territories: k.Attrs["over_territories"], Time: k.Attrs["over_time"], WhenEmpty: k.Attrs["when_empty"]}
	}
	return w
}

// listIndicators finds indicators.
//
//	@Summary		Indicators
//	@Description	What is measured, with unit, kind and rule of combination. Filters combine; in one filter, values separated by commas are alternatives.
//	@ID				listIndicators
//	@Tags			reference
//	@Produce		json
//	@Param			impact_type	query		[]string	false	"Impact types, each with its sub-types"	collectionFormat(csv)
//	@Param			kind		query		[]string	false	"Kinds of measure"						collectionFormat(csv)
//	@Param			set			query		[]string	false	"Sets: core, component, companion, extension"	collectionFormat(csv)
//	@Param			questionnaire	query	string		false	"Only what this questionnaire asks for"
//	@Param			q			query		string		false	"Words of the code, the label or the definition, in French or in English, without regard to accents"
//	@Param			limit		query		int			false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor		query		string		false	"Where to go on, from links.next"
//	@Success		200			{object}	IndicatorPage
//	@Success		304		"The caller has it already"
//	@Failure		default		{object}	Problem
//	@Router			/v1/indicators [get]
func (s *server) listIndicators(c *call) error {
	var types []impact.ImpactTypeCode
	for _, code := range c.query.list("impact_type") {
		t, f := s.Catalogue.FindImpactType(code)
		if f != nil {
			c.query.refuse("impact_type", f)
			continue
		}
		types = append(types, s.Catalogue.Under(t.Code)...)
	}
	kinds := s.codes(c, "kind", "measure_kind")
	sets := c.words("set", "core", "component", "companion", "extension")
	q := fold(c.query.one("q"))
	var asked []impact.IndicatorCode
	tag := s.Catalogue.Reference().Version
	if code := c.query.one("questionnaire"); code != "" {
		form, err := s.Questionnaires.Questionnaire(c.r.Context(), code)
		switch {
		case impact.KindOf(err) == impact.NotFound && err != nil:
			c.query.refuse("questionnaire", &impact.Fault{
				Code: "unknown_reference", Value: code,
				Detail: impact.Text{FR: "Aucun questionnaire ne porte ce code.", EN: "No questionnaire bears this code."},
				Hint:   impact.Text{FR: "La liste est à GET /v1/questionnaires.", EN: "The list is at GET /v1/questionnaires."},
			})
		case err != nil:
			return err
		}
		asked = []impact.IndicatorCode{}
		for _, item := range form.Indicators {
			asked = append(asked, item.Indicator)
		}
		tag += "-" + strconv.Itoa(form.Version)
	}
	p, err := c.paging()
	if err != nil {
		return err
	}
	if c.fresh(c.weakTag(tag)) {
		return nil
	}
	var found []*impact.Indicator
	for _, i := range s.Catalogue.Indicators() {
		if types != nil && !slices.Contains(types, i.ImpactType) && !slices.ContainsFunc(i.SecondaryTypes, func(t impact.ImpactTypeCode) bool { return slices.Contains(types, t) }) ||
			kinds != nil && !slices.Contains(kinds, string(i.Kind)) ||
			sets != nil && !slices.Contains(sets, i.Set) ||
			asked != nil && !slices.Contains(asked, i.Code) ||
			!speaksOf(q, string(i.Code), i.Label.FR, i.Label.EN, i.Definition.FR, i.Definition.EN) {
			continue
		}
		found = append(found, i)
	}
	found, next := cut(found, p, func(i *impact.Indicator) string { return padded(int64(i.Key)) })
	var rows []Indicator
	for _, i := range found {
		rows = append(rows, s.indicator(i))
	}
	return c.answer(http.StatusOK, page(c, rows, next))
}

// codes reads a parameter whose values are codes of a list.
func (s *server) codes(c *call, param, list string) []string {
	var known []string
	for _, x := range s.Catalogue.List(list) {
		known = append(known, x.Code)
	}
	return c.words(param, known...)
}

// words reads a parameter whose values are among known ones.
func (c *call) words(param string, known ...string) []string {
	values := c.query.list(param)
	for _, v := range values {
		if slices.Contains(known, v) {
			continue
		}
		f := impact.Fault{
			Code: "unknown_code", Value: v, Suggestion: impact.Suggest(v, slices.Values(known)),
			Detail: impact.Text{FR: "Valeur inconnue pour " + param + " : " + v + ".", EN: "Unknown value for " + param + ": " + v + "."},
			Hint:   impact.Text{FR: "Valeurs permises : " + strings.Join(known, ", ") + ".", EN: "Allowed values: " + strings.Join(known, ", ") + "."},
		}
		c.query.refuse(param, &f)
	}
	return values
}

// speaksOf tells that every word of the question (folded) begins a word of one
// of the texts. An empty question is found everywhere.
func speaksOf(q string, texts ...string) bool {
	if q == "" {
		return true
	}
	all := " " + fold(strings.Join(texts, " "))
	for w := range strings.FieldsSeq(q) {
		if !strings.Contains(all, " "+w) {
			return false
		}
	}
	return true
}

// getIndicator gives one indicator.
//
//	@Summary		One indicator
//	@Description	A code that does not exist is 404, with the nearest code as suggestion.
//	@ID				getIndicator
//	@Tags			reference
//	@Produce		json
//	@Param			code	path		string	true	"Code"	example(insertion_hours)
//	@Success		200		{object}	Indicator
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/indicators/{code} [get]
func (s *server) getIndicator(c *call) error {
	i, f := s.Catalogue.FindIndicator(c.param("code"))
	if f != nil {
		return absent(f)
	}
	if c.fresh(c.reference()) {
		return nil
	}
	return c.answer(http.StatusOK, s.indicator(i))
}

// IndicatorVersion is one methodology of an indicator.
type IndicatorVersion struct {
	Version    string `json:"methodology_version" example:"1"`
	Definition Text   `json:"definition"`
	Unit       string `json:"unit" example:"h"`
	// What differs from the version before; null for the first.
	Difference *Text `json:"difference" extensions:"x-nullable"`
	// The version that new observations follow.
	Current bool `json:"current"`
}

// IndicatorVersionPage is the list of versions of an indicator.
type IndicatorVersionPage = Page[IndicatorVersion] // @name IndicatorVersionPage

// listIndicatorVersions gives the methodologies of an indicator.
//
//	@Summary		Methodology versions of an indicator
//	@Description	A change of meaning is a new version, never an edit in place.
//	@ID				listIndicatorVersions
//	@Tags			reference
//	@Produce		json
//	@Param			code	path		string	true	"Code"	example(insertion_hours)
//	@Success		200		{object}	IndicatorVersionPage
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/indicators/{code}/versions [get]
func (s *server) listIndicatorVersions(c *call) error {
	i, f := s.Catalogue.FindIndicator(c.param("code"))
	if f != nil {
		return absent(f)
	}
	if c.fresh(c.reference()) {
		return nil
	}
	return c.answer(http.StatusOK, page(c, []IndicatorVersion{{Version: i.MethodologyVersion, Definition: text(i.Definition), Unit: i.Unit, Current: true}}, nil))
}
