package api

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/grandlyon/retombees/pkg/impact"
)

// MandateStore keeps the mandates that organisations give to networks, and what
// is done with them. Each method shows and changes what the principal is a side
// of, and nothing else exists for it.
type MandateStore interface {
	Mandates(ctx context.Context, p impact.Principal, f impact.MandateFilter, page impact.Page) ([]impact.Mandate, []string, error)
	Mandate(ctx context.Context, p impact.Principal, id impact.MandateID) (impact.Mandate, error)
	CreateMandate(ctx context.Context, p impact.Principal, m impact.Mandate) (impact.Mandate, impact.Outcome, error)
	DecideMandate(ctx context.Context, p impact.Principal, id impact.MandateID, action impact.MandateAction) (impact.Mandate, error)
	MandateUses(ctx context.Context, p impact.Principal, id impact.MandateID, page impact.Page) ([]impact.MandateUse, []string, error)
	// Mandated tells which uses a network's mandates allow today, LogUses keeps
	// what was done with them.
	Mandated(ctx context.Context, p impact.Principal, uses ...impact.Use) ([]impact.Permit, error)
	LogUses(ctx context.Context, p impact.Principal, action string, rows map[impact.MandateID]int) error
}

// MandateInput requests a mandate (a network) or grants one (an organisation).
type MandateInput struct {
	// Who gives the right; the caller itself when absent.
	From *MandateGiver `json:"from,omitempty"`
	// Who receives it; the caller itself when absent.
	To *MandateReceiver `json:"to,omitempty"`
	// What it allows; none implies another.
	Scopes []string `json:"scopes" example:"observations.read,observations.write"`
	// Codes of indicators; all of them when null or absent. A composed indicator
	// brings its components.
	Indicators []string `json:"indicators,omitempty" extensions:"x-nullable"`
	// Periods of the data; all of them when absent.
	Periods *MandatePeriods `json:"periods,omitempty" extensions:"x-nullable"`
	// First day of use; today when absent.
	ValidFrom string `json:"valid_from,omitempty" format:"date" extensions:"x-nullable"`
	// Last day of use; until revoked when null or absent.
	ValidTo string `json:"valid_to,omitempty" format:"date" extensions:"x-nullable" example:"2027-12-31"`
}

// MandateGiver is who gives a right.
type MandateGiver struct {
	// Id, or siret:… siren:… rna:… ext:{source}:{id}.
	Organisation string `json:"organisation" example:"siret:12345678200010"`
}

// MandateReceiver is who receives a right.
type MandateReceiver struct {
	// Id or code.
	Network string `json:"network" example:"COORACE"`
}

// MandatePeriods bounds the periods of the data, both included.
type MandatePeriods struct {
	From *string `json:"from,omitempty" extensions:"x-nullable" example:"2025"`
	To   *string `json:"to,omitempty" extensions:"x-nullable"`
}

// MandatePeriodsOut is the same, as it is shown.
type MandatePeriodsOut struct {
	From *string `json:"from" extensions:"x-nullable" example:"2025"`
	To   *string `json:"to" extensions:"x-nullable"`
} // @name MandatePeriodBounds

// Mandate is a right that an organisation gives a network on its data.
type Mandate struct {
	ID   string `json:"id"`
	From struct {
		Organisation OrganisationName `json:"organisation"`
	} `json:"from"`
	To struct {
		Network NetworkName `json:"network"`
	} `json:"to"`
	Scopes []string `json:"scopes"`
	// Codes of indicators; null for all of them.
	Indicators []string          `json:"indicators" extensions:"x-nullable"`
	Periods    MandatePeriodsOut `json:"periods"`
	ValidFrom  *string           `json:"valid_from" format:"date" extensions:"x-nullable"`
	// Last day of use; null until revoked.
	ValidTo *string `json:"valid_to" format:"date" extensions:"x-nullable"`
	State   string  `json:"state" enums:"requested,granted,refused,revoked,expired"`
	// Which side began it.
	StartedBy string `json:"started_by" enums:"network,organisation"`
	// Client that began it, and the client of the last decision.
	RequestedBy string       `json:"requested_by"`
	DecidedBy   *string      `json:"decided_by" extensions:"x-nullable"`
	DecidedAt   *string      `json:"decided_at" format:"date-time" extensions:"x-nullable"`
	Version     int          `json:"version" example:"1"`
	CreatedAt   string       `json:"created_at" format:"date-time"`
	UpdatedAt   string       `json:"updated_at" format:"date-time"`
	Links       MandateLinks `json:"links"`
}

// MandateLinks leads on from a mandate.
type MandateLinks struct {
	Self  string `json:"self"`
	Usage string `json:"usage"`
}

// MandateUse is one line of the log of a mandate.
type MandateUse struct {
	At     string `json:"at" format:"date-time"`
	Client string `json:"client_id"`
	// The scope that was used, or observations.delete.
	Action string `json:"action" example:"observations.write"`
	// How many rows it was about.
	Rows int `json:"rows" example:"412"`
}

// MandatePage is a page of mandates.
type MandatePage = Page[Mandate] // @name MandatePage

// MandateUsePage is a page of the log of a mandate.
type MandateUsePage = Page[MandateUse] // @name MandateUsePage

func (s *server) mandate(c *call, m *impact.Mandate) Mandate {
	self := c.address("/v1/mandates/"+string(m.ID), "")
	w := Mandate{
		ID: string(m.ID), Scopes: impact.Words(m.Scopes), ValidFrom: day(m.ValidFrom), ValidTo: day(m.ValidTo),
		State: string(m.StateOn(impact.DateOf(s.Now()))), StartedBy: string(m.StartedBy), RequestedBy: m.RequestedBy, DecidedBy: optional(m.DecidedBy),
		Version: m.Version, CreatedAt: instant(m.CreatedAt), UpdatedAt: instant(m.UpdatedAt), Links: MandateLinks{Self: self, Usage: self + "/usage"},
	}
	w.From.Organisation = OrganisationName{string(m.Organisation), m.OrganisationName}
	w.To.Network = NetworkName{string(m.Network), m.NetworkName}
	for _, k := range m.Indicators {
		if ind := s.Catalogue.IndicatorByKey(k); ind != nil {
			w.Indicators = append(w.Indicators, string(ind.Code))
		}
	}
	if m.Periods.Start != impact.MinDate {
		from := bound(m.Periods.Start, func(p impact.Period) bool { return p.Start == m.Periods.Start })
		w.Periods.From = &from
	}
	if m.Periods.End != impact.MaxDate {
		to := bound(m.Periods.End, func(p impact.Period) bool { return p.End == m.Periods.End })
		w.Periods.To = &to
	}
	if !m.DecidedAt.IsZero() {
		at := instant(m.DecidedAt)
		w.DecidedAt = &at
	}
	return w
}

// bound writes a day as the longest named period that begins, or ends, on it.
func bound(d impact.Date, fits func(impact.Period) bool) string {
	for _, g := range []impact.Granularity{impact.Year, impact.Semester, impact.Quarter, impact.Month} {
		if p := (impact.Period{Start: d, End: d}).Buckets(g)[0]; fits(p) {
			return p.String()
		}
	}
	return d.String()
}

// periodOrDay reads a period as people write it, or one day.
func periodOrDay(text string) (impact.Period, *impact.Fault) {
	if d, fault := impact.ParseDate(text); fault == nil {
		return impact.Period{Start: d, End: d}, nil
	}
	p, _, fault := impact.ReadPeriod(text)
	return p, fault
}

// mandateOf resolves what was stated into the domain's noun.
func (s *server) mandateOf(ctx context.Context, c *call, in *MandateInput) (impact.Mandate, error) {
	today := impact.DateOf(s.Now())
	m := impact.Mandate{Periods: impact.Period{Start: impact.MinDate, End: impact.MaxDate}, ValidFrom: today, ValidTo: impact.MaxDate, Scopes: scopesOf(in.Scopes)}
	var faults []impact.Fault
	wrong := func(pointer string, f impact.Fault) { faults = append(faults, *at(f, pointer)) }
	if in.Indicators != nil {
		m.Indicators = []impact.IndicatorKey{}
	}
	for i, code := range in.Indicators {
		ind, fault := s.Catalogue.FindIndicator(code)
		if fault != nil {
			wrong(pointerTo("/indicators", i), *fault)
			continue
		}
		m.Indicators = append(m.Indicators, ind.Key)
	}
	if p := in.Periods; p != nil {
		for _, b := range []struct {
			pointer string
			text    *string
			take    func(impact.Period)
		}{
			{"/periods/from", p.From, func(x impact.Period) { m.Periods.Start = x.Start }},
			{"/periods/to", p.To, func(x impact.Period) { m.Periods.End = x.End }},
		} {
			if b.text == nil || *b.text == "" {
				continue
			}
			x, fault := periodOrDay(*b.text)
			if fault != nil {
				wrong(b.pointer, *fault)
				continue
			}
			b.take(x)
		}
	}
	faults = append(faults, readDays(dayMember{"/valid_from", in.ValidFrom, &m.ValidFrom}, dayMember{"/valid_to", in.ValidTo, &m.ValidTo})...)
	organisation, network, err := s.sides(ctx, c, in, wrong)
	if err != nil {
		return m, err
	}
	m.Organisation, m.Network = organisation, network
	m.Spread(s.Catalogue)
	for _, f := range m.Check(today) {
		if !mentioned(faults, f.Pointer) {
			faults = append(faults, f)
		}
	}
	return m, impact.Refuse(faults...)
}

// sides reads who gives a mandate and who receives it: the caller is one of
// them, and names the other.
func (s *server) sides(ctx context.Context, c *call, in *MandateInput, wrong func(string, impact.Fault)) (organisation impact.OrganisationID, network impact.NetworkID, err error) {
	p := c.principal
	giver, receiver := "", ""
	if in.From != nil {
		giver = in.From.Organisation
	}
	if in.To != nil {
		receiver = in.To.Network
	}
	missing := func(pointer string, hint impact.Text) {
		wrong(pointer, impact.Fault{Code: "missing_field", Detail: impact.Text{FR: "Ce champ est obligatoire.", EN: "This field is required."}, Hint: hint})
	}
	if giver == "" && p.Role != impact.RoleOrganisation {
		missing("/from/organisation", impact.Text{FR: "Nommez l'organisation dont vous demandez le mandat.", EN: "Name the organisation whose mandate you ask for."})
	} else if giver == "" {
		organisation = p.Organisation
	} else if organisation, err = s.giver(ctx, c, giver, wrong); err != nil {
		return "", "", err
	}
	if receiver == "" && p.Role != impact.RoleNetwork {
		missing("/to/network", impact.Text{FR: "Nommez le réseau : GET /v1/networks.", EN: "Name the network: GET /v1/networks."})
		return organisation, "", nil
	}
	if receiver == "" {
		return organisation, p.Network, nil
	}
	n, err := s.Networks.Network(ctx, receiver)
	unknown := impact.KindOf(err) == impact.NotFound
	if err != nil && !unknown {
		return "", "", err
	}
	if unknown || p.Role == impact.RoleNetwork && n.ID != p.Network {
		wrong("/to/network", impact.Fault{
			Code: "unknown_reference", Value: receiver,
			Detail: impact.Text{FR: "Ce réseau n'existe pas, ou ce n'est pas le vôtre.", EN: "This network does not exist, or is not yours."},
			Hint:   impact.Text{FR: "GET /v1/networks donne les réseaux.", EN: "GET /v1/networks lists the networks."},
		})
	}
	return organisation, n.ID, nil
}

// giver finds the organisation that a mandate is asked of.
func (s *server) giver(ctx context.Context, c *call, ref string, wrong func(string, impact.Fault)) (impact.OrganisationID, error) {
	found, _, err := s.findIn(ctx, c, ref)
	if e, ok := errors.AsType[*impact.Error](err); ok && e.Kind == impact.Invalid && len(e.Faults) == 1 {
		wrong("/from/organisation", e.Faults[0])
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if p := c.principal; p.Role == impact.RoleOrganisation {
		found = slices.DeleteFunc(found, func(o impact.Organisation) bool { return !p.Is(o.ID) })
	}
	switch len(found) {
	case 0:
		wrong("/from/organisation", impact.UnknownOrganisation(ref))
		return "", nil
	case 1:
		return found[0].ID, nil
	}
	wrong("/from/organisation", impact.AmbiguousOrganisation(ref, found))
	return "", nil
}

// createMandate requests or grants a mandate.
//
//	@Summary		Request a mandate, or grant one
//	@Description	A network requests, naming one of its members: the mandate is `requested` until the organisation grants or refuses it; requested again meanwhile, it is the same one (200). An organisation grants at once. A mandate gives the scopes it names on the indicators and periods it names, from valid_from to valid_to; no scope implies another: to correct or delete what stands takes both observations.read and observations.write.
//	@ID				createMandate
//	@Tags			networks
//	@Accept			json
//	@Produce		json
//	@Param			Idempotency-Key	header		string			false	"Makes a repeated request answer what it answered first"
//	@Param			body			body		MandateInput	true	"The mandate"
//	@Success		200				{object}	Mandate
//	@Success		201				{object}	Mandate
//	@Header			201				{string}	Location	"Address of the mandate"
//	@Header			201				{string}	ETag		"Its version"
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/mandates [post]
func (s *server) createMandate(c *call) error {
	if r := c.principal.Role; r != impact.RoleNetwork && r != impact.RoleOrganisation {
		return &impact.Error{
			Kind: impact.Forbidden, Code: "not_mandated",
			Detail: impact.Text{FR: "Un mandat lie une organisation et un réseau.", EN: "A mandate binds an organisation and a network."},
			Hint:   impact.Text{FR: "Utilisez un client de l'une ou de l'autre.", EN: "Use a client of one or the other."},
		}
	}
	in, err := decode[MandateInput](c)
	if err != nil {
		return err
	}
	return c.repeatable(optionalKey, func(ctx context.Context) (*reply, error) {
		m, err := s.mandateOf(ctx, c, &in)
		if err != nil {
			return nil, err
		}
		created, outcome, err := s.Mandates.CreateMandate(ctx, c.principal, m)
		if err != nil {
			return nil, err
		}
		status := http.StatusCreated
		if outcome == impact.Unchanged {
			status = http.StatusOK
		}
		return c.reply(status, s.mandate(c, &created)).at("/v1/mandates/" + string(created.ID)).version(created.Version), nil
	})
}

// listMandates lists mandates.
//
//	@Summary		List mandates
//	@Description	Those the caller has given, or received.
//	@ID				listMandates
//	@Tags			networks
//	@Produce		json
//	@Param			organisation	query		string	false	"Id of the organisation that gives"
//	@Param			network			query		string	false	"Id of the network that receives"
//	@Param			state			query		string	false	"Where they stand today"	Enums(requested, granted, refused, revoked, expired)
//	@Param			updated_since	query		string	false	"Changed at that instant or later, in that order"	Format(date-time)
//	@Param			limit			query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor			query		string	false	"Where to go on, from links.next"
//	@Success		200				{object}	MandatePage
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/mandates [get]
func (s *server) listMandates(c *call) error {
	q := c.query
	f := impact.MandateFilter{
		Organisation: impact.OrganisationID(q.one("organisation")), Network: impact.NetworkID(q.one("network")),
		State: impact.MandateState(q.enum("state", "", "requested", "granted", "refused", "revoked", "expired")), UpdatedSince: since(q),
	}
	p, err := c.paging()
	if err != nil {
		return err
	}
	rows, next, err := s.Mandates.Mandates(c.r.Context(), c.principal, f, p)
	if err != nil {
		return err
	}
	data := make([]Mandate, len(rows))
	for i := range rows {
		data[i] = s.mandate(c, &rows[i])
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

// getMandate reads one mandate.
//
//	@Summary		Read a mandate
//	@Description	Its two sides read it.
//	@ID				getMandate
//	@Tags			networks
//	@Produce		json
//	@Param			id		path		string	true	"Id of the mandate"
//	@Success		200		{object}	Mandate
//	@Header			200		{string}	ETag	"Its version"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/mandates/{id} [get]
func (s *server) getMandate(c *call) error {
	m, err := s.Mandates.Mandate(c.r.Context(), c.principal, impact.MandateID(c.param("id")))
	if err != nil {
		return err
	}
	// No 304: a mandate expires without a new version.
	c.w.Header().Set("ETag", versionTag(m.Version))
	return c.answer(http.StatusOK, s.mandate(c, &m))
}

// grantMandate grants what was requested.
//
//	@Summary		Grant a mandate
//	@Description	By the organisation, from requested. It holds at once.
//	@ID				grantMandate
//	@Tags			networks
//	@Produce		json
//	@Param			id		path		string	true	"Id of the mandate"
//	@Success		200		{object}	Mandate
//	@Header			200		{string}	ETag	"The new version"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/mandates/{id}/grant [post]
func (s *server) grantMandate(c *call) error { return s.decideMandate(c, impact.GrantMandate) }

// refuseMandate refuses what was requested.
//
//	@Summary		Refuse a mandate
//	@Description	By the organisation, from requested.
//	@ID				refuseMandate
//	@Tags			networks
//	@Produce		json
//	@Param			id		path		string	true	"Id of the mandate"
//	@Success		200		{object}	Mandate
//	@Header			200		{string}	ETag	"The new version"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/mandates/{id}/refuse [post]
func (s *server) refuseMandate(c *call) error { return s.decideMandate(c, impact.RefuseMandate) }

// revokeMandate ends a mandate.
//
//	@Summary		Revoke a mandate
//	@Description	By the organisation, at once: the very next request of the network is refused. The network may give the mandate back, or take its request back, the same way. What was written under it stays, marked, and belongs to the organisation.
//	@ID				revokeMandate
//	@Tags			networks
//	@Produce		json
//	@Param			id		path		string	true	"Id of the mandate"
//	@Success		200		{object}	Mandate
//	@Header			200		{string}	ETag	"The new version"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/mandates/{id}/revoke [post]
func (s *server) revokeMandate(c *call) error { return s.decideMandate(c, impact.RevokeMandate) }

func (s *server) decideMandate(c *call, action impact.MandateAction) error {
	if c.r.ContentLength != 0 {
		if _, err := decode[struct{}](c); err != nil {
			return err
		}
	}
	m, err := s.Mandates.DecideMandate(c.r.Context(), c.principal, impact.MandateID(c.param("id")), action)
	if err != nil {
		return err
	}
	return c.done(http.StatusOK, m.Version, 0, s.mandate(c, &m))
}

// listMandateUses tells what was done with a mandate.
//
//	@Summary		What was done with a mandate
//	@Description	One line for each request that read or wrote under it, the last first; its two sides read it.
//	@ID				listMandateUses
//	@Tags			networks
//	@Produce		json
//	@Param			id		path		string	true	"Id of the mandate"
//	@Param			limit	query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor	query		string	false	"Where to go on, from links.next"
//	@Success		200		{object}	MandateUsePage
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/mandates/{id}/usage [get]
func (s *server) listMandateUses(c *call) error {
	p, err := c.paging()
	if err != nil {
		return err
	}
	rows, next, err := s.Mandates.MandateUses(c.r.Context(), c.principal, impact.MandateID(c.param("id")), p)
	if err != nil {
		return err
	}
	data := make([]MandateUse, len(rows))
	for i, u := range rows {
		data[i] = MandateUse{At: instant(u.At), Client: u.Client, Action: u.Action, Rows: u.Rows}
	}
	return c.answer(http.StatusOK, page(c, data, next))
}
