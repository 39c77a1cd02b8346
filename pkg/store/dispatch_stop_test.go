package store_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
)

// Five days of failures, or an answer 410, disable a webhook; the owner's others
// are told. Made active again, it is told all it missed.
func TestADeafWebhookIsDisabled(t *testing.T) {
	for name, status := range map[string]int{"gone": http.StatusGone, "failing": http.StatusBadGateway} {
		t.Run(name, func(t *testing.T) {
			offices(t, func(t *testing.T, o *office) {
				x := writing(t, o.Store, register(t, o.Store, "X"))
				p := entitled(x.p)
				deaf, other := newReceiver(t), newReceiver(t)
				deaf.answers(answering(status))
				w, _ := o.subscribe(p, deaf.URL, impact.ObservationChangedEvent)
				o.subscribe(p, other.URL, impact.WebhookDisabledEvent)
				d := o.dispatcher("a", o.Store)
				for i := range 40 {
					x.one(hours("commune-69266", "2024-Q1", fmt.Sprint(i+1)))
					o.drain(d)
					o.clock.pass(6 * time.Hour)
				}
				got := o.webhook(p, w.ID)
				want := map[string]impact.WebhookReason{"gone": impact.StoppedGone, "failing": impact.StoppedFailing}[name]
				if got.State != impact.WebhookDisabled || got.Reason != want || got.Version != 2 {
					t.Fatalf("%+v", got)
				}
				if told := other.all(); len(told) != 1 || told[0].Type != string(impact.WebhookDisabledEvent) || told[0].Data.Webhook != string(w.ID) || told[0].Data.Reason != string(want) {
					t.Errorf("%+v", told)
				}
				if name == "gone" && len(deaf.all()) != 1 {
					t.Errorf("it was called %d times after it said that it was gone", len(deaf.all()))
				}
				deaf.forget()
				deaf.answers(nil)
				o.drain(d)
				if n := len(deaf.all()); n != 0 {
					t.Errorf("a disabled webhook was told %d events", n)
				}
				if _, err := o.UpdateWebhook(t.Context(), p, w.ID, 2, func(w *impact.Webhook) error { w.State = impact.WebhookActive; return nil }); err != nil {
					t.Fatal(err)
				}
				o.drain(d)
				if got := o.webhook(p, w.ID); len(deaf.all()) == 0 || got.Pending != 0 || got.Reason != "" || !got.FailingSince.IsZero() {
					t.Errorf("%d events after it was made active again: %+v", len(deaf.all()), got)
				}
			})
		})
	}
}

func TestARevokedClientHearsNoMore(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		ctx := t.Context()
		x := writing(t, o.Store, register(t, o.Store, "X"))
		r := newReceiver(t)
		c, err := o.CreateClient(ctx, admin, impact.Client{Name: "script", Role: impact.RoleOrganisation, Organisation: x.org.ID, Scopes: impact.AllowedScopes(impact.RoleOrganisation)})
		if err != nil {
			t.Fatal(err)
		}
		p := entitled(impact.Principal{Client: c.ID, Role: c.Role, Organisation: c.Organisation})
		w, _ := o.subscribe(p, r.URL, impact.ObservationChangedEvent)
		d := o.dispatcher("a", o.Store)
		x.one(hours("commune-69266", "2024-Q1", "5"))
		o.drain(d)
		if n := len(r.all()); n != 1 {
			t.Fatalf("%d events", n)
		}
		if _, err := o.RevokeClient(ctx, admin, c.ID); err != nil {
			t.Fatal(err)
		}
		x.one(hours("commune-69266", "2024-Q2", "5"))
		o.drain(d)
		if got := o.webhook(p, w.ID); len(r.all()) != 1 || got.State != impact.WebhookDisabled || got.Reason != impact.StoppedClient {
			t.Errorf("%d events, %+v", len(r.all()), got)
		}
		// Another client of the organisation takes it over.
		if _, err := o.UpdateWebhook(ctx, entitled(x.p), w.ID, 2, func(w *impact.Webhook) error { w.State = impact.WebhookActive; return nil }); err != nil {
			t.Fatal(err)
		}
		o.drain(d)
		if n := len(r.all()); n != 2 {
			t.Errorf("%d events", n)
		}
	})
}

// A secret that the server's key does not open is no reason to send unsigned.
func TestALostKeyDisables(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		x := writing(t, o.Store, register(t, o.Store, "X"))
		r := newReceiver(t)
		w, _ := o.subscribe(entitled(x.p), r.URL, impact.ObservationChangedEvent)
		var err error
		if o.vault, err = auth.NewVault([]byte(strings.Repeat("z", 32))); err != nil {
			t.Fatal(err)
		}
		x.one(hours("commune-69266", "2024-Q1", "5"))
		if err := o.dispatcher("a", o.Store).Turn(t.Context()); err != nil {
			t.Fatal(err)
		}
		d := o.dispatcher("a", o.Store)
		o.drain(d)
		if got := o.webhook(entitled(x.p), w.ID); len(r.all()) != 0 || got.State != impact.WebhookDisabled || got.Reason != impact.StoppedSecret {
			t.Errorf("%d events, %+v", len(r.all()), got)
		}
	})
}

// A webhook that stood still for longer than the log is kept says so; made active
// again, it begins anew.
func TestALogThatIsForgottenDisables(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		ctx := t.Context()
		x := writing(t, o.Store, register(t, o.Store, "X"))
		r := newReceiver(t)
		p := entitled(x.p)
		w, _ := o.subscribe(p, r.URL, impact.ObservationChangedEvent)
		for i := range 3 {
			x.one(hours("commune-69266", "2024-Q1", fmt.Sprint(i+1)))
			o.clock.pass(time.Hour)
		}
		if n, err := o.ForgetCommits(ctx, time.Minute); err != nil || n == 0 {
			t.Fatal(n, err)
		}
		d := o.dispatcher("a", o.Store)
		o.drain(d)
		got := o.webhook(p, w.ID)
		if len(r.all()) != 0 || got.State != impact.WebhookDisabled || got.Reason != impact.StoppedLog {
			t.Fatalf("%d events, %+v", len(r.all()), got)
		}
		if _, err := o.ReplayWebhook(ctx, p, w.ID, w.Position); code(err) != "cursor_expired" {
			t.Error(err)
		}
		after, err := o.UpdateWebhook(ctx, p, w.ID, got.Version, func(w *impact.Webhook) error { w.State = impact.WebhookActive; return nil })
		if head, _ := o.LastChange(ctx, p); err != nil || after.Position != head || after.Reason != "" {
			t.Errorf("%+v %v", after, err)
		}
		x.one(hours("commune-69266", "2024-Q2", "5"))
		o.drain(d)
		if n := len(r.all()); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}
