package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/grandlyon/retombees/pkg/impact"
)

// SubmissionStore keeps submissions and their life-cycle. Each method shows and
// changes what the principal may see and change, and nothing else exists for it.
type SubmissionStore interface {
	CreateSubmission(ctx context.Context, p impact.Principal, u impact.Submission, b *impact.Batch) (impact.Submission, impact.Results, error)
	Submission(ctx context.Context, p impact.Principal, id impact.SubmissionID) (impact.Submission, error)
	Submissions(ctx context.Context, p impact.Principal, f impact.SubmissionFilter, page impact.Page) ([]impact.Submission, []string, error)
	UpdateSubmission(ctx context.Context, p impact.Principal, id impact.SubmissionID, version int, change func(*impact.Submission) error) (impact.Submission, error)
	DeleteSubmission(ctx context.Context, p impact.Principal, id impact.SubmissionID, version int) (impact.Results, error)
	// Transition takes one of the actions submit, approve, return, reopen; a
	// version of 0 asks for no particular one.
	Transition(ctx context.Context, p impact.Principal, id impact.SubmissionID, version int, action, reason string) (impact.Submission, error)
	Completeness(ctx context.Context, p impact.Principal, id impact.SubmissionID) (impact.Completeness, error)
}

// SubmissionInput opens a submission.
type SubmissionInput struct {
	// Id, or siret:… siren:… rna:… ext:{source}:{id}; the caller itself when absent.
	Organisation  string `json:"organisation,omitempty" example:"siret:12345678200010"`
	Period        string `json:"period" example:"2025"`
	Questionnaire string `json:"questionnaire,omitempty" example:"insertion-2025"`
	Source        string `json:"source,omitempty" example:"cocagne-crm"`
	// All or nothing. The organisation is that of the submission.
	Observations []ObservationInput `json:"observations,omitempty"`
}

// submissionBody is the same with the observations left unread.
type submissionBody struct {
	Organisation  string         `json:"organisation"`
	Period        string         `json:"period"`
	Questionnaire string         `json:"questionnaire"`
	Source        string         `json:"source"`
	Observations  jsontext.Value `json:"observations"`
}

// SubmissionChange is a merge patch of a draft.
type SubmissionChange struct {
	Period        string `json:"period,omitempty" example:"2025"`
	Questionnaire string `json:"questionnaire,omitempty" extensions:"x-nullable"`
	Source        string `json:"source,omitempty" extensions:"x-nullable"`
}

// SubmissionReturn says why a submission goes back to its organisation.
type SubmissionReturn struct {
	Reason string `json:"reason" example:"Les heures du T3 dépassent celles de l'année."`
}

// Submission gathers the observations of one organisation for one period.
type Submission struct {
	ID            string           `json:"id"`
	Organisation  OrganisationName `json:"organisation"`
	Period        string           `json:"period" example:"2025"`
	Questionnaire *string          `json:"questionnaire" extensions:"x-nullable" example:"insertion-2025"`
	Source        *string          `json:"source" extensions:"x-nullable"`
	State         string           `json:"state" enums:"draft,submitted,approved,returned"`
	Review        string           `json:"review" enums:"manual,automatic"`
	// Why it was last returned.
	Reason        *string         `json:"reason" extensions:"x-nullable"`
	Version       int             `json:"version" example:"1"`
	NObservations int             `json:"n_observations" example:"1"`
	ActedBy       string          `json:"acted_by"`
	Mandate       *string         `json:"mandate" extensions:"x-nullable"`
	CreatedAt     string          `json:"created_at" format:"date-time"`
	UpdatedAt     string          `json:"updated_at" format:"date-time"`
	Deleted       bool            `json:"deleted,omitempty"`
	Links         SubmissionLinks `json:"links"`
	Meta          Warned          `json:"meta"`
}

// SubmissionPage is a page of submissions.
type SubmissionPage = Page[Submission] // @name SubmissionPage

// OrganisationName names an organisation.
type OrganisationName struct {
	ID   string `json:"id"`
	Name string `json:"name" example:"Les Ateliers du Rhône"`
}

// SubmissionLinks leads on from a submission.
type SubmissionLinks struct {
	Self         string `json:"self"`
	Observations string `json:"observations"`
	Completeness string `json:"completeness"`
}

// Completeness tells what a submission was asked and what it answered.
type Completeness struct {
	Submission    string  `json:"submission"`
	Questionnaire *string `json:"questionnaire" extensions:"x-nullable"`
	Asked         int     `json:"asked" example:"12"`
	Answered      int     `json:"answered" example:"11"`
	// Answers without a number, by status.
	NoValue map[string]int     `json:"no_value"`
	Items   []CompletenessItem `json:"items"`
	// What stops the submission from being submitted.
	Blocking []ProblemEntry `json:"blocking"`
	Complete bool           `json:"complete"`
	Links    Links          `json:"links"`
}

// CompletenessItem is one indicator that was asked for.
type CompletenessItem struct {
	Indicator     string         `json:"indicator" example:"insertion_hours"`
	Required      bool           `json:"required"`
	Answered      bool           `json:"answered"`
	NObservations int            `json:"n_observations"`
	NoValue       map[string]int `json:"no_value"`
}

// createSubmission opens a submission.
//
//	@Summary		Open a submission
//	@Description	With its observations inline: all are written, or nothing is, and every fault is told with its place (`/observations/0/indicator`). At most one open submission for an organisation, a period and a questionnaire.
//	@ID				createSubmission
//	@Tags			submissions
//	@Accept			json
//	@Produce		json
//	@Param			Idempotency-Key	header		string			true	"The same key with the same request gives the same answer and opens nothing"
//	@Param			body			body		SubmissionInput	true	"The submission"
//	@Success		201				{object}	Submission
//	@Header			201				{string}	Location			"Address of the submission"
//	@Header			201				{string}	ETag				"Its version"
//	@Header			201				{string}	Consistency-Token	"Send it to a live reading that must include this write"
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/submissions [post]
func (s *server) createSubmission(c *call) error {
	if _, err := c.idempotencyKey(requiredKey); err != nil {
		return err
	}
	in, err := decode[submissionBody](c)
	if err != nil {
		return err
	}
	stated, faults, err := readInline(in.Observations)
	if err != nil {
		return err
	}
	return c.repeatable(requiredKey, func(ctx context.Context) (*reply, error) {
		u, own, warnings, wrong, err := s.submissionOf(ctx, c, &in)
		if err != nil {
			return nil, err
		}
		wrong = append(slices.Clone(faults), wrong...)
		checker := s.checker()
		rows, err := s.resolve(ctx, c, checker, stated, own)
		if err != nil {
			return nil, err
		}
		for i, row := range rows {
			at := pointerTo("/observations", i)
			for _, f := range row.Faults {
				// Said once of the submission, not again of each row.
				if own == nil && f.Pointer == "/organisation" && stated[i].Organisation == "" {
					continue
				}
				wrong = append(wrong, f.At(at))
			}
		}
		if len(wrong) > 0 {
			return nil, impact.Refuse(wrong...)
		}
		var batch *impact.Batch
		if len(rows) > 0 {
			batch = &impact.Batch{Principal: c.principal, Rows: rows, Checker: checker, AllOrNothing: true, Pointer: "/observations"}
		}
		opened, results, err := s.Submissions.CreateSubmission(ctx, c.principal, u, batch)
		if err != nil {
			return nil, err
		}
		for i, row := range rows {
			for _, w := range row.Warnings {
				warnings = append(warnings, w.At(pointerTo("/observations", i)))
			}
		}
		w := s.submission(c, &opened, own.Name)
		w.Meta.Warnings = c.entries(warnings)
		return c.reply(http.StatusCreated, w).at("/v1/submissions/" + string(opened.ID)).version(opened.Version).committed(results.Seq).under(opened.Under), nil
	})
}

// readInline reads the observations of a submission.
func readInline(raw jsontext.Value) ([]stated, []impact.Fault, error) {
	if len(raw) == 0 || raw.Kind() == 'n' {
		return nil, nil, nil
	}
	if raw.Kind() != '[' {
		return nil, []impact.Fault{{
			Code: "invalid_type", Pointer: "/observations",
			Detail: impact.Text{FR: "Il faut ici une liste.", EN: "Here a list is needed."},
			Hint:   impact.Text{FR: "Envoyez une liste […].", EN: "Send a list […]."},
		}}, nil
	}
	r, err := newStatementReader(raw)
	if err != nil {
		return nil, nil, err
	}
	r.peek()
	rows, err := r.array()
	return rows, nil, err
}

// submissionOf turns what was stated into the domain's noun. own is nil when the
// organisation could not be told.
func (s *server) submissionOf(ctx context.Context, c *call, in *submissionBody) (u impact.Submission, own *impact.Organisation, warnings, faults []impact.Fault, err error) {
	own, warnings, fault, err := s.actingFor(ctx, c, in.Organisation)
	if err != nil {
		return u, nil, nil, nil, err
	}
	if fault != nil {
		faults = append(faults, *fault)
	} else {
		u.Organisation = own.ID
	}
	u.Source = in.Source
	u.Review = impact.Manual
	period, more := periodMember(in.Period)
	faults = append(faults, more...)
	u.Period = period
	if in.Questionnaire != "" {
		q, fault, err := s.questionnaireNamed(ctx, in.Questionnaire)
		if err != nil {
			return u, nil, nil, nil, err
		}
		if fault != nil {
			faults = append(faults, *fault)
		} else {
			u.Questionnaire, u.Review = q.Code, q.Review
		}
	}
	if len(in.Source) > 200 {
		faults = append(faults, impact.Fault{
			Code: "too_long", Pointer: "/source",
			Detail: impact.Text{FR: "Ce texte dépasse 200 caractères.", EN: "This text is over 200 characters."},
			Hint:   impact.Text{FR: "Raccourcissez-le.", EN: "Shorten it."},
		})
	}
	return u, own, warnings, faults, nil
}

func periodMember(text string) (impact.Period, []impact.Fault) {
	if text == "" {
		return impact.Period{}, []impact.Fault{{
			Code: "missing_field", Pointer: "/period",
			Detail: impact.Text{FR: "Ce champ est obligatoire.", EN: "This field is required."},
			Hint:   impact.Text{FR: "Donnez la période déclarée : 2025, 2025-Q3…", EN: "Give the period stated: 2025, 2025-Q3…"},
		}}
	}
	p, fault := impact.ParsePeriod(text)
	if fault != nil {
		return p, []impact.Fault{*at(*fault, "/period")}
	}
	return p, nil
}

// questionnaireNamed finds a questionnaire by its code; a fault when there is none.
func (s *server) questionnaireNamed(ctx context.Context, code string) (impact.Questionnaire, *impact.Fault, error) {
	q, err := s.Questionnaires.Questionnaire(ctx, code)
	if err == nil || impact.KindOf(err) != impact.NotFound {
		return q, nil, err
	}
	all, err := s.Questionnaires.Questionnaires(ctx)
	if err != nil {
		return q, nil, err
	}
	suggestion := impact.Suggest(code, func(yield func(string) bool) {
		for i := range all {
			if !yield(all[i].Code) {
				return
			}
		}
	})
	f := impact.Fault{
		Code: "unknown_reference", Pointer: "/questionnaire", Value: code, Suggestion: suggestion,
		Detail: impact.Text{FR: "Aucun questionnaire ne porte ce code.", EN: "No questionnaire bears this code."},
		Hint:   impact.Text{FR: "GET /v1/questionnaires en donne la liste.", EN: "GET /v1/questionnaires lists them."},
	}
	if suggestion != "" {
		f.Hint = impact.Text{FR: "Vouliez-vous dire " + suggestion + " ?", EN: "Did you mean " + suggestion + "?"}
	}
	return q, &f, nil
}

// getSubmission reads one submission.
//
//	@Summary		Read a submission
//	@ID				getSubmission
//	@Tags			submissions
//	@Produce		json
//	@Param			id				path		string	true	"Id of the submission"
//	@Param			If-None-Match	header		string	false	"ETag already held"
//	@Success		200				{object}	Submission
//	@Header			200				{string}	ETag	"Its version"
//	@Success		304				"Not modified"
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/submissions/{id} [get]
func (s *server) getSubmission(c *call) error {
	u, err := s.Submissions.Submission(c.r.Context(), c.principal, impact.SubmissionID(c.param("id")))
	if err != nil {
		return err
	}
	if still, err := s.used(c, managingOf(&u)); err != nil || !still(0) {
		return cmp.Or(err, impact.NotFoundError())
	}
	if err := s.witness(c, string(u.ID), u.Organisation); err != nil {
		return err
	}
	if c.fresh(versionTag(u.Version)) {
		return nil
	}
	return s.showSubmission(c, &u)
}

func (s *server) showSubmission(c *call, u *impact.Submission) error {
	names, err := s.names(c, u.Organisation)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, s.submission(c, u, names[u.Organisation]))
}

// names gives the names of organisations that the caller sees.
func (s *server) names(c *call, ids ...impact.OrganisationID) (map[impact.OrganisationID]string, error) {
	names := make(map[impact.OrganisationID]string, len(ids))
	for _, id := range ids {
		if _, ok := names[id]; ok {
			continue
		}
		o, err := s.Organisations.Organisation(c.r.Context(), c.principal, id)
		if err != nil {
			return nil, err
		}
		names[id] = o.Name
	}
	return names, nil
}

// listSubmissions lists submissions.
//
//	@Summary		List submissions
//	@Description	An organisation sees its own, a steward all (each reading is logged).
//	@ID				listSubmissions
//	@Tags			submissions
//	@Produce		json
//	@Param			organisation	query		string	false	"Id, or siret:… siren:… rna:… ext:{source}:{id}"
//	@Param			period			query		string	false	"Period or range that contains the submission's"
//	@Param			questionnaire	query		string	false	"Code of a questionnaire"
//	@Param			state			query		string	false	"State"	Enums(draft, submitted, approved, returned)
//	@Param			updated_since	query		string	false	"Changed at that instant or later, in that order"	Format(date-time)
//	@Param			include_deleted	query		boolean	false	"Tombstones too; true with updated_since unless told"
//	@Param			limit			query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor			query		string	false	"Where to go on, from links.next"
//	@Success		200				{object}	SubmissionPage
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/submissions [get]
func (s *server) listSubmissions(c *call) error {
	q := c.query
	organisation, err := s.organisationParameter(c)
	if err != nil {
		return err
	}
	f := impact.SubmissionFilter{
		Organisation: organisation, Within: s.within(q), Questionnaire: q.one("questionnaire"),
		State: impact.SubmissionState(q.enum("state", "", "draft", "submitted", "approved", "returned")), UpdatedSince: since(q),
	}
	f.IncludeDeleted = q.boolean("include_deleted", !f.UpdatedSince.IsZero())
	p, err := c.paging()
	if err != nil {
		return err
	}
	rows, next, err := s.Submissions.Submissions(c.r.Context(), c.principal, f, p)
	if err != nil {
		return err
	}
	managing := make([][]impact.Use, len(rows))
	for i := range rows {
		managing[i] = managingOf(&rows[i])
	}
	still, err := s.used(c, managing...)
	if err != nil {
		return err
	}
	var shown []impact.Submission
	var of []impact.OrganisationID
	for i := range rows {
		if still(i) {
			shown, of = append(shown, rows[i]), append(of, rows[i].Organisation)
		}
	}
	rows = shown
	names, err := s.names(c, of...)
	if err != nil {
		return err
	}
	data := make([]Submission, len(rows))
	for i := range rows {
		data[i] = s.submission(c, &rows[i], names[rows[i].Organisation])
	}
	if err := s.witness(c, q.canonical("cursor"), of...); err != nil {
		return err
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

// updateSubmission changes a draft.
//
//	@Summary		Change a draft
//	@Description	JSON Merge Patch of a draft; 409 in any other state.
//	@ID				updateSubmission
//	@Tags			submissions
//	@Accept			application/merge-patch+json,json
//	@Produce		json
//	@Param			id			path		string				true	"Id of the submission"
//	@Param			If-Match	header		string				true	"ETag of the version that is changed"
//	@Param			body		body		SubmissionChange	true	"Members to change"
//	@Success		200			{object}	Submission
//	@Header			200			{string}	ETag	"The new version"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/submissions/{id} [patch]
func (s *server) updateSubmission(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	patch, err := decodePatch[SubmissionChange](c)
	if err != nil {
		return err
	}
	u, err := s.Submissions.UpdateSubmission(c.r.Context(), c.principal, impact.SubmissionID(c.param("id")), version, func(u *impact.Submission) error {
		next, err := patch.apply(SubmissionChange{Period: u.Period.String(), Questionnaire: u.Questionnaire, Source: u.Source})
		if err != nil {
			return err
		}
		period, faults := periodMember(next.Period)
		review := impact.Manual
		if next.Questionnaire != "" {
			q, fault, err := s.questionnaireNamed(c.r.Context(), next.Questionnaire)
			if err != nil {
				return err
			}
			if fault != nil {
				faults = append(faults, *fault)
			}
			review = q.Review
		}
		if len(faults) > 0 {
			return impact.Refuse(faults...)
		}
		u.Period, u.Questionnaire, u.Source, u.Review = period, next.Questionnaire, next.Source, review
		return nil
	})
	if err != nil {
		return err
	}
	return s.submissionDone(c, &u)
}

func (s *server) submissionDone(c *call, u *impact.Submission) error {
	c.under(u.Under)
	names, err := s.names(c, u.Organisation)
	if err != nil {
		return err
	}
	return c.done(http.StatusOK, u.Version, 0, s.submission(c, u, names[u.Organisation]))
}

// deleteSubmission deletes a draft with what it holds.
//
//	@Summary		Delete a draft
//	@Description	Its observations are deleted with it: each leaves a tombstone.
//	@ID				deleteSubmission
//	@Tags			submissions
//	@Produce		json
//	@Param			id			path	string	true	"Id of the submission"
//	@Param			If-Match	header	string	true	"ETag of the version that is deleted"
//	@Success		204			"Deleted"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/submissions/{id} [delete]
func (s *server) deleteSubmission(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	done, err := s.Submissions.DeleteSubmission(c.r.Context(), c.principal, impact.SubmissionID(c.param("id")), version)
	if err != nil {
		return err
	}
	c.under(done.Mandates)
	return c.done(http.StatusNoContent, 0, done.Seq, nil)
}

// getCompleteness tells what a submission lacks.
//
//	@Summary		What a submission was asked and what it answered
//	@ID				getSubmissionCompleteness
//	@Tags			submissions
//	@Produce		json
//	@Param			id		path		string	true	"Id of the submission"
//	@Success		200		{object}	Completeness
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/submissions/{id}/completeness [get]
func (s *server) getCompleteness(c *call) error {
	id := impact.SubmissionID(c.param("id"))
	u, err := s.Submissions.Submission(c.r.Context(), c.principal, id)
	if err != nil {
		return err
	}
	if still, err := s.used(c, managingOf(&u)); err != nil || !still(0) {
		return cmp.Or(err, impact.NotFoundError())
	}
	if err := s.witness(c, string(id), u.Organisation); err != nil {
		return err
	}
	k, err := s.Submissions.Completeness(c.r.Context(), c.principal, id)
	if err != nil {
		return err
	}
	w := Completeness{
		Submission: string(k.Submission), Questionnaire: optional(k.Questionnaire), Asked: k.Asked, Answered: k.Answered,
		NoValue: byLetter(k.NoValue), Items: make([]CompletenessItem, 0, len(k.Items)), Blocking: c.entries(k.Blocking), Complete: k.Complete(), Links: Links{Self: c.self()},
	}
	for _, i := range k.Items {
		w.Items = append(w.Items, CompletenessItem{Indicator: string(i.Indicator), Required: i.Required, Answered: i.Answered, NObservations: i.Observations, NoValue: byLetter(i.NoValue)})
	}
	return c.answer(http.StatusOK, w)
}

func byLetter(counts map[impact.Status]int) map[string]int {
	out := make(map[string]int, len(counts))
	for status, n := range counts {
		out[string(rune(status))] = n
	}
	return out
}

// submitSubmission hands a draft in.
//
//	@Summary		Submit a submission
//	@Description	From draft or returned. With `review: automatic`, a submission without error or warning is approved at once. 422 `incomplete` when a required answer is missing.
//	@ID				submitSubmission
//	@Tags			submissions
//	@Produce		json
//	@Param			id			path		string	true	"Id of the submission"
//	@Param			If-Match	header		string	false	"ETag of the version that is meant"
//	@Success		200			{object}	Submission
//	@Header			200			{string}	ETag	"The new version"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/submissions/{id}/submit [post]
func (s *server) submitSubmission(c *call) error { return s.transition(c, "submit") }

// approveSubmission accepts a submission: its observations count.
//
//	@Summary		Approve a submission
//	@ID				approveSubmission
//	@Tags			submissions
//	@Produce		json
//	@Param			id			path		string	true	"Id of the submission"
//	@Param			If-Match	header		string	false	"ETag of the version that is meant"
//	@Success		200			{object}	Submission
//	@Header			200			{string}	ETag	"The new version"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/submissions/{id}/approve [post]
func (s *server) approveSubmission(c *call) error { return s.transition(c, "approve") }

// returnSubmission gives a submission back.
//
//	@Summary		Return a submission, with a reason
//	@ID				returnSubmission
//	@Tags			submissions
//	@Accept			json
//	@Produce		json
//	@Param			id			path		string				true	"Id of the submission"
//	@Param			If-Match	header		string				false	"ETag of the version that is meant"
//	@Param			body		body		SubmissionReturn	true	"Why"
//	@Success		200			{object}	Submission
//	@Header			200			{string}	ETag	"The new version"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/submissions/{id}/return [post]
func (s *server) returnSubmission(c *call) error { return s.transition(c, "return") }

// reopenSubmission makes a draft of an approved submission.
//
//	@Summary		Reopen a submission
//	@Description	From approved, while the period is open (423 after). What was approved counts until the new version is approved.
//	@ID				reopenSubmission
//	@Tags			submissions
//	@Produce		json
//	@Param			id			path		string	true	"Id of the submission"
//	@Param			If-Match	header		string	false	"ETag of the version that is meant"
//	@Success		200			{object}	Submission
//	@Header			200			{string}	ETag	"The new version"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/submissions/{id}/reopen [post]
func (s *server) reopenSubmission(c *call) error { return s.transition(c, "reopen") }

// transition runs one action of the life-cycle. If-Match is not asked for: the
// state is the condition.
func (s *server) transition(c *call, action string) error {
	version := 0
	if c.r.Header.Get("If-Match") != "" {
		var err error
		if version, err = c.ifMatch(); err != nil {
			return err
		}
	}
	reason := ""
	if action == "return" {
		in, err := decode[SubmissionReturn](c)
		if err != nil {
			return err
		}
		if reason = in.Reason; reason == "" {
			return impact.Refuse(impact.Fault{
				Code: "missing_field", Pointer: "/reason",
				Detail: impact.Text{FR: "Une déclaration ne se renvoie pas sans dire pourquoi.", EN: "A submission is not returned without saying why."},
				Hint:   impact.Text{FR: "Écrivez ce que l'organisation doit corriger.", EN: "Write what the organisation has to mend."},
			})
		}
	} else if c.r.ContentLength != 0 {
		if _, err := decode[struct{}](c); err != nil {
			return err
		}
	}
	u, err := s.Submissions.Transition(c.r.Context(), c.principal, impact.SubmissionID(c.param("id")), version, action, reason)
	if err != nil {
		return err
	}
	if err := s.witness(c, string(u.ID), u.Organisation); err != nil {
		return err
	}
	return s.submissionDone(c, &u)
}

func (s *server) submission(c *call, u *impact.Submission, name string) Submission {
	id := string(u.ID)
	self := c.address("/v1/submissions/"+id, "")
	return Submission{
		ID: id, Organisation: OrganisationName{ID: string(u.Organisation), Name: name}, Period: u.Period.String(), Questionnaire: optional(u.Questionnaire),
		Source: optional(u.Source), State: string(u.State), Review: string(u.Review), Reason: optional(u.Reason), Version: u.Version, NObservations: u.Observations,
		ActedBy: u.ActedBy, Mandate: optional(u.Mandate), CreatedAt: instant(u.CreatedAt), UpdatedAt: instant(u.UpdatedAt), Deleted: u.Deleted,
		Links: SubmissionLinks{Self: self, Observations: c.address("/v1/observations", "submission="+id), Completeness: self + "/completeness"},
		Meta:  Warned{Warnings: []ProblemEntry{}},
	}
}
