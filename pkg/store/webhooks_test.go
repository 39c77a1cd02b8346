package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
)

func TestWebhooksBelongToTheirOwner(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		ctx := t.Context()
		x, y := register(t, o.Store, "X"), register(t, o.Store, "Y")
		mine, colleague := entitled(acting(x.ID)), entitled(acting(x.ID))
		colleague.Client = "another client of X"
		w, _ := o.subscribe(mine, "https://x.example.org?token=s3cret", impact.ObservationChangedEvent)
		strangers := []impact.Principal{
			{},
			entitled(acting(y.ID)),
			entitled(steward),
			entitled(admin),
			entitled(impact.Principal{Client: "b", Role: impact.RoleBuyer, Buyer: string(x.ID)}),
			entitled(impact.Principal{Client: "n", Role: impact.RoleNetwork, Network: impact.NetworkID(x.ID)}),
		}
		for _, p := range strangers {
			_, get := o.Webhook(ctx, p, w.ID)
			_, change := o.UpdateWebhook(ctx, p, w.ID, 1, func(w *impact.Webhook) error { w.URL = "https://evil.example.org/"; return nil })
			_, rotate := o.RotateWebhook(ctx, p, w.ID, "sealed")
			_, replay := o.ReplayWebhook(ctx, p, w.ID, impact.ChangePosition{})
			_, test := o.QueueTest(ctx, p, w.ID, impact.Delivery{ID: "t"})
			_, _, deliveries := o.Deliveries(ctx, p, w.ID, "", impact.Page{Limit: 10})
			for what, err := range map[string]error{"get": get, "change": change, "rotate": rotate, "replay": replay, "test": test, "deliveries": deliveries, "delete": o.DeleteWebhook(ctx, p, w.ID, 1)} {
				if code(err) != "not_found" {
					t.Errorf("%s by a %s: %v", what, p.Role, err)
				}
			}
			if list, _, err := o.Webhooks(ctx, p, impact.Page{Limit: 10}); err != nil || len(list) != 0 {
				t.Errorf("a %s sees %v %v", p.Role, list, err)
			}
		}
		if got := o.webhook(colleague, w.ID); !cmp.Equal(got, o.webhook(mine, w.ID)) || got.URL != "https://x.example.org?token=s3cret" || got.Version != 1 {
			t.Errorf("%+v", got)
		}
		after, err := o.UpdateWebhook(ctx, colleague, w.ID, 1, func(w *impact.Webhook) error { w.Description = "the CRM's"; return nil })
		if err != nil || after.Client.Client != colleague.Client || after.Version != 2 {
			t.Errorf("%+v %v", after, err)
		}
		if err := o.DeleteWebhook(ctx, mine, w.ID, 1); code(err) != "precondition_failed" {
			t.Error(err)
		}
		if err := o.DeleteWebhook(ctx, mine, w.ID, 2); err != nil {
			t.Error(err)
		}
		if _, err := o.Webhook(ctx, mine, w.ID); code(err) != "not_found" {
			t.Error(err)
		}
		lines, _, err := o.AuditLog(ctx, mine, "", impact.Page{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, l := range lines {
			said = append(said, string(l.Action)+" by "+l.Actor+" "+l.Detail["host"])
			if strings.Contains(fmt.Sprint(l), "sealed") || strings.Contains(fmt.Sprint(l), "s3cret") {
				t.Errorf("%+v", l)
			}
		}
		want := []string{"webhook.deleted by " + mine.Client + " x.example.org", "webhook.changed by another client of X x.example.org", "webhook.created by " + mine.Client + " x.example.org"}
		if diff := cmp.Diff(want, said); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWebhooksAreCounted(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		p := entitled(acting(register(t, o.Store, "X").ID))
		first, _ := o.subscribe(p, "https://x.example.org/0", impact.ObservationChangedEvent)
		_, err := o.CreateWebhook(t.Context(), p, impact.Webhook{ID: "again", URL: first.URL, Types: first.Types})
		if code(err) != "already_exists" {
			t.Error(err)
		}
		// However many ask at once.
		var all sync.WaitGroup
		var mu sync.Mutex
		codes := map[string]int{}
		for i := range impact.WebhooksPerOwner + 9 {
			all.Go(func() {
				_, err := o.CreateWebhook(context.Background(), p, impact.Webhook{ID: impact.WebhookID(fmt.Sprint("w", i)), URL: fmt.Sprint("https://x.example.org/", i+1), Types: first.Types})
				mu.Lock()
				defer mu.Unlock()
				codes[code(err)]++
			})
		}
		all.Wait()
		if codes[""] != impact.WebhooksPerOwner-1 || codes["bad_state"] != 10 {
			t.Errorf("%v", codes)
		}
		var seen []impact.WebhookID
		for page := (impact.Page{Limit: 3}); ; {
			list, next, err := o.Webhooks(t.Context(), p, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range list {
				seen = append(seen, w.ID)
			}
			if page.After = next; next == nil {
				break
			}
		}
		if len(seen) != impact.WebhooksPerOwner || !slices.IsSorted(seen) || len(slices.Compact(seen)) != len(seen) {
			t.Errorf("%v", seen)
		}
	})
}

func TestReplayGoesBackOnly(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		ctx := t.Context()
		x := writing(t, o.Store, register(t, o.Store, "X"))
		p := entitled(x.p)
		w, _ := o.subscribe(p, "https://x.example.org/", impact.ObservationChangedEvent)
		x.one(hours("commune-69266", "2024-Q1", "5"))
		head, err := o.LastChange(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		for at, want := range map[impact.ChangePosition]impact.ChangePosition{
			head: w.Position, w.Position: w.Position, w.Position.Start(): w.Position.Start(), {}: {},
		} {
			fresh, err := o.CreateWebhook(ctx, p, impact.Webhook{ID: impact.WebhookID(fmt.Sprint(at)), URL: fmt.Sprintf("https://x.example.org/%d%s", at.Seq, at.Type), Types: w.Types})
			if err != nil {
				t.Fatal(err)
			}
			if moved, err := o.QueueDeliveries(ctx, fresh.ID, fresh.Position, w.Position, nil); err != nil || !moved {
				t.Fatal(moved, err)
			}
			if got, err := o.ReplayWebhook(ctx, p, fresh.ID, at); err != nil || got.Position != want || o.webhook(p, fresh.ID).Position != want {
				t.Errorf("%+v: %+v %v, want %+v", at, got.Position, err, want)
			}
		}
		elsewhere := head
		elsewhere.Tx++
		if _, err := o.ReplayWebhook(ctx, p, w.ID, elsewhere); code(err) != "cursor_expired" {
			t.Error(err)
		}
		// Who reads from where the webhook no longer is moves nothing.
		if moved, err := o.QueueDeliveries(ctx, w.ID, elsewhere, head, []impact.Delivery{{ID: "a"}}); err != nil || moved || len(o.deliveries(p, w.ID)) != 0 {
			t.Error(moved, err)
		}
	})
}

func TestDeliveriesArePagedAndForgotten(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		ctx := t.Context()
		p := entitled(acting(register(t, o.Store, "X").ID))
		w, _ := o.subscribe(p, "https://x.example.org/", impact.ObservationChangedEvent)
		events := make([]impact.Delivery, 7)
		for i := range events {
			events[i] = impact.Delivery{ID: fmt.Sprint("evt_", i), Type: impact.ObservationChangedEvent, Seq: int64(i + 1), Tx: 5, Body: []byte("{}")}
		}
		if _, err := o.QueueDeliveries(ctx, w.ID, w.Position, w.Position, events[:4]); err != nil {
			t.Fatal(err)
		}
		o.clock.pass(time.Second)
		if _, err := o.QueueDeliveries(ctx, w.ID, w.Position, w.Position, events[4:]); err != nil {
			t.Fatal(err)
		}
		pages := func(state impact.DeliveryState) (ids []string) {
			for page := (impact.Page{Limit: 2}); ; {
				list, next, err := o.Deliveries(ctx, p, w.ID, state, page)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range list {
					ids = append(ids, d.ID)
				}
				if page.After = next; next == nil {
					return ids
				}
			}
		}
		if diff := cmp.Diff([]string{"evt_6", "evt_5", "evt_4", "evt_3", "evt_2", "evt_1", "evt_0"}, pages("")); diff != "" {
			t.Error(diff)
		}
		if delay, err := o.DeliveryDelay(ctx); err != nil || delay != time.Second {
			t.Error(delay, err)
		}
		for i, state := range []impact.DeliveryState{impact.DeliveryDelivered, impact.DeliveryFailed} {
			one := events[i]
			one.Webhook, one.State, one.Tried, one.Attempts = w.ID, state, 1, []impact.Attempt{{At: o.clock.now(), Status: 200 + i}}
			for range 2 { // the second is of a process that slept: it changes nothing
				if _, err := o.RecordAttempt(ctx, one); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := fmt.Sprint(pages(impact.DeliveryDelivered), pages(impact.DeliveryFailed), len(pages(impact.DeliveryPending))); got != "[evt_0] [evt_1] 5" {
			t.Error(got)
		}
		o.clock.pass(impact.DeliveriesKept - time.Minute)
		for _, want := range []int{7, 5} {
			if err := o.ForgetDeliveries(ctx); err != nil {
				t.Fatal(err)
			}
			if n := len(pages("")); n != want {
				t.Errorf("%d deliveries are kept, want %d", n, want)
			}
			o.clock.pass(time.Hour)
		}
	})
}
