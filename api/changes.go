package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ChangeStore reads the log of commits as the changes a principal may see.
type ChangeStore interface {
	// LastChange is where a reader stands who knows everything there is.
	LastChange(ctx context.Context, p impact.Principal) (impact.ChangePosition, error)
	Changes(ctx context.Context, p impact.Principal, f impact.ChangeFilter, after impact.ChangePosition, limit int) (list []impact.Change, next impact.ChangePosition, caughtUp bool, err error)
	// AwaitChange returns when there is more after the position, or with the
	// error of the context.
	AwaitChange(ctx context.Context, p impact.Principal, after impact.ChangePosition) error
}

// ChangeFeed is a page of the change feed.
type ChangeFeed struct {
	// In the order of commits.
	Data []FeedChange `json:"data"`
	// Where to copy what there is, by type, after a call without cursor; null with one.
	Snapshot map[string]string `json:"snapshot" extensions:"x-nullable"`
	// Where to go on; it moves even when no change is given. Save it together with what was done with the page.
	NextCursor string `json:"next_cursor"`
	// There was nothing more at the instant of the answer.
	CaughtUp bool      `json:"caught_up"`
	Links    PageLinks `json:"links"`
}

// FeedChange says what a resource is since a commit.
type FeedChange struct {
	// A reader that took this change and no more goes on from here.
	Cursor string `json:"cursor"`
	Type   string `json:"type" enums:"consent,import,indicator,mandate,membership,observation,organisation,release,submission,territory"`
	Op     string `json:"op" enums:"created,updated,deleted"`
	// Step of the life-cycle, when the change is one.
	Action *string `json:"action" extensions:"x-nullable" example:"submit"`
	ID     string  `json:"id"`
	// Whose data it is; null for reference data and releases.
	Organisation *string `json:"organisation" extensions:"x-nullable"`
	Version      *int    `json:"version" extensions:"x-nullable" example:"3"`
	// Instant of the commit.
	UpdatedAt string `json:"updated_at" format:"date-time"`
	// What links.self gives; null after a deletion, for reference data and for releases.
	Resource any             `json:"resource" swaggertype:"object" extensions:"x-nullable"`
	Links    FeedChangeLinks `json:"links"`
}

// FeedChangeLinks leads on from a change.
type FeedChangeLinks struct {
	Self string `json:"self"`
	// To a network, what a mandate in force or a membership opens: what was written before is not in its feed, copy it from here.
	Snapshot *string `json:"snapshot" extensions:"x-nullable"`
	// To a network, what a mandate or a membership that ended had opened: of your copy, drop what this address does not give any more. It gives what other mandates still open, and is refused (404, 422 unknown_organisation) when nothing is.
	Forget *string `json:"forget" extensions:"x-nullable"`
}

// ChangeDays is how long a cursor of the feed holds.
const ChangeDays = 400

const (
	longestPoll = 20 * time.Second
	// answerTime is kept, of the time a request has, to write the answer.
	answerTime = 2 * time.Second
)

// followChanges gives what was committed after a cursor.
//
//	@Summary		Follow changes in the order of commits
//	@Description	Every change the caller may see, in the order in which it was committed: following the cursor loses nothing and a page read twice does no harm, as each change says what the resource is now.
//	@Description	**First call, without cursor**: nothing but a place (`next_cursor`) and where to copy the collections (`snapshot`). Keep the cursor, copy, then follow from the cursor: what changed while you copied comes again.
//	@Description	**Then** call with `cursor=next_cursor` until `caught_up`; with `wait`, an empty answer comes after that many seconds only, and a change as soon as it is committed. Save the cursor in the same transaction as the page. A resource changed again by a later commit is given there only; steps of a submission are all given, with their `action`. `deleted` also says that the caller may see it no more.
//	@Description	Anonymous callers follow reference data and releases, rights holders also `observation`, `submission`, `organisation`, `mandate`, `membership`, `consent`, `import` as far as their scopes and rights go. A right that begins (a mandate) does not bring what was written before: its change has `links.snapshot`. One that ends ends the feed at once, and no `deleted` follows for what it had opened: its change has `links.forget`, drop from your copy what that address gives no more.
//	@Description	Cursors hold 400 days. An older one, or one of a database that was restored to an earlier state, is refused with 410 `cursor_expired`: start again without cursor.
//	@ID				followChanges
//	@Tags			changes
//	@Produce		json
//	@Param			cursor			query		string	false	"Where to go on, from next_cursor, or from cursor of a change"
//	@Param			types			query		string	false	"Types, separated by commas; all that the caller may follow when absent"
//	@Param			organisation	query		string	false	"Only what belongs to it. Id, or siret:… siren:… rna:… ext:{source}:{id}"
//	@Param			limit			query		int		false	"Changes of a page"	minimum(1)	maximum(1000)	default(500)
//	@Param			wait			query		int		false	"Seconds to wait for a change when there is none"	minimum(0)	maximum(20)	default(0)
//	@Success		200				{object}	ChangeFeed
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@x-anonymous	true
//	@Router			/v1/changes [get]
func (s *server) followChanges(c *call) error {
	f, err := s.changeFilter(c)
	if err != nil {
		return err
	}
	limit := c.query.integer("limit", 500, 1, 1000)
	wait := time.Duration(c.query.integer("wait", 0, 0, int(longestPoll/time.Second))) * time.Second
	cursor := c.query.one("cursor")
	if err := c.query.err(); err != nil {
		return err
	}
	about := c.feedHash(f)
	if cursor == "" {
		return s.beginFeed(c, f, about)
	}
	after, err := s.openChangeCursor(cursor, about)
	if err != nil {
		return c.restart(err)
	}
	list, next, caughtUp, err := s.read(c, f, after, limit, wait)
	if err != nil {
		return c.restart(err)
	}
	feed := ChangeFeed{Data: make([]FeedChange, len(list)), NextCursor: s.changeCursor(next, about), CaughtUp: caughtUp, Links: PageLinks{Self: c.self()}}
	if feed.Data, err = s.feedChanges(c, list, about); err != nil {
		return err
	}
	following := c.address(c.path, join(c.query.canonical("cursor"), "cursor="+feed.NextCursor))
	feed.Links.Next = &following
	return c.answer(http.StatusOK, feed)
}

// changeFilter reads types= and organisation=. The types are always listed: all
// those the caller may follow when it names none.
func (s *server) changeFilter(c *call) (f impact.ChangeFilter, err error) {
	known := impact.ChangeTypes()
	words := impact.Words(known)
	for _, name := range c.query.list("types") {
		t := impact.ChangeType(name)
		if !slices.Contains(known, t) {
			list := strings.Join(words, ", ")
			c.query.unreadable = append(c.query.unreadable, impact.Fault{
				Code: "unknown_code", Parameter: "types", Value: name, Suggestion: impact.Suggest(name, slices.Values(words)),
				Detail: impact.Text{FR: "Aucun changement n'est de ce type.", EN: "No change is of this type."},
				Hint:   impact.Text{FR: "Types : " + list + ".", EN: "Types: " + list + "."},
			})
			continue
		}
		if !c.principal.Follows(t) {
			return f, c.notFollowed(t)
		}
		f.Types = append(f.Types, t)
	}
	if len(f.Types) == 0 {
		f.Types = slices.DeleteFunc(known, func(t impact.ChangeType) bool { return !c.principal.Follows(t) })
	}
	slices.Sort(f.Types)
	f.Types = slices.Compact(f.Types)
	f.Organisation, err = s.organisationParameter(c)
	return f, err
}

func (c *call) notFollowed(t impact.ChangeType) error {
	if c.principal.IsAnonymous() {
		return c.missingToken()
	}
	need := impact.Words(t.Scopes())
	return &impact.Error{
		Kind: impact.Forbidden, Code: "insufficient_scope",
		Detail: impact.Text{FR: "Votre jeton ne permet pas de suivre le type " + string(t) + ".", EN: "Your token does not allow the type " + string(t) + " to be followed."},
		Hint:   impact.Text{FR: "Portée : " + strings.Join(need, " ou ") + ".", EN: "Scope: " + strings.Join(need, " or ") + "."},
	}
}

// beginFeed answers the first call: a place, and where to copy from.
func (s *server) beginFeed(c *call, f impact.ChangeFilter, about [8]byte) error {
	at, err := s.Changes.LastChange(c.r.Context(), c.principal)
	if err != nil {
		return err
	}
	feed := ChangeFeed{Data: []FeedChange{}, Snapshot: map[string]string{}, NextCursor: s.changeCursor(at, about), Links: PageLinks{Self: c.self()}}
	for _, t := range f.Types {
		if path := snapshotOf(c.principal, t, f.Organisation); path != "" {
			feed.Snapshot[string(t)] = s.PublicURL + path
		}
	}
	following := c.address(c.path, join(c.query.canonical("cursor"), "cursor="+feed.NextCursor))
	feed.Links.Next = &following
	return c.answer(http.StatusOK, feed)
}

// snapshotOf is the collection that shows all resources of a type, "" when
// there is none for the caller.
func snapshotOf(p impact.Principal, t impact.ChangeType, of impact.OrganisationID) string {
	query := ""
	if of != "" {
		query = "?organisation=" + url.QueryEscape(string(of))
	}
	switch t {
	case impact.ObservationChange, impact.SubmissionChange, impact.MandateChange, impact.IndicatorChange, impact.ReleaseChange:
		if t.Public() {
			query = ""
		}
		return "/v1/" + string(t) + "s" + query
	case impact.TerritoryChange:
		return "/v1/territories"
	case impact.ImportChange:
		return "/v1/imports"
	case impact.OrganisationChange:
		if of != "" {
			return "/v1/organisations/" + string(of)
		}
		return "/v1/organisations"
	case impact.ConsentChange:
		if p.Organisation != "" {
			return "/v1/organisations/" + string(p.Organisation) + "/consents"
		}
	case impact.MembershipChange:
		switch {
		case p.Network != "":
			return "/v1/networks/" + string(p.Network) + "/members"
		case p.Organisation != "":
			return "/v1/organisations/" + string(p.Organisation) + "/memberships"
		case of != "":
			return "/v1/organisations/" + string(of) + "/memberships"
		}
	}
	return ""
}

// read reads the log, again and again for as long as the caller waits.
func (s *server) read(c *call, f impact.ChangeFilter, after impact.ChangePosition, limit int, wait time.Duration) (list []impact.Change, next impact.ChangePosition, caughtUp bool, err error) {
	ctx := c.r.Context()
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, deadline.Sub(s.Now())-answerTime)
	}
	if wait <= 0 || c.head || !s.waiting.sit(c.caller()) {
		return s.Changes.Changes(ctx, c.principal, f, after, limit)
	}
	defer s.waiting.rise(c.caller())
	patience, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if s.Stopping != nil {
		defer context.AfterFunc(s.Stopping, cancel)()
	}
	for {
		list, next, caughtUp, err = s.Changes.Changes(ctx, c.principal, f, after, limit)
		if err != nil || len(list) > 0 {
			return list, next, caughtUp, err
		}
		after = next
		if !caughtUp {
			if patience.Err() != nil {
				return list, next, caughtUp, nil
			}
			continue
		}
		err = s.Changes.AwaitChange(patience, c.principal, after)
		if patience.Err() != nil && ctx.Err() == nil {
			return list, next, caughtUp, nil // nothing came
		}
		if err == nil && !c.principal.IsAnonymous() {
			err = c.identify() // a credential that was revoked meanwhile hears no more
		}
		if err != nil {
			return nil, after, false, err
		}
	}
}

// feedChanges writes changes as the API shows their resources. A steward's
// reading is noted like that of a list.
func (s *server) feedChanges(c *call, list []impact.Change, about [8]byte) ([]FeedChange, error) {
	var of, named []impact.OrganisationID
	for i := range list {
		if list[i].Organisation != "" {
			of = append(of, list[i].Organisation)
		}
		if u, ok := list[i].Resource.(impact.Submission); ok {
			named = append(named, u.Organisation)
		}
	}
	if err := s.readChanges(c, list); err != nil {
		return nil, err
	}
	names, err := s.names(c, named...)
	if err != nil {
		return nil, err
	}
	out := make([]FeedChange, len(list))
	for i := range list {
		x := &list[i]
		out[i] = FeedChange{
			Cursor: s.changeCursor(x.Position(), about), Type: string(x.Type), Op: string(x.Op), Action: optional(x.Action), ID: x.ID,
			Organisation: optional(x.Organisation), UpdatedAt: instant(x.At), Links: s.changeLinks(c, x),
		}
		if x.Version > 0 {
			out[i].Version = &x.Version
		}
		switch r := x.Resource.(type) {
		case impact.Observation:
			out[i].Resource = s.observation(c, &r)
		case impact.Organisation:
			out[i].Resource = s.organisation(c, &r, nil)
		case impact.Submission:
			out[i].Resource = s.submission(c, &r, names[r.Organisation])
		case impact.Mandate:
			out[i].Resource = s.mandate(c, &r)
		case impact.Membership:
			out[i].Resource = membership(&r)
		case impact.Consent:
			out[i].Resource = consent(c, &r)
		case impact.Import:
			out[i].Resource = s.imported(c, &r)
		}
	}
	if len(of) > 0 {
		err = s.witness(c, c.query.canonical("cursor"), of...)
	}
	return out, err
}

// readChanges leaves lines in the logs of the mandates that let a network read
// what the changes show.
func (s *server) readChanges(c *call, list []impact.Change) error {
	var reading, managing [][]impact.Use
	for i := range list {
		switch r := list[i].Resource.(type) {
		case impact.Observation:
			reading = append(reading, readingOf(&r))
		case impact.Submission:
			managing = append(managing, managingOf(&r))
		}
	}
	if _, err := s.used(c, reading...); err != nil {
		return err
	}
	_, err := s.used(c, managing...)
	return err
}

func (s *server) changeLinks(c *call, x *impact.Change) FeedChangeLinks {
	path := "/v1/" + string(x.Type) + "s/" + url.PathEscape(x.ID)
	of := url.PathEscape(string(x.Organisation))
	var opened, closed string
	switch x.Type {
	case impact.TerritoryChange:
		path = "/v1/territories/" + url.PathEscape(x.ID)
	case impact.ConsentChange:
		path = "/v1/organisations/" + of + "/consents"
	case impact.MembershipChange:
		path, opened = "/v1/organisations/"+of+"/memberships", "/v1/organisations/"+of
		if x.Op == impact.OpDeleted {
			opened, closed = "", opened
		}
	case impact.MandateChange:
		shown := "/v1/observations?organisation=" + of
		m, _ := x.Resource.(impact.Mandate)
		switch m.StateOn(impact.DateOf(s.Now())) {
		case impact.Granted:
			opened = shown
		case impact.Revoked, impact.Expired:
			closed = shown
		}
	}
	links := FeedChangeLinks{Self: s.PublicURL + path}
	if c.principal.Role != impact.RoleNetwork { // the others keep what is theirs
		return links
	}
	if opened != "" {
		opened = s.PublicURL + opened
		links.Snapshot = &opened
	}
	if closed != "" {
		closed = s.PublicURL + closed
		links.Forget = &closed
	}
	return links
}

// feedHash names what a cursor of the feed is good for: the caller's rights,
// whatever client it calls with, the types and the filter.
func (c *call) feedHash(f impact.ChangeFilter) [8]byte { return feedHash(c.principal, f) }

func feedHash(p impact.Principal, f impact.ChangeFilter) [8]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "/v1/changes %q %q %q %q %q %q", p.Role, p.Organisation, p.Network, p.Buyer, f.Types, f.Organisation))
	return [8]byte(sum[:8])
}

// FeedCursor writes where the change feed stands for whom a webhook tells, as
// GET /v1/changes takes it with the types that the webhook follows.
func FeedCursor(key []byte) func(w *impact.Webhook, at impact.ChangePosition) string {
	s := &server{Config: Config{CursorKey: key}}
	return s.webhookCursor
}

func (s *server) webhookCursor(w *impact.Webhook, at impact.ChangePosition) string {
	return s.changeCursor(at, feedHash(w.Client, impact.ChangeFilter{Types: w.Follows()}))
}

// openAnyChangeCursor reads a cursor of the feed whatever it was given for.
func (s *server) openAnyChangeCursor(cursor string) (impact.ChangePosition, error) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(b) < 9 {
		return impact.ChangePosition{}, invalidCursor()
	}
	return s.openChangeCursor(cursor, [8]byte(b[1:9]))
}

func (s *server) changeCursor(at impact.ChangePosition, about [8]byte) string {
	place := []string{strconv.FormatInt(at.Seq, 36), strconv.FormatInt(at.Tx, 36)}
	if at.Type != "" {
		place = append(place, string(at.Type), at.Key)
	}
	return s.sealCursor(place, about)
}

func (s *server) openChangeCursor(cursor string, about [8]byte) (at impact.ChangePosition, err error) {
	place, err := s.openCursor(cursor, about)
	if err != nil {
		return at, err
	}
	if len(place) != 2 && len(place) != 4 {
		return at, invalidCursor()
	}
	var errs [2]error
	at.Seq, errs[0] = strconv.ParseInt(place[0], 36, 64)
	at.Tx, errs[1] = strconv.ParseInt(place[1], 36, 64)
	if errors.Join(errs[:]...) != nil {
		return at, invalidCursor()
	}
	if len(place) == 4 {
		at.Type, at.Key = impact.ChangeType(place[2]), place[3]
	}
	return at, nil
}

// restart gives a refused cursor the way back: the first call.
func (c *call) restart(err error) error {
	if refusal, ok := errors.AsType[*impact.Error](err); ok {
		switch refusal.Code {
		case "invalid_cursor", "cursor_mismatch", "cursor_expired":
			refusal.Link = c.address(c.path, c.query.canonical("cursor"))
		}
	}
	return err
}

// seats bound how many callers wait at once, and how many times one caller does;
// who finds none free is answered without waiting.
type seats struct {
	mu    sync.Mutex
	taken int
	by    map[payer]int
}

const (
	allSeats = 1024
	ownSeats = 8
)

func (w *seats) sit(who payer) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.taken >= allSeats || w.by[who] >= ownSeats {
		return false
	}
	if w.by == nil {
		w.by = map[payer]int{}
	}
	w.taken++
	w.by[who]++
	return true
}

func (w *seats) rise(who payer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken--
	if w.by[who]--; w.by[who] == 0 {
		delete(w.by, who)
	}
}

// join writes two parts of a query as one.
func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "&" + b
}
