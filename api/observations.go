package api

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ObservationStore keeps observations and every version of them. Each method
// shows and changes what the principal may see and change, and nothing else
// exists for it.
type ObservationStore interface {
	PutObservations(ctx context.Context, b impact.Batch) (impact.Results, error)
	Observation(ctx context.Context, p impact.Principal, id impact.ObservationID) (impact.Observation, error)
	Observations(ctx context.Context, p impact.Principal, f impact.ObservationFilter, page impact.Page) ([]impact.Observation, []string, error)
	History(ctx context.Context, p impact.Principal, id impact.ObservationID) ([]impact.Observation, error)
	DeleteObservation(ctx context.Context, p impact.Principal, id impact.ObservationID, version int) (impact.Results, error)
}

var becauseObservations = impact.Text{
	FR: "Les observations ne sont lues que par l'organisation qui les déclare, par les réseaux qu'elle mandate, par les instructeurs, et par les acheteurs si elle y consent ; chacun lira les chiffres publiés : GET /v1/aggregates.",
	EN: "Observations are read only by the organisation that states them, by networks it mandates, by stewards, and by buyers if it agrees; everyone will read the published figures: GET /v1/aggregates.",
}

// putObservations states one observation or a batch.
//
//	@Summary		State an observation, or a batch of up to 1,000
//	@Description	The key is organisation, indicator, territory, period, programme and disaggregation: the same fact sent twice writes nothing, another value makes a new version. One observation answers 201 or 200 with `meta.outcome`, and 422 with every fault. A batch `{"observations":[…]}` answers 200 with a result per row, whether rows were rejected or not.
//	@ID				putObservations
//	@Tags			observations
//	@Accept			json
//	@Produce		json
//	@Param			Idempotency-Key	header		string			false	"Makes a repeated request answer what it answered first"
//	@Param			body			body		ObservationBody	true	"One observation, or a batch"
//	@Success		201				{object}	Observation
//	@Success		200				{object}	ObservationAnswer
//	@Header			200,201			{string}	Consistency-Token	"Send it to a live reading that must include this write"
//	@Header			200,201			{string}	ETag				"Version of the observation; absent for a batch"
//	@Header			200,201			{string}	Location			"Address of the observation; absent for a batch"
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/observations [post]
func (s *server) putObservations(c *call) error {
	stated, batch, err := c.readStatements()
	if err != nil {
		return err
	}
	return c.repeatable(optionalKey, func(ctx context.Context) (*reply, error) {
		checker := s.checker()
		rows, err := s.resolve(ctx, c, checker, stated, nil)
		if err != nil {
			return nil, err
		}
		if !batch && len(rows[0].Faults) > 0 {
			return nil, impact.Refuse(rows[0].Faults...)
		}
		results, err := s.Observations.PutObservations(ctx, impact.Batch{Principal: c.principal, Rows: rows, Checker: checker, AllOrNothing: !batch})
		if err != nil {
			return nil, err
		}
		if batch {
			return (&reply{status: http.StatusOK, body: c.batchReport(rows, &results)}).committed(results.Seq).under(results.Mandates), nil
		}
		return s.written(c, rows[0], &results).committed(results.Seq).under(results.Mandates), nil
	})
}

// written answers the writing of one observation.
func (s *server) written(c *call, row *impact.Row, results *impact.Results) *reply {
	o, outcome := &results.Rows[0].Observation, results.Rows[0].Outcome
	status := http.StatusOK
	if outcome == impact.Created {
		status = http.StatusCreated
	}
	w := s.observation(c, o)
	w.Meta = ObservationMeta{Outcome: string(outcome), Warnings: c.entries(row.Warnings)}
	return c.reply(status, w).at("/v1/observations/" + string(o.ID)).version(o.Version)
}

func (s *server) checker() *impact.Checker {
	return &impact.Checker{Catalogue: s.Catalogue, Today: impact.DateOf(s.Now())}
}

func at(f impact.Fault, pointer string) *impact.Fault {
	f.Pointer = pointer
	return &f
}

// listObservations lists observations.
//
//	@Summary		List observations
//	@Description	What the caller may see: an organisation its own, a steward all (each reading is logged). With updated_since the order is that of changes, for those who copy.
//	@ID				listObservations
//	@Tags			observations
//	@Produce		json
//	@Param			organisation	query		string	false	"Id, or siret:… siren:… rna:… ext:{source}:{id}"
//	@Param			indicator		query		string	false	"Codes, separated by commas"
//	@Param			territory		query		string	false	"Territories, descendants included"
//	@Param			period			query		string	false	"Period or range that contains the observation's"
//	@Param			submission		query		string	false	"Id of a submission"
//	@Param			state			query		string	false	"State of the version shown"	Enums(draft, submitted, approved, returned)
//	@Param			updated_since	query		string	false	"Changed at that instant or later, in that order"	Format(date-time)
//	@Param			include_deleted	query		boolean	false	"Tombstones too"
//	@Param			limit			query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor			query		string	false	"Where to go on, from links.next"
//	@Success		200				{object}	ObservationPage
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/observations [get]
func (s *server) listObservations(c *call) error {
	f, warnings, err := s.observationFilter(c)
	if err != nil {
		return err
	}
	p, err := c.paging()
	if err != nil {
		return err
	}
	rows, next, err := s.Observations.Observations(c.r.Context(), c.principal, f, p)
	if err != nil {
		return err
	}
	reading := make([][]impact.Use, len(rows))
	for i := range rows {
		reading[i] = readingOf(&rows[i])
	}
	still, err := s.used(c, reading...)
	if err != nil {
		return err
	}
	data := make([]Observation, 0, len(rows))
	of := make([]impact.OrganisationID, len(rows))
	for i := range rows {
		if of[i] = rows[i].OrganisationID; still(i) {
			data = append(data, s.observation(c, &rows[i]))
		}
	}
	if err := s.witness(c, c.query.canonical("cursor"), of...); err != nil {
		return err
	}
	return c.answer(http.StatusOK, page(c, data, next, warnings...))
}

func (s *server) observationFilter(c *call) (f impact.ObservationFilter, warnings []impact.Fault, err error) {
	q := c.query
	if f.Organisation, err = s.organisationParameter(c); err != nil {
		return f, nil, err
	}
	for _, name := range q.list("indicator") {
		ind, fault := s.Catalogue.FindIndicator(name)
		q.refuse("indicator", fault)
		if ind != nil {
			f.Indicators = append(f.Indicators, ind.Key)
		}
	}
	for _, name := range q.list("territory") {
		t, understood := s.territoryInForce(c, "territory", name)
		warnings = append(warnings, understood...)
		if t != nil {
			f.Territories = append(f.Territories, s.allOf(t)...)
		}
	}
	f.Within = s.within(q)
	f.Submission = impact.SubmissionID(q.one("submission"))
	f.State = impact.SubmissionState(q.enum("state", "", "draft", "submitted", "approved", "returned"))
	f.UpdatedSince = since(q)
	f.IncludeDeleted = q.boolean("include_deleted", !f.UpdatedSince.IsZero())
	return f, warnings, nil
}

// organisationParameter reads organisation=, which must mean exactly one that
// the caller may see.
func (s *server) organisationParameter(c *call) (impact.OrganisationID, error) {
	ref := c.query.one("organisation")
	if ref == "" {
		return "", nil
	}
	look := s.find
	if c.principal.Role == impact.RoleBuyer {
		look = s.findShown
	}
	found, _, err := look(c, ref)
	if e, ok := errors.AsType[*impact.Error](err); ok && e.Kind == impact.Invalid {
		for i := range e.Faults {
			c.query.refuse("organisation", &e.Faults[i])
		}
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var fault impact.Fault
	switch len(found) {
	case 1:
		return found[0].ID, nil
	case 0:
		fault = impact.UnknownOrganisation(ref)
	default:
		fault = impact.AmbiguousOrganisation(ref, found)
	}
	c.query.refuse("organisation", &fault)
	return "", nil
}

// allOf gives the territory, what it contains today and what became part of
// either: the places of observations, whatever their year.
func (s *server) allOf(t *impact.Territory) []impact.TerritoryKey {
	g, v := s.Catalogue.Gazetteer(), s.vintage()
	inside := map[impact.TerritoryKey]bool{t.Key: true}
	for _, d := range g.Descendants(t.Key, v, "") {
		inside[d.Key] = true
	}
	for _, x := range g.All() {
		if slices.ContainsFunc(g.Project(x.Key, v), func(p impact.Projection) bool { return inside[p.Key] }) {
			inside[x.Key] = true
		}
	}
	return slices.Sorted(maps.Keys(inside))
}

// within reads period=: a period, or a range of periods "2023/2025".
func (s *server) within(q *query) *impact.Period {
	v := q.one("period")
	if v == "" {
		return nil
	}
	p, fault := impact.ParsePeriod(v)
	if from, to, ok := strings.Cut(v, "/"); fault != nil && ok {
		first, fault1 := impact.ParsePeriod(from)
		last, fault2 := impact.ParsePeriod(to)
		if fault1 == nil && fault2 == nil {
			p, fault = impact.Period{Start: first.Start, End: last.End}, nil
		}
	}
	q.cannotRead("period", fault)
	return &p
}

// getObservation reads one observation.
//
//	@Summary		Read an observation
//	@ID				getObservation
//	@Tags			observations
//	@Produce		json
//	@Param			id				path		string	true	"Id of the observation"
//	@Param			If-None-Match	header		string	false	"ETag already held"
//	@Success		200				{object}	Observation
//	@Header			200				{string}	ETag	"Its version"
//	@Success		304				"Not modified"
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/observations/{id} [get]
func (s *server) getObservation(c *call) error {
	o, err := s.Observations.Observation(c.r.Context(), c.principal, impact.ObservationID(c.param("id")))
	if err != nil {
		return err
	}
	if still, err := s.used(c, readingOf(&o)); err != nil || !still(0) {
		return cmp.Or(err, impact.NotFoundError())
	}
	if err := s.witness(c, string(o.ID), o.OrganisationID); err != nil {
		return err
	}
	if c.fresh(versionTag(o.Version)) {
		return nil
	}
	return c.answer(http.StatusOK, s.observation(c, &o))
}

// updateObservation changes the value of an observation, or what is said of it.
//
//	@Summary		Correct an observation
//	@Description	JSON Merge Patch; a new version is made, the former ones stay in the history. The key (organisation, indicator, territory, period, programme, disaggregation) never changes.
//	@ID				updateObservation
//	@Tags			observations
//	@Accept			application/merge-patch+json,json
//	@Produce		json
//	@Param			id			path		string				true	"Id of the observation"
//	@Param			If-Match	header		string				true	"ETag of the version that is changed"
//	@Param			body		body		ObservationChange	true	"Members to change"
//	@Success		200			{object}	Observation
//	@Header			200			{string}	ETag				"The new version"
//	@Header			200			{string}	Consistency-Token	"Send it to a live reading that must include this write"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/observations/{id} [patch]
func (s *server) updateObservation(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	patch, err := decodePatch[ObservationInput](c)
	if err != nil {
		return err
	}
	current, err := s.Observations.Observation(c.r.Context(), c.principal, impact.ObservationID(c.param("id")))
	if err != nil {
		return err
	}
	before := s.observationInput(&current)
	next, err := patch.apply(before)
	if err != nil {
		return err
	}
	if faults := keyChanged(&before, &next); len(faults) > 0 {
		return impact.Refuse(faults...)
	}
	if patch.has("value") && !patch.has("obs_status") && !next.Value.Null && next.Value.Text != "" && !current.Status.HasNumber() {
		next.Status = "" // a value where there was none: A unless told
	}
	checker := s.checker()
	rows, err := s.resolve(c.r.Context(), c, checker, []stated{{Statement: next.statement(patch.has("value"))}}, nil)
	if err != nil {
		return err
	}
	if len(rows[0].Faults) > 0 {
		return impact.Refuse(rows[0].Faults...)
	}
	results, err := s.Observations.PutObservations(c.r.Context(), impact.Batch{Principal: c.principal, Rows: rows, Checker: checker, AllOrNothing: true, IfVersion: version})
	if err != nil {
		return err
	}
	w := s.observation(c, &results.Rows[0].Observation)
	w.Meta = ObservationMeta{Outcome: string(results.Rows[0].Outcome), Warnings: c.entries(rows[0].Warnings)}
	c.under(results.Mandates)
	return c.done(http.StatusOK, w.Version, results.Seq, w)
}

func keyChanged(before, next *ObservationInput) []impact.Fault {
	var faults []impact.Fault
	for _, m := range []struct {
		name    string
		changed bool
	}{
		{"organisation", before.Organisation != next.Organisation},
		{"indicator", before.Indicator != next.Indicator},
		{"territory", before.Territory != next.Territory},
		{"period", before.Period != next.Period},
		{"programme", before.Programme != next.Programme},
		{"disaggregation", !maps.Equal(before.Disaggregation, next.Disaggregation)},
	} {
		if m.changed {
			faults = append(faults, impact.Fault{
				Code: "immutable_member", Pointer: "/" + m.name,
				Detail: impact.Text{FR: m.name + " fait partie de la clé de l'observation, qui ne change pas.", EN: m.name + " is part of the key of the observation, which does not change."},
				Hint:   impact.Text{FR: "Supprimez cette observation et déclarez-en une autre.", EN: "Delete this observation and state another one."},
			})
		}
	}
	return faults
}

// deleteObservation leaves a tombstone in place of an observation.
//
//	@Summary		Delete an observation
//	@Description	It no longer counts; a tombstone and the history remain.
//	@ID				deleteObservation
//	@Tags			observations
//	@Produce		json
//	@Param			id			path	string	true	"Id of the observation"
//	@Param			If-Match	header	string	true	"ETag of the version that is deleted"
//	@Success		204			"Deleted"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/observations/{id} [delete]
func (s *server) deleteObservation(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	done, err := s.Observations.DeleteObservation(c.r.Context(), c.principal, impact.ObservationID(c.param("id")), version)
	if err != nil {
		return err
	}
	c.under(done.Mandates)
	return c.done(http.StatusNoContent, 0, done.Seq, nil)
}

// listObservationHistory lists the versions of an observation, the last first.
//
//	@Summary		Versions of an observation
//	@Description	Who wrote what and when, the last version first; a deletion is a version too.
//	@ID				listObservationHistory
//	@Tags			observations
//	@Produce		json
//	@Param			id		path		string	true	"Id of the observation"
//	@Success		200		{object}	ObservationHistory
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/observations/{id}/history [get]
func (s *server) listObservationHistory(c *call) error {
	id := impact.ObservationID(c.param("id"))
	versions, err := s.Observations.History(c.r.Context(), c.principal, id)
	if err != nil {
		return err
	}
	if len(versions) == 0 {
		return impact.NotFoundError()
	}
	reading := make([][]impact.Use, len(versions))
	for i := range versions {
		reading[i] = readingOf(&versions[i])
	}
	if still, err := s.used(c, reading...); err != nil || !still(0) {
		return cmp.Or(err, impact.NotFoundError())
	}
	if err := s.witness(c, string(id), versions[0].OrganisationID); err != nil {
		return err
	}
	slices.SortFunc(versions, func(a, b impact.Observation) int { return b.Version - a.Version })
	data := make([]ObservationVersion, len(versions))
	for i := range versions {
		o := &versions[i]
		data[i] = ObservationVersion{
			Version: o.Version, Value: o.Value, Unit: s.unitOf(o), Status: string(rune(o.Status)), State: string(o.State), Submission: string(o.Submission),
			Note: o.Note, ActedBy: o.ActedBy, Mandate: optional(o.Mandate), Deleted: o.Deleted, UpdatedAt: instant(o.UpdatedAt),
		}
		if i+1 < len(versions) {
			data[i].PreviousValue = versions[i+1].Value
		}
	}
	return c.answer(http.StatusOK, page(c, data, nil))
}
