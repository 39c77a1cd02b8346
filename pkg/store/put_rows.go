package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"

	"github.com/grandlyon/retombees/pkg/impact"
)

// take writes the rows without fault into the workspace.
func (w *workspace) take(ctx context.Context, m *member, target *submissionState) error {
	warned := map[*submissionState]bool{}
	written := map[*submissionState][]*cell{}
	for i, r := range m.Rows {
		result := &m.results.Rows[i]
		if len(r.Faults) > 0 {
			result.Outcome = impact.Rejected
			continue
		}
		w.note(m, r)
		if r.Delete {
			removed, err := w.remove(ctx, m, r)
			if err != nil {
				return err
			}
			result.Outcome = impact.Unchanged
			for _, c := range removed {
				result.Outcome = impact.Removed
				written[c.submission] = append(written[c.submission], c)
			}
			continue
		}
		outcomes := map[impact.Outcome]int{}
		for j := range r.Cells {
			c, outcome, err := w.state(ctx, m, r, j, target)
			if err != nil {
				return err
			}
			outcomes[outcome]++
			if outcome == impact.Unchanged {
				continue
			}
			written[c.submission] = append(written[c.submission], c)
			warned[c.submission] = warned[c.submission] || len(r.Warnings) > 0
		}
		result.Outcome = impact.Updated
		for _, only := range []impact.Outcome{impact.Created, impact.Unchanged} {
			if outcomes[only] == len(r.Cells) {
				result.Outcome = only
			}
		}
		if len(r.Cells) > 0 && r.Cells[0].ExternalID != "" && result.Outcome != impact.Unchanged {
			n, k, err := w.nameOf(ctx, r)
			if err != nil {
				return err
			}
			w.named[n], w.renamed[n] = k, true
		}
	}
	for u, cells := range written {
		w.reviewAgain(u, cells, warned[u], m.Principal.Client)
	}
	return nil
}

// remove buries the cells of a row and gives those that lived.
func (w *workspace) remove(ctx context.Context, m *member, r *impact.Row) ([]*cell, error) {
	var lived []*cell
	for i := range r.Cells {
		k, err := w.keyOf(ctx, &r.Cells[i])
		if err != nil {
			return nil, err
		}
		if c := w.cells[k]; c != nil && c.live() {
			lived = append(lived, c)
		}
	}
	return lived, w.bury(ctx, m.Principal, lived)
}

// reviewAgain says what a write does to the review of a submission. One that
// is approved stays so when rules alone decide and nothing is suspect; else it
// awaits review again, while its approved versions count.
func (w *workspace) reviewAgain(u *submissionState, cells []*cell, warned bool, who string) {
	if warned {
		u.Warned = 1
	}
	if u.State != impact.Approved {
		return
	}
	if u.Review == impact.Automatic && !warned {
		for _, c := range cells {
			c.now.approved = c.now.version
		}
		return
	}
	u.State = impact.Submitted
	u.events = append(u.events, eventRow{Action: "correct", State: u.State, ActedBy: who})
	w.whole = true
}

// state writes one cell, unless it says the same already.
func (w *workspace) state(ctx context.Context, m *member, r *impact.Row, n int, target *submissionState) (*cell, impact.Outcome, error) {
	o, mandate := &r.Cells[n], string(m.mandateOf(r, n))
	k, err := w.keyOf(ctx, o)
	if err != nil {
		return nil, "", err
	}
	indicator := w.catalogue.IndicatorByKey(o.Indicator)
	if indicator == nil || w.catalogue.Gazetteer().ByKey(o.Territory) == nil {
		w.s.catalogue.Store(nil) // another process may have loaded a newer one
		return nil, "", &impact.Error{Kind: impact.Busy, Code: "unavailable", Detail: impact.Text{
			FR: "Les données de référence viennent de changer ; réessayez.", EN: "The reference data has just changed; try again.",
		}}
	}
	c := w.cells[k]
	if c == nil {
		c = &cell{now: factRow{factKey: k}}
		w.cells[k] = c
		p := pair{k.organisation, k.indicator}
		w.byPair[p] = append(w.byPair[p], c)
	}
	o, next, methodology, unchanged, err := w.restate(ctx, r, o, c)
	if err != nil || unchanged {
		return c, impact.Unchanged, err
	}
	outcome := impact.Updated
	if !c.live() {
		outcome = impact.Created
	}
	if next.actor, err = numberOf(ctx, w.t, &w.s.actors, actor{m.Principal.Client, mandate}); err != nil {
		return nil, "", err
	}
	if next.profile, err = numberOf(ctx, w.t, &w.s.profiles, profile{w.organisations[k.organisation].profile, methodology}); err != nil {
		return nil, "", err
	}
	w.unname(c, o.Source, o.ExternalID)
	from, live := c.submission, c.live()
	w.revise(c, next)
	to := target
	if to == nil {
		to = w.join(c, from, r.Period, m.Principal.Client, mandate)
	}
	w.move(c, from, to, live, true)
	return c, outcome, nil
}

// restate gives a fact as a row states it: the observation, details kept
// included, the version that would be written, its methodology, and whether
// all that is on record already.
func (w *workspace) restate(ctx context.Context, r *impact.Row, o *impact.Observation, c *cell) (stated *impact.Observation, next factRow, methodology string, unchanged bool, err error) {
	if r.Merge && c.live() {
		merged := *o // the row stays as it was stated: this may run again
		if err := keepDetails(&merged, c.now.details); err != nil {
			return nil, next, "", false, err
		}
		o = &merged
	}
	details, err := detailsText(o)
	if err != nil {
		return nil, next, "", false, err
	}
	methodology = o.MethodologyVersion
	if indicator := w.catalogue.IndicatorByKey(o.Indicator); methodology == "" && indicator != nil {
		methodology = indicator.MethodologyVersion
	}
	next = c.now
	next.status, next.details, next.deleted, next.value.Valid = int16(o.Status), details, 0, o.Value != nil
	next.value.V = 0
	if o.Value != nil {
		next.value.V = int64(*o.Value)
	}
	if c.live() && next == c.now {
		former, err := w.s.profiles.value(ctx, w.s, c.now.profile)
		return o, next, methodology, err == nil && former.methodology == methodology, err
	}
	return o, next, methodology, false, nil
}

// answer fills the results of a batch from the workspace as written.
func (w *workspace) answer(ctx context.Context, m *member) error {
	for i, r := range m.Rows {
		result := &m.results.Rows[i]
		result.Faults, result.Warnings = r.Faults, r.Warnings
		if m.err != nil || result.Outcome == impact.Rejected {
			continue
		}
		parts := make([]impact.Observation, len(r.Cells))
		for j := range r.Cells {
			k, err := w.keyOf(ctx, &r.Cells[j])
			if err != nil {
				return err
			}
			if w.cells[k] == nil { // a deletion of what never was
				parts[j] = missingPart(k)
				continue
			}
			if parts[j], err = w.observation(ctx, w.cells[k]); err != nil {
				return err
			}
		}
		if r.View {
			result.Observation = viewOf(r.Indicator, parts, w.cutOf(ctx, &r.Cells[0]))
		} else if len(parts) > 0 {
			result.Observation = parts[0]
		}
	}
	return nil
}

// factDetails is the JSON kept with each version.
type factDetails struct {
	impact.Details
	Qualifiers map[string]string `json:"qualifiers,omitempty"`
}

// keepDetails fills what a statement leaves out with what is on record. The
// quantity as it was sent belongs to its value and is not kept with another.
func keepDetails(o *impact.Observation, text string) error {
	if text == "" {
		return nil
	}
	var held factDetails
	if err := json.Unmarshal([]byte(text), &held); err != nil {
		return fmt.Errorf("reading details: %w", err)
	}
	held.OriginalValue, held.OriginalUnit = "", ""
	now, before := reflect.ValueOf(&o.Details).Elem(), reflect.ValueOf(&held.Details).Elem()
	for i := range now.NumField() {
		if now.Field(i).IsZero() {
			now.Field(i).Set(before.Field(i))
		}
	}
	if len(held.Qualifiers) > 0 {
		merged := maps.Clone(held.Qualifiers)
		maps.Copy(merged, o.Qualifiers)
		o.Qualifiers = merged
	}
	return nil
}

// detailsText is the same text for the same details: "" when there is nothing.
func detailsText(o *impact.Observation) (string, error) {
	if len(o.Qualifiers) == 0 && reflect.ValueOf(&o.Details).Elem().IsZero() {
		return "", nil
	}
	text, err := json.Marshal(factDetails{o.Details, o.Qualifiers})
	if string(text) == "{}" {
		return "", err
	}
	return string(text), err
}
