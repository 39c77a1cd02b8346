package api

import (
	"strconv"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// ReleaseInput is what is asked for when a release is to be built. All of it may
// be left out.
type ReleaseInput struct {
	// Day the figures are closed, today when it is not given.
	Day string `json:"day,omitempty" format:"date" example:"2026-11-15"`
	// Days a period has been over before its figures are released.
	EmbargoDays *int `json:"embargo_days,omitempty" minimum:"0" maximum:"3660" example:"45"`
	// Publish it as soon as it is built and the auditor has found nothing.
	Publish bool `json:"publish,omitempty"`
}

// ReleaseWithdrawal says why a release is taken back.
type ReleaseWithdrawal struct {
	Reason Text `json:"reason"`
	// Number of the release to read in its place; the next one that is published
	// when it is not given.
	Successor *int `json:"successor,omitempty" example:"4"`
}

// Release is an immutable set of figures for everyone, or an attempt at one.
type Release struct {
	// Opaque; the address of an attempt that was never published.
	ID string `json:"id"`
	// 1, 2, 3… in the order of publication; what `release=` takes. A candidate bears
	// the number it would be published under.
	Number int    `json:"number" example:"3"`
	State  string `json:"state" enums:"building,candidate,published,withdrawn,discarded,failed" example:"published"`
	// Day the figures were closed: periods that ended embargo_days before it are in.
	Day         string `json:"day" format:"date" example:"2026-11-15"`
	EmbargoDays int    `json:"embargo_days" example:"45"`
	// Watermark: the last commit the figures rest on.
	Seq int64 `json:"seq" example:"41235"`
	// Vintage of the territories; rules of calculation; rule set of disclosure
	// control; version of the reference data; of the methodology of each indicator.
	Vintage          int               `json:"vintage" example:"2026"`
	Method           string            `json:"method" example:"1"`
	Ruleset          string            `json:"ruleset" example:"strict-1"`
	ReferenceVersion string            `json:"reference_version"`
	Methodology      map[string]string `json:"methodology"`
	// SHA-256 of the figures: one line `family,year,SHA-256` for each unit, in order.
	// The same facts after the same releases give the same one. Null while building.
	Digest *string       `json:"digest" extensions:"x-nullable"`
	Counts ReleaseCounts `json:"counts"`
	// Cells that the release declares: others are not public.
	Cubes []ReleaseCube `json:"cubes"`
	// What is done of a build; what the auditor found; who asked for it. To those
	// who prepare releases; null to others.
	Progress     *ReleaseProgress `json:"progress" extensions:"x-nullable"`
	Audit        *AuditCounts     `json:"audit" extensions:"x-nullable"`
	RequestedBy  *string          `json:"requested_by" extensions:"x-nullable"`
	DryRun       bool             `json:"dry_run"`
	CreatedAt    string           `json:"created_at" format:"date-time"`
	PublishedAt  *string          `json:"published_at" format:"date-time" extensions:"x-nullable"`
	WithdrawnAt  *string          `json:"withdrawn_at" format:"date-time" extensions:"x-nullable"`
	ScheduledFor *string          `json:"scheduled_for" format:"date-time" extensions:"x-nullable"`
	// Why it was withdrawn, or failed.
	Reason *Text `json:"reason" extensions:"x-nullable"`
	// Release to read in the place of a withdrawn one; null until there is one.
	Successor *int         `json:"successor" extensions:"x-nullable"`
	Version   int          `json:"version" example:"2"`
	Links     ReleaseLinks `json:"links"`
}

// ReleaseCounts sums a release up.
type ReleaseCounts struct {
	Cells int `json:"cells" example:"221327"`
	Shown int `json:"shown" example:"86095"`
	// Hidden by disclosure control.
	Withheld int `json:"withheld" example:"135232"`
	// Compared with the release before: never shown before, with another value, no
	// longer shown, the same.
	New       int `json:"new" example:"4120"`
	Revised   int `json:"revised" example:"310"`
	Hidden    int `json:"hidden" example:"12"`
	Unchanged int `json:"unchanged" example:"81665"`
	// Systems of sums that were protected each as a whole.
	Units int `json:"units" example:"120"`
}

// ReleaseCube is a set of cells of one shape.
type ReleaseCube struct {
	Name string `json:"name" example:"main"`
	// What a cell is of: an indicator, or an impact type (organisations are counted).
	Of             string   `json:"of" enums:"indicator,impact_type" example:"indicator"`
	TerritoryTypes []string `json:"territory_types" example:"metropole,ctm,commune"`
	// Lengths of periods; an indicator has those it is collected by, and the year.
	Granularities []string `json:"granularities" example:"year,quarter"`
	// Dimension the organisations are divided by; null when they are not.
	Cut *string `json:"cut" extensions:"x-nullable" example:"structure_kind"`
}

// ReleaseProgress is how far a build is; total is 0 until it is known.
type ReleaseProgress struct {
	UnitsDone  int `json:"units_done" example:"40"`
	UnitsTotal int `json:"units_total" example:"120"`
}

// AuditCounts sums up what an independent auditor could recover from the figures.
type AuditCounts struct {
	Passed  bool `json:"passed" example:"true"`
	Units   int  `json:"units" example:"120"`
	Secrets int  `json:"secrets" example:"52341"`
	// Secrets recovered exactly, too precisely, or by a contributor who knows its own.
	Exact    int `json:"exact" example:"0"`
	Narrow   int `json:"narrow" example:"0"`
	Insiders int `json:"insiders" example:"0"`
	// Secrets of which the auditor could not tell: neither recovered nor proven safe.
	Unsettled int `json:"unsettled" example:"0"`
}

// ReleaseLinks leads to what belongs to a release.
type ReleaseLinks struct {
	Self       string  `json:"self"`
	Changes    *string `json:"changes" extensions:"x-nullable"`
	Aggregates *string `json:"aggregates" extensions:"x-nullable"`
	Successor  *string `json:"successor" extensions:"x-nullable"`
	Audit      *string `json:"audit" extensions:"x-nullable"`
}

// ReleasePage is a page of releases.
type ReleasePage = Page[Release] // @name ReleasePage

func auditCounts(a impact.AuditCounts) AuditCounts {
	return AuditCounts{Passed: a.Passed(), Units: a.Units, Secrets: a.Secrets, Exact: a.Exact, Narrow: a.Narrow, Insiders: a.Insiders, Unsettled: a.Unsettled}
}

func (s *server) releaseWire(c *call, r *impact.Release) Release {
	ref := r.Key
	if r.Public() {
		ref = strconv.Itoa(int(r.Number))
	}
	self := c.address("/v1/releases/"+ref, "")
	w := Release{
		ID: r.Key, Number: int(r.Number), State: string(r.State), Day: r.Day.String(), EmbargoDays: r.Embargo, Seq: r.Seq, Vintage: int(r.Vintage), Method: r.Method,
		Ruleset: r.Ruleset, ReferenceVersion: r.Reference, Methodology: map[string]string{}, Digest: optional(r.Digest), DryRun: r.DryRun,
		Counts: ReleaseCounts{
			Cells: r.Counts.Cells, Shown: r.Counts.Shown, Withheld: r.Counts.Withheld, New: r.Counts.New, Revised: r.Counts.Revised, Hidden: r.Counts.Hidden,
			Unchanged: r.Counts.Unchanged, Units: r.Counts.Units,
		},
		Cubes: s.releaseCubes(), CreatedAt: instant(r.CreatedAt), PublishedAt: moment(r.PublishedAt), WithdrawnAt: moment(r.WithdrawnAt), ScheduledFor: moment(r.ScheduledFor),
		Version: r.Version, Links: ReleaseLinks{Self: self},
	}
	for code, version := range r.Methodology {
		w.Methodology[string(code)] = version
	}
	if !r.Reason.IsZero() {
		reason := text(r.Reason)
		w.Reason = &reason
	}
	if r.Successor != 0 {
		n := int(r.Successor)
		there := c.address("/v1/releases/"+strconv.Itoa(n), "")
		w.Successor, w.Links.Successor = &n, &there
	}
	if r.State == impact.ReleasePublished {
		changes, figures := self+"/changes", c.address("/v1/aggregates", "release="+ref)
		w.Links.Changes, w.Links.Aggregates = &changes, &figures
	}
	if c.principal.SeesCandidates() {
		w.Progress, w.RequestedBy = &ReleaseProgress{r.Done, r.Total}, optional(r.RequestedBy)
		if r.Audited.Units > 0 {
			a := auditCounts(r.Audited)
			w.Audit = &a
		}
		if c.principal.Has(impact.ReleasesAudit) {
			audit := self + "/audit"
			w.Links.Audit = &audit
		}
	}
	return w
}

// releaseCubes describes the cells that a release declares: the same for every
// release of this version.
func (s *server) releaseCubes() []ReleaseCube {
	s.cubesOnce.Do(func() {
		for _, cube := range release.NewLattice(s.Catalogue, impact.DateOf(s.Now()), 0).Cubes() {
			x := ReleaseCube{Name: cube.Name, Of: "indicator", TerritoryTypes: impact.Words(cube.Territories), Granularities: impact.Words(cube.Granularities), Cut: optional(cube.Cut)}
			if cube.Counts {
				x.Of = "impact_type"
			}
			s.cubes = append(s.cubes, x)
		}
	})
	return s.cubes
}
