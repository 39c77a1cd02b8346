package disclosure

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// widen hides further figures until what is shown leaves each secret an interval
// as wide as it needs. It looks for witnesses: other values of the unknowns that
// agree with all that is shown and give the secret another value. Where linear
// programming finds none far enough, the figure that stands in the way at the
// lowest price is no longer shown. Nothing is ever shown that was not before, so
// nobody derives more than he did.
func (p *protection) widen() {
	l := newIntervals(p)
	for _, b := range l.blocks {
		b.start()
		b.expressions()
	}
	l.prices()
	for _, b := range l.blocks {
		b.witness()
		for i := range b.targets {
			b.reach(&b.targets[i])
		}
		b.tableau, b.fresh, b.glider = nil, nil, nil // the next may need the room
	}
}

// intervals is the work of widen, in blocks that no sum ties together.
type intervals struct {
	p      *protection
	blocks []*block
	told   []told
	of     [][]int32 // figure → rows told that it needs
}

// told is a row that is shown, with what hiding it would cost.
type told struct {
	block   *block
	slack   int32   // its variable in the block, -1 when it cannot be hidden
	figures []int32 // that need it: shown as long as one of them is
	price   float64
}

// block is a linear programme, started from the true values, which fit.
// Variables are unknowns, then one slack for each row that may be hidden: how far
// the sum is from what is shown. It is fixed until the row is hidden.
type block struct {
	l       *intervals
	n       int // unknowns
	truth   []float64
	upper   []float64
	free    []bool // no bounds: signed unknowns, slacks of what is hidden
	told    []int32
	rows    []sparse // as told
	slackOf []int32  // slack - n → place in told
	targets []target
	derived []derived
	scale   float64

	tableau []float64 // by variable, then row; that of a basic one is not kept up
	inCol   []uint64  // bits: by variable, the rows where it may have an entry
	inRow   []uint64  // bits: by row, the variables
	wide    int       // words of inCol for a variable
	long    int       // words of inRow for a row
	fresh   *fresh    // all this at the start
	pivots  int       // since
	glider  *glider
	m       int     // rows
	basic   []int32 // row → variable
	rowOf   []int32 // variable → row where it is basic, -1
	value   []float64
	cost    []float64 // reduced, of the goal at hand
	hits    []hit
}

type fresh struct {
	tableau      []float64
	inCol, inRow []uint64
	basic        []int32
}

type hit struct {
	row int32
	x   float64
}

// sparse is a row of real numbers: columns ascending.
type sparse struct {
	cols []int32
	vals []float64
}

func (s *sparse) dot(x []float64) float64 {
	sum := 0.0
	for i, c := range s.cols {
		sum += s.vals[i] * x[c]
	}
	return sum
}

// target is a secret and how far it was seen to reach. Of unknowns that only
// secrets tell apart one has all in most and nothing in least.
type target struct {
	most, least sparse
	need        Need
	truth       float64
	up, down    float64
}

// derived is a sum shown that the rows told already give.
type derived struct {
	sparse
	figure int32
}

const (
	tiny   = 1e-9 // entries of a tableau are small fractions, mostly ±1
	margin = 1e-6 // by which more than the need is asked for
	// After so many steps a figure is hidden without looking for the best way.
	patience = 400
	least    = 1e-6 // that may be a pivot
)

func newIntervals(p *protection) *intervals {
	l := &intervals{p: p, of: make([][]int32, len(p.t.Figures))}
	// What is wanted.
	var wanted []int32
	for i := range p.secret {
		if n := p.secret[i].need; !p.engine.secrets[i].known && n.Either > 0 {
			wanted = append(wanted, int32(i))
		}
	}
	if len(wanted) == 0 || len(p.engine.rows) == 0 {
		return l
	}
	// Unknowns that nothing told tells apart are one, whose value may be that of
	// any; those with bounds of their own are not.
	hash := make([]uint64, len(p.owner))
	for i := range hash {
		hash[i] = 14695981039346656037
		if p.signed[i] {
			hash[i]++
		}
	}
	fold := func(row int32, all bool) {
		r := &p.rows[row]
		for i, c := range r.cols {
			if all || p.signed[c] || p.bound[c] > 0 {
				hash[c] = (hash[c]^uint64(row)<<1)*1099511628211 ^ fieldMul(r.vals[i], hash[c]%modulus)
			}
		}
	}
	for i := range p.engine.rows {
		fold(p.engine.rows[i].sum, true)
	}
	for _, s := range wanted {
		fold(p.secret[s].sum, false)
	}
	class, byHash, members := make([]int32, len(hash)), map[uint64]int32{}, []int{}
	for c, h := range hash {
		k, ok := byHash[h]
		if !ok {
			k = int32(len(members))
			byHash[h] = k
			members = append(members, 0)
		}
		class[c] = k
		members[k]++
	}
	// Blocks: what a row or a secret has in common.
	root := make([]int32, len(members))
	for i := range root {
		root[i] = int32(i)
	}
	find := func(k int32) int32 {
		for root[k] != k {
			root[k] = root[root[k]]
			k = root[k]
		}
		return k
	}
	join := func(row int32) {
		cols := p.rows[row].cols
		for _, c := range cols {
			a, b := find(class[cols[0]]), find(class[c])
			root[max(a, b)] = min(a, b)
		}
	}
	for i := range p.engine.rows {
		join(p.engine.rows[i].sum)
	}
	for _, s := range wanted {
		join(p.secret[s].sum)
	}
	blockOf, local := map[int32]*block{}, make([]int32, len(members))
	for i := range local {
		local[i] = -1
	}
	home := func(row int32) *block { return blockOf[find(class[p.rows[row].cols[0]])] }
	for c := range hash {
		k := class[c]
		b := blockOf[find(k)]
		if b == nil {
			b = &block{l: l}
			blockOf[find(k)] = b
			l.blocks = append(l.blocks, b)
		}
		if local[k] < 0 {
			local[k] = int32(b.n)
			b.n++
			b.truth, b.upper, b.free = append(b.truth, 0), append(b.upper, 0), append(b.free, p.signed[c])
		}
		k = local[k]
		b.truth[k] += p.value[c]
		if p.bound[c] == 0 || math.IsInf(b.upper[k], 1) {
			b.upper[k] = math.Inf(1)
		} else {
			b.upper[k] += p.bound[c]
		}
	}
	type entry struct {
		c       int32
		members int
		v       float64
	}
	var list []entry
	// real gives a row by unknowns as they were merged: the largest and the
	// smallest coefficient.
	real := func(row int32) (most, least sparse) {
		list = list[:0]
		for i, c := range p.rows[row].cols {
			list = append(list, entry{local[class[c]], members[class[c]], p.coefs[row][i]})
		}
		slices.SortFunc(list, func(a, b entry) int { return cmp.Or(cmp.Compare(a.c, b.c), cmp.Compare(a.v, b.v)) })
		for i := 0; i < len(list); {
			end := i
			for end < len(list) && list[end].c == list[i].c {
				end++
			}
			c, lo, hi := list[i].c, list[i].v, list[end-1].v
			if end-i < list[i].members {
				lo, hi = min(lo, 0), max(hi, 0)
			}
			if hi != 0 {
				most.cols, most.vals = append(most.cols, c), append(most.vals, hi)
			}
			if lo != 0 {
				least.cols, least.vals = append(least.cols, c), append(least.vals, lo)
			}
			i = end
		}
		return most, least
	}
	figure := make([]int32, len(p.rows)) // row → figure, -1
	for i := range figure {
		figure[i] = -1
	}
	for f := range p.t.Figures {
		for i, to := p.of(int32(f)); i < to; i++ {
			figure[i] = int32(f)
		}
	}
	for _, s := range wanted {
		row := p.secret[s].sum
		t := target{need: p.secret[s].need}
		t.most, t.least = real(row)
		for i, c := range p.rows[row].cols {
			t.truth += p.coefs[row][i] * p.value[c]
		}
		b := home(row)
		b.targets = append(b.targets, t)
	}
	known := make([]bool, len(p.rows))
	for i := range p.engine.rows {
		sum := p.engine.rows[i].sum
		known[sum] = true
		b := home(sum)
		row, _ := real(sum)
		b.told, b.rows = append(b.told, int32(i)), append(b.rows, row)
		one := told{block: b, slack: -1}
		if f := figure[sum]; f >= 0 {
			one.slack = int32(len(b.slackOf)) // after the unknowns, see below
			one.figures = []int32{f}
			l.of[f] = append(l.of[f], int32(i))
			b.slackOf = append(b.slackOf, int32(len(b.told)-1))
		}
		l.told = append(l.told, one)
	}
	for i := range l.told {
		if t := &l.told[i]; t.slack >= 0 {
			t.slack += int32(t.block.n)
		}
	}
	for _, f := range p.order {
		if p.decisions[f].Reason != Shown {
			continue
		}
		for sum, to := p.of(f); sum < to; sum++ {
			if !known[sum] && len(p.rows[sum].cols) > 0 {
				b := home(sum)
				row, _ := real(sum)
				b.derived = append(b.derived, derived{row, f})
			}
		}
	}
	// Blocks without a secret, or with nothing told, are of no interest.
	l.blocks = slices.DeleteFunc(l.blocks, func(b *block) bool { return len(b.targets) == 0 || len(b.told) == 0 })
	for _, b := range l.blocks {
		for range b.slackOf {
			b.truth, b.upper, b.free = append(b.truth, 0), append(b.upper, 0), append(b.free, false)
		}
		for i := range b.targets {
			b.scale = max(b.scale, b.targets[i].truth)
		}
		for _, x := range b.truth {
			b.scale = max(b.scale, math.Abs(x))
		}
	}
	return l
}

// in calls f with the places of bits.
func in(words []uint64, f func(int32)) {
	for w, word := range words {
		for ; word != 0; word &= word - 1 {
			f(int32(w<<6 + bits.TrailingZeros64(word)))
		}
	}
}

func (b *block) colBits(v int32) []uint64 { return b.inCol[int(v)*b.wide : (int(v)+1)*b.wide] }
func (b *block) rowBits(r int32) []uint64 { return b.inRow[int(r)*b.long : (int(r)+1)*b.long] }

func (b *block) mark(r, v int32) {
	b.colBits(v)[r>>6] |= 1 << (r & 63)
	b.rowBits(r)[v>>6] |= 1 << (v & 63)
}

func (b *block) column(v int32) []float64 { return b.tableau[int(v)*b.m : (int(v)+1)*b.m] }

// start makes the tableau.
func (b *block) start() {
	n := b.n + len(b.slackOf)
	b.m, b.wide, b.long = len(b.rows), (len(b.rows)+63)/64, (n+63)/64
	b.tableau, b.basic, b.rowOf, b.cost = make([]float64, n*b.m), make([]int32, b.m), make([]int32, n), make([]float64, n)
	b.inCol, b.inRow = make([]uint64, n*b.wide), make([]uint64, b.m*b.long)
	b.value = slices.Clone(b.truth)
	for i := range b.rowOf {
		b.rowOf[i] = -1
	}
	for i := range b.rows {
		r := int32(i)
		b.basic[r] = -1
		row := &b.rows[r]
		for i, c := range row.cols {
			b.column(c)[r] = row.vals[i]
			b.mark(r, c)
		}
		if s := b.l.told[b.told[r]].slack; s >= 0 {
			b.column(s)[r] = -1
			b.mark(r, s)
		}
	}
	for r := range int32(b.m) {
		// What earlier pivots left of the row is up to date.
		most := 0.0
		in(b.rowBits(r), func(c int32) {
			if int(c) < b.n && b.rowOf[c] < 0 {
				most = max(most, math.Abs(b.column(c)[r]))
			}
		})
		best := int32(-1)
		in(b.rowBits(r), func(c int32) {
			if int(c) < b.n && b.rowOf[c] < 0 && math.Abs(b.column(c)[r]) >= most/4 && (best < 0 || b.better(c, best)) {
				best = c
			}
		})
		if best >= 0 {
			b.pivot(r, best)
		}
	}
	b.pivots = 0
	b.glider = b.pack()
	b.fresh = &fresh{slices.Clone(b.tableau), slices.Clone(b.inCol), slices.Clone(b.inRow), slices.Clone(b.basic)}
}

// better tells which of two makes the better basic variable: the largest blocks
// last.
func (b *block) better(x, y int32) bool {
	if b.free[x] != b.free[y] {
		return b.free[x]
	}
	return b.truth[x] > b.truth[y]
}

// restart goes back to the tableau of the start, before numbers go astray.
func (b *block) restart() {
	if b.pivots == 0 {
		return
	}
	b.pivots = 0
	copy(b.tableau, b.fresh.tableau)
	copy(b.inCol, b.fresh.inCol)
	copy(b.inRow, b.fresh.inRow)
	for _, c := range b.basic {
		b.rowOf[c] = -1
	}
	copy(b.basic, b.fresh.basic)
	for r, c := range b.basic {
		b.rowOf[c] = int32(r)
	}
}

// pivot makes a variable basic in a row, in place of the one that was.
func (b *block) pivot(r, c int32) {
	b.pivots++
	col := b.column(c)
	b.hits = b.hits[:0]
	for w, word := range b.colBits(c) {
		for ; word != 0; word &= word - 1 {
			i := int32(w<<6 + bits.TrailingZeros64(word))
			if x := col[i]; x != 0 && i != r {
				b.hits = append(b.hits, hit{i, x})
			}
		}
	}
	by := 1 / col[r]
	if old := b.basic[r]; old >= 0 {
		// Its column is that of the identity.
		out := b.column(old)
		clear(out)
		clear(b.colBits(old))
		out[r] = 1
		b.mark(r, old)
		b.rowOf[old] = -1
	}
	b.basic[r], b.rowOf[c] = c, r
	cost := b.cost[c]
	b.cost[c] = 0
	for w, word := range b.rowBits(r) {
		for ; word != 0; word &= word - 1 {
			d := int32(w<<6 + bits.TrailingZeros64(word))
			if b.rowOf[d] >= 0 {
				continue
			}
			other := b.column(d)
			a := other[r]
			if a == 0 {
				continue
			}
			a *= by
			other[r] = a
			for _, h := range b.hits {
				was := other[h.row]
				x := was - a*h.x
				if x < tiny && x > -tiny {
					x = 0
				} else if was == 0 {
					b.mark(h.row, d)
				}
				other[h.row] = x
			}
			b.cost[d] -= cost * a
		}
	}
}

// aim expresses a goal in variables that are not basic.
func (b *block) aim(goal *sparse, sign float64) {
	clear(b.cost)
	for i, c := range goal.cols {
		x := sign * goal.vals[i]
		r := b.rowOf[c]
		if r < 0 {
			b.cost[c] += x
			continue
		}
		in(b.rowBits(r), func(d int32) {
			if b.rowOf[d] < 0 {
				b.cost[d] -= x * b.column(d)[r]
			}
		})
	}
}

// expressions finds the rows that each derived sum rests on.
func (b *block) expressions() {
	for i := range b.derived {
		d := &b.derived[i]
		b.aim(&d.sparse, 1)
		for k, place := range b.slackOf {
			if math.Abs(b.cost[b.n+k]) > tiny {
				g := b.told[place]
				t := &b.l.told[g]
				if !slices.Contains(t.figures, d.figure) {
					t.figures = append(t.figures, d.figure)
					b.l.of[d.figure] = append(b.l.of[d.figure], g)
				}
			}
		}
	}
}

func (l *intervals) prices() {
	for i := range l.told {
		for _, f := range l.told[i].figures {
			l.told[i].price += price(&l.p.t.Figures[f].Rank)
		}
	}
}

// price is what hiding a figure costs the reader: wide territories, years and
// totals are missed most.
func price(r *Rank) float64 {
	x := 1 + 12/float64(1+max(r.Level, 0))
	if !r.Part {
		x += 2
	}
	if !r.Cut {
		x += 2
	}
	return x
}

// reach gives a secret the width it needs.
func (b *block) reach(t *target) {
	each, either := t.need.Each*(1+margin), t.need.Either*(1+margin)
	// Where nothing can be hidden any more, history or nature leaves no room.
	up, down := b.pursue(t, 1, each, true), b.pursue(t, -1, each, true)
	if t.up >= either || t.down >= either || up && b.pursue(t, 1, either, false) || down && b.pursue(t, -1, either, false) {
		return
	}
	if !up || !b.pursue(t, 1, either, true) {
		b.pursue(t, -1, either, down)
	}
}

// seen notes how far a secret is from the truth at some values.
func (t *target) seen(x []float64) {
	t.up, t.down = max(t.up, t.most.dot(x)-t.truth), max(t.down, t.truth-t.least.dot(x))
}

// witness notes how far all secrets are from the truth here.
func (b *block) witness() {
	for i := range b.targets {
		b.targets[i].seen(b.value)
	}
}

// pursue looks for a witness that far, above or below, and hides figures until
// there is one, if it may.
func (b *block) pursue(t *target, sign, far float64, release bool) bool {
	if sign > 0 && t.up >= far || sign < 0 && t.down >= far {
		return true
	}
	goal := &t.most
	if sign < 0 {
		goal = &t.least
	}
	for {
		b.restart()
		copy(b.value, b.truth)
		b.aim(goal, sign)
		left := far - sign*(goal.dot(b.value)-t.truth)
		if b.walk(left, release) {
			if b.fits() {
				b.witness()
				return true
			}
		} else if b.fits() {
			b.witness()
			return false
		}
		// Numbers went astray, which a figure less may mend.
		b.restart()
		copy(b.value, b.truth)
		b.aim(goal, sign)
		if !release || !b.release(left) {
			return false
		}
	}
}

// walk brings the goal nearer by left: in one step, or by gliding, or by the
// simplex. Where that ends, or takes too long, a figure is hidden, if it may be.
func (b *block) walk(left float64, release bool) bool {
	if c, step, _ := b.enter(left, false); c >= 0 && step*math.Abs(b.cost[c]) >= left {
		b.move(c, left/b.cost[c])
		return true
	}
	if left = b.glide(left); left <= 0 {
		return true
	}
	still := 0
	for tries := 1; ; tries++ {
		c, step, row := b.enter(left, still > 60)
		if c < 0 || tries > patience {
			if !release || !b.release(left) {
				return false
			}
			tries = 0
			continue
		}
		x := b.cost[c]
		gain := step * math.Abs(x)
		if gain >= left {
			b.move(c, left/x)
			return true
		}
		b.move(c, math.Copysign(step, x))
		if still++; gain > left*1e-12 {
			still = 0
		}
		left -= gain
		if row < 0 {
			b.settle(c)
			continue
		}
		b.settle(b.basic[row])
		b.pivot(row, c)
	}
}

// settle puts a variable that came to a bound exactly there.
func (b *block) settle(c int32) {
	if u := b.upper[c]; !math.IsInf(u, 1) && b.value[c] > u/2 {
		b.value[c] = u
	} else {
		b.value[c] = 0
	}
}

func (b *block) move(c int32, by float64) {
	b.value[c] += by
	col := b.column(c)
	in(b.colBits(c), func(r int32) { b.value[b.basic[r]] -= col[r] * by })
}

// room is how far a variable can go.
func (b *block) room(c int32, up bool) float64 {
	switch {
	case b.free[c]:
		return math.Inf(1)
	case int(c) >= b.n:
		return 0
	case up:
		return max(b.upper[c]-b.value[c], 0)
	}
	return max(b.value[c], 0)
}

// step is how far a variable can go before another comes to its bound.
func (b *block) step(c int32, dir, most float64, bland bool) (step float64, row int32) {
	step, row = b.room(c, dir > 0), -1
	entry := 0.0
	col := b.column(c)
	for w, word := range b.colBits(c) {
		for ; word != 0; word &= word - 1 {
			i := int32(w<<6 + bits.TrailingZeros64(word))
			x, v := col[i], b.basic[i]
			if x < least && x > -least || b.free[v] {
				continue
			}
			room := b.room(v, x*dir < 0) / math.Abs(x)
			if room < step || room == step && row >= 0 && (bland && v < b.basic[row] || !bland && math.Abs(x) > entry) {
				step, row, entry = room, i, math.Abs(x)
				if step < most {
					return step, row
				}
			}
		}
	}
	return step, row
}

// enter chooses the variable that brings the goal nearest.
func (b *block) enter(left float64, bland bool) (best int32, step float64, row int32) {
	best, row = -1, -1
	most := -1.0
	for c := range int32(len(b.cost)) {
		x := b.cost[c]
		if math.Abs(x) <= 1e-7 || b.rowOf[c] >= 0 {
			continue
		}
		room := b.room(c, x > 0)
		if room == 0 || room*math.Abs(x) <= most {
			continue
		}
		s, r := b.step(c, math.Copysign(1, x), most/math.Abs(x), bland)
		gain := s * math.Abs(x)
		if bland || gain >= left {
			return c, s, r
		}
		if gain > most {
			best, step, row, most = c, s, r, gain
		}
	}
	return best, step, row
}

// release stops showing the figures that stand in the way at the lowest price.
func (b *block) release(left float64) bool {
	best, least := int32(-1), math.Inf(1)
	for k, place := range b.slackOf {
		c := int32(b.n + k)
		x := b.cost[c]
		if b.free[c] || math.Abs(x) <= 1e-7 || b.rowOf[c] >= 0 {
			continue
		}
		b.free[c] = true
		s, _ := b.step(c, math.Copysign(1, x), 0, false)
		b.free[c] = false
		gain := min(s*math.Abs(x)/left, 1)
		if p := b.l.told[b.told[place]].price / max(gain, 1e-6); p < least {
			best, least = b.told[place], p
		}
	}
	if best < 0 {
		return false
	}
	b.l.told[best].open()
	for _, f := range b.l.told[best].figures {
		b.l.hide(f)
	}
	return true
}

func (t *told) open() {
	if t.slack >= 0 {
		t.block.free[t.slack] = true
	}
}

// hide withholds a figure; rows that no other needs are no longer told.
func (l *intervals) hide(f int32) {
	p := l.p
	if p.decisions[f].Reason != Shown {
		return
	}
	p.decisions[f] = Decision{Reason: WouldNarrow}
	for _, g := range l.of[f] {
		if t := &l.told[g]; !slices.ContainsFunc(t.figures, func(d int32) bool { return p.decisions[d].Reason == Shown }) {
			t.open()
		}
	}
}

// fits looks whether the values agree with all that is shown.
func (b *block) fits() bool {
	near := 1e-9*b.scale + 1e-3
	for c := range b.n {
		if !b.free[c] && (b.value[c] < -near || b.value[c] > b.upper[c]+near) {
			return false
		}
	}
	for r := range b.rows {
		if s := b.l.told[b.told[r]].slack; s >= 0 && b.free[s] {
			continue
		}
		if x := b.rows[r].dot(b.truth); math.Abs(b.rows[r].dot(b.value)-x) > near+1e-9*math.Abs(x) {
			return false
		}
	}
	return true
}
