package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/grandlyon/retombees/pkg/impact"
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
		return &impact.Error{
			Kind: impact.NotFound, Code: "not_found",
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
		return missing(err, impact.Text{FR: "Cette publication n'existe pas, ou vous n'y avez pas accès.", EN: "This release does not exist, or you may not see it."})
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

// into reads what is asked for into n, whose Day is today.
func (in *ReleaseInput) into(n *impact.NewRelease) error {
	var faults []impact.Fault
	today := n.Day
	if in.Day != "" {
		day, fault := impact.ParseDate(in.Day)
		if fault != nil {
			faults = append(faults, fault.At("/day"))
		} else {
			n.Day = day
		}
	}
	if in.EmbargoDays != nil {
		n.Embargo = *in.EmbargoDays
	}
	n.Publish = in.Publish
	return impact.Refuse(append(faults, n.Check(today)...)...)
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
	reason := impact.Text{FR: in.Reason.FR, EN: in.Reason.EN}
	faults := impact.CheckWithdrawal(reason)
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
	r, err := s.ReleaseStore.WithdrawRelease(c.r.Context(), c.principal, c.param("id"), version, reason, impact.ReleaseNumber(successor))
	if err != nil {
		return err
	}
	return s.releaseMoved(c, &r)
}

// latestNumber is the number of the latest release as text, nil before the
// first.
func (s *server) latestNumber(ctx context.Context) *string {
	if s.Releases == nil {
		return nil
	}
	latest, err := s.Releases.Latest(ctx)
	if err != nil {
		return nil
	}
	n := strconv.Itoa(int(latest.Release().Number))
	return &n
}
