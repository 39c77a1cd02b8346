package release

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
)

// sealVersion names the way units are made and ledgers written. Units sealed
// another way are made again.
const sealVersion = "1"

// ledger is what a unit has told in all releases so far, and what it rests on:
// the facts in every version that a release counted, the sums of each cell in
// every state it had, and which of them were shown. It is all the next release
// needs to know of the former ones, and as secret as the facts.
type ledger struct {
	header
	facts []fact
	sums  []disclosure.Sum // over facts, by fact
	same  []int32          // sums that everybody knows to be zero
	// tracks has one cell each, by address.
	tracks []track
}

// header is what is read without reading the rest.
type header struct {
	reference  string // see Lattice.reference
	indicators []impact.IndicatorCode
	holders    []holder // of facts, by id
	counts     impact.ReleaseCounts
}

type holder struct {
	id    impact.OrganisationID
	group string
}

// track is a cell through the releases.
type track struct {
	at     address
	states []state
	// now is the state of the facts, and shown the state that the release shows:
	// an older one where the newer would tell too much. -1 = none.
	now, shown int
	// reason is why now is not shown, and against the cell it would tell of.
	reason  disclosure.Reason
	against string
}

// state is what a cell tells, or would: sums of the ledger.
type state struct {
	sums []int32
	told impact.ReleaseNumber // first shown in; 0 = never
}

// reference names what figures are made with, facts apart.
func (l *Lattice) reference() string {
	return fmt.Sprintf("%s %s %d", l.cat.Reference().Version, calculation.MethodVersion, l.vintage)
}

// book is a ledger that is being written.
type book struct {
	ledger
	factAt  map[fact]int32
	sumAt   map[uint64][]int32
	trackAt map[address]int32
}

func openBook(of *ledger) *book {
	b := &book{factAt: map[fact]int32{}, sumAt: map[uint64][]int32{}, trackAt: map[address]int32{}}
	if of != nil {
		b.join(of)
	}
	return b
}

// join takes over what a ledger knows. Its cells are not there now, until the
// layout says so.
func (b *book) join(of *ledger) {
	to := make([]int32, len(of.facts))
	for i, f := range of.facts {
		to[i] = b.fact(f)
	}
	sums := make([]int32, len(of.sums))
	for i, s := range of.sums {
		terms := slices.Clone(s.Terms)
		for j := range terms {
			terms[j].Fact = to[terms[j].Fact]
		}
		sums[i] = b.sum(disclosure.Sum{Terms: terms, People: s.People})
	}
	for _, s := range of.same {
		if i := sums[s]; !slices.Contains(b.same, i) {
			b.same = append(b.same, i)
		}
	}
	for i := range of.tracks {
		t := &of.tracks[i]
		mine := b.track(t.at)
		for j, s := range t.states {
			moved := make([]int32, len(s.sums))
			for k := range s.sums {
				moved[k] = sums[s.sums[k]]
			}
			at := mine.state(moved)
			mine.states[at].told = cmp.Or(mine.states[at].told, s.told)
			if j == t.shown {
				mine.shown = at
			}
		}
		mine.now, mine.reason, mine.against = -1, "", ""
	}
	for _, h := range of.holders {
		if !slices.ContainsFunc(b.holders, func(o holder) bool { return o.id == h.id }) {
			b.holders = append(b.holders, h)
		}
	}
}

func (b *book) fact(f fact) int32 {
	i, ok := b.factAt[f]
	if !ok {
		i = int32(len(b.facts))
		b.factAt[f] = i
		b.facts = append(b.facts, f)
	}
	return i
}

// sum gives the place of a sum, which it owns from then on.
func (b *book) sum(s disclosure.Sum) int32 {
	slices.SortFunc(s.Terms, func(a, b disclosure.Term) int { return int(a.Fact) - int(b.Fact) })
	h := hashSum(&s)
	for _, i := range b.sumAt[h] {
		if o := &b.sums[i]; o.People == s.People && slices.Equal(o.Terms, s.Terms) {
			return i
		}
	}
	i := int32(len(b.sums))
	b.sumAt[h] = append(b.sumAt[h], i)
	b.sums = append(b.sums, s)
	return i
}

func (b *book) track(at address) *track {
	i, ok := b.trackAt[at]
	if !ok {
		i = int32(len(b.tracks))
		b.trackAt[at] = i
		b.tracks = append(b.tracks, track{at: at, now: -1, shown: -1})
	}
	return &b.tracks[i]
}

func (t *track) state(sums []int32) int {
	for i := range t.states {
		if slices.Equal(t.states[i].sums, sums) {
			return i
		}
	}
	t.states = append(t.states, state{sums: sums})
	return len(t.states) - 1
}

// enter writes the layout of a release into the book.
func (b *book) enter(cat *impact.Catalogue, l *layout, group func(id impact.OrganisationID, former string) string) {
	to := make([]int32, len(l.facts))
	for i, f := range l.facts {
		to[i] = b.fact(f)
	}
	for i := range l.cells {
		c := &l.cells[i]
		if !c.tells() {
			continue
		}
		sums := make([]int32, 0, len(c.sums))
		for _, s := range c.sums {
			for j := range s.Terms {
				s.Terms[j].Fact = to[s.Terms[j].Fact]
			}
			sums = append(sums, b.sum(s))
		}
		t := b.track(c.at)
		t.now = t.state(sums)
	}
	ids := map[impact.OrganisationID]bool{}
	for i := range b.facts {
		ids[b.facts[i].organisation] = true
	}
	former := map[impact.OrganisationID]string{}
	for _, h := range b.holders {
		former[h.id] = h.group
	}
	b.holders = b.holders[:0]
	for id := range ids {
		b.holders = append(b.holders, holder{id, group(id, former[id])})
	}
	slices.SortFunc(b.holders, func(a, b holder) int { return compareText(a.id, b.id) })
	b.identify(cat, to)
	b.complete(cat, to)
}

// tells tells that showing the cell tells sums.
func (c *laid) tells() bool {
	for i := range c.sums {
		if len(c.sums[i].Terms) > 0 {
			return true
		}
	}
	return false
}

// identify writes down the identities that hold between facts of the release,
// those of one pattern as one: facts that enter the same sums with the same
// weights cannot be told apart, nor need they. Those of former releases stay.
func (b *book) identify(cat *impact.Catalogue, current []int32) {
	for _, same := range identities {
		var keys []impact.IndicatorKey
		for _, code := range append([]impact.IndicatorCode{same.whole}, same.parts...) {
			if ind := cat.Indicator(code); ind != nil {
				keys = append(keys, ind.Key)
			}
		}
		if len(keys) != len(same.parts)+1 {
			continue
		}
		at := map[fact]int32{}
		for _, i := range current {
			if f := &b.facts[i]; slices.Contains(keys, f.indicator) {
				at[f.place()] = i
			}
		}
		if len(at) == 0 {
			continue
		}
		pattern := b.patterns()
		type key [4]uint64
		merged := map[key][]disclosure.Term{}
		var order []key
		for _, w := range current {
			place := b.facts[w].place()
			if place.indicator != keys[0] {
				continue
			}
			k, left := key{pattern[w]}, b.facts[w].value
			terms := []disclosure.Term{{Fact: w, Num: 1, Den: 1}}
			for i, part := range keys[1:] {
				place.indicator = part
				if p, ok := at[place]; ok {
					k[i+1] = pattern[p]
					left -= b.facts[p].value
					terms = append(terms, disclosure.Term{Fact: p, Num: -1, Den: 1})
				}
			}
			if len(terms) < len(keys) || left != 0 {
				continue // a part was not stated, or is a draft: nobody knows it adds up
			}
			if merged[k] == nil {
				order = append(order, k)
			}
			merged[k] = append(merged[k], terms...)
		}
		for _, k := range order {
			if i := b.sum(disclosure.Sum{Terms: merged[k]}); !slices.Contains(b.same, i) {
				b.same = append(b.same, i)
			}
		}
	}
}

// complete writes down what is left of each whole beside its parts, as a fact of
// its own that is never negative: where the parts are nearly all, whoever knows a
// sum of parts knows that of wholes, and the reverse. A quotient of 1 tells that
// of every contributor. What is left bears the key of the quotient.
func (b *book) complete(cat *impact.Catalogue, current []int32) {
	type key struct {
		of      impact.IndicatorKey
		pattern [5]uint64
	}
	var pattern []uint64
	type remains struct {
		terms        []disclosure.Term
		left         []fact
		share, whole float64
	}
	merged := map[key]*remains{}
	var order []key
	at := map[fact]int32{}
	for _, i := range current {
		at[b.facts[i].place()] = i
	}
	for _, code := range b.indicators {
		ind := cat.Indicator(code)
		if ind == nil {
			continue
		}
		w, ok := wholeOf(cat, ind)
		if !ok || len(w.parts) > 4 {
			continue
		}
		if pattern == nil {
			pattern = b.patterns()
		}
		for _, i := range current {
			if b.facts[i].indicator != w.whole {
				continue
			}
			place, k := b.facts[i].place(), key{of: w.key}
			k.pattern[0] = pattern[i]
			left := b.facts[i]
			left.indicator, left.signed = w.key, false
			terms := []disclosure.Term{{Fact: i, Num: 1, Den: 1}}
			for n, part := range w.parts {
				place.indicator = part
				p, ok := at[place]
				if !ok {
					break
				}
				k.pattern[n+1] = pattern[p]
				left.value -= b.facts[p].value
				terms = append(terms, disclosure.Term{Fact: p, Num: -1, Den: 1})
			}
			if len(terms) <= len(w.parts) || left.value < 0 {
				continue // a part was not stated; or one is a draft, and nobody knows that it fits
			}
			m := merged[k]
			if m == nil {
				m = &remains{}
				merged[k] = m
				order = append(order, k)
			}
			m.terms = append(m.terms, terms...)
			m.left = append(m.left, left)
			m.share += float64(left.value)
			m.whole += float64(b.facts[i].value)
		}
	}
	known := make(map[int32]bool, len(b.same))
	for _, i := range b.same {
		known[i] = true
	}
	for _, k := range order {
		m := merged[k]
		if m.share > m.whole/2 {
			continue // there is room enough: it would narrow nothing, and cost as much
		}
		for _, f := range m.left {
			m.terms = append(m.terms, disclosure.Term{Fact: b.fact(f), Num: -1, Den: 1})
		}
		if i := b.sum(disclosure.Sum{Terms: m.terms}); !known[i] {
			known[i] = true
			b.same = append(b.same, i)
		}
	}
}

// patterns gives each fact a hash of the sums it is in, with its weights.
func (b *book) patterns() []uint64 {
	out := make([]uint64, len(b.facts))
	known := make([]bool, len(b.sums))
	for _, i := range b.same {
		known[i] = true
	}
	for i := range b.sums {
		if known[i] {
			continue
		}
		for _, t := range b.sums[i].Terms {
			h := out[t.Fact]
			for _, n := range [...]uint64{uint64(i), uint64(t.Num), uint64(t.Den)} {
				h = (h ^ n) * 0xbf58476d1ce4e5b9
				h ^= h >> 31
			}
			out[t.Fact] = h
		}
	}
	return out
}

// less is a − b, fact by fact. It fails on weights no integer can write.
func less(a, b disclosure.Sum) (disclosure.Sum, error) {
	out := disclosure.Sum{People: a.People && b.People}
	i, j := 0, 0
	for i < len(a.Terms) || j < len(b.Terms) {
		switch {
		case j == len(b.Terms) || i < len(a.Terms) && a.Terms[i].Fact < b.Terms[j].Fact:
			out.Terms = append(out.Terms, a.Terms[i])
			i++
		case i == len(a.Terms) || b.Terms[j].Fact < a.Terms[i].Fact:
			t := b.Terms[j]
			t.Num = -t.Num
			out.Terms = append(out.Terms, t)
			j++
		default:
			s, t := a.Terms[i], b.Terms[j]
			i, j = i+1, j+1
			if s == t {
				continue
			}
			w := big.NewRat(s.Num, s.Den)
			w.Sub(w, big.NewRat(t.Num, t.Den))
			if !w.Num().IsInt64() || !w.Denom().IsInt64() {
				return out, fmt.Errorf("release: %w: weights %d/%d and %d/%d", impact.ErrOverflow, s.Num, s.Den, t.Num, t.Den)
			}
			out.Terms = append(out.Terms, disclosure.Term{Fact: s.Fact, Num: w.Num().Int64(), Den: w.Denom().Int64()})
		}
	}
	return out, nil
}

// trim forgets facts and sums that nothing refers to, and brings the rest into
// an order of its own.
func (b *book) trim() *ledger {
	l := &ledger{header: b.header}
	slices.SortFunc(b.tracks, func(a, b track) int { return a.at.compare(&b.at) })
	to := make([]int32, len(b.sums))
	keep := func(i int32) int32 {
		if to[i] == 0 {
			l.sums = append(l.sums, b.sums[i])
			to[i] = int32(len(l.sums))
		}
		return to[i] - 1
	}
	for _, t := range b.tracks {
		for i := range t.states {
			for j, s := range t.states[i].sums {
				t.states[i].sums[j] = keep(s)
			}
		}
		l.tracks = append(l.tracks, t)
	}
	for _, s := range b.same {
		l.same = append(l.same, keep(s))
	}
	used := make([]bool, len(b.facts))
	for i := range l.sums {
		for _, t := range l.sums[i].Terms {
			used[t.Fact] = true
		}
	}
	var order []int32
	for i := range b.facts {
		if used[i] {
			order = append(order, int32(i))
		}
	}
	slices.SortFunc(order, func(x, y int32) int { return b.facts[x].compare(&b.facts[y]) })
	place := make([]int32, len(b.facts))
	who := map[impact.OrganisationID]bool{}
	for n, i := range order {
		place[i] = int32(n)
		l.facts = append(l.facts, b.facts[i])
		who[b.facts[i].organisation] = true
	}
	for i := range l.sums {
		for j := range l.sums[i].Terms {
			l.sums[i].Terms[j].Fact = place[l.sums[i].Terms[j].Fact]
		}
		slices.SortFunc(l.sums[i].Terms, func(a, b disclosure.Term) int { return int(a.Fact) - int(b.Fact) })
	}
	l.holders = slices.DeleteFunc(slices.Clone(b.holders), func(h holder) bool { return !who[h.id] })
	return l
}

// The text of a ledger: header, then the rest deflated. Numbers are varints,
// words are written once.

type inkwell struct {
	out   []byte
	words map[string]int
}

func (w *inkwell) number(ns ...int64) {
	for _, n := range ns {
		w.out = binary.AppendVarint(w.out, n)
	}
}

func (w *inkwell) word(s string) {
	i, ok := w.words[s]
	if !ok {
		i = len(w.words)
		w.words[s] = i
	}
	w.out = binary.AppendUvarint(w.out, uint64(i))
	if !ok {
		w.out = binary.AppendUvarint(w.out, uint64(len(s)))
		w.out = append(w.out, s...)
	}
}

func (l *ledger) encode() ([]byte, error) {
	head := inkwell{words: map[string]int{}}
	head.word(sealVersion)
	head.word(l.reference)
	head.number(int64(l.counts.Cells), int64(l.counts.Shown), int64(l.counts.Withheld))
	head.number(int64(len(l.indicators)))
	for _, code := range l.indicators {
		head.word(string(code))
	}
	head.number(int64(len(l.holders)))
	holders := map[impact.OrganisationID]int64{}
	for i, h := range l.holders {
		holders[h.id] = int64(i)
		head.word(string(h.id))
		head.word(h.group)
	}
	w := inkwell{words: map[string]int{}}
	w.number(int64(len(l.facts)))
	for i := range l.facts {
		f := &l.facts[i]
		w.number(holders[f.organisation], int64(f.indicator), int64(f.territory), int64(f.period.Start), int64(f.period.End-f.period.Start), int64(f.value), yes(f.signed))
		w.word(f.cut)
	}
	w.number(int64(len(l.sums)))
	for i := range l.sums {
		s := &l.sums[i]
		w.number(int64(len(s.Terms)), yes(s.People))
		last := int32(0)
		for _, t := range s.Terms {
			// Most weights are one: the lowest bit tells the others.
			step := int64(t.Fact-last) * 2
			last = t.Fact
			if t.Num == 1 && t.Den == 1 {
				w.number(step)
			} else {
				w.number(step+1, t.Num, t.Den)
			}
		}
	}
	w.number(int64(len(l.same)))
	for _, s := range l.same {
		w.number(int64(s))
	}
	w.number(int64(len(l.tracks)))
	for i := range l.tracks {
		t := &l.tracks[i]
		w.word(string(t.at.indicator))
		w.word(string(t.at.count))
		w.number(int64(t.at.territory), int64(t.at.period.Start), int64(t.at.period.End-t.at.period.Start))
		w.word(string(t.at.cut))
		w.word(t.at.code)
		w.word(t.at.quals)
		w.number(int64(t.now), int64(t.shown))
		w.word(string(t.reason))
		w.word(t.against)
		w.number(int64(len(t.states)))
		for _, s := range t.states {
			w.number(int64(s.told), int64(len(s.sums)))
			for _, i := range s.sums {
				w.number(int64(i))
			}
		}
	}
	var out bytes.Buffer
	out.Write(binary.AppendUvarint(nil, uint64(len(head.out))))
	out.Write(head.out)
	z, err := flate.NewWriter(&out, flate.BestSpeed)
	if err == nil {
		_, err = z.Write(w.out)
	}
	if err == nil {
		err = z.Close()
	}
	return out.Bytes(), err
}

var errLedger = errors.New("release: a ledger cannot be read")

type pen struct {
	in    []byte
	words []string
	bad   bool
}

func (r *pen) number() int64 {
	n, size := binary.Varint(r.in)
	if size <= 0 {
		r.bad = true
		return 0
	}
	r.in = r.in[size:]
	return n
}

// count is a number of things that take at least one byte each.
func (r *pen) count() int {
	n := r.number()
	if n < 0 || n > int64(len(r.in)) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *pen) place(of int) int32 {
	n := r.number()
	if n < 0 || n >= int64(of) {
		r.bad = true
		return 0
	}
	return int32(n)
}

func (r *pen) unsigned() uint64 {
	n, size := binary.Uvarint(r.in)
	if size <= 0 {
		r.bad = true
		return 0
	}
	r.in = r.in[size:]
	return n
}

func (r *pen) word() string {
	i := r.unsigned()
	if i < uint64(len(r.words)) {
		return r.words[i]
	}
	n := r.unsigned()
	if r.bad || n > uint64(len(r.in)) {
		r.bad = true
		return ""
	}
	s := string(r.in[:n])
	r.in = r.in[n:]
	r.words = append(r.words, s)
	return s
}

// readHeader reads the part of a ledger that is not packed. fits is false when
// it was written by another version.
func readHeader(text []byte) (h header, rest []byte, fits bool, err error) {
	n, size := binary.Uvarint(text)
	if size <= 0 || n > uint64(len(text)-size) {
		return h, nil, false, errLedger
	}
	r := pen{in: text[size : size+int(n)]}
	rest = text[size+int(n):]
	if r.word() != sealVersion {
		return h, nil, false, nil
	}
	h.reference = r.word()
	h.counts.Cells, h.counts.Shown, h.counts.Withheld = int(r.number()), int(r.number()), int(r.number())
	for range r.count() {
		h.indicators = append(h.indicators, impact.IndicatorCode(r.word()))
	}
	for range r.count() {
		h.holders = append(h.holders, holder{impact.OrganisationID(r.word()), r.word()})
	}
	if r.bad {
		return h, nil, false, errLedger
	}
	return h, rest, true, nil
}

func readLedger(text []byte) (*ledger, error) {
	h, rest, fits, err := readHeader(text)
	if err != nil {
		return nil, err
	}
	if !fits {
		return nil, fmt.Errorf("%w: it was written by another version of the program", errLedger)
	}
	body, err := io.ReadAll(flate.NewReader(bytes.NewReader(rest)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLedger, err)
	}
	l, r := &ledger{header: h}, pen{in: body}
	l.facts = make([]fact, r.count())
	for i := range l.facts {
		f := &l.facts[i]
		who := r.place(len(h.holders))
		if r.bad {
			return nil, errLedger
		}
		f.organisation = h.holders[who].id
		f.indicator, f.territory = impact.IndicatorKey(r.number()), impact.TerritoryKey(r.number())
		f.period.Start = impact.Date(r.number())
		f.period.End = f.period.Start + impact.Date(r.number())
		f.value, f.signed = impact.Quantity(r.number()), r.number() == 1
		f.cut = r.word()
	}
	l.sums = make([]disclosure.Sum, r.count())
	for i := range l.sums {
		s := &l.sums[i]
		s.Terms = make([]disclosure.Term, r.count())
		s.People = r.number() == 1
		last := int64(0)
		for j := range s.Terms {
			step := r.number()
			last += step >> 1
			t := disclosure.Term{Fact: int32(last), Num: 1, Den: 1}
			if step&1 == 1 {
				t.Num, t.Den = r.number(), r.number()
			}
			if r.bad || last < 0 || last >= int64(len(l.facts)) || t.Den <= 0 || t.Num == 0 {
				return nil, errLedger
			}
			s.Terms[j] = t
		}
	}
	l.same = make([]int32, r.count())
	for i := range l.same {
		l.same[i] = r.place(len(l.sums))
	}
	l.tracks = make([]track, r.count())
	for i := range l.tracks {
		t := &l.tracks[i]
		t.at.indicator, t.at.count = impact.IndicatorCode(r.word()), impact.ImpactTypeCode(r.word())
		t.at.territory = impact.TerritoryKey(r.number())
		t.at.period.Start = impact.Date(r.number())
		t.at.period.End = t.at.period.Start + impact.Date(r.number())
		t.at.cut, t.at.code, t.at.quals = calculation.Dimension(r.word()), r.word(), r.word()
		t.now, t.shown = int(r.number()), int(r.number())
		t.reason, t.against = disclosure.Reason(r.word()), r.word()
		t.states = make([]state, r.count())
		for j := range t.states {
			t.states[j].told = impact.ReleaseNumber(r.number())
			t.states[j].sums = make([]int32, r.count())
			for k := range t.states[j].sums {
				t.states[j].sums[k] = r.place(len(l.sums))
			}
		}
		if r.bad || t.now < -1 || t.now >= len(t.states) || t.shown < -1 || t.shown >= len(t.states) {
			return nil, errLedger
		}
	}
	if r.bad || len(r.in) > 0 {
		return nil, errLedger
	}
	return l, nil
}
