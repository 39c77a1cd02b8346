// Package audit checks, after disclosure control and without any of its code,
// that nobody's value can be recovered from what is shown. It looks for secrets
// that follow exactly from the published sums, for everybody and for each
// contributor, by elimination; and for secrets that they leave too little room,
// by linear programming.
package audit

import (
	"errors"
	"fmt"
	"slices"

	"github.com/grandlyon/retombees/pkg/disclosure"
)

// Report is what an audit found.
type Report struct {
	Figures, Shown int
	// Secrets are sums that must stay unknown: figures that fail the rules, and
	// those of Table.Secrets that do.
	Secrets int
	// Known are secrets that earlier releases have told: nothing keeps them.
	Known int
	// Unknowns and Relations are the size of the system that was solved, facts
	// that always go together counting once.
	Unknowns, Relations int
	// Points are solutions other than the true one: each shows room.
	Points int
	// Unsettled are secrets whose room could not be decided: the search was
	// given up. They are no findings, and no proof.
	Unsettled int
	Findings  []Finding
}

// OK tells that the figures give nothing away that was not told before, and
// that everything was examined.
func (r *Report) OK() bool { return len(r.Findings) == 0 && r.Unsettled == 0 }

// Kind is a way to recover a secret.
type Kind string

// Kinds.
const (
	Exact   Kind = "exact"   // it follows from what is shown
	Insider Kind = "insider" // it follows for a contributor that knows its own values
	Narrow  Kind = "narrow"  // what is shown leaves it less room than the rules ask
)

// Finding is a secret that can be recovered.
type Finding struct {
	Kind Kind
	// Secret names the figure, or "secret 3" of Table.Secrets; Sum is which of
	// its sums.
	Secret string
	Sum    int
	// Group is who can, -1 for everybody.
	Group int32
	// Low and High bound the sum by what is shown, where the kind is narrow, and
	// Value is the sum: as secret as the facts.
	Low, High, Value float64
}

func (f Finding) String() string {
	switch f.Kind {
	case Insider:
		return fmt.Sprintf("%s, sum %d: group %d derives it", f.Secret, f.Sum, f.Group)
	case Narrow:
		return fmt.Sprintf("%s, sum %d: between %g and %g, is %g", f.Secret, f.Sum, f.Low, f.High, f.Value)
	}
	return fmt.Sprintf("%s, sum %d: everybody derives it", f.Secret, f.Sum)
}

// Run audits the decisions taken on a table. Nil decisions show everything the
// rules alone allow: primary suppression only.
func Run(t *disclosure.Table, decisions []disclosure.Decision, rules disclosure.Rules) (*Report, error) {
	if decisions != nil && len(decisions) != len(t.Figures) {
		return nil, errors.New("audit: as many decisions as figures")
	}
	secrets := Secrets(t, rules)
	r := &Report{Figures: len(t.Figures), Secrets: len(secrets)}
	told := tell(t, decisions, rules)
	for _, f := range told.figures {
		if f {
			r.Shown++
		}
	}
	s := newSystem(t, told, secrets)
	r.Unknowns, r.Relations = len(s.columns), len(s.before)+len(s.shown)
	leaks := s.derived(firstPrime)
	if len(leaks.now) > 0 { // an accident of the modulus does not happen twice
		again := s.derived(secondPrime)
		leaks.now = slices.DeleteFunc(leaks.now, func(l leak) bool { return !slices.Contains(again.now, l) })
	}
	known := make([]bool, len(secrets))
	for _, l := range leaks.before {
		if l.group < 0 {
			known[l.secret] = true
			r.Known++
		}
	}
	exact := make([]bool, len(secrets))
	for _, l := range leaks.now {
		x := &secrets[l.secret]
		if known[l.secret] {
			continue
		}
		f := Finding{Kind: Exact, Secret: x.Name, Sum: x.Index, Group: l.group}
		if l.group >= 0 {
			f.Kind = Insider
		} else {
			exact[l.secret] = true
		}
		r.Findings = append(r.Findings, f)
	}
	for i := range secrets {
		exact[i] = exact[i] || known[i]
	}
	s.rooms(exact, r)
	return r, nil
}

// told is what everybody knows: sums of earlier releases and identities, and
// the figures that are shown.
type told struct {
	before, shown []*disclosure.Sum
	figures       []bool
}

// Told gathers all sums that everybody knows under these decisions; see Run.
func Told(t *disclosure.Table, decisions []disclosure.Decision, rules disclosure.Rules) []*disclosure.Sum {
	k := tell(t, decisions, rules)
	return slices.Concat(k.before, k.shown)
}

func tell(t *disclosure.Table, decisions []disclosure.Decision, rules disclosure.Rules) told {
	k := told{figures: make([]bool, len(t.Figures))}
	for i := range t.Published {
		k.before = append(k.before, &t.Published[i])
	}
	for i := range t.Identities {
		k.before = append(k.before, &t.Identities[i])
	}
	for i := range t.Figures {
		f := &t.Figures[i]
		if decisions != nil {
			k.figures[i] = decisions[i].Reason == disclosure.Shown
		} else {
			k.figures[i] = !slices.ContainsFunc(f.Sums, func(s disclosure.Sum) bool { return weigh(t, &s).secret(rules) })
		}
		if k.figures[i] {
			for j := range f.Sums {
				k.shown = append(k.shown, &f.Sums[j])
			}
		}
	}
	return k
}
