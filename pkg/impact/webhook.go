package impact

import (
	"maps"
	"slices"
	"time"
)

// WebhookID names a subscription: made by the server, opaque.
type WebhookID string

// EventType is what an event says, with the version of its form: the type of
// the CloudEvent.
type EventType string

// Types of events (api.md 13). The last two are about
// webhooks themselves; a test is sent when it is asked for only.
const (
	ObservationChangedEvent  EventType = "fr.grandlyon.retombees.observation.changed.v1"
	SubmissionSubmittedEvent EventType = "fr.grandlyon.retombees.submission.submitted.v1"
	SubmissionApprovedEvent  EventType = "fr.grandlyon.retombees.submission.approved.v1"
	SubmissionReturnedEvent  EventType = "fr.grandlyon.retombees.submission.returned.v1"
	ImportCompletedEvent     EventType = "fr.grandlyon.retombees.import.completed.v1"
	MandateGrantedEvent      EventType = "fr.grandlyon.retombees.mandate.granted.v1"
	MandateRevokedEvent      EventType = "fr.grandlyon.retombees.mandate.revoked.v1"
	ReleasePublishedEvent    EventType = "fr.grandlyon.retombees.release.published.v1"
	WebhookDisabledEvent     EventType = "fr.grandlyon.retombees.webhook.disabled.v1"
	TestEvent                EventType = "fr.grandlyon.retombees.webhook.test.v1"
)

// eventChanges gives the type of change that each type of event tells of; it is
// empty for those about webhooks themselves.
var eventChanges = map[EventType]ChangeType{
	ObservationChangedEvent:  ObservationChange,
	SubmissionSubmittedEvent: SubmissionChange,
	SubmissionApprovedEvent:  SubmissionChange,
	SubmissionReturnedEvent:  SubmissionChange,
	ImportCompletedEvent:     ImportChange,
	MandateGrantedEvent:      MandateChange,
	MandateRevokedEvent:      MandateChange,
	ReleasePublishedEvent:    ReleaseChange,
	WebhookDisabledEvent:     "",
}

// EventTypes lists the types one can subscribe to, in order.
func EventTypes() []EventType { return slices.Sorted(maps.Keys(eventChanges)) }

// Hears tells that the caller may be told of events of this type: an event says
// no more than the change feed would.
func (p Principal) Hears(t EventType) bool {
	change, known := eventChanges[t]
	return known && (change == "" || p.Follows(change))
}

// Follows gives the types of changes that the webhook's types tell of, in order.
func (w *Webhook) Follows() []ChangeType {
	var list []ChangeType
	for _, t := range w.Types {
		if c := eventChanges[t]; c != "" && !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	slices.Sort(list)
	return list
}

// WebhookState is whether events are sent.
type WebhookState string

// Events wait while a webhook is paused (by its owner) or disabled (by the
// server, which says why); they are sent when it is active again.
const (
	WebhookActive   WebhookState = "active"
	WebhookPaused   WebhookState = "paused"
	WebhookDisabled WebhookState = "disabled"
)

// Webhook is an address that is told of changes. It belongs to the organisation,
// network or buyer whose client made it, or to the role of a steward or an
// administrator: every client of the same owner sees and manages it. It hears
// what Client, the last client that wrote it, may see, and falls silent when
// that client is revoked.
type Webhook struct {
	ID          WebhookID
	Client      Principal
	URL         string
	Types       []EventType // in order, at least one
	Description string
	Secrets     []WebhookSecret // the current one first
	State       WebhookState
	Reason      WebhookReason // why it is disabled
	// Position is how far in the change feed events were put in the queue.
	Position ChangePosition
	Pending  int // deliveries still to be made
	// FailingSince is the first failure since the last success, zero when there
	// is none; DeliveredAt is the last success.
	FailingSince, DeliveredAt time.Time
	Version                   int
	CreatedAt, UpdatedAt      time.Time
}

// WebhookMove is how far the change feed was read for a webhook that had nothing
// to be told of.
type WebhookMove struct {
	Webhook  WebhookID
	From, To ChangePosition
}

// WebhookReason is why the server disabled a webhook.
type WebhookReason string

// Reasons.
const (
	StoppedGone    WebhookReason = "receiver_gone"    // it answered 410
	StoppedFailing WebhookReason = "receiver_failing" // nothing but failures for five days
	StoppedClient  WebhookReason = "client_revoked"
	StoppedLog     WebhookReason = "log_expired" // it stood still for longer than the log is kept
	StoppedSecret  WebhookReason = "secret_lost" // the server's key changed, rotate the secret
)

// WebhookSecret signs what is sent. Sealed can be opened by the server's key
// only; Until is when a former secret stops signing, zero for the current one.
type WebhookSecret struct {
	Sealed string
	Until  time.Time
}

// SecretOverlap is how long a replaced secret still signs beside the new one.
const SecretOverlap = 24 * time.Hour

// SecretsKept bounds the secrets of a webhook; the oldest falls out.
const SecretsKept = 4

// Rotate gives the secrets after sealed became the current one.
func (w *Webhook) Rotate(sealed string, now time.Time) []WebhookSecret {
	next := []WebhookSecret{{Sealed: sealed}}
	for _, s := range w.Secrets {
		if s.Until.IsZero() {
			s.Until = now.Add(SecretOverlap)
		}
		if s.Until.After(now) && len(next) < SecretsKept {
			next = append(next, s)
		}
	}
	return next
}

// Signing gives the secrets that sign at an instant.
func (w *Webhook) Signing(now time.Time) []WebhookSecret {
	return slices.DeleteFunc(slices.Clone(w.Secrets), func(s WebhookSecret) bool {
		return !s.Until.IsZero() && !s.Until.After(now)
	})
}

// Limits: webhooks of one owner, deliveries that may wait for one webhook (the
// feed keeps what follows), and how long deliveries that came to an end are kept.
const (
	WebhooksPerOwner = 20
	PendingKept      = 1000
	DeliveriesKept   = 30 * 24 * time.Hour
)

// DeliveryState is where a delivery stands.
type DeliveryState string

// A delivery that failed has used up its attempts; a replay sends it again.
const (
	DeliveryPending   DeliveryState = "pending"
	DeliveryDelivered DeliveryState = "delivered"
	DeliveryFailed    DeliveryState = "failed"
)

// Delivery is one event on its way to one webhook. ID is that of the event and
// stays the same in every attempt and every replay: a receiver that remembers
// ids hears each event once.
type Delivery struct {
	ID      string
	Webhook WebhookID
	Type    EventType
	// Seq and Tx name the commit it tells of; 0 for what the feed does not know,
	// as a test.
	Seq, Tx   int64
	Body      []byte // as signed and sent
	State     DeliveryState
	Attempts  []Attempt // the last ones, oldest first
	Tried     int       // attempts since it was last put in the queue
	NextAt    time.Time // zero when nothing more is planned
	Excerpt   string    // beginning of the last answer
	CreatedAt time.Time
}

// At is where the feed tells of the event: a reader that starts there meets it
// first.
func (d *Delivery) At() ChangePosition { return startOf(d.Seq, d.Tx) }

// AttemptsKept bounds the attempts a delivery remembers, ExcerptKept the bytes
// of the answer.
const (
	AttemptsKept = 20
	ExcerptKept  = 1000
)

// Attempt is one request made to a receiver.
type Attempt struct {
	At       time.Time
	Duration time.Duration
	Status   int // HTTP status, 0 when there was no answer
	Failure  AttemptFailure
}

// AttemptFailure says why an attempt did not succeed; empty when it did. It
// tells nothing of the network that the owner of the webhook could not see.
type AttemptFailure string

// Failures.
const (
	FailedStatus     AttemptFailure = "status"          // an answer, and not a 2xx
	FailedRedirect   AttemptFailure = "redirect"        // redirections are not followed
	FailedAddress    AttemptFailure = "refused_address" // the name leads to an address that is not public
	FailedName       AttemptFailure = "unknown_host"
	FailedConnection AttemptFailure = "connection"
	FailedTLS        AttemptFailure = "tls"
	FailedTimeout    AttemptFailure = "timeout"
	FailedAnswer     AttemptFailure = "unreadable_answer"
)

// FailingFor is how long a receiver may fail before its webhook is disabled.
const FailingFor = 5 * 24 * time.Hour

// Attempted notes an attempt: a success ends a time of failures, five days of
// them, or an answer 410, disable the webhook.
func (w *Webhook) Attempted(a Attempt) {
	at := a.At.Add(a.Duration)
	switch {
	case a.Failure == "":
		w.DeliveredAt, w.FailingSince = at, time.Time{}
		return
	case w.FailingSince.IsZero():
		w.FailingSince = at
	}
	switch {
	case w.State == WebhookDisabled:
	case a.Status == 410:
		w.State, w.Reason = WebhookDisabled, StoppedGone
	case at.Sub(w.FailingSince) >= FailingFor:
		w.State, w.Reason = WebhookDisabled, StoppedFailing
	}
}
