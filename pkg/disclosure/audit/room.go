package audit

import (
	"math"
	"slices"
)

// rooms looks, for each secret that does not follow exactly, whether what is
// told leaves it the room it needs. It walks from the true values, which solve
// the system, to other solutions. Room is proven by a solution, checked against
// the relations as they were told; the lack of it, by the end of the search.
func (s *system) rooms(exact []bool, r *Report) {
	all := slices.Concat(s.before, s.shown)
	parts := s.parts(all)
	for i := range s.secrets {
		x := &s.secrets[i]
		if exact[i] || x.Each == 0 && x.Either == 0 {
			continue
		}
		low, high, settled := parts.room(s, i)
		if x.Enough(low, high) {
			continue
		}
		if !settled {
			r.Unsettled++
			continue
		}
		if len(s.before) > 0 { // perhaps earlier releases left no more
			if parts.former == nil {
				parts.former = s.parts(s.before)
			}
			if l, h, ok := parts.former.room(s, i); ok && !x.Enough(l, h) {
				r.Known++
				continue
			}
		}
		r.Findings = append(r.Findings, Finding{Kind: Narrow, Secret: x.Name, Sum: x.Index, Group: -1, Low: low, High: high, Value: x.Value})
	}
	r.Points = parts.points()
}

// parts are the independent pieces of the system, once what is certain (a sum
// of 0, a sum of one) is taken out.
type parts struct {
	fixed  []bool
	of     []int32 // column → piece, -1 fixed or in no relation
	pieces []*piece
	former *parts
}

func (p *parts) points() (n int) {
	for _, x := range p.pieces {
		n += x.points
	}
	return n
}

type link struct {
	column int32
	weight float64
}

func (s *system) parts(rs []relation) *parts {
	n := len(s.columns)
	p := &parts{fixed: make([]bool, n), of: make([]int32, n)}
	for again := true; again; {
		again = false
		for _, r := range rs {
			open, last, zero := 0, int32(-1), true
			for _, w := range r {
				c := &s.columns[w.column]
				if p.fixed[w.column] {
					continue
				}
				open, last = open+1, w.column
				zero = zero && !c.signed && c.value == 0 && (w.num > 0) == (r[0].num > 0)
			}
			if open == 0 || open > 1 && !zero {
				continue
			}
			if open == 1 {
				p.fixed[last], again = true, true
				continue
			}
			for _, w := range r {
				p.fixed[w.column] = true
			}
			again = true
		}
	}
	root := make([]int32, n)
	for i := range root {
		root[i] = int32(i)
	}
	find := func(i int32) int32 {
		for root[i] != i {
			root[i] = root[root[i]]
			i = root[i]
		}
		return i
	}
	linked := make([]bool, n)
	for _, r := range rs {
		first := int32(-1)
		for _, w := range r {
			if p.fixed[w.column] {
				continue
			}
			linked[w.column] = true
			if first < 0 {
				first = find(w.column)
			} else {
				root[find(w.column)] = first
			}
		}
	}
	index := map[int32]int32{}
	for c := range p.of {
		p.of[c] = -1
		if p.fixed[c] || !linked[c] {
			continue
		}
		k := find(int32(c))
		at, ok := index[k]
		if !ok {
			at = int32(len(p.pieces))
			index[k] = at
			p.pieces = append(p.pieces, &piece{})
		}
		p.of[c] = at
		x := p.pieces[at]
		x.columns = append(x.columns, int32(c))
	}
	place := make([]int32, n)
	for _, x := range p.pieces {
		for i, c := range x.columns {
			place[c] = int32(i)
			col := &s.columns[c]
			low, high := 0.0, math.Inf(1)
			if col.signed {
				low = math.Inf(-1)
			}
			if col.bounded {
				high = max(col.most, col.value)
			}
			x.true, x.low, x.high = append(x.true, col.value), append(x.low, low), append(x.high, high)
		}
	}
	for _, r := range rs {
		var links []link
		at := int32(-1)
		for _, w := range r {
			if !p.fixed[w.column] {
				at = p.of[w.column]
				links = append(links, link{place[w.column], w.float()})
			}
		}
		if at >= 0 {
			p.pieces[at].relations = append(p.pieces[at].relations, links)
		}
	}
	return p
}

// room bounds a secret: exactly, or as far as is enough. settled tells that it
// did one or the other.
func (p *parts) room(s *system, i int) (low, high float64, settled bool) {
	x := &s.secrets[i]
	low, high, settled = x.Value, x.Value, true
	byPiece := map[int32][]link{}
	var order []int32
	for _, w := range s.sums[i] {
		c := &s.columns[w.column]
		switch at := p.of[w.column]; {
		case at >= 0:
			if byPiece[at] == nil {
				order = append(order, at)
			}
			k, _ := slices.BinarySearch(p.pieces[at].columns, w.column)
			byPiece[at] = append(byPiece[at], link{int32(k), w.float()})
		case p.fixed[w.column]:
		default: // in no relation: only what it may be bounds it
			down, up := c.value, math.Inf(1)
			if c.signed {
				down = math.Inf(1)
			}
			if c.bounded {
				up = max(c.most-c.value, 0)
			}
			if w.num < 0 {
				down, up = up, down
			}
			f := math.Abs(w.float())
			low, high = low-f*down, high+f*up
		}
	}
	// The pieces are independent: their rooms add up.
	far := max(x.Each, x.Either)
	for _, at := range order {
		if x.Enough(low, high) {
			break
		}
		up, ok := p.pieces[at].reach(byPiece[at], 1, x.Value+far-high)
		high += up
		settled = settled && ok
		if x.Enough(low, high) {
			break
		}
		down, ok := p.pieces[at].reach(byPiece[at], -1, low-(x.Value-far))
		low -= down
		settled = settled && ok
	}
	return low, high, settled
}

// piece is one independent system: relations over columns between low and high.
type piece struct {
	columns         []int32
	relations       [][]link
	true, low, high []float64

	// The tableau: each basic column as a sum of the others.
	at      []float64 // where each column is now
	basic   []int32   // row → column
	rowOf   []int32   // column → row, -1
	tableau [][]float64
	scale   float64
	swaps   int // since the start
	points  int
}

const tiny = 1e-9

// start eliminates the relations and stands at the true values.
func (x *piece) start() {
	n := len(x.true)
	x.at, x.rowOf, x.basic, x.tableau = slices.Clone(x.true), make([]int32, n), nil, nil
	x.scale, x.swaps = 1, 0
	for i := range x.rowOf {
		x.rowOf[i] = -1
		x.scale = max(x.scale, math.Abs(x.true[i]))
	}
	often := make([]int, n)
	for _, r := range x.relations {
		for _, l := range r {
			often[l.column]++
		}
	}
	order := make([]int, len(x.relations))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(x.relations[a]) - len(x.relations[b]) })
	for _, i := range order {
		v := make([]float64, n)
		for _, l := range x.relations[i] {
			v[l.column] += l.weight
		}
		for k, c := range x.basic {
			if f := v[c]; f != 0 {
				subtract(v, x.tableau[k], f)
				v[c] = 0
			}
		}
		pivot, best := -1, 0.0
		for c, f := range v {
			// Large against cancelled ones, rare for little fill.
			if a := math.Abs(f); a > 1e-7 && (pivot < 0 || a > 4*best || a >= best/4 && often[c] < often[pivot]) {
				pivot, best = c, a
			}
		}
		if pivot < 0 {
			continue
		}
		x.enter(v, pivot)
		x.basic = append(x.basic, int32(pivot))
		x.rowOf[pivot] = int32(len(x.basic) - 1)
		x.tableau = append(x.tableau, v)
	}
}

// enter makes v the row of a column: 1 there, and the column in no other row.
func (x *piece) enter(v []float64, pivot int) {
	f := v[pivot]
	for i := range v {
		if v[i] /= f; math.Abs(v[i]) < tiny {
			v[i] = 0
		}
	}
	v[pivot] = 1
	for _, r := range x.tableau {
		if f := r[pivot]; f != 0 && &r[0] != &v[0] {
			subtract(r, v, f)
			r[pivot] = 0
		}
	}
}

func subtract(v, r []float64, f float64) {
	for i, y := range r {
		if y != 0 {
			if v[i] -= f * y; math.Abs(v[i]) < tiny {
				v[i] = 0
			}
		}
	}
}

// reach moves a sum up (sign 1) or down (-1) until it is far from its true
// value, or can go no further; how far it came, and whether it is either. That
// it can go no further is believed when a second search, from the truth and
// with fresh numbers, ends in the same place.
func (x *piece) reach(sum []link, sign, far float64) (best float64, settled bool) {
	if x.tableau == nil || x.swaps > stale {
		x.start()
	}
	if best, settled = x.walk(sum, sign, far); settled && best >= far {
		return best, true
	}
	x.start()
	again, settled := x.walk(sum, sign, far)
	if again >= far {
		return again, settled
	}
	return max(best, again), settled && again >= best-1e-6*far
}

// stale is after how many pivots rounding is in the way.
const stale = 60

func (x *piece) walk(sum []link, sign, far float64) (float64, bool) {
	truth := 0.0
	for _, l := range sum {
		truth += l.weight * x.true[l.column]
	}
	best := 0.0
	now := func() float64 {
		v := 0.0
		for _, l := range sum {
			v += l.weight * x.at[l.column]
		}
		return sign * (v - truth)
	}
	if v := now(); v > best && x.solves() {
		best = v
	}
	if best >= far {
		return best, true
	}
	n := len(x.at)
	price := make([]float64, n) // of the columns not basic
	for _, l := range sum {
		price[l.column] += sign * l.weight
	}
	for i, c := range x.basic {
		if f := price[c]; f != 0 {
			subtract(price, x.tableau[i], f)
			price[c] = 0
		}
	}
	still := 0
	for range 50*len(x.basic) + 10*n + 200 {
		// The steepest way that is open; the first, when nothing moves.
		in, steep := -1, 1e-7
		for c := range price {
			if x.rowOf[c] >= 0 {
				continue
			}
			p := price[c]
			if p > 0 && x.high[c]-x.at[c] <= tiny*x.scale || p < 0 && x.at[c]-x.low[c] <= tiny*x.scale {
				continue
			}
			if a := math.Abs(p); a > steep {
				in, steep = c, a
				if still > 20 {
					break
				}
			}
		}
		if in < 0 {
			return best, true
		}
		way := 1.0
		if price[in] < 0 {
			way = -1
		}
		step := x.high[in] - x.at[in]
		if way < 0 {
			step = x.at[in] - x.low[in]
		}
		out, size := -1, 0.0
		for i, r := range x.tableau {
			f := r[in] * way // the basic column goes by -f
			if math.Abs(f) <= 1e-7 {
				continue
			}
			c := x.basic[i]
			room := x.at[c] - x.low[c]
			if f < 0 {
				room = x.high[c] - x.at[c]
			}
			most := max(room, 0) / math.Abs(f)
			if most < step-tiny*x.scale || most <= step+tiny*x.scale && out >= 0 && math.Abs(f) > size {
				step, out, size = min(most, step), i, math.Abs(f)
			} else if most < step {
				step, out, size = most, i, math.Abs(f)
			}
		}
		if math.IsInf(step, 1) {
			x.points++
			return step, true
		}
		x.at[in] += way * step
		for i, r := range x.tableau {
			if r[in] != 0 {
				c := x.basic[i]
				x.at[c] = min(max(x.at[c]-way*step*r[in], x.low[c]), x.high[c])
			}
		}
		if step <= tiny*x.scale {
			still++
		} else {
			still = 0
			x.points++
			if v := now(); v > best {
				if !x.solves() {
					return best, false
				}
				best = v
			}
			if best >= far {
				return best, true
			}
		}
		if out >= 0 {
			x.swap(out, in, price)
		}
	}
	return best, false
}

// swap lets a column into the basis for that of a row.
func (x *piece) swap(out, in int, price []float64) {
	x.swaps++
	gone := x.basic[out]
	x.rowOf[gone], x.rowOf[in] = -1, int32(out)
	x.basic[out] = int32(in)
	x.enter(x.tableau[out], in)
	if f := price[in]; f != 0 {
		subtract(price, x.tableau[out], f)
		price[in] = 0
	}
}

// solves tells that where the columns are now agrees with all that was told.
func (x *piece) solves() bool {
	for _, r := range x.relations {
		told, now, size := 0.0, 0.0, 1.0
		for _, l := range r {
			told += l.weight * x.true[l.column]
			now += l.weight * x.at[l.column]
			size += math.Abs(l.weight) * max(math.Abs(x.true[l.column]), math.Abs(x.at[l.column]))
		}
		if math.Abs(told-now) > 1e-7*size {
			return false
		}
	}
	return true
}
