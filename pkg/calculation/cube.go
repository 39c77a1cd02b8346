package calculation

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Cube holds the contributions of every cell, in columns, and answers queries
// from them. It stores no sum: each figure is made from its contributions when
// asked for, so that corrections, deletions, medians and distinct
// organisations are exact. Readers share it; Load and Apply are exclusive.
type Cube struct {
	cat    *impact.Catalogue
	layout *layout

	mu    sync.RWMutex
	facts *facts

	atlases cache[impact.Vintage, *atlas]
}

// layout is what the reference data says once and for all.
type layout struct {
	indicators  []*impact.Indicator
	lineOf      map[impact.IndicatorKey]int32
	lineByCode  map[impact.IndicatorCode]int32
	leaves      [][]int32 // lines of the leaf components; itself when not composed
	qualifiers  map[string]bool
	territories []*impact.Territory
	slotOf      map[impact.TerritoryKey]int32
	kin         kinship
}

// facts is all that changes.
type facts struct {
	seq   int64
	count int // contributions, two for a cell whose approved version differs

	lines []line

	members   []member
	unitOf    []int32 // legal unit of each member, apart because every figure reads it
	nested    []bool  // the member's legal unit is an organisation too (E3)
	memberOf  map[impact.OrganisationKey]int32
	memberBy  map[impact.OrganisationID]int32
	units     map[string]int32 // legal unit → dense number
	whoDigest uint64
	sirens    map[string]*siren

	questionnaires map[string]impact.Questionnaire

	attrs  []attr
	attrOf map[string]int32

	rosters cache[rosterKey, *roster]
}

// siren gathers the organisations of one SIREN: establishments, and perhaps
// the legal unit itself, which has no SIRET.
type siren struct{ members []int32 }

type member struct {
	Organisation
	siren *siren
}

// line is one indicator: a block per territory that has a cell.
type line struct {
	blocks []*block
	digest uint64
	count  int
}

// block is the cells of one indicator and territory. Contributions of
// periods[i] are rows[ends[i-1]:ends[i]], sorted by organisation.
type block struct {
	periods []impact.Period
	ends    []int32
	rows    []contribution
	longest int32 // days of the longest period met
}

type contribution struct {
	member int32
	attr   int32
	value  int64
}

// NewCube makes an empty cube for this reference data.
func NewCube(cat *impact.Catalogue) *Cube {
	l := &layout{
		indicators: cat.Indicators(),
		lineOf:     map[impact.IndicatorKey]int32{},
		lineByCode: map[impact.IndicatorCode]int32{},
		qualifiers: map[string]bool{},
		slotOf:     map[impact.TerritoryKey]int32{},
	}
	for i, ind := range l.indicators {
		l.lineOf[ind.Key] = int32(i)
		l.lineByCode[ind.Code] = int32(i)
		for _, q := range ind.HomogeneousBy {
			l.qualifiers[q] = true
		}
	}
	for _, ind := range l.indicators {
		var leaves []int32
		for _, leaf := range cat.Leaves(ind) {
			if line := l.lineByCode[leaf.Code]; !slices.Contains(leaves, line) {
				leaves = append(leaves, line)
			}
		}
		l.leaves = append(l.leaves, leaves)
	}
	l.territories = cat.Gazetteer().All()
	for i, t := range l.territories {
		l.slotOf[t.Key] = int32(i)
	}
	l.kin = kinship{l: l, g: cat.Gazetteer(), rows: make([]atomic.Pointer[kin], len(l.territories))}
	return &Cube{cat: cat, layout: l, facts: newFacts(len(l.indicators))}
}

func newFacts(lines int) *facts {
	return &facts{
		lines:          make([]line, lines),
		memberOf:       map[impact.OrganisationKey]int32{},
		memberBy:       map[impact.OrganisationID]int32{},
		units:          map[string]int32{},
		sirens:         map[string]*siren{},
		questionnaires: map[string]impact.Questionnaire{},
		attrOf:         map[string]int32{},
	}
}

// Catalogue is the reference data the cube was made for.
func (c *Cube) Catalogue() *impact.Catalogue { return c.cat }

// Load replaces everything by one snapshot, true at commit seq. The order of
// the feed does not matter; a cell fed twice is an error. On error the cube
// keeps what it had.
func (c *Cube) Load(orgs iter.Seq2[Organisation, error], questionnaires []impact.Questionnaire, cells iter.Seq2[Change, error], seq int64) error {
	f := newFacts(len(c.layout.indicators))
	f.seq = seq
	for o, err := range orgs {
		if err != nil {
			return fmt.Errorf("loading organisations: %w", err)
		}
		f.setOrganisation(o)
	}
	for _, q := range questionnaires {
		f.setQuestionnaire(q)
	}
	type row struct {
		period impact.Period
		contribution
	}
	pending := make([][][]row, len(f.lines))
	for ch, err := range cells {
		if err != nil {
			return fmt.Errorf("loading cells: %w", err)
		}
		line, slot, err := c.layout.cell(ch.Key)
		if err != nil {
			return err
		}
		versions, n := f.versions(c.layout, ch)
		if n == 0 {
			continue
		}
		if pending[line] == nil {
			pending[line] = make([][]row, len(c.layout.territories))
		}
		for _, v := range versions[:n] {
			pending[line][slot] = append(pending[line][slot], row{ch.Key.Period, v})
		}
	}
	for i, slots := range pending {
		if slots == nil {
			continue
		}
		f.lines[i].blocks = make([]*block, len(slots))
		for slot, rows := range slots {
			if len(rows) == 0 {
				continue
			}
			slices.SortFunc(rows, func(a, b row) int {
				if o := comparePeriods(a.period, b.period); o != 0 {
					return o
				}
				if a.member != b.member {
					return int(a.member) - int(b.member)
				}
				return int(a.attr) - int(b.attr)
			})
			b := &block{rows: make([]contribution, 0, len(rows))}
			for n, r := range rows {
				if n == 0 || rows[n-1].period != r.period {
					b.periods = append(b.periods, r.period)
					b.ends = append(b.ends, 0)
					b.longest = max(b.longest, int32(r.period.Days()))
				}
				for back := len(b.rows) - 1; back >= 0 && n > 0 && back >= b.start(len(b.ends)-1) && b.rows[back].member == r.member; back-- {
					if was, is := &f.attrs[b.rows[back].attr], &f.attrs[r.attr]; was.cut == is.cut && was.states&is.states != 0 {
						return fmt.Errorf("calculation: cell fed twice: indicator %d, territory %d, period %s, organisation %d",
							c.layout.indicators[i].Key, c.layout.territories[slot].Key, r.period, f.members[r.member].Key)
					}
				}
				b.rows = append(b.rows, r.contribution)
				b.ends[len(b.ends)-1] = int32(len(b.rows))
				f.lines[i].digest += f.digest(int32(slot), r.period, r.contribution)
			}
			b.periods, b.ends = slices.Clip(b.periods), slices.Clip(b.ends)
			f.lines[i].blocks[slot] = b
			f.lines[i].count += len(b.rows)
			f.count += len(b.rows)
			slots[slot] = nil
		}
	}
	c.mu.Lock()
	c.facts = f
	c.mu.Unlock()
	return nil
}

// Apply brings the cube to commit seq. Changes of a commit already applied
// (seq not above Seq) are ignored, so that a tail may be read twice. On error
// nothing changed.
func (c *Cube) Apply(seq int64, ch Changes) error {
	for _, cell := range ch.Cells {
		if _, _, err := c.layout.cell(cell.Key); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.facts
	if seq <= f.seq {
		return nil
	}
	for _, o := range ch.Organisations {
		f.setOrganisation(o)
	}
	for _, q := range ch.Questionnaires {
		f.setQuestionnaire(q)
	}
	for _, cell := range ch.Cells {
		line, slot, _ := c.layout.cell(cell.Key)
		f.put(c.layout, line, slot, cell)
	}
	if len(ch.Organisations)+len(ch.Questionnaires) > 0 {
		f.rosters.clear()
	}
	f.seq = seq
	return nil
}

// Seq is the commit the cube is true at.
func (c *Cube) Seq() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.facts.seq
}

// ObservationCount counts the versions held: one per cell, two where the
// approved version is not the current one.
func (c *Cube) ObservationCount() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.facts.count
}

// Stats is the size of the cube, for logs and metrics.
type Stats struct {
	Seq           int64
	Observations  int
	Organisations int
	Cells         int // indicator × territory × period
	Attributes    int // distinct combinations of cut, qualifiers, profile, state
	Bytes         int // of the columns
}

// Stats counts what the cube holds.
func (c *Cube) Stats() Stats {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := Stats{Seq: c.facts.seq, Observations: c.facts.count, Organisations: len(c.facts.members), Attributes: len(c.facts.attrs)}
	for _, l := range c.facts.lines {
		s.Bytes += 8 * cap(l.blocks)
		for _, b := range l.blocks {
			if b != nil {
				s.Cells += len(b.periods)
				s.Bytes += 16*cap(b.rows) + 8*cap(b.periods) + 4*cap(b.ends) + 80
			}
		}
	}
	return s
}

// FiguresFrom answers a query from another source than the cube by the very
// same arithmetic: the cells the query may touch are read and calculated.
func FiguresFrom(ctx context.Context, cat *impact.Catalogue, src Source, q Query) (*Result, error) {
	c := NewCube(cat)
	scope, err := c.scope(q)
	if err != nil {
		return nil, err
	}
	qs, err := src.Questionnaires(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading questionnaires: %w", err)
	}
	if err := c.Load(src.Organisations(ctx), qs, src.Cells(ctx, scope), 0); err != nil {
		return nil, err
	}
	return c.Figures(q)
}

func (l *layout) cell(k impact.CellKey) (line, slot int32, err error) {
	line, ok := l.lineOf[k.Indicator]
	if !ok {
		return 0, 0, fmt.Errorf("calculation: cell of unknown indicator %d", k.Indicator)
	}
	if l.indicators[line].Composed() {
		return 0, 0, fmt.Errorf("calculation: %s is computed from its components and has no cell", l.indicators[line].Code)
	}
	slot, ok = l.slotOf[k.Territory]
	if !ok {
		return 0, 0, fmt.Errorf("calculation: cell of unknown territory %d", k.Territory)
	}
	if k.Period.Start > k.Period.End {
		return 0, 0, errors.New("calculation: period ends before it starts")
	}
	return line, slot, nil
}

func comparePeriods(a, b impact.Period) int {
	if a.Start != b.Start {
		return int(a.Start) - int(b.Start)
	}
	return int(a.End) - int(b.End)
}

func (b *block) start(i int) int {
	if i == 0 {
		return 0
	}
	return int(b.ends[i-1])
}

// first is the index of the first period that may touch a day of p.
func (b *block) first(p impact.Period) int {
	earliest := p.Start - impact.Date(b.longest) + 1
	i, _ := slices.BinarySearchFunc(b.periods, earliest, func(q impact.Period, d impact.Date) int { return int(q.Start) - int(d) })
	return i
}

// put replaces the versions of one cell.
func (f *facts) put(l *layout, line, slot int32, ch Change) {
	versions, n := f.versions(l, ch)
	ln := &f.lines[line]
	if ln.blocks == nil {
		if n == 0 {
			return
		}
		ln.blocks = make([]*block, len(l.territories))
	}
	b := ln.blocks[slot]
	if b == nil {
		if n == 0 {
			return
		}
		b = &block{}
		ln.blocks[slot] = b
	}
	p := ch.Key.Period
	i, found := slices.BinarySearchFunc(b.periods, p, comparePeriods)
	if !found {
		if n == 0 {
			return
		}
		b.periods = slices.Insert(b.periods, i, p)
		b.ends = slices.Insert(b.ends, i, int32(b.start(i)))
		b.longest = max(b.longest, int32(p.Days()))
	}
	who := f.member(ch.Key.Organisation)
	lo, hi := b.start(i), int(b.ends[i])
	at, _ := slices.BinarySearchFunc(b.rows[lo:hi], who, func(r contribution, m int32) int { return int(r.member) - int(m) })
	at += lo
	end := at
	for end < hi && b.rows[end].member == who {
		end++
	}
	kept := make([]contribution, 0, 4)
	for _, r := range b.rows[at:end] {
		if f.attrs[r.attr].cut == ch.Key.Cut {
			ln.digest -= f.digest(slot, p, r)
		} else {
			kept = append(kept, r)
		}
	}
	for _, v := range versions[:n] {
		ln.digest += f.digest(slot, p, v)
		kept = append(kept, v)
	}
	slices.SortFunc(kept, func(a, b contribution) int { return int(a.attr) - int(b.attr) })
	delta := len(kept) - (end - at)
	b.rows = slices.Replace(b.rows, at, end, kept...)
	if delta != 0 {
		for j := i; j < len(b.ends); j++ {
			b.ends[j] += int32(delta)
		}
		ln.count += delta
		f.count += delta
	}
	if b.start(i) == int(b.ends[i]) {
		b.periods = slices.Delete(b.periods, i, i+1)
		b.ends = slices.Delete(b.ends, i, i+1)
	}
}

// versions gives the contributions of a cell: the current version for the
// states it has reached, the approved one for the states above.
func (f *facts) versions(l *layout, ch Change) (out [2]contribution, n int) {
	reached := stateBit(ch.State)
	if ch.Current == nil && (ch.Approved == nil || reached == approvedBit) {
		return out, 0
	}
	who := f.member(ch.Key.Organisation)
	add := func(fact *Fact, states uint8) {
		if fact == nil || states == 0 {
			return
		}
		c := contribution{member: who, attr: f.attr(l, ch.Key, fact, states)}
		if f.attrs[c.attr].number {
			c.value = int64(fact.Value)
		}
		out[n] = c
		n++
	}
	below := reached<<1 - 1 // the states up to the one reached
	add(ch.Current, below)
	add(ch.Approved, allStates&^below)
	return out, n
}

// State bits: a contribution counts for a query at state S when its bit is set.
const (
	draftBit     uint8 = 1
	submittedBit uint8 = 2
	approvedBit  uint8 = 4
	allStates          = draftBit | submittedBit | approvedBit
)

func stateBit(s impact.SubmissionState) uint8 {
	switch s {
	case impact.Submitted:
		return submittedBit
	case impact.Approved, "":
		return approvedBit
	}
	return draftBit
}

func (f *facts) member(key impact.OrganisationKey) int32 {
	if i, ok := f.memberOf[key]; ok {
		return i
	}
	// A cell may come before its organisation: it stands for itself until then.
	i := int32(len(f.members))
	f.memberOf[key] = i
	f.members = append(f.members, member{Organisation: Organisation{Key: key}})
	f.unitOf = append(f.unitOf, f.unit("key:"+strconv.FormatInt(int64(key), 10)))
	f.nested = append(f.nested, false)
	return i
}

func (f *facts) unit(name string) int32 {
	if u, ok := f.units[name]; ok {
		return u
	}
	u := int32(len(f.units))
	f.units[name] = u
	return u
}

func (f *facts) setOrganisation(o Organisation) {
	i := f.member(o.Key)
	m := &f.members[i]
	f.whoDigest -= m.digest()
	delete(f.memberBy, m.ID)
	if m.siren != nil {
		m.siren.members = slices.DeleteFunc(m.siren.members, func(j int32) bool { return j == i })
	}
	old := m.siren
	if o.LegalUnit == "" {
		o.LegalUnit = "key:" + strconv.FormatInt(int64(o.Key), 10)
	}
	*m = member{Organisation: o}
	f.unitOf[i], f.nested[i] = f.unit(o.LegalUnit), false
	if o.SIREN != "" {
		s := f.sirens[o.SIREN]
		if s == nil {
			s = &siren{}
			f.sirens[o.SIREN] = s
		}
		s.members = append(s.members, i)
		m.siren = s
		f.seeUnit(s)
	}
	if old != nil && old != m.siren {
		f.seeUnit(old)
	}
	if o.ID != "" {
		f.memberBy[o.ID] = i
	}
	f.whoDigest += m.digest()
}

func (f *facts) seeUnit(s *siren) {
	nested := slices.ContainsFunc(s.members, func(j int32) bool { return f.members[j].SIRET == "" })
	for _, j := range s.members {
		f.nested[j] = nested && f.members[j].SIRET != ""
	}
}

func (f *facts) setQuestionnaire(q impact.Questionnaire) {
	if old, ok := f.questionnaires[q.Code]; ok {
		f.whoDigest -= digestQuestionnaire(&old)
	}
	f.questionnaires[q.Code] = q
	f.whoDigest += digestQuestionnaire(&q)
}

// attr is what many contributions share.
type attr struct {
	states    uint8
	status    impact.Status
	number    bool
	group     bool
	moved     bool   // transferred to another
	plain     bool   // counts for its value, whatever stands beside it
	cut       string // as in the key
	programme string
	parts     []cutPart // disaggregation, sorted by dimension
	dims      string    // names of parts, joined by ;
	overlaps  bool      // a dimension of dims is not a partition
	share     int64     // millionths; One when all of it counts
	covers    []string
	profile   impact.Profile
	method    string
	quals     map[string]string
	digest    uint64
}

type cutPart struct{ dimension, code string }

func (a *attr) code(dimension string) (string, bool) {
	for _, p := range a.parts {
		if p.dimension == dimension {
			return p.code, true
		}
	}
	return "", false
}

// overlapping dimensions are never added up, even without the whole.
var overlapping = map[string]bool{"award_role": true, "axis": true}

func (f *facts) attr(l *layout, key impact.CellKey, fact *Fact, states uint8) int32 {
	a := &fact.Attrs
	number := fact.HasValue && fact.Status.HasNumber()
	var names []string
	for name, v := range a.Qualifiers {
		if v != "" && l.qualifiers[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	share := int64(a.Share)
	if share == 0 {
		share = int64(impact.One)
	}
	moved := a.TransferredTo != ""
	var buf [256]byte
	id := append(buf[:0], states, byte(fact.Status), flag(number), flag(moved), flag(a.Perimeter == "group"))
	id = strconv.AppendInt(id, share, 10)
	for _, s := range [...]string{key.Cut, string(a.Profile.Class), a.Profile.StructureKind, a.Profile.SizeClass, a.Method} {
		id = append(append(id, 0), s...)
	}
	for _, name := range names {
		id = append(append(append(append(id, 1), name...), '='), a.Qualifiers[name]...)
	}
	for _, c := range a.Covers {
		id = append(append(id, 2), c...)
	}
	if i, ok := f.attrOf[string(id)]; ok {
		return i
	}
	n := attr{
		states: states, status: fact.Status, number: number, moved: moved,
		group: a.Perimeter == "group", cut: strings.Clone(key.Cut), share: share,
		covers: slices.Clone(a.Covers), method: a.Method, digest: hashBytes(id),
		profile: impact.Profile{Class: a.Profile.Class, StructureKind: a.Profile.StructureKind, SizeClass: a.Profile.SizeClass},
	}
	if key.Cut != "" {
		var dims []string
		for _, s := range strings.Split(key.Cut, ";") {
			dimension, code, _ := strings.Cut(s, "=")
			if dimension == "programme" {
				n.programme = code
				continue
			}
			n.parts = append(n.parts, cutPart{dimension, code})
			dims = append(dims, dimension)
			n.overlaps = n.overlaps || overlapping[dimension]
		}
		n.dims = strings.Join(dims, ";")
	}
	if len(names) > 0 {
		n.quals = make(map[string]string, len(names))
		for _, name := range names {
			n.quals[name] = a.Qualifiers[name]
		}
	}
	n.plain = number && !moved && n.cut == "" && len(n.covers) == 0
	i := int32(len(f.attrs))
	f.attrs = append(f.attrs, n)
	f.attrOf[string(id)] = i
	return i
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// cache keeps what is costly to derive and safe to forget.
type cache[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]V
}

// A roster takes some 60 bytes an organisation: 64 of them, for 5,000
// organisations, 20 MB.
const cacheLimit = 64

func (c *cache[K, V]) get(k K, derive func() V) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.m[k]; ok {
		return v
	}
	if c.m == nil || len(c.m) >= cacheLimit {
		c.m = map[K]V{}
	}
	v := derive()
	c.m[k] = v
	return v
}

func (c *cache[K, V]) clear() {
	c.mu.Lock()
	c.m = nil
	c.mu.Unlock()
}
