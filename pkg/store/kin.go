package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/grandlyon/retombees/pkg/impact"
)

// kin is what organisations outside of a batch state that may be the same
// thing: the others of a legal unit, and the own figures of networks that
// cover their members. Nothing is read for an organisation that has neither.
//
// Locks: those of legal units come after all those of organisations, each kind
// in its order, so that no two transactions wait for each other. Covering
// needs none: the figure that arrives last finds the other.
type kin struct {
	standings map[int32]impact.Standing // of the organisations met
	others    map[int32][]int32         // of the same SIREN, by organisation of the batch
	networks  map[int32][]belonging     // by member
	covers    map[int32][]claimRow      // figures that cover somebody, by organisation of a network
}

// belonging is a membership in a network that may state figures of its own, as
// far as the member lets it write: a network says alone who its members are,
// and whom it covers, which must not keep a stranger from stating its figures.
type belonging struct {
	organisation int32 // of the network
	name         string
	during       impact.Period
	indicator    int16 // that the mandate is about, 0 for all
	periods      impact.Period
}

// covers tells that a figure of the network stands for one of the member.
func (b *belonging) covers(o *impact.Observation) bool {
	return b.during.Overlaps(o.Period) && b.periods.Contains(o.Period) && (b.indicator == 0 || b.indicator == int16(o.Indicator))
}

type claimRow struct {
	key     factKey
	value   int64
	details string
}

// readKin completes the workspace with what kin of its organisations state of
// the same indicators.
func (w *workspace) readKin(ctx context.Context, f *family, pairs []pair) error {
	w.kin = kin{map[int32]impact.Standing{}, map[int32][]int32{}, map[int32][]belonging{}, map[int32][]claimRow{}}
	var units, members, both, indicators []int64
	for i, k := range f.keys {
		if f.flags[i] > 0 {
			both = append(both, int64(k))
		}
		if f.flags[i]&sharesUnit != 0 {
			units = append(units, int64(k))
		}
		if f.flags[i]&isMember != 0 {
			members = append(members, int64(k))
		}
	}
	if len(both)*len(pairs) == 0 {
		return nil
	}
	known := make(map[pair]bool, len(pairs))
	for _, p := range pairs {
		known[p] = true
		indicators = append(indicators, int64(p.indicator))
	}
	slices.Sort(indicators)
	indicators = slices.Compact(indicators)
	steps := []step{w.readStandings(both)}
	if len(units) > 0 {
		steps = append(append(steps, w.s.dialect.lockUnits(units)...), w.readOthers(units))
	}
	if len(members) > 0 {
		steps = append(steps, w.readNetworks(members, indicators), w.readCovers(members, indicators))
	}
	if err := w.s.dialect.run(ctx, w.t, steps...); err != nil {
		return fmt.Errorf("reading the kin of organisations: %w", err)
	}
	var more []pair
	for _, others := range w.kin.others {
		for _, other := range others {
			for _, i := range indicators {
				if p := (pair{other, int16(i)}); !known[p] {
					known[p] = true
					more = append(more, p)
				}
			}
		}
	}
	if err := w.s.dialect.run(ctx, w.t, w.readFacts(more)...); err != nil {
		return fmt.Errorf("reading the facts of legal units: %w", err)
	}
	return nil
}

func (w *workspace) readStandings(keys []int64) step {
	condition, args := w.s.dialect.anyOf("key", 1, keys)
	return step{`SELECT key, id, name, siren, siret FROM organisations WHERE ` + condition, args, 1, 4, func(n []int64, _ []bool, text []string) error {
		w.kin.standings[int32(n[0])] = standing(text)
		return nil
	}}
}

func standing(text []string) impact.Standing {
	return impact.Standing{ID: impact.OrganisationID(text[0]), Name: text[1], SIREN: text[2], SIRET: text[3]}
}

func (w *workspace) readOthers(keys []int64) step {
	d := w.s.dialect
	condition, args := d.anyOf("own.key", 1, keys)
	query := `SELECT own.key, o.key, o.id, o.name, o.siren, o.siret FROM organisations AS own
		` + d.probe("JOIN", "organisations", "o", "o.siren <> '' AND o.siren = own.siren AND o.key <> own.key") + ` WHERE ` + condition
	return step{query, args, 2, 4, func(n []int64, _ []bool, text []string) error {
		own, other := int32(n[0]), int32(n[1])
		w.kin.others[own] = append(w.kin.others[own], other)
		w.kin.standings[other] = standing(text)
		return nil
	}}
}

func (w *workspace) readNetworks(members, indicators []int64) step {
	condition, args := w.s.dialect.anyOf("m.organisation", 1, members)
	about, more := w.s.dialect.anyOf("r.indicator", len(args)+1, append([]int64{int64(impact.AnyIndicator)}, indicators...))
	today := strconv.Itoa(int(w.s.today()))
	query := `SELECT m.organisation, n.organisation, m.from_day, m.to_day, r.indicator, r.period_start, r.period_end, n.name
		FROM memberships AS m JOIN networks AS n ON n.id = m.network
			JOIN mandate_rights AS r ON r.network = m.network AND r.organisation = m.organisation
		WHERE ` + condition + ` AND m.deleted = 0 AND n.organisation <> 0 AND ` + about + `
			AND r.scope = '` + string(impact.ObservationsWrite) + `' AND r.valid_from <= ` + today + ` AND r.valid_to >= ` + today
	return step{query, append(args, more...), 7, 1, func(n []int64, _ []bool, text []string) error {
		w.kin.networks[int32(n[0])] = append(w.kin.networks[int32(n[0])], belonging{
			organisation: int32(n[1]), name: text[0], during: impact.Period{Start: impact.Date(n[2]), End: impact.Date(n[3])},
			indicator: int16(n[4]), periods: impact.Period{Start: impact.Date(n[5]), End: impact.Date(n[6])},
		})
		return nil
	}}
}

func (w *workspace) readCovers(members, indicators []int64) step {
	d := w.s.dialect
	condition, args := d.anyOf("m.organisation", 1, members)
	about, more := d.anyOf("f.indicator", len(args)+1, indicators)
	query := `SELECT f.organisation, f.indicator, f.territory, f.period_start, f.period_end, f.cut, f.value, f.details
		FROM (SELECT DISTINCT n.organisation FROM memberships AS m JOIN networks AS n ON n.id = m.network WHERE ` + condition + ` AND m.deleted = 0 AND n.organisation <> 0) AS own
		` + d.probe("JOIN", "observations", "f", "f.organisation = own.organisation AND "+about) + `
		WHERE f.deleted = 0 AND f.value IS NOT NULL AND f.details LIKE '%"covers":[%'`
	return step{query, append(args, more...), 7, 1, func(n []int64, _ []bool, text []string) error {
		k := factKey{int32(n[0]), int16(n[1]), int32(n[2]), int32(n[3]), int32(n[4]), int32(n[5])}
		w.kin.covers[k.organisation] = append(w.kin.covers[k.organisation], claimRow{k, n[6], text[0]})
		return nil
	}}
}

// refuseDoubles refuses the rows that state what somebody else has stated
// already, or states in the same batch. A cell that stands already is not
// judged again: it may be corrected.
func (w *workspace) refuseDoubles(ctx context.Context, m *member) error {
	if len(w.kin.standings) == 0 {
		return nil
	}
	stated := map[impact.Neighbour][]*impact.Observation{}
	for _, r := range m.Rows {
		if len(r.Faults) > 0 || r.Delete {
			continue
		}
		for i := range r.Cells {
			o := &r.Cells[i]
			n := impact.Neighbour{Organisation: o.Organisation, Indicator: o.Indicator}
			stated[n] = append(stated[n], o)
		}
	}
	found := map[*impact.Row]*impact.Fault{}
	for _, r := range m.Rows {
		if len(r.Faults) > 0 || r.Delete {
			continue
		}
		for i := range r.Cells {
			o := &r.Cells[i]
			of, met := w.kin.standings[int32(o.Organisation)]
			if !met || found[r] != nil {
				continue
			}
			stands, err := w.stands(ctx, r, o)
			if err != nil {
				return err
			}
			if stands {
				continue
			}
			claims, err := w.claims(ctx, o, stated)
			if err != nil {
				return err
			}
			found[r] = m.Checker.CountedTwice(o, &of, claims)
		}
	}
	for _, r := range m.Rows {
		if f := found[r]; f != nil {
			r.Faults = append(r.Faults, *f)
		}
	}
	return nil
}

// stands tells that the cell holds a number on record, in the same perimeter.
func (w *workspace) stands(ctx context.Context, r *impact.Row, o *impact.Observation) (bool, error) {
	k, err := w.keyOf(ctx, o)
	if err != nil {
		return false, err
	}
	c := w.cells[k]
	if c == nil || !c.live() || !c.now.value.Valid {
		return false, nil
	}
	was, err := w.said(ctx, claimRow{k, c.now.value.V, c.now.details})
	if err != nil {
		return false, err
	}
	return was.Perimeter == o.Perimeter || r.Merge && o.Perimeter == "", nil
}

// claims gives the values that a cell may be a part of, or the reverse: those
// of the batch where it states them, else those on record.
func (w *workspace) claims(ctx context.Context, o *impact.Observation, stated map[impact.Neighbour][]*impact.Observation) ([]impact.Claim, error) {
	var list []impact.Claim
	add := func(by int32, network string, onRecord []claimRow) error {
		now := stated[impact.Neighbour{Organisation: impact.OrganisationKey(by), Indicator: o.Indicator}]
		for _, v := range now {
			list = append(list, impact.Claim{By: w.kin.standings[by], Network: network, Value: v})
		}
		for _, c := range onRecord {
			v, err := w.said(ctx, c)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(now, func(n *impact.Observation) bool { return n.CellKey == v.CellKey }) {
				list = append(list, impact.Claim{By: w.kin.standings[by], Network: network, Value: v})
			}
		}
		return nil
	}
	own := int32(o.Organisation)
	here := func(k factKey) bool {
		return k.indicator == int16(o.Indicator) && k.territory == int32(o.Territory) && k.period() == o.Period
	}
	for _, other := range w.kin.others[own] {
		var onRecord []claimRow
		for _, c := range w.byPair[pair{other, int16(o.Indicator)}] {
			if c.live() && c.now.value.Valid && here(c.now.factKey) {
				onRecord = append(onRecord, claimRow{c.now.factKey, c.now.value.V, c.now.details})
			}
		}
		if err := add(other, "", onRecord); err != nil {
			return nil, err
		}
	}
	for _, b := range w.kin.networks[own] {
		if !b.covers(o) {
			continue
		}
		onRecord := slices.DeleteFunc(slices.Clone(w.kin.covers[b.organisation]), func(c claimRow) bool { return !here(c.key) })
		if err := add(b.organisation, b.name, onRecord); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// said is a value on record, as far as Claim looks at it.
func (w *workspace) said(ctx context.Context, c claimRow) (*impact.Observation, error) {
	cut, err := w.s.cuts.value(ctx, w.s, c.key.cut)
	if err != nil {
		return nil, err
	}
	value := impact.Quantity(c.value)
	o := &impact.Observation{Value: &value, CellKey: impact.CellKey{
		Organisation: impact.OrganisationKey(c.key.organisation), Indicator: impact.IndicatorKey(c.key.indicator),
		Territory: impact.TerritoryKey(c.key.territory), Period: c.key.period(), Cut: cut,
	}}
	if c.details == "" {
		return o, nil
	}
	if err := json.Unmarshal([]byte(c.details), &o.Details); err != nil {
		return nil, fmt.Errorf("reading the details of %s: %w", idOf(c.key), err)
	}
	return o, nil
}
