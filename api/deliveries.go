package api

import (
	"net/http"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Delivery is one event on its way to one webhook.
type Delivery struct {
	// That of the event, in every attempt and every replay: the header webhook-id.
	ID    string `json:"id" example:"evt_4gk2x6u7lq3m5n8p9r0s1t2v3w"`
	Type  string `json:"type" example:"fr.grandlyon.retombees.observation.changed.v1"`
	State string `json:"state" enums:"pending,delivered,failed"`
	// The last ones, the oldest first.
	Attempts []DeliveryAttempt `json:"attempts"`
	// Null when no attempt is planned.
	NextAttemptAt *string `json:"next_attempt_at" format:"date-time" extensions:"x-nullable"`
	// Beginning of the last answer.
	Excerpt *string `json:"response_excerpt" extensions:"x-nullable"`
	// Where the change feed tells of it, for a replay; null for a test.
	Cursor    *string `json:"cursor" extensions:"x-nullable"`
	CreatedAt string  `json:"created_at" format:"date-time"`
}

// DeliveryAttempt is one request made to a receiver.
type DeliveryAttempt struct {
	At         string `json:"at" format:"date-time"`
	DurationMS int64  `json:"duration_ms" example:"120"`
	// HTTP status; null when there was no answer.
	Status *int `json:"status" extensions:"x-nullable" example:"200"`
	// Null for a success.
	Failure *string `json:"failure" enums:"status,redirect,refused_address,unknown_host,connection,tls,timeout,unreadable_answer" extensions:"x-nullable"`
}

// DeliveryPage is a page of deliveries.
type DeliveryPage = Page[Delivery] // @name DeliveryPage

// listDeliveries shows what was sent and what came of it.
//
//	@Summary		List deliveries
//	@Description	The last first. Kept for 30 days once delivered or given up.
//	@ID				listDeliveries
//	@Tags			webhooks
//	@Produce		json
//	@Param			id		path		string	true	"Id of the webhook"
//	@Param			state	query		string	false	"Where they stand"	Enums(pending, delivered, failed)
//	@Param			limit	query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor	query		string	false	"Where to go on, from links.next"
//	@Success		200		{object}	DeliveryPage
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/webhooks/{id}/deliveries [get]
func (s *server) listDeliveries(c *call) error {
	state := c.query.enum("state", "", string(impact.DeliveryPending), string(impact.DeliveryDelivered), string(impact.DeliveryFailed))
	p, err := c.paging()
	if err != nil {
		return err
	}
	w, err := s.Webhooks.Store.Webhook(c.r.Context(), c.principal, webhookID(c))
	if err != nil {
		return err
	}
	list, next, err := s.Webhooks.Store.Deliveries(c.r.Context(), c.principal, w.ID, impact.DeliveryState(state), p)
	if err != nil {
		return err
	}
	data := make([]Delivery, len(list))
	for i := range list {
		data[i] = s.delivery(&w, &list[i])
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

// testWebhook sends an event that means nothing.
//
//	@Summary		Try a webhook
//	@Description	Puts one event of type `fr.grandlyon.retombees.webhook.test.v1` in the queue, sent once within seconds whatever the state of the webhook: `deliveries` tells what came of it.
//	@ID				testWebhook
//	@Tags			webhooks
//	@Produce		json
//	@Param			id		path		string	true	"Id of the webhook"
//	@Success		202		{object}	Delivery
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/webhooks/{id}/test [post]
func (s *server) testWebhook(c *call) error {
	id := webhookID(c)
	d, err := s.Webhooks.Test(id, s.NewID(), s.Now())
	if err != nil {
		return err
	}
	if d, err = s.Webhooks.Store.QueueTest(c.r.Context(), c.principal, id, d); err != nil {
		return err
	}
	return c.answer(http.StatusAccepted, s.delivery(nil, &d))
}

func (s *server) delivery(w *impact.Webhook, of *impact.Delivery) Delivery {
	d := Delivery{
		ID: of.ID, Type: string(of.Type), State: string(of.State), Attempts: []DeliveryAttempt{}, NextAttemptAt: moment(of.NextAt), Excerpt: optional(of.Excerpt), CreatedAt: instant(of.CreatedAt),
	}
	if of.Seq > 0 {
		cursor := s.webhookCursor(w, of.At())
		d.Cursor = &cursor
	}
	for _, a := range of.Attempts {
		x := DeliveryAttempt{At: instant(a.At), DurationMS: a.Duration.Milliseconds(), Failure: optional(a.Failure)}
		if a.Status > 0 {
			x.Status = &a.Status
		}
		d.Attempts = append(d.Attempts, x)
	}
	return d
}
