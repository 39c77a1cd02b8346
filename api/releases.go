package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// ReleaseStore keeps releases and the attempts at them.
type ReleaseStore interface {
	RequestRelease(ctx context.Context, p impact.Principal, n impact.NewRelease) (r impact.Release, made bool, err error)
	Releases(ctx context.Context, p impact.Principal, f impact.ReleaseFilter, page impact.Page) ([]impact.Release, []string, error)
	// Release takes a number, or the id of an attempt.
	Release(ctx context.Context, p impact.Principal, ref string) (impact.Release, error)
	LatestRelease(ctx context.Context) (impact.Release, error)
	PublishRelease(ctx context.Context, p impact.Principal, ref string, version int) (impact.Release, error)
	DiscardRelease(ctx context.Context, p impact.Principal, ref string, version int) (impact.Release, error)
	WithdrawRelease(ctx context.Context, p impact.Principal, ref string, version int, reason impact.Text, successor impact.ReleaseNumber) (impact.Release, error)
	ReleaseAudits(ctx context.Context, id string, page impact.Page) ([]impact.ReleaseAudit, []string, error)
	AuditRelease(ctx context.Context, p impact.Principal, r *impact.Release) error
}

// ReleaseRunner builds what was asked for.
type ReleaseRunner interface {
	// Wake has it look for work now.
	Wake()
	// Moved has this process serve what was just published, or no longer serve
	// what was withdrawn.
	Moved(context.Context) error
}

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
		Cubes: []ReleaseCube{}, CreatedAt: instant(r.CreatedAt), PublishedAt: moment(r.PublishedAt), WithdrawnAt: moment(r.WithdrawnAt), ScheduledFor: moment(r.ScheduledFor),
		Version: r.Version, Links: ReleaseLinks{Self: self},
	}
	for code, version := range r.Methodology {
		w.Methodology[string(code)] = version
	}
	w.Cubes = s.releaseCubes()
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

// forEverybody sets the cache manners of an answer that is the same for all
// callers but those who prepare releases.
func (c *call) forEverybody(cache string) {
	h := c.w.Header()
	h.Set("Vary", h.Get("Vary")+", Authorization")
	if !c.principal.SeesCandidates() {
		h.Set("Cache-Control", cache)
	}
}

// releaseTag changes with all that is said of a release.
func (c *call) releaseTag(r *impact.Release) string {
	if r.State == impact.ReleaseWithdrawn {
		return c.weakTag("v" + strconv.Itoa(r.Version) + "-" + strconv.Itoa(int(r.Successor)))
	}
	if r.State == impact.ReleaseBuilding {
		return c.weakTag("v" + strconv.Itoa(r.Version) + "-" + strconv.Itoa(r.Done) + "-" + strconv.Itoa(r.Total))
	}
	return versionTag(r.Version)
}

// listReleases lists the releases.
//
//	@Summary		List releases
//	@Description	The last one first. Everyone sees those that were published, withdrawn ones with their reason included; who prepares releases (`releases.publish`, `releases.audit`) also sees every attempt.
//	@ID				listReleases
//	@Tags			releases
//	@Produce		json
//	@Param			state	query		string	false	"Releases in that state only"	Enums(building, candidate, published, withdrawn, discarded, failed)
//	@Param			limit	query		int		false	"Rows of a page"				minimum(1)	maximum(1000)	default(100)
//	@Param			cursor	query		string	false	"Where to go on, from links.next"
//	@Success		200		{object}	ReleasePage
//	@Failure		default	{object}	Problem
//	@Router			/v1/releases [get]
func (s *server) listReleases(c *call) error {
	state := c.query.enum("state", "", "building", "candidate", "published", "withdrawn", "discarded", "failed")
	p, err := c.paging()
	if err != nil {
		return err
	}
	rows, next, err := s.ReleaseStore.Releases(c.r.Context(), c.principal, impact.ReleaseFilter{State: impact.ReleaseState(state)}, p)
	if err != nil {
		return err
	}
	data := make([]Release, len(rows))
	for i := range rows {
		data[i] = s.releaseWire(c, &rows[i])
	}
	c.forEverybody(cacheLatest)
	return c.answer(http.StatusOK, page(c, data, next))
}

// getLatestRelease reads the latest release.
//
//	@Summary		Read the latest release
//	@Description	The published release of the highest number: what figures are read from when no release is named. Not found before the first.
//	@ID				getLatestRelease
//	@Tags			releases
//	@Produce		json
//	@Param			If-None-Match	header		string	false	"ETag already held"
//	@Success		200				{object}	Release
//	@Header			200				{string}	ETag	"Its version"
//	@Success		304				"Not modified"
//	@Failure		default			{object}	Problem
//	@Router			/v1/releases/latest [get]
func (s *server) getLatestRelease(c *call) error {
	r, err := s.ReleaseStore.LatestRelease(c.r.Context())
	if impact.KindOf(err) == impact.NotFound {
		return &impact.Error{Kind: impact.NotFound, Code: "not_found",
			Detail: impact.Text{FR: "Aucune publication n'a encore eu lieu.", EN: "Nothing was released yet."},
			Hint:   impact.Text{FR: "Les chiffres publics paraissent avec la première publication.", EN: "Public figures appear with the first release."},
		}
	}
	if err != nil {
		return err
	}
	return s.showRelease(c, &r)
}

func (s *server) showRelease(c *call, r *impact.Release) error {
	if r.Public() {
		c.forEverybody(cacheLatest)
	}
	// The tag of a number also says which one it is: the latest moves on.
	if c.fresh(c.namedTag(r)) {
		return nil
	}
	return c.answer(http.StatusOK, s.releaseWire(c, r))
}

// namedTag is releaseTag, with the number where the address does not say it.
func (c *call) namedTag(r *impact.Release) string {
	if c.param("id") == "" {
		return c.weakTag("r" + strconv.Itoa(int(r.Number)) + "v" + strconv.Itoa(r.Version))
	}
	return c.releaseTag(r)
}

// getRelease reads one release.
//
//	@Summary		Read a release
//	@Description	By its number, or an attempt by its id. The description of a withdrawn release stays, with the reason and the successor; its figures are refused (410 `release_withdrawn`).
//	@ID				getRelease
//	@Tags			releases
//	@Produce		json
//	@Param			id				path		string	true	"Number of the release, or id of an attempt"	example(3)
//	@Param			If-None-Match	header		string	false	"ETag already held"
//	@Success		200				{object}	Release
//	@Header			200				{string}	ETag	"Its version"
//	@Success		304				"Not modified"
//	@Failure		default			{object}	Problem
//	@Router			/v1/releases/{id} [get]
func (s *server) getRelease(c *call) error {
	r, err := s.ReleaseStore.Release(c.r.Context(), c.principal, c.param("id"))
	if err != nil {
		return err
	}
	return s.showRelease(c, &r)
}

// createRelease has a release built.
//
//	@Summary		Build a release
//	@Description	Prepares a candidate from what is committed now: it is laid out, protected and audited in the background, and published when it is asked for, here or by `publish`. `dry_run=true` tells the counts and what the auditor found, and keeps nothing. One attempt at a time: 409 `bad_state` leads to the one that stands. Writes go on meanwhile.
//	@ID				createRelease
//	@Tags			releases
//	@Accept			json
//	@Produce		json
//	@Param			dry_run			query		bool			false	"Counts and audit only"
//	@Param			Idempotency-Key	header		string			false	"A fresh UUID: the same request sent again gets the same answer"
//	@Param			body			body		ReleaseInput	false	"What is asked for"
//	@Success		202				{object}	Release
//	@Header			202				{string}	Location	"The attempt"
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/releases [post]
func (s *server) createRelease(c *call) error {
	n := impact.NewRelease{Day: impact.DateOf(s.Now()), Embargo: impact.DefaultEmbargo, DryRun: c.query.boolean("dry_run", false)}
	if err := c.query.err(); err != nil {
		return err
	}
	if c.r.ContentLength != 0 {
		in, err := decode[ReleaseInput](c)
		if err != nil {
			return err
		}
		if err := in.into(&n); err != nil {
			return err
		}
	}
	err := c.repeatable(optionalKey, func(ctx context.Context) (*reply, error) {
		r, _, err := s.ReleaseStore.RequestRelease(ctx, c.principal, n)
		if err != nil {
			return nil, err
		}
		return c.reply(http.StatusAccepted, s.releaseWire(c, &r)).at("/v1/releases/" + r.Key), nil
	})
	s.ReleaseRunner.Wake()
	return err
}

func (in *ReleaseInput) into(n *impact.NewRelease) error {
	var faults []impact.Fault
	if in.Day != "" {
		day, err := impact.ParseDate(in.Day)
		switch {
		case err != nil:
			faults = append(faults, err.At("/day"))
		case day > n.Day:
			faults = append(faults, impact.Fault{
				Code: "future_period", Pointer: "/day", Value: in.Day,
				Detail: impact.Text{FR: "Ce jour est à venir.", EN: "This day is to come."},
				Hint:   impact.Text{FR: "Au plus tard aujourd'hui, " + n.Day.String() + ".", EN: "At the latest today, " + n.Day.String() + "."},
			})
		default:
			n.Day = day
		}
	}
	if e := in.EmbargoDays; e != nil {
		if n.Embargo = *e; *e < 0 || *e > 3660 {
			faults = append(faults, impact.Fault{
				Code: "out_of_range", Pointer: "/embargo_days", Value: strconv.Itoa(*e),
				Detail: impact.Text{FR: "De 0 à 3660 jours.", EN: "0 to 3660 days."}, Hint: impact.Text{FR: "45 d'ordinaire.", EN: "45 usually."},
			})
		}
	}
	if in.Publish && n.DryRun {
		faults = append(faults, impact.Fault{
			Code: "inconsistent", Pointer: "/publish",
			Detail: impact.Text{FR: "Un essai (dry_run) ne garde rien qui puisse être publié.", EN: "A dry run keeps nothing that could be published."},
			Hint:   impact.Text{FR: "Retirez l'un des deux.", EN: "Leave one of the two out."},
		})
	}
	n.Publish = in.Publish
	return impact.Refuse(faults...)
}

// publishRelease publishes a candidate.
//
//	@Summary		Publish a candidate
//	@Description	It becomes the latest release, and never changes again. Refused (409 `bad_state`) when the auditor recovered something from it.
//	@ID				publishRelease
//	@Tags			releases
//	@Produce		json
//	@Param			id			path		string	true	"Number of the candidate, or its id"
//	@Param			If-Match	header		string	false	"ETag of the version that was read"
//	@Success		200			{object}	Release
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/releases/{id}/publish [post]
func (s *server) publishRelease(c *call) error {
	return s.moveRelease(c, s.ReleaseStore.PublishRelease)
}

// discardRelease gives a candidate up.
//
//	@Summary		Discard a candidate
//	@Description	Or a build under way. Nothing of it is kept but its description, for those who prepare releases.
//	@ID				discardRelease
//	@Tags			releases
//	@Produce		json
//	@Param			id			path		string	true	"Number of the candidate, or its id"
//	@Param			If-Match	header		string	false	"ETag of the version that was read"
//	@Success		200			{object}	Release
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/releases/{id}/discard [post]
func (s *server) discardRelease(c *call) error {
	return s.moveRelease(c, s.ReleaseStore.DiscardRelease)
}

func (s *server) moveRelease(c *call, move func(ctx context.Context, p impact.Principal, ref string, version int) (impact.Release, error)) error {
	version, err := c.mayMatch()
	if err != nil {
		return err
	}
	if c.r.ContentLength != 0 {
		if _, err := decode[struct{}](c); err != nil {
			return err
		}
	}
	r, err := move(c.r.Context(), c.principal, c.param("id"), version)
	if err != nil {
		return err
	}
	return s.releaseMoved(c, &r)
}

// mayMatch reads If-Match where it may be left out: 0.
func (c *call) mayMatch() (int, error) {
	if c.r.Header.Get("If-Match") == "" {
		return 0, nil
	}
	return c.ifMatch()
}

func (s *server) releaseMoved(c *call, r *impact.Release) error {
	if err := s.ReleaseRunner.Moved(c.r.Context()); err != nil {
		s.Log.Error("serving a release that moved", "number", r.Number, "error", err) // it is noticed a moment later
	}
	return c.done(http.StatusOK, r.Version, 0, s.releaseWire(c, r))
}

// withdrawRelease takes a release back.
//
//	@Summary		Withdraw a release
//	@Description	Its figures are refused from now on (410 `release_withdrawn`, with the successor); its description stays, with the reason. What was published was read: disclosure control still reckons with it.
//	@ID				withdrawRelease
//	@Tags			releases
//	@Accept			json
//	@Produce		json
//	@Param			id			path		string				true	"Number of the release"
//	@Param			If-Match	header		string				false	"ETag of the version that was read"
//	@Param			body		body		ReleaseWithdrawal	true	"Why, in French and in English"
//	@Success		200			{object}	Release
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/releases/{id}/withdraw [post]
func (s *server) withdrawRelease(c *call) error {
	version, err := c.mayMatch()
	if err != nil {
		return err
	}
	in, err := decode[ReleaseWithdrawal](c)
	if err != nil {
		return err
	}
	var faults []impact.Fault
	for pointer, said := range map[string]string{"/reason/fr": in.Reason.FR, "/reason/en": in.Reason.EN} {
		switch n := len([]rune(said)); {
		case n == 0:
			faults = append(faults, impact.Fault{
				Code: "missing_field", Pointer: pointer,
				Detail: impact.Text{FR: "Une publication ne se retire pas sans dire pourquoi.", EN: "A release is not withdrawn without saying why."},
				Hint:   impact.Text{FR: "Écrivez la raison en français et en anglais : tout le monde la lit.", EN: "Write the reason in French and in English: everybody reads it."},
			})
		case n > 2000:
			faults = append(faults, impact.Fault{
				Code: "too_long", Pointer: pointer, Detail: impact.Text{FR: "Plus de 2 000 caractères.", EN: "More than 2,000 characters."},
				Hint: impact.Text{FR: "Résumez.", EN: "Sum it up."},
			})
		}
	}
	successor := 0
	if in.Successor != nil {
		if successor = *in.Successor; successor < 1 {
			faults = append(faults, impact.Fault{
				Code: "out_of_range", Pointer: "/successor", Value: strconv.Itoa(successor), Detail: impact.Text{FR: "Un numéro de publication commence à 1.", EN: "Release numbers begin at 1."},
				Hint: impact.Text{FR: "Sans successeur, ce sera la prochaine publiée.", EN: "Without a successor, it will be the next one published."},
			})
		}
	}
	if err := impact.Refuse(faults...); err != nil {
		return err
	}
	r, err := s.ReleaseStore.WithdrawRelease(c.r.Context(), c.principal, c.param("id"), version, impact.Text{FR: in.Reason.FR, EN: in.Reason.EN}, impact.ReleaseNumber(successor))
	if err != nil {
		return err
	}
	return s.releaseMoved(c, &r)
}

// ReleaseAudit is what the auditor found in one unit: figures that sums tie
// together, protected as a whole.
type ReleaseAudit struct {
	// First indicator of the family, in alphabetical order.
	Family string      `json:"family" example:"insertion_hours"`
	Year   int         `json:"year" example:"2025"`
	Counts AuditCounts `json:"counts"`
	// Sentences about what could be recovered; none holds a value.
	Findings []string        `json:"findings"`
	Withheld []ReleaseReason `json:"withheld"`
}

// ReleaseReason is why a cell is withheld.
type ReleaseReason struct {
	Cell   string `json:"cell"`
	Reason string `json:"reason" enums:"few_contributors,dominated,nothing_but_zero,few_people,would_tell,would_narrow,told_in_part" example:"few_contributors"`
	// Cell that it protects; null when it is secret itself.
	Protects *string `json:"protects" extensions:"x-nullable"`
}

// ReleaseAuditPage is a page of an audit.
type ReleaseAuditPage = Page[ReleaseAudit] // @name ReleaseAuditPage

// getReleaseAudit tells auditors why cells are withheld.
//
//	@Summary		Why cells of a release are withheld
//	@Description	For auditors (`releases.audit`), who are not the ones who asked for the release: two people see to it. Reasons and findings, no hidden value; each reading is logged. The reasons are never public: they would tell how many organisations a cell has.
//	@ID				getReleaseAudit
//	@Tags			releases
//	@Produce		json
//	@Param			id		path		string	true	"Number of the release, or id of an attempt"
//	@Param			limit	query		int		false	"Rows of a page"	minimum(1)	maximum(100)	default(100)
//	@Param			cursor	query		string	false	"Where to go on, from links.next"
//	@Success		200		{object}	ReleaseAuditPage
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/releases/{id}/audit [get]
func (s *server) getReleaseAudit(c *call) error {
	r, err := s.ReleaseStore.Release(c.r.Context(), c.principal, c.param("id"))
	if err != nil {
		return err
	}
	if r.RequestedBy == c.principal.Client {
		return &impact.Error{Kind: impact.Forbidden, Code: "insufficient_scope",
			Detail: impact.Text{FR: "Qui a demandé une publication ne l'audite pas.", EN: "Whoever asked for a release does not audit it."},
			Hint:   impact.Text{FR: "Demandez-le à un autre titulaire de releases.audit.", EN: "Ask another holder of releases.audit."},
		}
	}
	p, err := c.paging()
	if err != nil {
		return err
	}
	if err := s.ReleaseStore.AuditRelease(c.r.Context(), c.principal, &r); err != nil {
		return err
	}
	rows, next, err := s.ReleaseStore.ReleaseAudits(c.r.Context(), r.Key, p)
	if err != nil {
		return err
	}
	data := make([]ReleaseAudit, len(rows))
	for i, a := range rows {
		data[i] = ReleaseAudit{Family: a.Family, Year: a.Year, Counts: auditCounts(a.Counts), Findings: append([]string{}, a.Findings...), Withheld: []ReleaseReason{}}
		for _, why := range a.Reasons {
			data[i].Withheld = append(data[i].Withheld, ReleaseReason{why.Cell, why.Reason, optional(why.Against)})
		}
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

// latestNumber is the number of the latest release as text, nil before the
// first.
func (s *server) latestNumber(ctx context.Context) *string {
	if s.Config.Releases == nil {
		return nil
	}
	latest, err := s.Config.Releases.Latest(ctx)
	if err != nil {
		return nil
	}
	n := strconv.Itoa(int(latest.Release().Number))
	return &n
}
