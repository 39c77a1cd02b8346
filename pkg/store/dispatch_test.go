package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

// forgetful is a store that a process dies over: what was sent is not written
// down, now and then.
type forgetful struct {
	*store.Store
	rnd *rand.Rand
	mu  sync.Mutex
}

var errKilled = errors.New("killed")

func (f *forgetful) RecordAttempt(ctx context.Context, d impact.Delivery) (*impact.Webhook, error) {
	f.mu.Lock()
	killed := f.rnd.IntN(3) == 0
	f.mu.Unlock()
	if killed {
		return nil, errKilled
	}
	return f.Store.RecordAttempt(ctx, d)
}

// What anybody sees in the feed it is told of: organisations live, dispatchers
// die between sending and writing down, and are replaced; receivers fail one time
// in four. In the end each change that is visible from where the webhook began has
// been told at least once, and nobody was told of anybody else's.
func TestEverythingVisibleIsTold(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		ctx := t.Context()
		l := newLife(t, o.Store, 7, 3)
		rnd := rand.New(rand.NewPCG(7, 2))
		type listener struct {
			p     impact.Principal
			r     *receiver
			begun impact.ChangePosition
		}
		var listeners []listener
		for _, p := range []impact.Principal{entitled(l.w[0].p), entitled(l.w[1].p), entitled(steward), entitled(admin)} {
			r := newReceiver(t)
			var mu sync.Mutex
			n := 0
			r.answers(func(w http.ResponseWriter, _ *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if n++; n%4 == 0 {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			w, secret := o.subscribe(p, r.URL)
			r.secret = secret
			listeners = append(listeners, listener{p, r, w.Position})
		}
		for i := range 120 {
			l.step()
			if rnd.IntN(3) > 0 {
				continue
			}
			d := o.dispatcher(fmt.Sprint("process ", i), &forgetful{Store: o.Store, rnd: rand.New(rand.NewPCG(7, uint64(i)))})
			for range 1 + rnd.IntN(3) {
				if err := d.Turn(ctx); err != nil {
					t.Fatal(err)
				}
			}
			d.Wait() // of what it has sent, a third is not written down: it died there
			o.clock.pass(time.Minute)
		}
		last := o.dispatcher("last", o.Store)
		for range 12 {
			o.drain(last)
			o.clock.pass(25 * time.Hour)
		}
		told := 0
		for _, x := range listeners {
			heard := map[string]bool{}
			bodies := map[string]event{}
			latest := map[string]int64{}
			for _, e := range x.r.all() {
				if before, again := bodies[e.ID]; again && !cmp.Equal(before, e) {
					t.Errorf("%s says two things:\n%s", e.ID, cmp.Diff(before, e))
				}
				bodies[e.ID] = e
				seq, _, _ := strings.Cut(e.Data.Cursor, ".")
				n, err := strconv.ParseInt(seq, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				latest[e.Type+" "+e.Data.Organisation] = max(latest[e.Type+" "+e.Data.Organisation], n)
				heard[seq+" "+e.Type+" "+e.Data.Organisation+" "+e.Data.Submission] = true
				if x.p.Role == impact.RoleOrganisation && e.Data.Organisation != string(x.p.Organisation) {
					t.Errorf("%s is told of %s", x.p.Organisation, e.Data.Organisation)
				}
				if x.p.Role == impact.RoleAdministrator {
					t.Errorf("an administrator is told of %+v", e)
				}
				if e.Data.Count != e.Data.Created+e.Data.Updated+e.Data.Deleted || (e.Type == string(impact.ObservationChangedEvent)) != (e.Data.Count > 0) {
					t.Errorf("%+v", e)
				}
			}
			at, caughtUp := x.begun, false
			for !caughtUp {
				var list []impact.Change
				var err error
				if list, at, caughtUp, err = o.Changes(ctx, x.p, impact.ChangeFilter{}, at, 100); err != nil {
					t.Fatal(err)
				}
				for _, c := range list {
					kind, submission := impact.ObservationChangedEvent, ""
					if c.Type == impact.SubmissionChange {
						kind = map[string]impact.EventType{"submit": impact.SubmissionSubmittedEvent, "approve": impact.SubmissionApprovedEvent, "return": impact.SubmissionReturnedEvent}[c.Action]
						submission = c.ID
					}
					if kind == "" || c.Type != impact.SubmissionChange && c.Type != impact.ObservationChange || submission != "" && c.Op == impact.OpDeleted {
						continue
					}
					told++
					what := fmt.Sprint(c.Seq, " ", kind, " ", c.Organisation, " ", submission)
					// What a steward could not see when it was written, it was told of when it
					// was handed in: by a later commit.
					if later := latest[string(kind)+" "+string(c.Organisation)]; !heard[what] && (x.p.Role != impact.RoleSteward || kind != impact.ObservationChangedEvent || later < c.Seq) {
						t.Errorf("a %s was never told: %s", x.p.Role, what)
					}
				}
			}
		}
		if told < 200 {
			t.Errorf("%d changes only: little was told", told)
		}
	})
}

func TestOneEventForAnOrganisationAndACommit(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		x, y := writing(t, o.Store, register(t, o.Store, "X")), writing(t, o.Store, register(t, o.Store, "Y"))
		r := newReceiver(t)
		w, secret := o.subscribe(entitled(x.p), r.URL, impact.ObservationChangedEvent)
		r.secret = secret
		var many []impact.Statement
		for _, town := range communes {
			many = append(many, hours(town, "2024-Q1", "5"))
		}
		x.put(many...)
		y.put(many...)
		d := o.dispatcher("a", o.Store)
		o.drain(d)
		all := r.all()
		if len(all) != 1 {
			t.Fatalf("%d events", len(all))
		}
		e := all[0]
		org := string(x.org.ID)
		if e.Type != string(impact.ObservationChangedEvent) || e.Subject != "organisations/"+org || e.Data.Organisation != org || e.Data.Count != len(communes) || e.Data.Created != len(communes) {
			t.Errorf("%+v", e)
		}
		if l := e.Data.Links; l["changes"] != "https://retombees.example/v1/changes?types=observation&cursor="+e.Data.Cursor || l["organisation"] != "https://retombees.example/v1/organisations/"+org || !strings.HasPrefix(l["observations"], "https://retombees.example/v1/observations?organisation="+org) {
			t.Errorf("%v", l)
		}
		if got := o.webhook(entitled(x.p), w.ID); got.Pending != 0 || got.DeliveredAt.IsZero() || !got.FailingSince.IsZero() || got.Position.Seq <= w.Position.Seq {
			t.Errorf("%+v", got)
		}
		list := o.deliveries(entitled(x.p), w.ID)
		if len(list) != 1 || list[0].State != impact.DeliveryDelivered || len(list[0].Attempts) != 1 || list[0].Attempts[0].Status != 200 || list[0].ID != e.ID {
			t.Errorf("%+v", list)
		}
		// The cursor leads to the change itself.
		found, _, _, err := o.Changes(t.Context(), entitled(x.p), impact.ChangeFilter{}, list[0].At(), 1)
		if err != nil || len(found) != 1 || found[0].Seq != list[0].Seq {
			t.Errorf("%+v %v", found, err)
		}
		// Nothing new, nothing said.
		o.drain(d)
		if n := len(r.all()); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

func TestTheLifeOfASubmissionIsTold(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		ctx := t.Context()
		x := writing(t, o.Store, register(t, o.Store, "X"))
		own, review := newReceiver(t), newReceiver(t)
		steps := []impact.EventType{impact.SubmissionSubmittedEvent, impact.SubmissionApprovedEvent, impact.SubmissionReturnedEvent}
		o.subscribe(entitled(x.p), own.URL, steps...)
		o.subscribe(entitled(steward), review.URL, steps...)
		d := o.dispatcher("a", o.Store)
		x.one(hours("commune-69266", "2024-Q1", "5"))
		list, _, err := o.Submissions(ctx, x.p, impact.SubmissionFilter{}, impact.Page{Limit: 10})
		if err != nil || len(list) != 1 {
			t.Fatalf("%v %v", list, err)
		}
		id := list[0].ID
		for _, step := range []struct {
			p      impact.Principal
			action string
		}{{x.p, "submit"}, {steward, "return"}, {x.p, "submit"}, {steward, "approve"}, {x.p, "reopen"}} {
			if _, err := o.Transition(ctx, step.p, id, 0, step.action, "because"); err != nil {
				t.Fatal(err)
			}
			o.drain(d)
		}
		want := []string{"submission.approved.v1", "submission.returned.v1", "submission.submitted.v1", "submission.submitted.v1"}
		for _, r := range []*receiver{own, review} {
			if diff := cmp.Diff(want, r.told()); diff != "" {
				t.Error(diff)
			}
			for _, e := range r.all() {
				if e.Data.Submission != string(id) || e.Subject != "submissions/"+string(id) || e.Data.Links["submission"] != "https://retombees.example/v1/submissions/"+string(id) {
					t.Errorf("%+v", e)
				}
			}
		}
	})
}

// A process that dies between sending and writing down has sent; the next one
// sends again, under the same id.
func TestADeadProcessIsReplacedAndSendsAgainUnderTheSameID(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		x := writing(t, o.Store, register(t, o.Store, "X"))
		r := newReceiver(t)
		o.subscribe(entitled(x.p), r.URL, impact.ObservationChangedEvent)
		x.one(hours("commune-69266", "2024-Q1", "5"))
		first := o.dispatcher("first", &dying{o.Store})
		if err := first.Turn(t.Context()); err != nil {
			t.Fatal(err)
		}
		first.Wait()
		second := o.dispatcher("second", o.Store)
		o.drainOnce(second)
		if n := len(r.all()); n != 1 {
			t.Fatalf("%d events while the first holds the lease", n)
		}
		o.clock.pass(11 * time.Second)
		o.drain(second)
		all := r.all()
		if len(all) != 2 || all[0].ID != all[1].ID || !cmp.Equal(all[0], all[1]) {
			t.Errorf("%+v", all)
		}
	})
}

// dying never writes down what it sent.
type dying struct{ *store.Store }

func (dying) RecordAttempt(context.Context, impact.Delivery) (*impact.Webhook, error) {
	return nil, errKilled
}

// The process that ends in good order gives the webhooks back at once.
func TestTheLeaseIsGivenBack(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		d := o.dispatcher("first", o.Store)
		ctx, stop := context.WithCancel(t.Context())
		running := make(chan struct{})
		go func() { defer close(running); d.Run(ctx, time.Millisecond) }()
		for held := true; held; { // until the first has it
			var err error
			if held, err = o.LeaseWebhooks(t.Context(), "second", 0); err != nil {
				t.Fatal(err)
			}
			o.clock.pass(time.Millisecond)
		}
		stop()
		<-running
		o.clock.pass(time.Millisecond)
		if held, err := o.LeaseWebhooks(t.Context(), "second", time.Minute); err != nil || !held {
			t.Errorf("%v %v", held, err)
		}
	})
}

// A receiver that never answers holds its own places; others hear everything.
func TestASlowReceiverStarvesNobody(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		slow, quick := newReceiver(t), newReceiver(t)
		let := make(chan struct{})
		slow.answers(func(http.ResponseWriter, *http.Request) { <-let })
		x := writing(t, o.Store, register(t, o.Store, "X"))
		o.subscribe(entitled(x.p), slow.URL, impact.ObservationChangedEvent)
		o.subscribe(entitled(x.p), quick.URL, impact.ObservationChangedEvent)
		for i := range 20 {
			x.one(hours("commune-69266", fmt.Sprintf("20%d-Q%d", 20+i/4, 1+i%4), "5"))
		}
		d := o.dispatcher("a", o.Store)
		for len(quick.all()) < 20 {
			if err := d.Turn(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(slow.all()); n > 4 {
			t.Errorf("%d requests at once to one webhook", n)
		}
		close(let)
		slow.answers(nil)
		d.Wait()
		o.drain(d)
		if n := len(slow.all()); n != 20 {
			t.Errorf("the slow one heard %d", n)
		}
	})
}

func TestRetriesAreSpacedAndGivenUp(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		x := writing(t, o.Store, register(t, o.Store, "X"))
		r := newReceiver(t)
		r.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, "<h1>Erreur</h1>\x00")
		})
		w, _ := o.subscribe(entitled(x.p), r.URL, impact.ObservationChangedEvent)
		x.one(hours("commune-69266", "2024-Q1", "5"))
		d := o.dispatcher("a", o.Store)
		began := o.clock.now()
		for i, gap := range []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour} {
			o.drain(d)
			if n := len(r.all()); n != i+1 {
				t.Fatalf("%d attempts, want %d", n, i+1)
			}
			one := o.deliveries(entitled(x.p), w.ID)[0]
			wait := one.NextAt.Sub(o.clock.now())
			if one.State != impact.DeliveryPending || wait < gap*9/10 || wait > gap*11/10 || one.Excerpt != "<h1>Erreur</h1>" || one.Attempts[i].Status != 500 || one.Attempts[i].Failure != impact.FailedStatus {
				t.Errorf("attempt %d: %+v, next in %s", i+1, one, wait)
			}
			o.clock.pass(wait - time.Second)
			o.drain(d)
			if n := len(r.all()); n != i+1 {
				t.Fatalf("sent a second early: %d", n)
			}
			o.clock.pass(time.Second)
		}
		o.drain(d)
		one := o.deliveries(entitled(x.p), w.ID)[0]
		if one.State != impact.DeliveryFailed || len(one.Attempts) != 10 || !one.NextAt.IsZero() {
			t.Errorf("%+v", one)
		}
		got := o.webhook(entitled(x.p), w.ID)
		if got.State != impact.WebhookActive || !got.FailingSince.Equal(began) {
			t.Errorf("%+v", got)
		}
		// A replay sends it again.
		r.answers(nil)
		if _, err := o.ReplayWebhook(t.Context(), entitled(x.p), w.ID, one.At()); err != nil {
			t.Fatal(err)
		}
		o.drain(d)
		one = o.deliveries(entitled(x.p), w.ID)[0]
		if one.State != impact.DeliveryDelivered || len(r.all()) != 11 || r.all()[10].ID != one.ID || len(one.Attempts) != 11 {
			t.Errorf("%+v", one)
		}
		if got := o.webhook(entitled(x.p), w.ID); !got.FailingSince.IsZero() {
			t.Errorf("%+v", got)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		x := writing(t, o.Store, register(t, o.Store, "X"))
		r := newReceiver(t)
		r.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		})
		w, _ := o.subscribe(entitled(x.p), r.URL, impact.ObservationChangedEvent)
		x.one(hours("commune-69266", "2024-Q1", "5"))
		o.drain(o.dispatcher("a", o.Store))
		if next := o.deliveries(entitled(x.p), w.ID)[0].NextAt; !next.Equal(o.clock.now().Add(time.Hour)) {
			t.Errorf("%s", next.Sub(o.clock.now()))
		}
	})
}

// While its secret is replaced, a receiver that knows either is content.
func TestSecretsOverlap(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		x := writing(t, o.Store, register(t, o.Store, "X"))
		r := newReceiver(t)
		w, former := o.subscribe(entitled(x.p), r.URL, impact.ObservationChangedEvent)
		current := auth.NewSigningSecret()
		if _, err := o.RotateWebhook(t.Context(), entitled(x.p), w.ID, o.vault.Seal(current, string(w.ID))); err != nil {
			t.Fatal(err)
		}
		d := o.dispatcher("a", o.Store)
		for i, secret := range []string{former, current} {
			r.secret = secret
			x.one(hours("commune-69266", "2024-Q1", fmt.Sprint(i+1)))
			o.drain(d)
		}
		o.clock.pass(impact.SecretOverlap + time.Second)
		r.secret = ""
		var signatures string
		r.answers(func(_ http.ResponseWriter, q *http.Request) { signatures = q.Header.Get("Webhook-Signature") })
		x.one(hours("commune-69266", "2024-Q1", "7"))
		o.drain(d)
		if n := len(strings.Fields(signatures)); n != 1 || len(r.all()) != 3 {
			t.Errorf("%d signatures, %d events", n, len(r.all()))
		}
	})
}

// A queue that is full stops the reading, not the world: what the feed keeps is
// read when there is room.
func TestABoundedQueueLosesNothing(t *testing.T) {
	offices(t, func(t *testing.T, o *office) {
		x := writing(t, o.Store, register(t, o.Store, "X"))
		r := newReceiver(t)
		r.Close() // nobody is there
		p := entitled(x.p)
		w, _ := o.subscribe(p, r.URL, impact.ObservationChangedEvent)
		full := make([]impact.Delivery, impact.PendingKept)
		for i := range full {
			full[i] = impact.Delivery{ID: fmt.Sprint("filler-", i), Type: impact.ObservationChangedEvent, Seq: 1, Body: []byte(`{}`)}
		}
		if moved, err := o.QueueDeliveries(t.Context(), w.ID, w.Position, w.Position, full); err != nil || !moved {
			t.Fatal(moved, err)
		}
		if _, err := o.QueueTest(t.Context(), p, w.ID, impact.Delivery{ID: "t"}); code(err) != "bad_state" {
			t.Error(err)
		}
		x.one(hours("commune-69266", "2024-Q1", "5"))
		d := o.dispatcher("a", o.Store)
		if err := d.Turn(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.Wait()
		if got := o.webhook(p, w.ID); got.Position != w.Position || got.Pending != impact.PendingKept {
			t.Errorf("%+v", got)
		}
	})
}
