package calculation

import (
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// entry is one contribution met by a figure: where it counts, for which
// weight, or why it does not.
type entry struct {
	member, attr int32
	at, stored   int32
	period       impact.Period
	value        int64
	num, den     int64 // weight: share of the territory, of the days
	line         int32
	why          why
	twin         bool // same contribution as the entry before, elsewhere
	split        bool // a share of a territory
	prorated     bool // a share of its days
}

// why an entry does not count; 0 when it does.
type why uint8

const (
	counts why = iota
	notApproved
	coarser
	straddles
	transferred
	inGroup
	inLegalUnit
	negative
	noPair
	overlaps
	notDisaggregated
	// From here on nothing is missing from the figure.
	partOfWhole
	olderDate
	withoutNumber
	whys
)

var reasons = [whys]Reason{
	"", NotApproved, CoarserTerritory, StraddlesBucket, Transferred, IncludedInGroup, IncludedInLegalUnit,
	NegativeRemainder, NoPair, OverlappingParts, NotDisaggregated, PartOfWhole, OlderDate, WithoutNumber,
}

// answered tells that the organisation said something about the figure's
// territory and period, whether or not it counts in the sum.
func (e *entry) answered(a *attr) bool {
	switch e.why {
	case notApproved, coarser, straddles:
		return false
	case withoutNumber:
		return a.status != impact.Missing
	}
	return true
}

// collect gathers what one stored indicator holds for a region and a bucket
// and settles, in the order of C6, what counts: version and state, territory,
// period, parts of cells, overlaps. coarse counts what is stated for a wider
// territory when the caller needs no entries for it.
func (p *plan) collect(es []entry, line int32, r *region, b *bucket, simple bool) (_ []entry, coarse int) {
	ln := &p.f.lines[line]
	if ln.blocks == nil {
		return es, 0
	}
	kind := p.c.layout.indicators[line].Kind
	from := len(es)
	plain := true
	for i, s := range r.shares {
		if blk := ln.blocks[s.stored]; blk != nil {
			twin := i > 0 && r.shares[i-1].stored == s.stored
			for _, days := range b.parts {
				es, plain = p.gather(es, plain, line, blk, s, days, b, kind, twin)
			}
		}
	}
	for _, slot := range r.above {
		blk := ln.blocks[slot]
		if blk == nil {
			continue
		}
		if simple {
			coarse += p.coarse(line, slot, blk, b)
			continue
		}
		start := len(es)
		for _, days := range b.parts {
			es, _ = p.gather(es, true, line, blk, share{slot, slot, int64(impact.One)}, days, b, "", false)
		}
		for i := start; i < len(es); i++ {
			if es[i].why == counts {
				es[i].why = coarser
			} else {
				es[i].why = withoutNumber
			}
		}
		es = slices.DeleteFunc(es, func(e entry) bool { return e.stored == slot && e.why == withoutNumber })
	}
	if plain && len(p.cuts) == 0 && len(p.split) == 0 {
		return p.filterProfiles(es, from), coarse
	}
	mine := es[from:]
	p.work.sort(mine)
	p.settleParts(mine, kind)
	if overlapsSettle(kind) {
		p.settleOverlaps(mine, kind)
	}
	for _, f := range p.cuts {
		es = deleteFrom(es, from, func(e *entry) bool {
			a := &p.f.attrs[e.attr]
			if code, ok := a.along(f.dimension); ok {
				return !slices.Contains(f.codes, code)
			}
			return e.why != notDisaggregated && e.why != coarser && e.why != straddles
		})
	}
	return p.filterProfiles(es, from), coarse
}

func deleteFrom(es []entry, from int, drop func(*entry) bool) []entry {
	n := from
	for i := from; i < len(es); i++ {
		if !drop(&es[i]) {
			es[n] = es[i]
			n++
		}
	}
	return es[:n]
}

func (p *plan) filterProfiles(es []entry, from int) []entry {
	for _, f := range p.profiles {
		es = deleteFrom(es, from, func(e *entry) bool {
			return !slices.Contains(f.codes, profileCode(&p.f.attrs[e.attr].profile, f.dimension))
		})
	}
	return es
}

func profileCode(p *impact.Profile, d Dimension) string {
	switch d {
	case ByOrganisationClass:
		return string(p.Class)
	case ByStructureKind:
		return p.StructureKind
	}
	return p.SizeClass
}

// along gives the code of the attribute on a dimension of cells ("" = programme).
func (a *attr) along(dimension string) (string, bool) {
	if dimension == "" {
		return a.programme, a.programme != ""
	}
	return a.code(dimension)
}

// gather takes the contributions of one block whose period is in, or touches,
// one interval of days of the bucket.
func (p *plan) gather(es []entry, plain bool, line int32, blk *block, s share, days impact.Period, b *bucket, kind impact.MeasureKind, twin bool) ([]entry, bool) {
	attrs, one := p.f.attrs, int64(impact.One)
	for i := blk.first(days); i < len(blk.periods) && blk.periods[i].Start <= days.End; i++ {
		period := blk.periods[i]
		if period.End < days.Start {
			continue
		}
		e := entry{at: s.at, stored: s.stored, period: period, num: 1, den: 1, line: line, twin: twin}
		if s.num != one {
			e.num, e.den, e.split = s.num, one, true
		}
		if !days.Contains(period) {
			switch {
			case kind == "":
				continue
			case p.q.Prorata && (kind == impact.Flow || kind == impact.SignedFlow):
				shared := min(period.End, days.End) - max(period.Start, days.Start) + 1
				e.num *= int64(shared)
				e.den *= int64(period.Days())
				e.prorated = true
			case len(b.parts) > 1 && touchesEarlier(b, days, period):
				continue // counted as straddling there already
			default:
				e.why = straddles
			}
		}
		for _, row := range blk.rows[blk.start(i):blk.ends[i]] {
			if p.allowed != nil && !p.allowed[row.member] {
				continue
			}
			a := &attrs[row.attr]
			e.member, e.attr, e.value = row.member, row.attr, row.value
			if a.plain && a.states&p.state != 0 {
				plain = plain && !p.f.nested[row.member]
				es = append(es, e)
				continue
			}
			was := e.why
			switch {
			case a.states&p.state == 0:
				if a.states&draftBit == 0 || !a.number {
					continue // a former version, or nothing to miss
				}
				e.why = notApproved
			case !a.number:
				if e.why == counts {
					e.why = withoutNumber
				} else {
					continue
				}
			default:
				plain = false
			}
			es = append(es, e)
			e.why = was
		}
	}
	return es, plain
}

func touchesEarlier(b *bucket, days, period impact.Period) bool {
	for _, o := range b.parts {
		if o == days {
			return false
		}
		if o.Overlaps(period) {
			return true
		}
	}
	return false
}

// coarse counts once per query what a wider territory holds in a bucket.
func (p *plan) coarse(line, slot int32, blk *block, b *bucket) int {
	k := coarseKey{line, slot, b.label}
	n, ok := p.work.coarse[k]
	if !ok {
		for _, days := range b.parts {
			n += p.countWithin(blk, days)
		}
		if p.work.coarse == nil {
			p.work.coarse = map[coarseKey]int{}
		}
		p.work.coarse[k] = n
	}
	return n
}

func (p *plan) countWithin(blk *block, days impact.Period) (n int) {
	for i := blk.first(days); i < len(blk.periods) && blk.periods[i].Start <= days.End; i++ {
		if !days.Contains(blk.periods[i]) {
			continue
		}
		for _, row := range blk.rows[blk.start(i):blk.ends[i]] {
			if a := &p.f.attrs[row.attr]; a.number && a.states&p.state != 0 && (p.allowed == nil || p.allowed[row.member]) {
				n++
			}
		}
	}
	return n
}

func compareCells(a, b entry) int {
	switch {
	case a.member != b.member:
		return int(a.member) - int(b.member)
	case a.stored != b.stored:
		return int(a.stored) - int(b.stored)
	case a.at != b.at:
		return int(a.at) - int(b.at)
	}
	return comparePeriods(a.period, b.period)
}

// sort brings entries into the order of compareCells: by organisation as
// plain numbers first, for speed, then each organisation's few.
func (w *work) sort(es []entry) {
	w.keys = w.keys[:0]
	ordered := true
	for i := range es {
		k := uint64(uint32(es[i].member))<<32 | uint64(i)
		ordered = ordered && (i == 0 || w.keys[i-1] < k)
		w.keys = append(w.keys, k)
	}
	if !ordered {
		slices.Sort(w.keys)
		w.sorted = append(w.sorted[:0], es...)
		for i, k := range w.keys {
			es[i] = w.sorted[uint32(k)]
		}
	}
	for lo := 0; lo < len(es); {
		hi := lo + 1
		for hi < len(es) && es[hi].member == es[lo].member {
			hi++
		}
		if own := es[lo:hi]; len(own) > 12 {
			slices.SortFunc(own, compareCells)
		} else {
			for i := 1; i < len(own); i++ {
				for j := i; j > 0 && own[j].before(&own[j-1]); j-- {
					own[j], own[j-1] = own[j-1], own[j]
				}
			}
		}
		lo = hi
	}
}

// before is compareCells within one organisation.
func (e *entry) before(o *entry) bool {
	switch {
	case e.stored != o.stored:
		return e.stored < o.stored
	case e.at != o.at:
		return e.at < o.at
	case e.period.Start != o.period.Start:
		return e.period.Start < o.period.Start
	}
	return e.period.End < o.period.End
}

// settleParts decides, in each cell, between the value without a cut and its
// parts: the whole wins; else the parts of one set of partition dimensions
// add up. A cut or filter of the query first keeps the parts that carry it.
func (p *plan) settleParts(es []entry, kind impact.MeasureKind) {
	attrs := p.f.attrs
	for lo := 0; lo < len(es); {
		hi := lo + 1
		for hi < len(es) && compareCells(es[lo], es[hi]) == 0 {
			hi++
		}
		cell := es[lo:hi]
		lo = hi
		cut := false
		for i := range cell {
			cut = cut || attrs[cell[i].attr].cut != ""
		}
		if !cut && len(p.cuts) == 0 && len(p.split) == 0 {
			continue
		}
		var wanted []string
		for _, f := range p.cuts {
			wanted = append(wanted, f.dimension)
		}
		for _, i := range p.split {
			wanted = append(wanted, cutName(p.q.Cuts[i]))
		}
		for _, d := range wanted {
			has := slices.ContainsFunc(cell, func(e entry) bool { _, ok := attrs[e.attr].along(d); return ok && e.why == counts })
			for i := range cell {
				if _, ok := attrs[cell[i].attr].along(d); !ok && cell[i].why == counts {
					cell[i].why = notDisaggregated
					if has {
						cell[i].why = partOfWhole
					}
				}
			}
		}
		groups := map[string][]*entry{}
		for i := range cell {
			if cell[i].why != counts {
				continue
			}
			key := ""
			for _, d := range wanted {
				code, _ := attrs[cell[i].attr].along(d)
				key += "\x00" + code
			}
			groups[key] = append(groups[key], &cell[i])
		}
		for _, g := range groups {
			p.settleProgrammes(g, wanted, kind)
		}
	}
}

func (p *plan) settleProgrammes(es []*entry, wanted []string, kind impact.MeasureKind) {
	if slices.Contains(wanted, "") {
		p.settleDimensions(es, wanted, kind)
		return
	}
	byProgramme := map[string][]*entry{}
	for _, e := range es {
		name := p.f.attrs[e.attr].programme
		byProgramme[name] = append(byProgramme[name], e)
	}
	for _, g := range byProgramme {
		p.settleDimensions(g, wanted, kind)
	}
	if slices.ContainsFunc(byProgramme[""], func(e *entry) bool { return e.why == counts }) {
		for name, g := range byProgramme {
			if name != "" {
				demote(g, partOfWhole)
			}
		}
	}
}

func demote(es []*entry, w why) {
	for _, e := range es {
		if e.why == counts {
			e.why = w
		}
	}
}

// settleDimensions chooses one set of dimensions: none (the whole) if it is
// there, else the one with the largest total, since parts may be missing.
func (p *plan) settleDimensions(es []*entry, wanted []string, kind impact.MeasureKind) {
	type choice struct {
		dims    string
		entries []*entry
		sum     total
		overlap bool
	}
	var choices []*choice
	for _, e := range es {
		dims, overlap := p.remaining(e.attr, wanted)
		i := slices.IndexFunc(choices, func(c *choice) bool { return c.dims == dims })
		if i < 0 {
			i = len(choices)
			choices = append(choices, &choice{dims: dims})
		}
		c := choices[i]
		c.entries = append(c.entries, e)
		c.overlap = c.overlap || overlap
		if e.value > 0 {
			_ = c.sum.add(product(e.value, 1), 1) // 10^18 a part: 128 bits hold 10^20 of them
		} else {
			_ = c.sum.add(product(e.value, -1), 1)
		}
	}
	var best *choice
	for _, c := range choices {
		switch {
		case c.dims != "" && (c.overlap || !partsAddUp(kind)):
			demote(c.entries, overlaps)
		case best == nil, c.dims == "":
			best = c
		case best.dims == "":
		default:
			order := c.sum.rat().Cmp(best.sum.rat())
			if order == 0 {
				order = strings.Count(best.dims, ";") - strings.Count(c.dims, ";")
			}
			if order > 0 || order == 0 && c.dims < best.dims {
				best = c
			}
		}
	}
	for _, c := range choices {
		if c != best && best != nil {
			for _, e := range c.entries {
				if e.why == counts || e.why == overlaps && best.dims == "" {
					e.why = partOfWhole
				}
			}
		}
	}
}

// partsAddUp tells whether parts of a partition make the whole for this kind.
func partsAddUp(k impact.MeasureKind) bool {
	return k != impact.Boolean && k != impact.Dispersion && k != impact.Score
}

// remaining are the dimensions of a cell that the query does not fix.
func (p *plan) remaining(attr int32, wanted []string) (dims string, overlap bool) {
	a := &p.f.attrs[attr]
	if len(wanted) == 0 {
		return a.dims, a.overlaps
	}
	for _, part := range a.parts {
		if slices.Contains(wanted, part.dimension) {
			continue
		}
		if dims != "" {
			dims += ";"
		}
		dims += part.dimension
		overlap = overlap || overlapping[part.dimension]
	}
	return dims, overlap
}

func overlapsSettle(k impact.MeasureKind) bool {
	switch k {
	case impact.Boolean, impact.Dispersion, impact.Score, impact.SurveyMean:
		return false
	}
	return true
}

// settleOverlaps applies E1 to E4: what is passed on leaves, what a group or a
// legal unit already holds leaves, and a network keeps the remainder over the
// members it covers.
func (p *plan) settleOverlaps(es []entry, kind impact.MeasureKind) {
	var holders []*entry
	for i := range es {
		e := &es[i]
		if e.why != counts {
			continue
		}
		a := &p.f.attrs[e.attr]
		if a.moved {
			e.why = transferred
			continue
		}
		if len(a.covers) > 0 {
			holders = append(holders, e)
		}
	}
	// Within: the same place and days, or part of them.
	within := func(in, out *entry) bool {
		return out.period.Contains(in.period) && p.c.layout.kin.encloses(out.stored, in.stored)
	}
	for i := range es {
		e := &es[i]
		if e.why != counts || !p.f.nested[e.member] {
			continue
		}
		for _, unit := range p.f.members[e.member].siren.members {
			if p.f.members[unit].SIRET == "" && slices.ContainsFunc(entriesOf(es, unit), func(u entry) bool { return u.why == counts && within(e, &u) }) {
				e.why = inLegalUnit
				break
			}
		}
	}
	if len(holders) == 0 {
		return
	}
	covered := make(map[*entry]map[int32]bool, len(holders))
	for _, h := range holders {
		covered[h] = p.coveredBy(h, holders)
	}
	for _, h := range holders {
		if !p.f.attrs[h.attr].group && kind != impact.Distinct || h.why != counts {
			continue
		}
		for i := range es {
			if e := &es[i]; e.why == counts && e != h && covered[h][e.member] && within(e, h) {
				e.why = inGroup
			}
		}
	}
	if kind == impact.Distinct {
		return
	}
	// The network that covers least first: the remainder of a network of
	// networks is taken over what its own members add.
	slices.SortStableFunc(holders, func(a, b *entry) int { return len(covered[a]) - len(covered[b]) })
	done := map[*entry]bool{}
	for _, h := range holders {
		if p.f.attrs[h.attr].group || h.why != counts || done[h] {
			continue
		}
		// A network may state its value in parts: members are taken from the
		// parts one after the other.
		var own []*entry
		for _, o := range holders {
			if o.member == h.member && o.at == h.at && o.stored == h.stored && o.period == h.period && o.why == counts {
				own = append(own, o)
				done[o] = true
			}
		}
		left, rest := int64(0), remainder{r: p.work.record}
		for i := range es {
			e := &es[i]
			if e.why == counts && e.member != h.member && covered[h][e.member] && within(e, h) {
				left += e.value
				rest.covers(e)
			}
		}
		for _, o := range own {
			take := left
			if kind != impact.SignedFlow {
				take = min(left, max(o.value, 0))
			}
			rest.takes(o, take, left)
			o.value -= take
			left -= take
		}
		if left > 0 {
			for _, o := range own {
				o.why = negative
			}
		}
	}
}

// entriesOf are the entries of one member, in sorted entries.
func entriesOf(es []entry, member int32) []entry {
	lo, _ := slices.BinarySearchFunc(es, member, func(e entry, m int32) int { return int(e.member) - int(m) })
	hi := lo
	for hi < len(es) && es[hi].member == member {
		hi++
	}
	return es[lo:hi]
}

// coveredBy are the members a holder covers, those of covered holders
// included, itself excepted.
func (p *plan) coveredBy(h *entry, holders []*entry) map[int32]bool {
	set := map[int32]bool{}
	var cover func(attr int32)
	cover = func(attr int32) {
		for _, name := range p.f.attrs[attr].covers {
			var found []int32
			if m, ok := p.f.memberBy[impact.OrganisationID(name)]; ok {
				found = append(found, m)
			}
			if s := p.f.sirens[strings.TrimPrefix(name, "siren:")]; s != nil {
				found = append(found, s.members...)
			}
			for _, m := range found {
				if set[m] || m == h.member {
					continue
				}
				set[m] = true
				for _, o := range holders {
					if o.member == m {
						cover(o.attr)
					}
				}
			}
		}
	}
	cover(h.attr)
	return set
}
