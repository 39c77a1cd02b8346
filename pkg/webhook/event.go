package webhook

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// MaxBody is the largest event, in bytes; none comes near.
const MaxBody = 20 << 10

// ContentType of a body.
const ContentType = "application/cloudevents+json; charset=utf-8"

// event is a CloudEvent 1.0 in structured mode.
type event struct {
	SpecVersion     string           `json:"specversion"`
	ID              string           `json:"id"`
	Source          string           `json:"source"`
	Type            impact.EventType `json:"type"`
	Subject         string           `json:"subject,omitempty"`
	Time            string           `json:"time"`
	DataContentType string           `json:"datacontenttype"`
	Data            data             `json:"data"`
}

// data says what changed and where to read it; never what it became.
type data struct {
	Organisation string `json:"organisation,omitempty"`
	Submission   string `json:"submission,omitempty"`
	Import       string `json:"import,omitempty"`
	Mandate      string `json:"mandate,omitempty"`
	Release      string `json:"release,omitempty"`
	Webhook      string `json:"webhook,omitempty"`
	State        string `json:"state,omitempty"`
	Reason       string `json:"reason,omitempty"`
	// Of observations: how many this commit touched, and how.
	Count   int `json:"count,omitempty"`
	Created int `json:"created,omitempty"`
	Updated int `json:"updated,omitempty"`
	Deleted int `json:"deleted,omitempty"`
	// Cursor of the change feed: what it gives first is what this event tells.
	Cursor string            `json:"cursor,omitempty"`
	Links  map[string]string `json:"links"`
}

// Writer makes events.
type Writer struct {
	// Base of every address, and source of the events: "https://impact.example".
	Base string
	// Cursor writes a position of the change feed as those a webhook tells may give
	// it back, with the types it follows.
	Cursor func(*impact.Webhook, impact.ChangePosition) string
}

// eventID names what happened, not its telling: the same commit, type and
// subject always give the same id. tx tells commits of a restored database from
// those that once had their numbers.
func eventID(of ...any) string {
	sum := sha256.Sum256([]byte(fmt.Sprintln(of...)))
	return "evt_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}

func (w *Writer) write(t impact.EventType, id, subject string, at time.Time, d data) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(event{
		SpecVersion: "1.0", ID: id, Source: w.Base + "/v1", Type: t, Subject: subject, Time: at.UTC().Format("2006-01-02T15:04:05.000Z"),
		DataContentType: "application/json", Data: d,
	})
	if err == nil && b.Len() > MaxBody {
		err = fmt.Errorf("an event of %d bytes", b.Len())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Test makes the event that shows whether a receiver works.
func (w *Writer) Test(id impact.WebhookID, unique string, at time.Time) (impact.Delivery, error) {
	d := impact.Delivery{ID: eventID("test", id, unique), Type: impact.TestEvent}
	var err error
	d.Body, err = w.write(d.Type, d.ID, "webhooks/"+string(id), at, data{Webhook: string(id), Links: map[string]string{"webhook": w.Base + "/v1/webhooks/" + string(id)}})
	return d, err
}

// disabled makes the event that tells an owner's other webhooks of one that the
// server disabled.
func (w *Writer) disabled(stopped *impact.Webhook) (impact.Delivery, error) {
	d := impact.Delivery{ID: eventID("disabled", stopped.ID, stopped.Version), Type: impact.WebhookDisabledEvent}
	var err error
	d.Body, err = w.write(d.Type, d.ID, "webhooks/"+string(stopped.ID), stopped.UpdatedAt, data{
		Webhook: string(stopped.ID), State: string(stopped.State), Reason: string(stopped.Reason),
		Links: map[string]string{"webhook": w.Base + "/v1/webhooks/" + string(stopped.ID), "deliveries": w.Base + "/v1/webhooks/" + string(stopped.ID) + "/deliveries"},
	})
	return d, err
}

// gathering holds the changes of one commit until all of it has been read.
type gathering struct {
	webhook *impact.Webhook
	writer  *Writer
	seq     int64
	first   impact.Change
	counts  map[impact.OrganisationID]*data
	events  []impact.Delivery
}

// add takes the next change of the feed, in its order.
func (g *gathering) add(c *impact.Change) error {
	if c.Seq != g.seq {
		if err := g.flush(); err != nil {
			return err
		}
		g.seq, g.first = c.Seq, *c
	}
	if c.Type == impact.ObservationChange {
		g.count(c)
		return nil
	}
	subject := string(c.Type) + "s/" + c.ID
	links := map[string]string{string(c.Type): "/v1/" + subject}
	for _, t := range told(c) {
		d := data{Organisation: string(c.Organisation)}
		if r, ok := c.Resource.(impact.Import); ok {
			d.State = string(r.State)
		}
		switch c.Type {
		case impact.SubmissionChange:
			d.Submission = c.ID
		case impact.ImportChange:
			d.Import = c.ID
		case impact.MandateChange:
			d.Mandate = c.ID
		case impact.ReleaseChange:
			d.Release, d.State = c.ID, c.Action
		}
		if err := g.event(t, c, subject, d, links); err != nil {
			return err
		}
	}
	return nil
}

// told gives the events that a change is, none when nobody is told of it.
// Submitting what the rules alone review approves it in the same breath.
func told(c *impact.Change) []impact.EventType {
	if c.Type == impact.ReleaseChange && c.Action == string(impact.ReleasePublished) {
		return []impact.EventType{impact.ReleasePublishedEvent}
	}
	switch r := c.Resource.(type) {
	case impact.Submission:
		switch {
		case c.Action == "submit" && r.Review == impact.Automatic && r.State == impact.Approved:
			return []impact.EventType{impact.SubmissionSubmittedEvent, impact.SubmissionApprovedEvent}
		case c.Action == "submit":
			return []impact.EventType{impact.SubmissionSubmittedEvent}
		case c.Action == "approve":
			return []impact.EventType{impact.SubmissionApprovedEvent}
		case c.Action == "return":
			return []impact.EventType{impact.SubmissionReturnedEvent}
		}
	case impact.Import:
		switch r.State {
		case impact.ImportCompleted, impact.ImportFailed, impact.ImportCancelled:
			return []impact.EventType{impact.ImportCompletedEvent}
		}
	case impact.Mandate:
		switch r.State {
		case impact.Granted:
			return []impact.EventType{impact.MandateGrantedEvent}
		case impact.Revoked:
			return []impact.EventType{impact.MandateRevokedEvent}
		}
	}
	return nil
}

func (g *gathering) count(c *impact.Change) {
	if g.counts == nil {
		g.counts = map[impact.OrganisationID]*data{}
	}
	d := g.counts[c.Organisation]
	if d == nil {
		d = &data{Organisation: string(c.Organisation)}
		g.counts[c.Organisation] = d
	}
	d.Count++
	switch c.Op {
	case impact.OpCreated:
		d.Created++
	case impact.OpUpdated:
		d.Updated++
	case impact.OpDeleted:
		d.Deleted++
	}
}

// flush makes the events of the commit that has been read to its end.
func (g *gathering) flush() error {
	for _, id := range slices.Sorted(maps.Keys(g.counts)) {
		since := url.Values{"organisation": {string(id)}, "updated_since": {g.first.At.UTC().Format("2006-01-02T15:04:05.000Z")}}
		err := g.event(impact.ObservationChangedEvent, &g.first, "organisations/"+string(id), *g.counts[id], map[string]string{
			"organisation": "/v1/organisations/" + string(id), "observations": "/v1/observations?" + since.Encode(),
		})
		if err != nil {
			return err
		}
	}
	g.counts = nil
	return nil
}

func (g *gathering) event(t impact.EventType, c *impact.Change, subject string, d data, links map[string]string) error {
	if !slices.Contains(g.webhook.Types, t) || !g.webhook.Client.Hears(t) {
		return nil
	}
	made := impact.Delivery{ID: eventID(c.Seq, c.Tx, t, subject), Type: t, Seq: c.Seq, Tx: c.Tx}
	d.Cursor = g.writer.Cursor(g.webhook, made.At())
	d.Links = map[string]string{"changes": g.writer.Base + "/v1/changes?types=" + g.types() + "&cursor=" + url.QueryEscape(d.Cursor)}
	for name, path := range links {
		d.Links[name] = g.writer.Base + path
	}
	var err error
	made.Body, err = g.writer.write(t, made.ID, subject, c.At, d)
	g.events = append(g.events, made)
	return err
}

// types writes the types of changes that the webhook follows.
func (g *gathering) types() string {
	return strings.Join(impact.Words(g.webhook.Follows()), ",")
}
