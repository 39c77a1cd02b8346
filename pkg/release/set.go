package release

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// Set is a release in memory: what its cells say, and nothing of the facts. It
// answers queries as a calculation.Cube does, but only those that select
// declared cells: it never adds anything up. It never changes and may be read
// from many goroutines; the figures it gives point into it and are to be read
// only.
type Set struct {
	cat     *impact.Catalogue
	release impact.Release
	history []impact.Release // by number
	mark    uint64

	// Rows stand in the order of the text of units, block by block.
	rows   []row
	blocks []block
	at     map[blockKey]int
	// What rows name by a number. Periods, codes and qualifiers are sorted, so
	// that numbers compare like what they stand for.
	places   []impact.TerritoryKey // by id
	rank     map[impact.TerritoryKey]int32
	periods  []impact.Period
	periodAt map[impact.Period]int32
	codes    [][]string // one each
	quals    []string
	origins  []origin
	notes    [][]calculation.Note
	excluded [][]calculation.Exclusion
	causes   []Cause
	extras   []extra
}

// row is one cell: 64 bytes, since a release has hundreds of thousands.
type row struct {
	value, coverage, before impact.Quantity

	organisations, observations, reporters, expected int32

	extra    int32 // -1: none
	excluded int32
	moved    uint16
	period   uint16
	code     uint16
	quals    uint16
	origin   uint16
	status   impact.Status
	notes    uint8
	cause    uint8
	has      uint8
}

// What a row has.
const (
	hasValue = 1 << iota
	hasCoverage
	hasBefore
	isAdditive
	isOutOfRange
)

// extra is what few cells say.
type extra struct {
	numerator, denominator, respondents, share impact.Quantity
	asOf, asOfFrom                             impact.Date
	counts                                     calculation.Answers // without share
	days                                       int32
	refused                                    string
	has                                        uint8
}

// What an extra has.
const (
	hasNumerator = 1 << iota
	hasDenominator
	hasRespondents
	hasAnswers
	hasShare
	hasDate
)

// origin is what many cells share.
type origin struct {
	methodology string
	vintage     impact.Vintage
	kind        impact.MeasureKind
	impactType  impact.ImpactTypeCode
}

// blockKey names the cells of one indicator, or count of one impact type, in
// one cut.
type blockKey struct {
	counts bool
	code   string
	cut    calculation.Dimension
}

func (a blockKey) compare(b blockKey) int {
	switch {
	case a.counts != b.counts && b.counts:
		return -1
	case a.counts != b.counts:
		return 1
	}
	return cmp.Or(cmp.Compare(a.code, b.code), cmp.Compare(a.cut, b.cut))
}

func keyOf(c *Cell) blockKey { return blockKey{c.Figure.Indicator == "", c.line(), c.Cut} }

// block holds where each of its territories starts.
type block struct {
	blockKey
	territories []int32 // ranks, ascending
	starts      []int32 // one more than territories
}

// NewSet reads a release from its units, in the order they were sealed in, and
// holds it to its digest. History are the releases the public knows, this one
// included: the days of those in which cells moved.
func NewSet(cat *impact.Catalogue, r impact.Release, history []impact.Release, units iter.Seq2[*Sealed, error]) (*Set, error) {
	s := &Set{cat: cat, release: r, history: slices.Clone(history), at: map[blockKey]int{}, rank: map[impact.TerritoryKey]int32{}, periodAt: map[impact.Period]int32{}}
	slices.SortFunc(s.history, func(a, b impact.Release) int { return cmp.Compare(a.Number, b.Number) })
	l := loader{
		set: s, blocks: numbered[blockKey]{}, places: numbered[impact.TerritoryKey]{}, periods: numbered[impact.Period]{}, codes: numbered[string]{},
		quals: numbered[string]{}, origins: numbered[origin]{}, notes: numbered[string]{}, excluded: numbered[string]{}, causes: numbered[Cause]{},
	}
	l.note(nil)
	l.exclude(nil)
	l.code("")
	var (
		digest Digest
		c      Cell
	)
	for u, err := range units {
		if err != nil {
			return nil, fmt.Errorf("release %d: %w", r.Number, err)
		}
		digest.Add(u)
		for _, err := range cells(cat, u.Figures, func() *Cell { return &c }) {
			if err == nil {
				err = l.add(&c)
			}
			if err != nil {
				return nil, fmt.Errorf("release %d, unit %s %d: %w", r.Number, u.Unit.Family, u.Unit.Year, err)
			}
		}
	}
	if d := digest.String(); r.Digest != "" && d != r.Digest {
		return nil, fmt.Errorf("release %d: its units have the digest %s, not %s", r.Number, d, r.Digest)
	}
	if sum, err := hex.DecodeString(digest.String()); err == nil {
		s.mark = binary.BigEndian.Uint64(sum) ^ uint64(r.Number)
	}
	return s, l.arrange()
}

// numbered gives small numbers to what it meets, in that order.
type numbered[K comparable] map[K]int32

func (n numbered[K]) of(k K) (i int32, first bool) {
	i, known := n[k]
	if !known {
		i = int32(len(n))
		n[k] = i
	}
	return i, !known
}

// sorted gives what was numbered in order, and the new number of each old one.
func (n numbered[K]) sorted(order func(a, b K) int) (list []K, becomes []int32) {
	list = make([]K, 0, len(n))
	for k := range n {
		list = append(list, k)
	}
	slices.SortFunc(list, order)
	becomes = make([]int32, len(n))
	for i, k := range list {
		becomes[n[k]] = int32(i)
	}
	return list, becomes
}

// loader makes a set cell by cell.
type loader struct {
	set      *Set
	where    []address32
	blocks   numbered[blockKey]
	places   numbered[impact.TerritoryKey]
	periods  numbered[impact.Period]
	codes    numbered[string]
	quals    numbered[string]
	origins  numbered[origin]
	notes    numbered[string]
	excluded numbered[string]
	causes   numbered[Cause]
	full     bool
}

type address32 struct{ block, territory int32 }

func (l *loader) small(i int32, most int32) int32 {
	l.full = l.full || i > most
	return i
}

func (l *loader) note(notes []calculation.Note) uint8 {
	var b []byte
	for _, n := range notes {
		b = append(append(b, n...), ' ')
	}
	i, first := l.notes.of(string(b))
	if first {
		l.set.notes = append(l.set.notes, notes)
	}
	return uint8(l.small(i, math.MaxUint8))
}

func (l *loader) exclude(list []calculation.Exclusion) int32 {
	var b []byte
	for _, e := range list {
		b = binary.AppendUvarint(append(append(b, e.Reason...), 0), uint64(e.Observations))
	}
	i, first := l.excluded.of(string(b))
	if first {
		l.set.excluded = append(l.set.excluded, list)
	}
	return i
}

func (l *loader) code(code string) uint16 {
	i, _ := l.codes.of(code)
	return uint16(l.small(i, math.MaxUint16))
}

func flag[T any](has *uint8, bit uint8, from *T, to *T) {
	if from != nil {
		*has |= bit
		*to = *from
	}
}

func (l *loader) add(c *Cell) error {
	s, f := l.set, &c.Figure
	r := row{
		organisations: int32(f.Organisations), observations: int32(f.Observations), reporters: int32(f.Reporters), expected: int32(f.Expected),
		status: f.Status, moved: uint16(l.small(int32(c.Moved), math.MaxUint16)), extra: -1,
		code: l.code(c.code()), notes: l.note(f.Notes), excluded: l.exclude(f.Excluded),
	}
	flag(&r.has, hasValue, f.Value, &r.value)
	flag(&r.has, hasCoverage, f.Coverage, &r.coverage)
	flag(&r.has, hasBefore, c.Before, &r.before)
	if f.Additive {
		r.has |= isAdditive
	}
	if f.OutOfRange {
		r.has |= isOutOfRange
	}
	i, _ := l.periods.of(f.Period)
	r.period = uint16(l.small(i, math.MaxUint16))
	i, _ = l.quals.of(f.Qualifiers)
	r.quals = uint16(l.small(i, math.MaxUint16))
	i, first := l.origins.of(origin{f.MethodologyVersion, f.Vintage, f.Kind, f.ImpactType})
	if first {
		s.origins = append(s.origins, origin{f.MethodologyVersion, f.Vintage, f.Kind, f.ImpactType})
	}
	r.origin = uint16(l.small(i, math.MaxUint16))
	i, first = l.causes.of(c.Cause)
	if first {
		s.causes = append(s.causes, c.Cause)
	}
	r.cause = uint8(l.small(i, math.MaxUint8))
	var x extra
	flag(&x.has, hasNumerator, f.Numerator, &x.numerator)
	flag(&x.has, hasDenominator, f.Denominator, &x.denominator)
	flag(&x.has, hasRespondents, f.Respondents, &x.respondents)
	if f.Answers != nil {
		x.has |= hasAnswers
		x.counts = calculation.Answers{True: f.Answers.True, Answered: f.Answers.Answered}
		flag(&x.has, hasShare, f.Answers.Share, &x.share)
	}
	if f.HasAsOf {
		x.has |= hasDate
		x.asOf, x.asOfFrom = f.AsOf, f.AsOfFrom
	}
	x.days, x.refused = int32(f.DaysCovered), f.Refused
	if x != (extra{}) {
		r.extra = int32(len(s.extras))
		s.extras = append(s.extras, x)
	}
	if l.full || len(s.rows) == math.MaxInt32 {
		return errors.New("more than this program counts")
	}
	b, _ := l.blocks.of(keyOf(c))
	p, _ := l.places.of(f.Territory)
	s.rows = append(s.rows, r)
	l.where = append(l.where, address32{b, p})
	return nil
}

// arrange puts the rows in order.
func (l *loader) arrange() error {
	s := l.set
	gazetteer := s.cat.Gazetteer()
	blocks, blockIs := l.blocks.sorted(blockKey.compare)
	places, placeIs := l.places.sorted(func(a, b impact.TerritoryKey) int {
		return cmp.Or(cmp.Compare(gazetteer.ByKey(a).ID, gazetteer.ByKey(b).ID), cmp.Compare(a, b))
	})
	periods, periodIs := l.periods.sorted(comparePeriods)
	codes, codeIs := l.codes.sorted(strings.Compare)
	quals, qualsIs := l.quals.sorted(strings.Compare)
	s.places, s.periods, s.quals = places, periods, quals
	for i, k := range places {
		s.rank[k] = int32(i)
	}
	for i, p := range periods {
		s.periodAt[p] = int32(i)
	}
	for _, c := range codes {
		s.codes = append(s.codes, []string{c})
	}
	order := make([]int32, len(s.rows))
	for i := range s.rows {
		r := &s.rows[i]
		r.period, r.code, r.quals = uint16(periodIs[r.period]), uint16(codeIs[r.code]), uint16(qualsIs[r.quals])
		l.where[i] = address32{blockIs[l.where[i].block], placeIs[l.where[i].territory]}
		order[i] = int32(i)
	}
	compare := func(a, b int32) int {
		x, y := &s.rows[a], &s.rows[b]
		return cmp.Or(cmp.Compare(l.where[a].block, l.where[b].block), cmp.Compare(l.where[a].territory, l.where[b].territory),
			cmp.Compare(x.period, y.period), cmp.Compare(x.code, y.code), cmp.Compare(x.quals, y.quals))
	}
	slices.SortFunc(order, compare)
	sorted := make([]row, len(order))
	s.blocks = make([]block, len(blocks))
	for i, k := range blocks {
		s.blocks[i].blockKey = k
		s.at[k] = i
	}
	for n, i := range order {
		if n > 0 && compare(order[n-1], i) == 0 {
			return fmt.Errorf("release %d: two cells of %s, %s, %s", s.release.Number, blocks[l.where[i].block].code,
				gazetteer.ByKey(places[l.where[i].territory]).ID, periods[s.rows[i].period])
		}
		sorted[n] = s.rows[i]
		b := &s.blocks[l.where[i].block]
		if len(b.territories) == 0 || b.territories[len(b.territories)-1] != l.where[i].territory {
			b.territories = append(b.territories, l.where[i].territory)
			b.starts = append(b.starts, int32(n))
		}
	}
	end := int32(len(sorted))
	for i := len(s.blocks) - 1; i >= 0; i-- {
		first := s.blocks[i].starts[0]
		s.blocks[i].starts = slices.Clip(append(s.blocks[i].starts, end))
		end = first
	}
	s.rows, s.extras, s.excluded = sorted, slices.Clip(s.extras), slices.Clip(s.excluded)
	return nil
}

func comparePeriods(a, b impact.Period) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End))
}

// Release tells which release it is.
func (s *Set) Release() *impact.Release { return &s.release }

// Len is the number of cells.
func (s *Set) Len() int { return len(s.rows) }

// Fingerprint is the same for all queries: nothing of a release moves.
func (s *Set) Fingerprint(calculation.Query) uint64 { return s.mark }

// All gives every cell, in the order of the text of units: indicators by code,
// counts by impact type after them; cut, territory, period, code, qualifiers.
func (s *Set) All() iter.Seq[*Cell] {
	return func(yield func(*Cell) bool) {
		for b := range s.blocks {
			for t := range s.blocks[b].territories {
				for i := s.blocks[b].starts[t]; i < s.blocks[b].starts[t+1]; i++ {
					if c := s.cell(b, t, i); !yield(&c) {
						return
					}
				}
			}
		}
	}
}

func (s *Set) cell(b, t int, i int32) Cell {
	r, blk := &s.rows[i], &s.blocks[b]
	c := Cell{Cut: blk.cut, Moved: impact.ReleaseNumber(r.moved), Cause: s.causes[r.cause]}
	s.fill(&c.Figure, r, blk.blockKey, s.places[blk.territories[t]], blk.cut != "")
	if r.has&hasBefore != 0 {
		c.Before = &r.before
	}
	return c
}

// rowsOf gives the rows of a territory in a block.
func (s *Set) rowsOf(b int, k impact.TerritoryKey) (from, to int32) {
	rank, known := s.rank[k]
	if !known {
		return 0, 0
	}
	i, found := slices.BinarySearch(s.blocks[b].territories, rank)
	if !found {
		return 0, 0
	}
	return s.blocks[b].starts[i], s.blocks[b].starts[i+1]
}

// fill writes the figure of a row.
func (s *Set) fill(f *calculation.Figure, r *row, k blockKey, territory impact.TerritoryKey, coded bool) {
	o := &s.origins[r.origin]
	if !k.counts {
		f.Indicator = impact.IndicatorCode(k.code)
	}
	f.ImpactType, f.Kind, f.Territory, f.Vintage, f.Period = o.impactType, o.kind, territory, o.vintage, s.periods[r.period]
	f.Qualifiers, f.Status, f.Notes, f.MethodologyVersion = s.quals[r.quals], r.status, s.notes[r.notes], o.methodology
	f.Moved, f.Excluded = s.day(impact.ReleaseNumber(r.moved)), s.excluded[r.excluded]
	f.Organisations, f.Observations, f.Reporters, f.Expected = int(r.organisations), int(r.observations), int(r.reporters), int(r.expected)
	f.Additive, f.OutOfRange = r.has&isAdditive != 0, r.has&isOutOfRange != 0
	if coded {
		f.Codes = s.codes[r.code]
	}
	if r.has&hasValue != 0 {
		f.Value = &r.value
	}
	if r.has&hasCoverage != 0 {
		f.Coverage = &r.coverage
	}
	if r.extra < 0 {
		return
	}
	x := &s.extras[r.extra]
	if x.has&hasNumerator != 0 {
		f.Numerator = &x.numerator
	}
	if x.has&hasDenominator != 0 {
		f.Denominator = &x.denominator
	}
	if x.has&hasRespondents != 0 {
		f.Respondents = &x.respondents
	}
	if x.has&hasAnswers != 0 {
		a := x.counts
		if x.has&hasShare != 0 {
			a.Share = &x.share
		}
		f.Answers = &a
	}
	if x.has&hasDate != 0 {
		f.HasAsOf, f.AsOf, f.AsOfFrom = true, x.asOf, x.asOfFrom
	}
	f.DaysCovered, f.Refused = int(x.days), x.refused
}

// day of a release, as figures say when they last moved.
func (s *Set) day(n impact.ReleaseNumber) impact.Date {
	if n == s.release.Number {
		return s.release.Day
	}
	if r := s.past(n); r != nil {
		return r.Day
	}
	return s.release.Day
}

func (s *Set) past(n impact.ReleaseNumber) *impact.Release {
	// Numbers have no gaps, so that the place of one is known.
	if i := int(n) - 1; i >= 0 && i < len(s.history) && s.history[i].Number == n {
		return &s.history[i]
	}
	i, found := slices.BinarySearchFunc(s.history, n, func(r impact.Release, n impact.ReleaseNumber) int { return cmp.Compare(r.Number, n) })
	if !found {
		return nil
	}
	return &s.history[i]
}
