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
// mandate may have been revoked since they were read. Each row comes with what
// is used to read it. Other callers may be shown everything.
func (s *server) used(c *call, rows ...[]impact.Use) (still func(row int) bool, err error) {
	p := c.principal
	if p.Role != impact.RoleNetwork || len(rows) == 0 {
		return func(int) bool { return true }, nil
	}
	permits, err := s.Mandates.Mandated(c.r.Context(), p, slices.Concat(rows...)...)
	if err != nil {
		return nil, err
	}
	gone := make([]bool, len(rows))
	counts := map[impact.MandateID]int{}
	for i, uses := range rows {
		counted := impact.MandateID("")
		for range uses {
			permit := permits[0]
			permits = permits[1:]
			gone[i] = gone[i] || permit.Fault != nil
			if permit.Mandate != counted { // once for each row, however many cells it has
				counted = permit.Mandate
				counts[counted]++
			}
		}
	}
	delete(counts, "")
	if err := s.Mandates.LogUses(c.r.Context(), p, string(rows[0][0].Scope), counts); err != nil {
		return nil, err
	}
	c.under(slices.Sorted(maps.Keys(counts)))
	return func(row int) bool { return !gone[row] }, nil
}

// readingOf is what is used to read an observation: it, or the components of a
// view.
func readingOf(o *impact.Observation) []impact.Use {
	if len(o.Parts) == 0 {
		return []impact.Use{{Organisation: o.Organisation, Scope: impact.ObservationsRead, Indicator: o.Indicator, Period: o.Period}}
	}
	var uses []impact.Use
	for i := range o.Parts {
		if part := &o.Parts[i]; part.ID != "" {
			uses = append(uses, readingOf(part)...)
		}
	}
	return uses
}

func managingOf(u *impact.Submission) []impact.Use {
	return []impact.Use{{Organisation: u.Owner, Scope: impact.SubmissionsManage, Period: u.Period}}
}

// registered logs the reading of register entries that a mandate covers; those
// of members need none.
func (s *server) registered(c *call, list []impact.Organisation) error {
	rows := make([][]impact.Use, 0, len(list))
	for i := range list {
		if !list[i].Public {
			rows = append(rows, []impact.Use{{Organisation: list[i].Key, Scope: impact.OrganisationsRead, Period: impact.AnyPeriod}})
		}
	}
	_, err := s.used(c, rows...)
	return err
}
