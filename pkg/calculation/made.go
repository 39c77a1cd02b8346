package calculation

import "github.com/grandlyon/retombees/pkg/impact"

// Made is a figure with the linear sums it is made of: what disclosure control
// needs to know which figures give each other away.
type Made struct {
	Figure
	// Cut is the dimension of Codes, empty without one.
	Cut Dimension
	// Sums are what the published numbers tell: one for a sum; numerator and
	// denominator of a quotient; those of each quotient of a nested one. Who
	// knows the sums knows the figure. Empty where nothing linear is told:
	// counts by impact type, kinds that do not add up.
	Sums []Sum
}

// Sum is Σ weight × value over facts.
type Sum struct {
	Terms []Term
	// People tells that the sum counts persons, whose small numbers are secret.
	People bool
	// Signed tells that its facts may be negative.
	Signed bool
}

// Term is one fact in a sum.
type Term struct {
	Fact FactID
	// Group is what secrecy counts: the holding, else the legal unit.
	Group        string
	Organisation impact.OrganisationID
	Value        impact.Quantity
	// Num ÷ Den is the exact weight, in lowest terms, Den > 0. Num may be
	// negative (the parts of a difference).
	Num, Den int64
}

// FactID names a stored fact, the same in every figure it enters and in every
// release. A network's value that covers members is a fact like the others:
// its remainder is written out as the value minus those of the members.
type FactID = impact.CellKey
