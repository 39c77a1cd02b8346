// Package calculation turns facts (observations) into figures: what a
// territory, a period and an indicator add up to, with its status, its
// contributors, its coverage and everything that was left out and why.
//
// It is pure: no clock, no SQL, no HTTP. The same feed gives the same figures
// on every machine, whatever the order of the feed. Sums are exact 64-bit
// integers of millionths (128 bits where weights come in); an overflow is an
// error. Quotients are exact fractions, rounded once, half to even, at the
// end. The method is told in plain words in docs/method.md; the rules are C1,
// C6 and E1-E34 of the domain.
package calculation
