package api

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ObservationInput is an observation as its sender states it.
type ObservationInput struct {
	// Id, or siret:… siren:… rna:… ext:{source}:{id}; the caller itself when absent.
	Organisation string `json:"organisation,omitempty" example:"siret:12345678200010"`
	Indicator    string `json:"indicator" example:"insertion_hours"`
	// Where the impact takes place.
	Territory string `json:"territory" example:"commune-69266"`
	Period    string `json:"period" example:"2025-Q3"`
	// Exact decimal, at most six decimals. Null needs obs_status L, M or O.
	Value Scalar `json:"value,omitempty,omitzero" swaggertype:"number" extensions:"x-nullable" example:"1840"`
	// The parts of a ratio, mean or share: its value is computed, never sent.
	Components map[string]Scalar `json:"components,omitempty" swaggertype:"object,number"`
	// UCUM or EUR; the unit of the indicator when absent. Converted exactly.
	Unit   string `json:"unit,omitempty" example:"h"`
	Status string `json:"obs_status,omitempty" enums:"A,E,P,I,B,L,M,O" example:"A"`
	// Dimension and code.
	Disaggregation map[string]string `json:"disaggregation,omitempty"`
	// What the indicator requires or uses: hours_basis, local_scope, method…
	Qualifiers map[string]Qualifier `json:"qualifiers,omitempty" swaggertype:"object,string"`
	Programme  string               `json:"programme,omitempty"`
	ObservationDetails
	// Running totals are not accepted.
	Cumulative bool `json:"cumulative,omitempty"`
}

// ObservationDetails are facts about the fact.
type ObservationDetails struct {
	Note          string `json:"note,omitempty"`
	EvidenceURL   string `json:"evidence_url,omitempty" format:"uri"`
	EvidenceLevel string `json:"evidence_level,omitempty" example:"declared"`
	Provenance    string `json:"provenance,omitempty" example:"r"`
	Source        string `json:"source,omitempty" example:"cocagne-crm"`
	ExternalID    string `json:"external_id,omitempty" example:"ins-2025-03-17"`
	Perimeter     string `json:"reporting_perimeter,omitempty" example:"establishment"`
	// Members or SIREN included in the value.
	Covers           []string `json:"covers,omitempty"`
	TransferredTo    string   `json:"transferred_to,omitempty" example:"12345678200010"`
	AttributionShare Scalar   `json:"attribution_share,omitempty,omitzero" swaggertype:"number" example:"0.5"`
	Counting         string   `json:"counting,omitempty" example:"unique"`
	Stakeholder      string   `json:"stakeholder,omitempty" example:"employee"`
	Need             string   `json:"need,omitempty"`
	ContractUID      string   `json:"contract_uid,omitempty"`
}

// ObservationBatch is up to 1,000 observations in one body.
type ObservationBatch struct {
	Observations []ObservationInput `json:"observations"`
}

// ObservationBody is one observation, or a batch of them.
type ObservationBody struct {
	One   *ObservationInput `json:"one"`
	Batch *ObservationBatch `json:"batch"`
} // @name ObservationBodyOneOf

// ObservationChange is a merge patch of an observation: null removes a member.
// Its key never changes.
type ObservationChange struct {
	Value            Scalar               `json:"value,omitempty" swaggertype:"number" extensions:"x-nullable"`
	Components       map[string]Scalar    `json:"components,omitempty" swaggertype:"object,number" extensions:"x-nullable"`
	Unit             string               `json:"unit,omitempty" extensions:"x-nullable"`
	Status           string               `json:"obs_status,omitempty" extensions:"x-nullable"`
	Qualifiers       map[string]Qualifier `json:"qualifiers,omitempty" swaggertype:"object,string" extensions:"x-nullable"`
	Note             string               `json:"note,omitempty" extensions:"x-nullable"`
	EvidenceURL      string               `json:"evidence_url,omitempty" format:"uri" extensions:"x-nullable"`
	EvidenceLevel    string               `json:"evidence_level,omitempty" extensions:"x-nullable"`
	Provenance       string               `json:"provenance,omitempty" extensions:"x-nullable"`
	Source           string               `json:"source,omitempty" extensions:"x-nullable"`
	ExternalID       string               `json:"external_id,omitempty" extensions:"x-nullable"`
	Perimeter        string               `json:"reporting_perimeter,omitempty" extensions:"x-nullable"`
	Covers           []string             `json:"covers,omitempty" extensions:"x-nullable"`
	TransferredTo    string               `json:"transferred_to,omitempty" extensions:"x-nullable"`
	AttributionShare Scalar               `json:"attribution_share,omitempty" swaggertype:"number" extensions:"x-nullable"`
	Counting         string               `json:"counting,omitempty" extensions:"x-nullable"`
	Stakeholder      string               `json:"stakeholder,omitempty" extensions:"x-nullable"`
	Need             string               `json:"need,omitempty" extensions:"x-nullable"`
	ContractUID      string               `json:"contract_uid,omitempty" extensions:"x-nullable"`
}

// Qualifier is a code, or a number kept as its digits.
type Qualifier string

// UnmarshalJSON takes a text or a number.
func (q *Qualifier) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*q = Qualifier(s)
		return nil
	}
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*q = Qualifier(n)
	return nil
}

func (*Qualifier) wanted() impact.Text {
	return impact.Text{FR: "un code ou un nombre", EN: "a code or a number"}
}

// Observation is one fact by one organisation.
type Observation struct {
	ID                 string `json:"id"`
	Organisation       string `json:"organisation"`
	Indicator          string `json:"indicator" example:"insertion_hours"`
	MethodologyVersion string `json:"methodology_version" example:"2.1"`
	Territory          string `json:"territory" example:"commune-69266"`
	// Year of the geography the territory is read in.
	Vintage string           `json:"vintage" example:"2025"`
	Period  string           `json:"period" example:"2025-Q3"`
	Value   *impact.Quantity `json:"value" swaggertype:"number" extensions:"x-nullable" example:"1840"`
	// The parts of a ratio, mean or share; null for other indicators.
	Components     map[string]*impact.Quantity `json:"components" swaggertype:"object,number" extensions:"x-nullable"`
	Unit           string                      `json:"unit" example:"h"`
	Status         string                      `json:"obs_status" example:"A"`
	Disaggregation map[string]string           `json:"disaggregation"`
	Qualifiers     map[string]string           `json:"qualifiers"`
	Programme      *string                     `json:"programme" extensions:"x-nullable"`
	ObservationDetails
	// What was sent, when it was in another unit.
	OriginalValue string `json:"original_value,omitempty"`
	OriginalUnit  string `json:"original_unit,omitempty"`
	Submission    string `json:"submission"`
	// State of this version in the review.
	State   string  `json:"state" enums:"draft,submitted,approved,returned"`
	ActedBy string  `json:"acted_by"`
	Mandate *string `json:"mandate" extensions:"x-nullable"`
	Version int     `json:"version" example:"1"`
	// The version that counts in released figures; null when none does.
	ApprovedVersion *int             `json:"approved_version" extensions:"x-nullable"`
	UpdatedAt       string           `json:"updated_at" format:"date-time"`
	Deleted         bool             `json:"deleted,omitempty"`
	Links           ObservationLinks `json:"links"`
	Meta            ObservationMeta  `json:"meta"`
}

// ObservationLinks leads on from an observation.
type ObservationLinks struct {
	Self    string `json:"self"`
	History string `json:"history"`
}

// ObservationMeta says what a write did and what was understood differently.
type ObservationMeta struct {
	// What the write did; absent when reading.
	Outcome  string         `json:"outcome,omitempty" enums:"created,updated,unchanged"`
	Warnings []ProblemEntry `json:"warnings"`
}

// ObservationVersion is an observation as it was.
type ObservationVersion struct {
	Version int              `json:"version"`
	Value   *impact.Quantity `json:"value" swaggertype:"number" extensions:"x-nullable"`
	// The value of the version before; null for the first one.
	PreviousValue *impact.Quantity `json:"previous_value" swaggertype:"number" extensions:"x-nullable"`
	Unit          string           `json:"unit"`
	Status        string           `json:"obs_status"`
	State         string           `json:"state"`
	Submission    string           `json:"submission"`
	Note          string           `json:"note,omitempty"`
	ActedBy       string           `json:"acted_by"`
	Mandate       *string          `json:"mandate" extensions:"x-nullable"`
	Deleted       bool             `json:"deleted"`
	UpdatedAt     string           `json:"updated_at" format:"date-time"`
}

// ObservationPage is a page of observations.
type ObservationPage = Page[Observation] // @name ObservationPage

// ObservationHistory is the versions of one observation.
type ObservationHistory = Page[ObservationVersion] // @name ObservationHistory

// BatchReport says what happened to each observation of a batch.
type BatchReport struct {
	Data []BatchRow `json:"data"`
	Meta BatchMeta  `json:"meta"`
}

// BatchRow is what happened to one observation; row counts from 1.
type BatchRow struct {
	Row     int    `json:"row" example:"1"`
	Outcome string `json:"outcome" enums:"created,updated,unchanged,rejected"`
	// Null when the row was rejected.
	Observation *BatchObservation `json:"observation" extensions:"x-nullable"`
	Errors      []ProblemEntry    `json:"errors"`
	Warnings    []ProblemEntry    `json:"warnings"`
}

// BatchObservation leads to an observation that was written.
type BatchObservation struct {
	ID      string `json:"id"`
	Version int    `json:"version"`
	Links   Links  `json:"links"`
}

// BatchMeta counts the rows.
type BatchMeta struct {
	Outcome string      `json:"outcome" enums:"succeeded,partially_succeeded,failed"`
	Counts  BatchCounts `json:"counts"`
}

// BatchCounts counts rows by what happened to them, and warnings.
type BatchCounts struct {
	Received  int `json:"received"`
	Created   int `json:"created"`
	Updated   int `json:"updated"`
	Unchanged int `json:"unchanged"`
	Rejected  int `json:"rejected"`
	Warnings  int `json:"warnings"`
}

// ObservationAnswer is the observation, or the report of the batch.
type ObservationAnswer struct {
	One   *Observation `json:"one"`
	Batch *BatchReport `json:"batch"`
} // @name ObservationAnswerOneOf

// batchReport writes the answer to a batch. It is written by hand: a thousand
// rows in one pass, without a value made for each.
func (c *call) batchReport(rows []*impact.Row, results *impact.Results) []byte {
	n := BatchCounts{Received: len(rows)}
	b := make([]byte, 0, 64+len(rows)*(160+len(c.s.PublicURL)))
	b = append(b, `{"data":[`...)
	for i, row := range rows {
		r := &results.Rows[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"row":`...)
		b = strconv.AppendInt(b, int64(i+1), 10)
		b = append(b, `,"outcome":"`...)
		b = append(b, r.Outcome...)
		b = append(b, `","observation":`...)
		switch r.Outcome {
		case impact.Created:
			n.Created++
		case impact.Updated:
			n.Updated++
		case impact.Unchanged:
			n.Unchanged++
		default:
			n.Rejected++
		}
		if r.Outcome == impact.Rejected {
			b = append(b, "null"...)
		} else {
			b = append(b, `{"id":"`...)
			b = append(b, r.Observation.ID...)
			b = append(b, `","version":`...)
			b = strconv.AppendInt(b, int64(r.Observation.Version), 10)
			b = append(b, `,"links":{"self":"`...)
			b = append(b, c.s.PublicURL...)
			b = append(b, "/v1/observations/"...)
			b = append(b, r.Observation.ID...)
			b = append(b, `"}}`...)
		}
		b = append(b, `,"errors":`...)
		b = c.appendEntries(b, row.Faults)
		b = append(b, `,"warnings":`...)
		b = c.appendEntries(b, row.Warnings)
		b = append(b, '}')
		n.Warnings += len(row.Warnings)
	}
	outcome := "succeeded"
	switch {
	case n.Rejected > 0 && n.Rejected == n.Received:
		outcome = "failed"
	case n.Rejected > 0:
		outcome = "partially_succeeded"
	}
	b = append(b, `],"meta":`...)
	return append(appendJSON(b, BatchMeta{Outcome: outcome, Counts: n}), "}\n"...)
}

func (c *call) appendEntries(b []byte, faults []impact.Fault) []byte {
	if len(faults) == 0 {
		return append(b, "[]"...)
	}
	return appendJSON(b, c.entries(faults))
}

// appendJSON writes a value whose encoding cannot fail.
func appendJSON(b []byte, v any) []byte {
	w := bytes.NewBuffer(b)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(w.Bytes(), []byte("\n"))
}

func (s *server) unitOf(o *impact.Observation) string {
	if ind := s.Catalogue.IndicatorByKey(o.Indicator); ind != nil {
		return ind.Unit
	}
	return ""
}

// observation shows an observation as the API does.
func (s *server) observation(c *call, o *impact.Observation) Observation {
	ind := s.Catalogue.IndicatorByKey(o.Indicator)
	t := s.Catalogue.Gazetteer().ByKey(o.Territory)
	programme, cuts := splitCut(o.Cut)
	id := string(o.ID)
	w := Observation{
		ID: id, Organisation: string(o.OrganisationID), Indicator: string(ind.Code), MethodologyVersion: o.MethodologyVersion,
		Territory: string(t.ID), Vintage: strconv.Itoa(o.Period.Start.Year()), Period: o.Period.String(), Value: o.Value, Components: s.components(ind, o),
		Unit: ind.Unit, Status: string(rune(o.Status)), Disaggregation: cuts, Qualifiers: o.Qualifiers, Programme: optional(programme),
		ObservationDetails: details(&o.Details), OriginalValue: o.OriginalValue, OriginalUnit: o.OriginalUnit,
		Submission: string(o.Submission), State: string(o.State), ActedBy: o.ActedBy, Mandate: optional(o.Mandate), Version: o.Version,
		UpdatedAt: instant(o.UpdatedAt), Deleted: o.Deleted,
		Links: ObservationLinks{Self: c.address("/v1/observations/"+id, ""), History: c.address("/v1/observations/"+id+"/history", "")},
		Meta:  ObservationMeta{Warnings: []ProblemEntry{}},
	}
	if w.Qualifiers == nil {
		w.Qualifiers = map[string]string{}
	}
	if o.ApprovedVersion > 0 {
		w.ApprovedVersion = &o.ApprovedVersion
	}
	return w
}

// components names the parts of a composed observation as a sender would.
func (s *server) components(ind *impact.Indicator, o *impact.Observation) map[string]*impact.Quantity {
	if len(o.Parts) == 0 {
		return nil
	}
	out := make(map[string]*impact.Quantity, len(o.Parts))
	for i := range o.Parts {
		part := &o.Parts[i]
		code := s.Catalogue.IndicatorByKey(part.Indicator).Code
		out[componentName(ind, code)] = part.Value
	}
	return out
}

func componentName(ind *impact.Indicator, code impact.IndicatorCode) string {
	switch {
	case code == ind.Code:
		return "value"
	case len(ind.Numerator) == 1 && ind.Numerator[0] == code:
		return "numerator"
	case len(ind.Denominator) == 1 && ind.Denominator[0] == code:
		return "denominator"
	case ind.Weight == code:
		return "weight"
	}
	return string(code)
}

func details(d *impact.Details) ObservationDetails {
	return ObservationDetails{
		Note: d.Note, EvidenceURL: d.EvidenceURL, EvidenceLevel: d.EvidenceLevel, Provenance: d.Provenance, Source: d.Source, ExternalID: d.ExternalID,
		Perimeter: d.Perimeter, Covers: d.Covers, TransferredTo: d.TransferredTo, AttributionShare: Scalar{Text: d.AttributionShare},
		Counting: d.Counting, Stakeholder: d.Stakeholder, Need: d.Need, ContractUID: d.ContractUID,
	}
}

// splitCut reads the canonical text of a cut: "programme=x;sex=F".
func splitCut(cut string) (programme string, dimensions map[string]string) {
	dimensions = map[string]string{}
	if cut == "" {
		return "", dimensions
	}
	for part := range strings.SplitSeq(cut, ";") {
		name, code, _ := strings.Cut(part, "=")
		if name == "programme" {
			programme = code
			continue
		}
		dimensions[name] = code
	}
	return programme, dimensions
}

// observationInput is what one would state to get o, the document a merge patch
// is applied to.
func (s *server) observationInput(o *impact.Observation) ObservationInput {
	ind := s.Catalogue.IndicatorByKey(o.Indicator)
	programme, cuts := splitCut(o.Cut)
	in := ObservationInput{
		Organisation: string(o.OrganisationID), Indicator: string(ind.Code), Territory: string(s.Catalogue.Gazetteer().ByKey(o.Territory).ID),
		Period: o.Period.String(), Unit: ind.Unit, Status: string(rune(o.Status)), Disaggregation: cuts, Programme: programme, ObservationDetails: details(&o.Details),
	}
	if len(o.Qualifiers) > 0 {
		in.Qualifiers = make(map[string]Qualifier, len(o.Qualifiers))
		for k, v := range o.Qualifiers {
			in.Qualifiers[k] = Qualifier(v)
		}
	}
	parts := s.components(ind, o)
	if parts == nil {
		if o.Value != nil {
			in.Value = Scalar{Text: o.Value.String()}
		}
		return in
	}
	in.Components = make(map[string]Scalar, len(parts))
	for name, q := range parts {
		if q != nil && name != "value" {
			in.Components[name] = Scalar{Text: q.String()}
		} else if q != nil {
			in.Value = Scalar{Text: q.String()}
		}
	}
	return in
}

// statement is the domain's form of an input. null tells that an absent value
// was written null.
func (in *ObservationInput) statement(null bool) impact.Statement {
	st := impact.Statement{
		Organisation: in.Organisation, Indicator: in.Indicator, Territory: in.Territory, Period: in.Period,
		Value: in.Value.Text, Unit: in.Unit, Status: in.Status, Disaggregation: in.Disaggregation, Programme: in.Programme,
		Details: impact.Details{
			Note: in.Note, EvidenceURL: in.EvidenceURL, EvidenceLevel: in.EvidenceLevel, Provenance: in.Provenance, Source: in.Source, ExternalID: in.ExternalID,
			Perimeter: in.Perimeter, Covers: in.Covers, TransferredTo: in.TransferredTo, AttributionShare: in.AttributionShare.Text,
			Counting: in.Counting, Stakeholder: in.Stakeholder, Need: in.Need, ContractUID: in.ContractUID, Cumulative: in.Cumulative,
		},
	}
	st.ValueNull = st.Value == "" && len(in.Components) == 0 || st.Value == "" && null
	if len(in.Components) > 0 {
		st.Components = make(map[string]string, len(in.Components))
		for name, x := range in.Components {
			st.Components[name] = x.Text
		}
	}
	if len(in.Qualifiers) > 0 {
		st.Qualifiers = make(map[string]string, len(in.Qualifiers))
		for name, x := range in.Qualifiers {
			st.Qualifiers[name] = string(x)
		}
	}
	return st
}
