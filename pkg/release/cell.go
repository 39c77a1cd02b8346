// Package release makes the figures that are published: it lays out the cells,
// asks calculation for them and disclosure which may be shown, seals the
// result, and reads it back. It is pure: what it needs of the store and of the
// clock is handed to it.
package release

import (
	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// Cell is one figure of a release, shown or withheld.
type Cell struct {
	// Figure without its exact value. Withheld: no number at all, no count, the
	// status Q. Its Codes holds one code when Cut is set.
	Figure calculation.Figure
	Cut    calculation.Dimension
	// Moved is the release in which the cell last changed, Cause why.
	Moved impact.ReleaseNumber
	Cause Cause
	// Before is what the release before Moved showed: nil when it showed
	// nothing.
	Before *impact.Quantity
}

// Cause says why a cell differs from the release before.
type Cause string

// Causes.
const (
	FirstRelease     Cause = "first_release"    // of the cell
	LateSubmissions  Cause = "late_submissions" // more facts
	Corrections      Cause = "corrections"      // other values
	Withdrawals      Cause = "withdrawals"      // fewer facts
	SeveralCauses    Cause = "several"
	Method           Cause = "method"             // the rules of calculation or the reference data changed
	DisclosureChange Cause = "disclosure_control" // only what may be shown changed
	Finalised        Cause = "finalised"          // from provisional to final
)

// Withheld tells that disclosure control hides the cell.
func (c *Cell) Withheld() bool { return c.Figure.Status == impact.Suppressed }

// Unit names a system of figures that sums tie together, protected as one: a
// family of indicators in one calendar year. No figure of a release crosses it.
type Unit struct {
	Family string // code of its first indicator, in alphabetical order
	Year   int
}

// Sealed is a unit as it is kept: the same bytes serve every release until the
// unit changes. Figures is the text that is published and digested, Ledger what
// the next release must know of the facts it rests on; the ledger is as secret
// as the facts.
type Sealed struct {
	Unit    Unit
	Figures []byte
	Ledger  []byte
	Digest  [32]byte // of Figures
	Input   [32]byte // of all it was made from: equal input, equal unit
}
