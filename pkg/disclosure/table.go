// Package disclosure decides which figures may be shown so that nobody's
// individual value can be recovered from them: statistical secrecy. It is pure
// and knows neither territories nor indicators, only sums of facts.
//
// The method, the threat it answers and what it does not cover are told in
// docs/disclosure.md.
package disclosure

import "github.com/grandlyon/retombees/pkg/impact"

// Table is everything published that sums tie together: it is protected as
// one. Two tables that share no fact are independent.
type Table struct {
	Facts []Fact
	// Figures may be shown, each wholly or not at all.
	Figures []Figure
	// Published are sums that earlier releases have told: everybody knows them,
	// whatever is decided now.
	Published []Sum
	// Secrets are sums that no figure of this table shows and that the rules
	// judge like those of figures: what was withheld in earlier releases, and
	// what the difference of two releases would tell. Those that pass need no
	// protection.
	Secrets []Sum
	// Identities are sums known to be zero by everybody, from the definitions.
	Identities []Sum
}

// The order of Facts, Figures and the numbers of groups change nothing. That of
// Published, Secrets and Identities should be the same in each build.

// Fact is one unknown: a value stated by one group.
type Fact struct {
	// Group is a dense number from 0; contributors that belong together have
	// the same one.
	Group int32
	Value impact.Quantity
	// Signed: the value may be negative, and everybody knows it may.
	Signed bool
	// Waived: the group agreed to be recognised; its value counts as known.
	Waived bool
	// Max is the largest value possible where everybody knows it (1 for a yes or
	// no), 0 where there is none. What is missing to it is as secret as the value.
	Max impact.Quantity
}

// Figure is a candidate.
type Figure struct {
	// Name is unique in the table and the same in every build from the same
	// facts: it breaks ties, so it must not depend on the order of input.
	Name string
	// Rank orders candidates: the lowest is kept first. Figures that were shown
	// and did not move come first of all.
	Rank Rank
	// Sums are what showing the figure tells: one, or numerator and denominator.
	Sums []Sum
}

// Rank says what is kept first: compared member by member, small before large.
type Rank struct {
	Moved       bool // false: shown before, and the same
	Level       int  // 0 the widest territory
	Part        bool // false: a year, true: a part of it
	Cut         bool // false: everybody, true: one class of organisations
	Contributor int  // minus the number of contributors
}

// Sum is Σ Num÷Den × fact, with a fact at most once. Without terms it is empty
// and tells nothing.
type Sum struct {
	Terms []Term
	// People: the sum counts persons.
	People bool
}

// Term is one fact of a sum.
type Term struct {
	Fact     int32
	Num, Den int64 // lowest terms, Den > 0, Num ≠ 0
}

// Reason says why a figure is withheld. It is never published: see
// docs/disclosure.md.
type Reason string

// Reasons, in the order they are tried.
const (
	Shown           Reason = ""
	FewContributors Reason = "few_contributors" // fewer groups than the rule asks for
	Dominated       Reason = "dominated"        // one group, or p %
	NothingButZero  Reason = "nothing_but_zero" // everybody's value would be known
	FewPeople       Reason = "few_people"
	WouldTell       Reason = "would_tell"   // with the others, gives a secret away exactly
	WouldNarrow     Reason = "would_narrow" // gives a secret away too precisely
	ToldInPart      Reason = "told_in_part" // another sum of the same figure is withheld
)

// Decision is what becomes of one figure, in the order of Table.Figures.
type Decision struct {
	Reason Reason
	// Against names the figure it protects, where there is one.
	Against string
}
