package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
)

// WebhookStore keeps who is told of what. Each method shows and changes what
// belongs to the owner the principal acts for, and nothing else exists for it.
type WebhookStore interface {
	CreateWebhook(ctx context.Context, p impact.Principal, w impact.Webhook) (impact.Webhook, error)
	Webhook(ctx context.Context, p impact.Principal, id impact.WebhookID) (impact.Webhook, error)
	Webhooks(ctx context.Context, p impact.Principal, page impact.Page) ([]impact.Webhook, []string, error)
	UpdateWebhook(ctx context.Context, p impact.Principal, id impact.WebhookID, version int, change func(*impact.Webhook) error) (impact.Webhook, error)
	RotateWebhook(ctx context.Context, p impact.Principal, id impact.WebhookID, sealed string) (impact.Webhook, error)
	ReplayWebhook(ctx context.Context, p impact.Principal, id impact.WebhookID, after impact.ChangePosition) (impact.Webhook, error)
	DeleteWebhook(ctx context.Context, p impact.Principal, id impact.WebhookID, version int) error
	QueueTest(ctx context.Context, p impact.Principal, id impact.WebhookID, d impact.Delivery) (impact.Delivery, error)
	Deliveries(ctx context.Context, p impact.Principal, id impact.WebhookID, state impact.DeliveryState, page impact.Page) ([]impact.Delivery, []string, error)
}

// Webhooks is what is needed to serve webhooks beside their store.
type Webhooks struct {
	Store WebhookStore
	// Vault seals the secrets that sign deliveries.
	Vault *auth.Vault
	// CheckURL tells what is wrong with the address of a receiver, Test makes an
	// event that shows whether it works.
	CheckURL func(address string) *impact.Fault
	Test     func(id impact.WebhookID, unique string, at time.Time) (impact.Delivery, error)
}

// WebhookInput subscribes an address.
type WebhookInput struct {
	// Over https, on the public Internet; at most 2,000 characters. Without user name, password or fragment.
	URL string `json:"url" example:"https://crm.example.org/retombees"`
	// Types of events; all that the scopes of the token let one hear when absent.
	Types []string `json:"types,omitempty" enums:"fr.grandlyon.retombees.import.completed.v1,fr.grandlyon.retombees.mandate.granted.v1,fr.grandlyon.retombees.mandate.revoked.v1,fr.grandlyon.retombees.observation.changed.v1,fr.grandlyon.retombees.release.published.v1,fr.grandlyon.retombees.submission.approved.v1,fr.grandlyon.retombees.submission.returned.v1,fr.grandlyon.retombees.submission.submitted.v1,fr.grandlyon.retombees.webhook.disabled.v1"`
	// For people; at most 500 characters.
	Description string `json:"description,omitempty" example:"CRM de la fédération"`
}

// WebhookChange is a merge patch of a webhook.
type WebhookChange struct {
	URL         string   `json:"url,omitempty" example:"https://crm.example.org/retombees"`
	Types       []string `json:"types,omitempty"`
	Description string   `json:"description,omitempty" extensions:"x-nullable"`
	// active sends again what waited since; paused keeps it waiting.
	State string `json:"state,omitempty" enums:"active,paused"`
}

// WebhookReplay says from where events are sent again.
type WebhookReplay struct {
	// A cursor of the change feed, or of an event.
	FromCursor string `json:"from_cursor"`
}

// Webhook is an address that is told of changes.
type Webhook struct {
	ID          string   `json:"id"`
	URL         string   `json:"url" example:"https://crm.example.org/retombees"`
	Types       []string `json:"types" example:"fr.grandlyon.retombees.observation.changed.v1"`
	Description *string  `json:"description" extensions:"x-nullable"`
	State       string   `json:"state" enums:"active,paused,disabled"`
	// Why the server disabled it.
	Reason *WebhookReason `json:"reason" extensions:"x-nullable"`
	// The client that wrote it last: events tell what it may see.
	ClientID string `json:"client_id"`
	// How far in the change feed events were put in the queue; give it back to GET /v1/changes with the types of changes in links.changes.
	Cursor string `json:"cursor"`
	// Deliveries that wait, or will be tried again.
	Pending int `json:"pending" example:"0"`
	// First failure since the last success; five days of failures disable the webhook.
	FailingSince    *string `json:"failing_since" format:"date-time" extensions:"x-nullable"`
	LastDeliveredAt *string `json:"last_delivered_at" format:"date-time" extensions:"x-nullable"`
	// Until when former secrets still sign, the last one first.
	FormerSecretsUntil []string     `json:"former_secrets_until"`
	Version            int          `json:"version" example:"1"`
	CreatedAt          string       `json:"created_at" format:"date-time"`
	UpdatedAt          string       `json:"updated_at" format:"date-time"`
	Links              WebhookLinks `json:"links"`
}

// WebhookReason is why a webhook is disabled.
type WebhookReason struct {
	Code string `json:"code" enums:"receiver_gone,receiver_failing,client_revoked,log_expired,secret_lost"`
	Text Text   `json:"text"`
}

// WebhookSecret is a webhook with its secret, shown once.
type WebhookSecret struct {
	Webhook
	// Verifies signatures (Standard Webhooks): keep it, it is not shown again.
	Secret string `json:"secret" example:"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"`
} // @name WebhookWithSecret

// WebhookLinks leads on from a webhook.
type WebhookLinks struct {
	Self       string `json:"self"`
	Deliveries string `json:"deliveries"`
	// What follows cursor in the change feed, of the types the webhook tells of.
	Changes *string `json:"changes" extensions:"x-nullable"`
}

// WebhookPage is a page of webhooks.
type WebhookPage = Page[Webhook] // @name WebhookPage

// listWebhooks lists the webhooks of the caller's owner.
//
//	@Summary		List webhooks
//	@Description	Those of the organisation, network or buyer the client acts for, whichever of its clients made them; stewards share theirs, and so do administrators.
//	@ID				listWebhooks
//	@Tags			webhooks
//	@Produce		json
//	@Param			limit	query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor	query		string	false	"Where to go on, from links.next"
//	@Success		200		{object}	WebhookPage
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/webhooks [get]
func (s *server) listWebhooks(c *call) error {
	p, err := c.paging()
	if err != nil {
		return err
	}
	list, next, err := s.Webhooks.Store.Webhooks(c.r.Context(), c.principal, p)
	if err != nil {
		return err
	}
	data := make([]Webhook, len(list))
	for i := range list {
		data[i] = s.webhook(c, &list[i])
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

// createWebhook subscribes an address.
//
//	@Summary		Subscribe an address to changes
//	@Description	From now on the address is told, by a POST for each event, of what the client may see: a CloudEvent in JSON with links and a cursor of the change feed, never a value. Signatures are those of Standard Webhooks; the answer shows the secret once.
//	@Description	An event is told at least once, in no order, under an id (`webhook-id`) that stays the same in every attempt. Several observations of one organisation in one commit are one event. Any answer 2xx within ten seconds is a success; otherwise it is tried again after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h, or what `Retry-After` asks. 410 disables the webhook, as do five days of failures.
//	@Description	At most 20 webhooks for one organisation, network or buyer, each with an address of its own.
//	@ID				createWebhook
//	@Tags			webhooks
//	@Accept			json
//	@Produce		json
//	@Param			Idempotency-Key	header		string			true	"The same key with the same request gives the same answer, secret included, and subscribes nothing"
//	@Param			body			body		WebhookInput	true	"The webhook"
//	@Success		201				{object}	WebhookSecret
//	@Header			201				{string}	Location	"Address of the webhook"
//	@Header			201				{string}	ETag		"Its version"
//	@Failure		default			{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/webhooks [post]
func (s *server) createWebhook(c *call) error {
	if _, err := c.idempotencyKey(requiredKey); err != nil {
		return err
	}
	in, err := decode[WebhookInput](c)
	if err != nil {
		return err
	}
	if in.Types == nil {
		for _, t := range impact.EventTypes() {
			if c.principal.Hears(t) {
				in.Types = append(in.Types, string(t))
			}
		}
	}
	var w impact.Webhook
	if err := s.webhookOf(c, &webhookState{URL: in.URL, Types: in.Types, Description: in.Description, State: string(impact.WebhookActive)}, &w); err != nil {
		return err
	}
	c.reveal = s.openSecret
	return c.repeatable(requiredKey, func(ctx context.Context) (*reply, error) {
		w.ID = impact.WebhookID(s.NewID())
		sealed := s.Webhooks.Vault.Seal(auth.NewSigningSecret(), string(w.ID))
		w.Secrets = []impact.WebhookSecret{{Sealed: sealed}}
		stored, err := s.Webhooks.Store.CreateWebhook(ctx, c.principal, w)
		if err != nil {
			return nil, err
		}
		return c.reply(http.StatusCreated, WebhookSecret{s.webhook(c, &stored), sealed}).at("/v1/webhooks/" + string(stored.ID)).version(stored.Version), nil
	})
}

// openSecret shows the secret of an answer that was kept with the secret sealed:
// nothing that opens a webhook is written anywhere in clear.
func (s *server) openSecret(body []byte) ([]byte, error) {
	var w WebhookSecret
	err := json.Unmarshal(body, &w)
	if err == nil {
		w.Secret, err = s.Webhooks.Vault.Open(w.Secret, w.ID)
	}
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err = e.Encode(w)
	return b.Bytes(), err
}

// getWebhook reads one webhook.
//
//	@Summary		Read a webhook
//	@Description	The ETag is that of what its owner writes: pending, cursor and what happened last move without it.
//	@ID				getWebhook
//	@Tags			webhooks
//	@Produce		json
//	@Param			id		path		string	true	"Id of the webhook"
//	@Success		200		{object}	Webhook
//	@Header			200		{string}	ETag	"Its version"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/webhooks/{id} [get]
func (s *server) getWebhook(c *call) error {
	w, err := s.Webhooks.Store.Webhook(c.r.Context(), c.principal, webhookID(c))
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", versionTag(w.Version))
	return c.answer(http.StatusOK, s.webhook(c, &w))
}

// updateWebhook changes a webhook.
//
//	@Summary		Change a webhook
//	@Description	JSON Merge Patch. From then on it tells what the client of this call may see. `state: active` ends a pause or a disabling: what waited since is sent.
//	@ID				updateWebhook
//	@Tags			webhooks
//	@Accept			application/merge-patch+json,json
//	@Produce		json
//	@Param			id			path		string			true	"Id of the webhook"
//	@Param			If-Match	header		string			true	"ETag of the version that is changed"
//	@Param			body		body		WebhookChange	true	"Members to change"
//	@Success		200			{object}	Webhook
//	@Header			200			{string}	ETag	"The new version"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/webhooks/{id} [patch]
func (s *server) updateWebhook(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	patch, err := decodePatch[webhookState](c)
	if err != nil {
		return err
	}
	stored, err := s.Webhooks.Store.UpdateWebhook(c.r.Context(), c.principal, webhookID(c), version, func(w *impact.Webhook) error {
		next, err := patch.apply(webhookState{URL: w.URL, Types: impact.Words(w.Types), Description: w.Description, State: string(w.State)})
		if err != nil {
			return err
		}
		return s.webhookOf(c, &next, w)
	})
	if err != nil {
		return err
	}
	return c.done(http.StatusOK, stored.Version, 0, s.webhook(c, &stored))
}

// deleteWebhook ends a subscription.
//
//	@Summary		Delete a webhook
//	@Description	Its deliveries are forgotten; what is under way may still arrive.
//	@ID				deleteWebhook
//	@Tags			webhooks
//	@Produce		json
//	@Param			id			path	string	true	"Id of the webhook"
//	@Param			If-Match	header	string	true	"ETag of the version that is deleted"
//	@Success		204			"Deleted"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/webhooks/{id} [delete]
func (s *server) deleteWebhook(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	if err := s.Webhooks.Store.DeleteWebhook(c.r.Context(), c.principal, webhookID(c), version); err != nil {
		return err
	}
	return c.done(http.StatusNoContent, 0, 0, nil)
}

// rotateWebhookSecret makes a new secret.
//
//	@Summary		Replace the secret of a webhook
//	@Description	The answer shows the new secret, once. For 24 hours deliveries bear two signatures, one of each: a receiver that knows either is content. If the answer is lost, do it again: the former secret still signs. An Idempotency-Key is refused here, the answer is not kept.
//	@ID				rotateWebhookSecret
//	@Tags			webhooks
//	@Produce		json
//	@Param			id		path		string	true	"Id of the webhook"
//	@Success		200		{object}	WebhookSecret
//	@Header			200		{string}	ETag	"The new version"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/webhooks/{id}/rotate-secret [post]
func (s *server) rotateWebhookSecret(c *call) error {
	if err := c.notRepeatable(); err != nil {
		return err
	}
	id, secret := webhookID(c), auth.NewSigningSecret()
	stored, err := s.Webhooks.Store.RotateWebhook(c.r.Context(), c.principal, id, s.Webhooks.Vault.Seal(secret, string(id)))
	if err != nil {
		return err
	}
	return c.done(http.StatusOK, stored.Version, 0, WebhookSecret{s.webhook(c, &stored), secret})
}

// replayWebhook sends again what was sent.
//
//	@Summary		Send events again
//	@Description	Takes the webhook back to a cursor of the change feed: every event after it that the client may still see is sent again, under the id it had. A cursor further on than the webhook stands changes nothing.
//	@ID				replayWebhook
//	@Tags			webhooks
//	@Accept			json
//	@Produce		json
//	@Param			id		path		string			true	"Id of the webhook"
//	@Param			body	body		WebhookReplay	true	"From where"
//	@Success		202		{object}	Webhook
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/webhooks/{id}/replay [post]
func (s *server) replayWebhook(c *call) error {
	in, err := decode[WebhookReplay](c)
	if err != nil {
		return err
	}
	if in.FromCursor == "" {
		return impact.Refuse(impact.Fault{
			Code: "missing_field", Pointer: "/from_cursor",
			Detail: impact.Text{FR: "Ce champ est obligatoire.", EN: "This field is required."},
			Hint:   impact.Text{FR: "Donnez le cursor d'un événement, d'une livraison ou de GET /v1/changes.", EN: "Give the cursor of an event, of a delivery or of GET /v1/changes."},
		})
	}
	after, err := s.openAnyChangeCursor(in.FromCursor)
	if err != nil {
		return err
	}
	w, err := s.Webhooks.Store.ReplayWebhook(c.r.Context(), c.principal, webhookID(c), after)
	if err != nil {
		return err
	}
	return c.answer(http.StatusAccepted, s.webhook(c, &w))
}

func webhookID(c *call) impact.WebhookID { return impact.WebhookID(c.param("id")) }

// webhookState is all that an owner writes of a webhook.
type webhookState struct {
	URL         string   `json:"url,omitempty"`
	Types       []string `json:"types,omitempty"`
	Description string   `json:"description,omitempty"`
	State       string   `json:"state,omitempty"`
}

// webhookOf checks what was stated and puts it in w: all faults at once, or
// insufficient_scope when the caller may not hear a type it asks for.
func (s *server) webhookOf(c *call, in *webhookState, w *impact.Webhook) error {
	var faults []impact.Fault
	wrong := func(code impact.FaultCode, pointer, value, suggestion string, detail, hint impact.Text) {
		faults = append(faults, impact.Fault{Code: code, Pointer: pointer, Value: value, Suggestion: suggestion, Detail: detail, Hint: hint})
	}
	required := impact.Text{FR: "Ce champ est obligatoire.", EN: "This field is required."}
	if in.URL == "" {
		wrong("missing_field", "/url", "", "", required, impact.Text{FR: "Donnez l'adresse qui recevra les événements.", EN: "Give the address that will receive the events."})
	} else if f := s.Webhooks.CheckURL(in.URL); f != nil {
		faults = append(faults, *f)
	}
	known := impact.EventTypes()
	list := strings.Join(impact.Words(known), ", ")
	if len(in.Types) == 0 {
		wrong("missing_field", "/types", "", "", required, impact.Text{FR: "Un type au moins : " + list + ".", EN: "One type at least: " + list + "."})
	}
	var deaf []string
	types := make([]impact.EventType, 0, len(in.Types))
	for i, text := range in.Types {
		t := impact.EventType(text)
		switch {
		case i >= 2*len(known):
			continue
		case !slices.Contains(known, t):
			wrong("unknown_code", pointerTo("/types", i), text, impact.Suggest(text, slices.Values(impact.Words(known))), impact.Text{FR: "Aucun événement n'est de ce type.", EN: "No event is of this type."},
				impact.Text{FR: "Types : " + list + ".", EN: "Types: " + list + "."})
		case !c.principal.Hears(t):
			deaf = append(deaf, text)
		default:
			types = append(types, t)
		}
	}
	if utf8.RuneCountInString(in.Description) > 500 {
		wrong("too_long", "/description", "", "", impact.Text{FR: "Ce texte dépasse 500 caractères.", EN: "This text is over 500 characters."}, impact.Text{FR: "Raccourcissez-le.", EN: "Shorten it."})
	}
	state := impact.WebhookState(in.State)
	if state != impact.WebhookActive && state != impact.WebhookPaused && state != w.State {
		wrong("unknown_code", "/state", in.State, "", impact.Text{FR: "Un webhook est actif ou en pause.", EN: "A webhook is active or paused."}, impact.Text{FR: "active ou paused.", EN: "active or paused."})
	}
	if len(faults) > 0 {
		return impact.Refuse(faults...)
	}
	if len(deaf) > 0 {
		list = strings.Join(deaf, ", ")
		return &impact.Error{
			Kind: impact.Forbidden, Code: "insufficient_scope",
			Detail: impact.Text{FR: "Ce jeton n'a pas la portée qu'il faut pour entendre : " + list + ".", EN: "This token lacks the scope it takes to hear: " + list + "."},
			Hint: impact.Text{
				FR: "Un webhook ne dit rien de plus que GET /v1/changes ; demandez un jeton avec les portées de ces ressources.", EN: "A webhook tells no more than GET /v1/changes; ask for a token with the scopes of these resources.",
			},
		}
	}
	slices.Sort(types)
	w.URL, w.Types, w.Description, w.State = in.URL, slices.Compact(types), in.Description, state
	return nil
}

var webhookReasons = map[impact.WebhookReason]impact.Text{
	impact.StoppedGone:    {FR: "Le destinataire a répondu 410 : il n'existe plus.", EN: "The receiver answered 410: it is gone."},
	impact.StoppedFailing: {FR: "Aucun envoi n'a réussi pendant cinq jours.", EN: "No delivery succeeded for five days."},
	impact.StoppedClient:  {FR: "Le client, ou la clé, qui l'a écrit en dernier est révoqué ou expiré : un autre client peut le réactiver.", EN: "The client, or the key, that wrote it last was revoked or has expired: another client may activate it."},
	impact.StoppedLog:     {FR: "Il est resté arrêté plus longtemps que le journal n'est conservé : recopiez les collections, puis réactivez-le.", EN: "It stood still for longer than the log is kept: copy the collections, then activate it."},
	impact.StoppedSecret:  {FR: "La clé du serveur a changé : renouvelez le secret, puis réactivez-le.", EN: "The key of the server changed: replace the secret, then activate it."},
}

func (s *server) webhook(c *call, of *impact.Webhook) Webhook {
	at := "/v1/webhooks/" + string(of.ID)
	w := Webhook{
		ID: string(of.ID), URL: of.URL, Types: impact.Words(of.Types), Description: optional(of.Description), State: string(of.State), ClientID: of.Client.Client,
		Cursor: s.webhookCursor(of, of.Position), Pending: of.Pending, FailingSince: moment(of.FailingSince), LastDeliveredAt: moment(of.DeliveredAt),
		FormerSecretsUntil: []string{}, Version: of.Version, CreatedAt: instant(of.CreatedAt), UpdatedAt: instant(of.UpdatedAt),
		Links: WebhookLinks{Self: c.address(at, ""), Deliveries: c.address(at+"/deliveries", "")},
	}
	if of.Reason != "" {
		w.Reason = &WebhookReason{string(of.Reason), text(webhookReasons[of.Reason])}
	}
	for _, x := range of.Signing(s.Now()) {
		if !x.Until.IsZero() {
			w.FormerSecretsUntil = append(w.FormerSecretsUntil, instant(x.Until))
		}
	}
	if follows := of.Follows(); len(follows) > 0 {
		link := c.address("/v1/changes", "types="+strings.Join(impact.Words(follows), ",")+"&cursor="+w.Cursor)
		w.Links.Changes = &link
	}
	return w
}
