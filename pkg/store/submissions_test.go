package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

var s1970 = time.Unix(1, 0)

func transition(t testing.TB, s *store.Store, p impact.Principal, id impact.SubmissionID, action, reason string) impact.Submission {
	t.Helper()
	u, err := s.Submission(context.Background(), p, id)
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.Transition(context.Background(), p, id, u.Version, action, reason)
	if err != nil {
		t.Fatal(err)
	}
	return after
}

func TestObservationAlone(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		opened := w.one(hours("commune-69266", "2025-Q3", "10")).Observation.Submission
		u, err := s.Submission(ctx, w.p, opened)
		want := impact.Submission{ID: opened, Organisation: w.org.ID, Owner: u.Owner, Period: impact.YearPeriod(2025), State: impact.Draft, Review: impact.Manual, Observations: 1, ActedBy: w.p.Client, Version: 1}
		if d := cmp.Diff(want, u, ignoreTimes); err != nil || d != "" {
			t.Fatal(err, d)
		}
		t.Run("joins the open submission that contains its period", func(t *testing.T) {
			if o := w.one(hours("commune-69266", "2025-Q1", "10")).Observation; o.Submission != opened {
				t.Error(o.Submission)
			}
			if o := w.one(hours("commune-69266", "2024-Q1", "10")).Observation; o.Submission == opened {
				t.Error("2024 is in the submission of 2025")
			}
			narrow, _, err := s.CreateSubmission(ctx, w.p, impact.Submission{Organisation: w.org.ID, Period: period("2025-Q2")}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if o := w.one(hours("commune-69266", "2025-Q2", "10")).Observation; o.Submission != narrow.ID {
				t.Error("the narrowest wins")
			}
		})
		u, _ = s.Submission(ctx, w.p, opened)
		if u.Observations != 2 || u.Version != 2 {
			t.Errorf("%+v", u)
		}
	})
}

func period(s string) impact.Period {
	p, f := impact.ParsePeriod(s)
	if f != nil {
		panic(f)
	}
	return p
}

func TestLifeOfASubmission(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		o := w.one(hours("commune-69266", "2025-Q3", "10")).Observation
		id := o.Submission
		as := func(p impact.Principal) (impact.Observation, error) { return s.Observation(ctx, p, o.ID) }

		if _, err := s.Submission(ctx, steward, id); code(err) != "not_found" {
			t.Error("a steward sees a draft:", err)
		}
		u := transition(t, s, w.p, id, "submit", "")
		if u.State != impact.Submitted {
			t.Fatal(u.State)
		}
		if seen, err := as(steward); err != nil || seen.State != impact.Submitted {
			t.Error(seen, err)
		}
		t.Run("only steps that exist, by who may take them", func(t *testing.T) {
			for _, c := range []struct {
				p      impact.Principal
				action string
				want   string
			}{
				{w.p, "submit", "bad_state"},
				{w.p, "approve", "insufficient_scope"},
				{steward, "submit", "insufficient_scope"},
				{steward, "reopen", "insufficient_scope"},
				{w.p, "reopen", "bad_state"},
				{steward, "return", "validation_failed"},
				{admin, "approve", "not_found"},
				{buyer, "approve", "not_found"},
				{steward, "destroy", "not_found"},
			} {
				if _, err := s.Transition(ctx, c.p, id, u.Version, c.action, ""); code(err) != c.want {
					t.Errorf("%s by %s: %v, want %s", c.action, c.p.Role, err, c.want)
				}
			}
			if _, err := s.Transition(ctx, steward, id, u.Version-1, "approve", ""); impact.KindOf(err) != impact.Stale {
				t.Error(err)
			}
		})
		u = transition(t, s, steward, id, "return", "check the unit")
		if u.State != impact.Returned || u.Reason != "check the unit" {
			t.Errorf("%+v", u)
		}
		if _, err := as(steward); code(err) != "not_found" {
			t.Error("what was returned is the organisation's again:", err)
		}
		w.one(hours("commune-69266", "2025-Q3", "12"))
		transition(t, s, w.p, id, "submit", "")
		transition(t, s, steward, id, "approve", "")
		if seen, err := as(w.p); err != nil || seen.State != impact.Approved || seen.ApprovedVersion != 2 {
			t.Errorf("%+v %v", seen, err)
		}
		t.Run("a correction awaits review, the approved version counts", func(t *testing.T) {
			next := w.one(hours("commune-69266", "2025-Q3", "14")).Observation
			if next.State != impact.Submitted || next.Version != 3 || next.ApprovedVersion != 2 {
				t.Errorf("%+v", next)
			}
			if u, _ := s.Submission(ctx, w.p, id); u.State != impact.Submitted {
				t.Error(u.State)
			}
			transition(t, s, steward, id, "return", "no")
			if seen, err := as(steward); err != nil || seen.Version != 2 || *seen.Value != *quantity(12) || seen.State != impact.Approved {
				t.Errorf("a steward sees the approved version while a draft is written: %+v %v", seen, err)
			}
			if seen, _ := as(w.p); seen.Version != 3 || seen.State != impact.Returned {
				t.Errorf("%+v", seen)
			}
			if history, err := s.History(ctx, steward, o.ID); err != nil || len(history) != 2 || history[0].State != impact.Returned || history[1].State != impact.Approved {
				t.Errorf("%+v %v", history, err)
			}
		})
		t.Run("a deletion awaits review too", func(t *testing.T) {
			transition(t, s, w.p, id, "submit", "")
			transition(t, s, steward, id, "approve", "")
			if _, err := s.DeleteObservation(ctx, w.p, o.ID, 3); err != nil {
				t.Fatal(err)
			}
			u, _ := s.Submission(ctx, w.p, id)
			if u.State != impact.Submitted || u.Observations != 0 {
				t.Errorf("%+v", u)
			}
			w.one(hours("commune-69266", "2025-Q3", "15"))
			transition(t, s, steward, id, "approve", "")
		})
		t.Run("reopen, unless the period is closed", func(t *testing.T) {
			if err := s.LockPeriod(ctx, steward, period("2025-12")); err != nil {
				t.Fatal(err)
			}
			u, _ := s.Submission(ctx, w.p, id)
			if _, err := s.Transition(ctx, w.p, id, u.Version, "reopen", ""); impact.KindOf(err) != impact.Locked {
				t.Error(err)
			}
			if err := s.UnlockPeriod(ctx, steward, period("2025-12")); err != nil {
				t.Fatal(err)
			}
			if u := transition(t, s, w.p, id, "reopen", ""); u.State != impact.Draft {
				t.Error(u.State)
			}
			u, _ = s.Submission(ctx, w.p, id)
			if _, err := s.DeleteSubmission(ctx, w.p, id, u.Version); code(err) != "bad_state" {
				t.Error("what was approved once cannot vanish:", err)
			}
		})
	})
}

func TestSubmissionWithObservations(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		w := writing(t, s, register(t, s, "Une"))
		_, err := s.PutQuestionnaire(ctx, admin, impact.Questionnaire{
			Code: "q", Label: impact.Text{FR: "Questions", EN: "Questions"}, Review: impact.Automatic,
			Indicators: []impact.QuestionnaireItem{{Indicator: "insertion_hours", Required: true}, {Indicator: "waste_diversion_rate", Required: true}},
		}, 0)
		if err != nil {
			t.Fatal(err)
		}
		stated := impact.Submission{Organisation: w.org.ID, Period: impact.YearPeriod(2025), Questionnaire: "q", Source: "crm"}
		t.Run("a fault leaves nothing behind", func(t *testing.T) {
			b := w.batch(hours("commune-69266", "2025-Q1", "1"), hours("commune-69266", "2024-Q1", "1"))
			b.Pointer = "/observations"
			_, _, err := s.CreateSubmission(ctx, w.p, stated, &b)
			e, _ := errors.AsType[*impact.Error](err)
			if e == nil || len(e.Faults) != 1 || e.Faults[0].Code != "period_not_allowed" || e.Faults[0].Pointer != "/observations/1/period" {
				t.Errorf("%v", err)
			}
			if list, _, err := s.Submissions(ctx, w.p, impact.SubmissionFilter{}, impact.Page{Limit: 10}); err != nil || len(list) != 0 {
				t.Error(list, err)
			}
		})
		b := w.batch(hours("commune-69266", "2025-Q1", "1"))
		u, results, err := s.CreateSubmission(ctx, w.p, stated, &b)
		if err != nil || u.Observations != 1 || u.Review != impact.Automatic || results.Rows[0].Observation.Submission != u.ID || results.Seq == 0 {
			t.Fatal(u, results, err)
		}
		if _, _, err := s.CreateSubmission(ctx, w.p, stated, nil); code(err) != "already_exists" {
			t.Error(err)
		}
		stated.Questionnaire = "other"
		if _, _, err := s.CreateSubmission(ctx, w.p, stated, nil); code(err) != "validation_failed" {
			t.Error(err)
		}
		for _, p := range []impact.Principal{steward, admin, buyer, acting(register(t, s, "Autre").ID)} {
			if _, _, err := s.CreateSubmission(ctx, p, stated, nil); code(err) != "not_found" {
				t.Errorf("%s: %v", p.Role, err)
			}
		}
		t.Run("incomplete", func(t *testing.T) {
			if _, err := s.Transition(ctx, w.p, u.ID, u.Version, "submit", ""); code(err) != "incomplete" {
				t.Error(err)
			}
			if c, err := s.Completeness(ctx, w.p, u.ID); err != nil || c.Asked != 2 || c.Answered != 1 || c.Complete() {
				t.Errorf("%+v %v", c, err)
			}
		})
		t.Run("rules alone approve what comes without warning", func(t *testing.T) {
			add := w.batch(impact.Statement{Indicator: "waste_diversion_rate", Territory: "commune-69266", Period: "2025", Components: map[string]string{"numerator": "1", "denominator": "2"}})
			add.Submission = u.ID
			if r, err := s.PutObservations(ctx, add); err != nil || r.Rows[0].Outcome != impact.Created {
				t.Fatal(r, err)
			}
			if after := transition(t, s, w.p, u.ID, "submit", ""); after.State != impact.Approved {
				t.Fatal(after.State)
			}
			o := w.one(hours("commune-69266", "2025-Q1", "2")).Observation
			if o.State != impact.Approved || o.ApprovedVersion != 2 {
				t.Errorf("%+v", o)
			}
			// Ten times the former quarter and more is suspect.
			w.one(hours("commune-69266", "2025-Q2", "2"))
			suspect := w.one(hours("commune-69266", "2025-Q2", "9000"))
			if len(suspect.Warnings) == 0 || suspect.Observation.State != impact.Submitted || suspect.Observation.ApprovedVersion != 1 {
				t.Errorf("%+v", suspect)
			}
		})
		t.Run("a draft can be changed and withdrawn", func(t *testing.T) {
			d, _, err := s.CreateSubmission(ctx, w.p, impact.Submission{Organisation: w.org.ID, Period: impact.YearPeriod(2023)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			o := w.one(hours("commune-69266", "2023-Q1", "5")).Observation
			d, _ = s.Submission(ctx, w.p, d.ID)
			if _, err := s.UpdateSubmission(ctx, w.p, d.ID, d.Version, func(u *impact.Submission) error { u.Period = period("2023-S2"); return nil }); code(err) != "validation_failed" {
				t.Error(err)
			}
			changed, err := s.UpdateSubmission(ctx, w.p, d.ID, d.Version, func(u *impact.Submission) error { u.Period, u.Source = period("2023-S1"), "sheet"; return nil })
			if err != nil || changed.Period != period("2023-S1") || changed.Version != d.Version+1 {
				t.Error(changed, err)
			}
			if _, err := s.DeleteSubmission(ctx, w.p, d.ID, d.Version); impact.KindOf(err) != impact.Stale {
				t.Error(err)
			}
			if _, err := s.DeleteSubmission(ctx, w.p, d.ID, changed.Version); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Observation(ctx, w.p, o.ID); code(err) != "not_found" {
				t.Error(err)
			}
			if back := w.one(hours("commune-69266", "2023-Q1", "5")); back.Outcome != impact.Created || back.Observation.Version != 3 || back.Observation.Submission == d.ID {
				t.Errorf("%+v", back)
			}
		})
		list, _, err := s.Submissions(ctx, steward, impact.SubmissionFilter{Organisation: w.org.ID, State: impact.Submitted}, impact.Page{Limit: 10})
		if err != nil || len(list) != 1 || list[0].ID != u.ID {
			t.Error(list, err)
		}
	})
}
