package calculation

import (
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// roster is who is asked what in one bucket: for each territory of the
// vintage, the organisations with a site there, each with the set of
// indicators its questionnaires ask.
type roster struct {
	at   [][]asked // by slot
	sets [][]uint64
}

type asked struct{ member, unit, set int32 }

func (r *roster) asks(set, line int32) bool { return r.sets[set][line/64]>>(line%64)&1 != 0 }

func (r *roster) anyAsks(line int32) bool {
	for set := range r.sets {
		if r.asks(int32(set), line) {
			return true
		}
	}
	return false
}

type rosterKey struct {
	vintage impact.Vintage
	bucket  impact.Period
}

func (c *Cube) roster(f *facts, v impact.Vintage, bucket impact.Period) *roster {
	return f.rosters.get(rosterKey{v, bucket}, func() *roster { return newRoster(c, f, c.atlas(v), bucket) })
}

func newRoster(c *Cube, f *facts, a *atlas, bucket impact.Period) *roster {
	r := &roster{at: make([][]asked, len(c.layout.territories))}
	sets := map[string]int32{}
	for i := range f.members {
		m := &f.members[i]
		if len(m.Sites) == 0 || len(m.Questionnaires) == 0 {
			continue
		}
		var codes []string
		for _, code := range m.Questionnaires {
			q, ok := f.questionnaires[code]
			if ok && bucket.Overlaps(open(q.From, q.To)) &&
				(len(q.StructureKinds) == 0 || slices.Contains(q.StructureKinds, m.Profile.StructureKind)) {
				codes = append(codes, code)
			}
		}
		if len(codes) == 0 {
			continue
		}
		slices.Sort(codes)
		key := strings.Join(codes, "\x00")
		set, ok := sets[key]
		if !ok {
			set = int32(len(r.sets))
			sets[key] = set
			r.sets = append(r.sets, c.layout.askedLines(f, codes))
		}
		var seen []int32
		for _, s := range m.Sites {
			in := open(s.From, s.To)
			days := impact.Period{Start: max(in.Start, bucket.Start), End: min(in.End, bucket.End)}
			if days.Start > days.End {
				continue
			}
			t := c.siteTerritory(s, days)
			if t == nil {
				continue
			}
			for _, p := range a.places[c.layout.slotOf[t.Key]] {
				for _, slot := range a.up[p.slot] {
					if !slices.Contains(seen, slot) {
						seen = append(seen, slot)
						r.at[slot] = append(r.at[slot], asked{int32(i), f.unitOf[i], set})
					}
				}
			}
		}
	}
	return r
}

// siteTerritory is the version of the site's territory nearest to its days.
func (c *Cube) siteTerritory(s impact.Site, days impact.Period) *impact.Territory {
	g := c.cat.Gazetteer()
	for _, d := range [...]impact.Date{days.End, days.Start} {
		if t := g.At(s.Territory, d); t != nil {
			return t
		}
	}
	if vs := g.Versions(s.Territory); len(vs) > 0 {
		return vs[len(vs)-1]
	}
	return nil
}

// askedLines is the set of lines some questionnaires ask: what they list, the
// components of what they list, and what is composed of nothing else.
func (l *layout) askedLines(f *facts, codes []string) []uint64 {
	set := make([]uint64, len(l.indicators)/64+1)
	add := func(line int32) { set[line/64] |= 1 << (line % 64) }
	for _, code := range codes {
		q := f.questionnaires[code]
		for _, item := range q.Indicators {
			if line, ok := l.lineByCode[item.Indicator]; ok {
				add(line)
				for _, leaf := range l.leaves[line] {
					add(leaf)
				}
			}
		}
	}
	for line, leaves := range l.leaves {
		if !slices.ContainsFunc(leaves, func(leaf int32) bool { return set[leaf/64]>>(leaf%64)&1 == 0 }) {
			add(int32(line))
		}
	}
	return set
}

// open reads two zero dates as no limit.
func open(from, to impact.Date) impact.Period {
	if from == 0 && to == 0 {
		return impact.Period{Start: impact.MinDate, End: impact.MaxDate}
	}
	return impact.Period{Start: from, End: to}
}
