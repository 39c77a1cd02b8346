package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

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

// resolve turns statements into rows: organisation found, codes resolved,
// value exact, or the faults that stand against it. own is the organisation of
// statements that name none; nil means the caller's.
func (s *server) resolve(ctx context.Context, c *call, checker *impact.Checker, stated []stated, own *impact.Organisation) ([]*impact.Row, error) {
	type found struct {
		organisation *impact.Organisation
		fault        *impact.Fault
		warnings     []impact.Fault
	}
	known := map[string]found{}
	if own != nil {
		known[""] = found{organisation: own}
	}
	each, err := s.members(ctx, c, stated)
	if err != nil {
		return nil, err
	}
	lookup := func(ref string) (found, error) {
		if f, ok := known[ref]; ok {
			return f, nil
		}
		if len(each[ref]) == 1 {
			f := found{organisation: &each[ref][0]}
			known[ref] = f
			return f, nil
		}
		organisation, warnings, fault, err := s.actingFor(ctx, c, ref)
		f := found{organisation, fault, warnings}
		known[ref] = f
		return f, err
	}
	held := make([]impact.Row, len(stated))
	rows := make([]*impact.Row, len(stated))
	for i := range stated {
		st, row := &stated[i], &held[i]
		rows[i] = row
		f, err := lookup(st.Organisation)
		if err != nil {
			return nil, err
		}
		row.Organisation = f.organisation
		var faults []impact.Fault
		row.Resolved, faults, row.Warnings = checker.Resolve(&st.Statement, f.organisation)
		if f.warnings != nil {
			row.Warnings = append(slices.Clone(f.warnings), row.Warnings...)
		}
		if st.faults != nil || f.fault != nil || faults != nil {
			row.Faults = slices.Clone(st.faults)
			if f.fault != nil {
				row.Faults = append(row.Faults, *f.fault)
			}
			for _, x := range faults {
				if !mentioned(row.Faults, x.Pointer) {
					row.Faults = append(row.Faults, x)
				}
			}
		}
	}
	return rows, nil
}

// members looks up at once the organisations that a network names in a batch;
// references that need a word more (put in form, unknown, ambiguous) are left
// to actingFor.
func (s *server) members(ctx context.Context, c *call, stated []stated) (map[string][]impact.Organisation, error) {
	if c.principal.Role != impact.RoleNetwork || len(stated) < 2 {
		return nil, nil
	}
	refs := make([]string, 0, len(stated))
	for i := range stated {
		if ref := stated[i].Organisation; ref != "" {
			refs = append(refs, ref)
		}
	}
	return s.Organisations.FindEachOrganisation(ctx, c.principal, refs)
}

// mentioned tells that something is already said of a place: what could not be
// read is not also missing.
func mentioned(faults []impact.Fault, pointer string) bool {
	return slices.ContainsFunc(faults, func(f impact.Fault) bool { return f.Pointer == pointer || f.Pointer == "" })
}

// actingFor finds the organisation the caller acts for: exactly one, and one it
// may write for; with no reference, the one it is.
func (s *server) actingFor(ctx context.Context, c *call, ref string) (o *impact.Organisation, warnings []impact.Fault, fault *impact.Fault, err error) {
	if ref == "" {
		if ref, err = s.itself(ctx, c); err != nil {
			return nil, nil, nil, err
		}
		if ref == "" {
			return nil, nil, &impact.Fault{
				Code: "missing_field", Pointer: "/organisation",
				Detail: impact.Text{FR: "Dites pour quelle organisation vous déclarez.", EN: "Say for which organisation you state this."},
				Hint:   impact.Text{FR: "Son id, siret:…, siren:…, rna:… ou ext:{source}:{id}.", EN: "Its id, siret:…, siren:…, rna:… or ext:{source}:{id}."},
			}, nil
		}
	}
	if ref != "" && ref == string(c.principal.Organisation) {
		o, err := s.own(ctx, c)
		if err != nil && impact.KindOf(err) == impact.NotFound {
			return nil, nil, at(impact.UnknownOrganisation(ref), "/organisation"), nil
		}
		return o, nil, nil, err
	}
	candidates, warnings, err := s.findIn(ctx, c, ref)
	if err != nil {
		if e, ok := errors.AsType[*impact.Error](err); ok && e.Kind == impact.Invalid && len(e.Faults) == 1 {
			return nil, nil, at(e.Faults[0], "/organisation"), nil
		}
		return nil, nil, nil, err
	}
	// Whether a network may write for the one it names is found with the write.
	if c.principal.Role != impact.RoleNetwork {
		candidates = slices.DeleteFunc(candidates, func(o impact.Organisation) bool { return !c.principal.Writes(o.ID) })
	}
	switch len(candidates) {
	case 0:
		return nil, nil, at(impact.UnknownOrganisation(ref), "/organisation"), nil
	case 1:
		for i := range warnings {
			warnings[i].Pointer = "/organisation"
		}
		return &candidates[0], warnings, nil, nil
	}
	return nil, nil, at(impact.AmbiguousOrganisation(ref, candidates), "/organisation"), nil
}

// itself is the organisation the caller is, empty when it is none.
func (s *server) itself(ctx context.Context, c *call) (string, error) {
	if c.principal.Role != impact.RoleNetwork {
		return string(c.principal.Organisation), nil
	}
	n, err := s.Networks.Network(ctx, string(c.principal.Network))
	return string(n.Organisation), err
}

// ownFor is how long the organisation of a caller is remembered: a write needs
// its key, which never changes, and what it was when the value was written is
// read again with the write.
const ownFor = 2 * time.Second

// own gives the organisation of the caller.
func (s *server) own(ctx context.Context, c *call) (*impact.Organisation, error) {
	id, now := c.principal.Organisation, s.Now()
	if o, ok := s.owned.get(id, now); ok {
		return o, nil
	}
	o, err := s.Organisations.Organisation(ctx, c.principal, id)
	if err != nil {
		return nil, err
	}
	s.owned.put(id, &o, now.Add(ownFor))
	return &o, nil
}

// owned remembers organisations for a short while.
type owned struct {
	mu   sync.Mutex
	held map[impact.OrganisationID]ownedUntil
}

type ownedUntil struct {
	organisation *impact.Organisation
	until        time.Time
}

func (k *owned) get(id impact.OrganisationID, now time.Time) (*impact.Organisation, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, ok := k.held[id]
	return h.organisation, ok && now.Before(h.until)
}

func (k *owned) put(id impact.OrganisationID, o *impact.Organisation, until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil || len(k.held) >= 10_000 {
		k.held = map[impact.OrganisationID]ownedUntil{}
	}
	k.held[id] = ownedUntil{o, until}
}

func (k *owned) forget(id impact.OrganisationID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, id)
}

func at(f impact.Fault, pointer string) *impact.Fault {
	f.Pointer = pointer
	return &f
}

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
