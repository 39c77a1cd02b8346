package impact

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func someMandate(r *rand.Rand) *Mandate {
	m := &Mandate{ID: MandateID(rune('a' + r.IntN(26)))}
	for _, s := range MandateScopes() {
		if r.IntN(2) == 0 {
			m.Scopes = append(m.Scopes, s)
		}
	}
	if r.IntN(3) > 0 {
		for k := range IndicatorKey(4) {
			if r.IntN(2) == 0 {
				m.Indicators = append(m.Indicators, k+1)
			}
		}
	}
	m.Periods = Period{Date(r.IntN(6)), Date(r.IntN(6) + 4)}
	m.ValidFrom = Date(r.IntN(6))
	m.ValidTo = m.ValidFrom + Date(r.IntN(6))
	m.State = []MandateState{Requested, Granted, Granted, Granted, Refused, Revoked}[r.IntN(6)]
	return m
}

func someUse(r *rand.Rand) Use {
	u := Use{Scope: MandateScopes()[r.IntN(len(MandateScopes()))], Indicator: IndicatorKey(r.IntN(6)), Period: AnyPeriod}
	if r.IntN(4) > 0 {
		u.Period.Start = Date(r.IntN(10))
		u.Period.End = u.Period.Start + Date(r.IntN(3))
	}
	return u
}

// Covers says what the definition of a mandate says, written the long way; no
// mandate that is not in force ever covers anything, and of several mandates one
// is found whenever one covers.
func TestMandateCovers(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 7))
	covered := 0
	for range 200_000 {
		m, u, today := someMandate(r), someUse(r), Date(r.IntN(12))
		want := m.State == Granted && m.ValidFrom <= today && today <= m.ValidTo && slices.Contains(m.Scopes, u.Scope)
		want = want && (u.Indicator == AnyIndicator || m.Indicators == nil || slices.Contains(m.Indicators, u.Indicator))
		want = want && (u.Period == AnyPeriod || u.Period.Start >= m.Periods.Start && u.Period.End <= m.Periods.End)
		if got := m.Covers(u, today) == LacksNothing; got != want {
			t.Fatalf("%+v covers %+v on %d: %v", m, u, today, got)
		}
		if want {
			covered++
			if m.StateOn(today) != Granted {
				t.Fatalf("%+v is not in force on %d", m, today)
			}
		}
		list := []*Mandate{someMandate(r), m, someMandate(r)}
		some := slices.ContainsFunc(list, func(x *Mandate) bool { return x.Covers(u, today) == LacksNothing })
		if found, lack := FindMandate(list, u, today); (lack == LacksNothing) != some || some && found.Covers(u, today) != LacksNothing {
			t.Fatalf("found %+v, %d among %+v", found, lack, list)
		}
	}
	if covered < 1000 {
		t.Errorf("only %d uses were covered: the test says little", covered)
	}
	if found, lack := FindMandate(nil, Use{}, 0); found != nil || lack != LacksMandate {
		t.Error("nothing covers nothing")
	}
}

// A refusal always says why and how, in both languages, whatever is lacking.
func TestMandateRefusalsSpeak(t *testing.T) {
	c := &Catalogue{}
	m := &Mandate{ID: "m", Periods: Period{MinDate, 100}, ValidFrom: 0, ValidTo: 10}
	for lack := LacksMandate; lack < LacksNothing; lack++ {
		nearest := m
		if lack == LacksMandate {
			nearest = nil
		}
		f := lack.Refusal(Use{Scope: ObservationsRead, Period: YearPeriod(2024)}, nearest, c)
		if f.Code != "not_mandated" || f.Detail.FR == "" || f.Detail.EN == "" || f.Hint.FR == "" || f.Hint.EN == "" {
			t.Errorf("%d: %+v", lack, f)
		}
	}
}

// From every state, each side takes the steps that are its own and no other; a
// mandate that has ended never comes back.
func TestMandateDecisions(t *testing.T) {
	allowed := map[string]MandateState{
		"requested organisation grant": Granted, "requested organisation refuse": Refused, "requested network revoke": Revoked,
		"granted organisation revoke": Revoked, "granted network revoke": Revoked,
	}
	for _, state := range []MandateState{Requested, Granted, Refused, Revoked} {
		for _, by := range []Role{RoleOrganisation, RoleNetwork} {
			for _, action := range []MandateAction{GrantMandate, RefuseMandate, RevokeMandate} {
				m := Mandate{State: state, ValidTo: 10}
				err := m.Decide(by, action, 5)
				next, may := allowed[string(state)+" "+string(by)+" "+string(action)]
				if may != (err == nil) || may && m.State != next || !may && m.State != state {
					t.Errorf("%s by %s from %s: %v, now %s", action, by, state, err, m.State)
				}
			}
		}
	}
	over := Mandate{State: Requested, ValidTo: 4}
	if over.Decide(RoleOrganisation, GrantMandate, 5) == nil {
		t.Error("a mandate that is over before it begins")
	}
	expired := Mandate{State: Granted, ValidTo: 4}
	if expired.StateOn(5) != Expired || expired.Decide(RoleOrganisation, RevokeMandate, 5) == nil {
		t.Error("an expired mandate has ended")
	}
}

// A corrected beginning leaves no day of the stay out, and shares none with
// another.
func TestABeginningIsCorrected(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	corrected := 0
	for range 5000 {
		var held []Membership
		for i := range 3 {
			m := Membership{ID: MembershipID(rune('a' + i)), From: Date(r.IntN(30))}
			m.To = m.From + Date(r.IntN(8))
			if m.Check(held) == nil {
				held = append(held, m)
			}
		}
		m := Membership{From: Date(r.IntN(30))}
		m.To = m.From + Date(r.IntN(20))
		c := m.Corrects(held)
		shared, inside := 0, 0
		for _, o := range held {
			if m.From <= o.To && o.From <= m.To {
				shared++
			}
			if m.From < o.From && o.To <= m.To {
				inside++
			}
		}
		if (c != nil) != (shared == 1 && inside == 1) {
			t.Fatalf("%+v among %+v corrects %+v", m, held, c)
		}
		if c != nil {
			corrected++
		}
	}
	if corrected == 0 {
		t.Error("nothing was ever corrected")
	}
}

// Memberships of one pair never share a day.
func TestMembershipsDoNotOverlap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var held []Membership
		for i := range 6 {
			m := Membership{ID: MembershipID(rune('a' + i)), From: Date(r.IntN(30))}
			m.To = m.From + Date(r.IntN(8)) - 1
			if len(m.Check(held)) == 0 {
				held = append(held, m)
			}
		}
		for day := range Date(40) {
			n := 0
			for i := range held {
				if held[i].On(day) {
					n++
				}
			}
			if n > 1 {
				t.Fatalf("%d memberships on day %d: %+v", n, day, held)
			}
		}
	}
}
