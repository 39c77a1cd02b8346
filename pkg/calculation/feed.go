package calculation

import (
	"context"
	"iter"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Fact is one version of one cell. HasValue is false with a status that
// carries no number.
type Fact struct {
	Value    impact.Quantity
	HasValue bool
	Status   impact.Status
	Attrs    Attrs
}

// Attrs is what decides how a fact counts. Zero values are absent members.
type Attrs struct {
	Cut           string            // same as CellKey.Cut; ignored when fed
	Qualifiers    map[string]string // only those some indicator is homogeneous by are kept
	Share         impact.Quantity   // attribution, One when 0
	Covers        []string          // organisation ids or SIREN included in the value
	Perimeter     string            // establishment legal_unit group programme
	TransferredTo string            // SIRET the quantity was passed to
	Profile       impact.Profile    // frozen when the fact was written
	Method        string            // methodology version
}

// Change is the whole state of one cell after a commit. Current nil = gone:
// nothing is left of the cell, unless State is below Approved and Approved is
// set (a withdrawal that awaits review), in which case the approved version
// counts for the states above State.
type Change struct {
	Key      impact.CellKey
	Current  *Fact
	State    impact.SubmissionState // of Current; Returned counts as Draft
	Approved *Fact
}

// Organisation is what calculation needs to know of an organisation.
type Organisation struct {
	Key            impact.OrganisationKey
	ID             impact.OrganisationID
	LegalUnit      string // counted as one contributor
	Group          string
	SIREN, SIRET   string
	Profile        impact.Profile // today's, for those who were asked and did not answer
	Sites          []impact.Site
	Questionnaires []string
}

// OrganisationOf takes what calculation needs.
func OrganisationOf(o *impact.Organisation) Organisation {
	group := o.GroupID
	if group == "" {
		group = o.LegalUnit()
	}
	return Organisation{
		Key: o.Key, ID: o.ID, LegalUnit: o.LegalUnit(), Group: group, SIREN: o.SIREN, SIRET: o.SIRET,
		Profile:        impact.Profile{Class: o.Class, StructureKind: o.StructureKind, SizeClass: o.SizeClass, ESS: o.ESS},
		Sites:          o.Sites,
		Questionnaires: o.Questionnaires,
	}
}

// FactOf takes what calculation needs of one version of an observation.
func FactOf(o *impact.Observation) (Fact, error) {
	f := Fact{Status: o.Status, Attrs: Attrs{
		Cut: o.Cut, Qualifiers: o.Qualifiers, Covers: o.Covers, Perimeter: o.Perimeter,
		TransferredTo: o.TransferredTo, Profile: o.Profile, Method: o.MethodologyVersion,
	}}
	if o.Value != nil {
		f.Value, f.HasValue = *o.Value, true
	}
	if o.AttributionShare != "" {
		share, fault := impact.ParseQuantity(o.AttributionShare)
		if fault != nil {
			return Fact{}, impact.Refuse(*fault)
		}
		f.Attrs.Share = share
	}
	return f, nil
}

// Changes is what one or several commits did.
type Changes struct {
	Organisations  []Organisation
	Questionnaires []impact.Questionnaire
	Cells          []Change
}

// Scope names stored cells: any of the indicators, any of the territories,
// periods that touch Span.
type Scope struct {
	Indicators  []impact.IndicatorKey
	Territories []impact.TerritoryKey
	Span        impact.Period
}

// Source gives the state of cells from elsewhere than the memory of the
// process, from SQL for instance. FiguresFrom applies to it the very
// arithmetic of the cube.
type Source interface {
	Organisations(ctx context.Context) iter.Seq2[Organisation, error]
	Questionnaires(ctx context.Context) ([]impact.Questionnaire, error)
	Cells(ctx context.Context, scope Scope) iter.Seq2[Change, error]
}
