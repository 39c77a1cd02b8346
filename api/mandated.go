package api

import (
	"maps"
	"slices"

	"github.com/grandlyon/retombees/pkg/impact"
)

// mandateHeader names the mandate under which a request was answered, when
// there was exactly one.
const mandateHeader = "Impact-Mandate"

func onlyOne(mandates []impact.MandateID) impact.MandateID {
	if len(mandates) == 1 {
		return mandates[0]
	}
	return ""
}

// under names the mandate of the answer about to be sent.
func (c *call) under(mandates []impact.MandateID) {
	if m := onlyOne(mandates); m != "" {
		c.w.Header().Set(mandateHeader, string(m))
	}
}

// under names the mandate in an answer that may be given again.
func (r *reply) under(mandates []impact.MandateID) *reply {
	r.mandate = onlyOne(mandates)
	return r
}

// used leaves a line in the log of each mandate that let a network read some
// rows, before they are shown, and tells which rows it may still be shown: a
// mandate may have been revoked since they were read. uses are in the order of
// the rows. Other callers may be shown everything.
func (s *server) used(c *call, uses []impact.Use) (still func(row int) bool, err error) {
	p := c.principal
	if p.Role != impact.RoleNetwork || len(uses) == 0 {
		return func(int) bool { return true }, nil
	}
	permits, err := s.Mandates.Mandated(c.r.Context(), p, uses...)
	if err != nil {
		return nil, err
	}
	rows := map[impact.MandateID]int{}
	for _, permit := range permits {
		if permit.Mandate != "" {
			rows[permit.Mandate]++
		}
	}
	if err := s.Mandates.LogUses(c.r.Context(), p, string(uses[0].Scope), rows); err != nil {
		return nil, err
	}
	c.under(slices.Sorted(maps.Keys(rows)))
	return func(row int) bool { return permits[row].Fault == nil }, nil
}
