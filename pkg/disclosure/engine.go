package disclosure

import (
	"math/bits"
	"slices"
)

// engine knows what everybody can derive, and refuses a row that would let
// anyone derive a secret. Columns are unknowns.
type engine struct {
	owner   []int32 // column → the only group in it, -1 for several
	rows    []row   // what is told, each reduced by those before it
	rowOf   []int32 // column → the row pivoted on it, -1
	secrets []secret
	views   []view // by group
	// Where a column is, with leftovers: readers look again.
	inSecret []([]int32) // column → secrets
	inView   []([]int32) // column → groups with the column in their basis
	pivotIn  []([]int32) // column → groups with their own pivot there

	known  map[[2]int32]bool // secret, group: told by history
	undo   []change
	acc    []uint64
	seen   []uint64 // bits of columns in acc
	queued []bool   // by row
	heap   []int32
	stamp  []int32 // by secret
	clock  int32
	turn   int
	used   []uint64
}

type row struct {
	pivot int32 // its value there is 1
	sum   int32 // where it comes from
	vector
}

// secret is a sum that nobody may derive, reduced by all rows.
type secret struct {
	vector
	harmless []int32 // groups that may know it
	known    bool    // told by history
}

// view is what a group knows more than everybody: the rows pivoted on its own
// unknowns, without these, reduced by all other rows and by each other.
type view struct {
	basis []row
	mark  bool // saved in undo
	tried int  // the turn in which insider looked at it
}

// change is something to restore: a secret or a view.
type change struct {
	secret int32 // -1: a view
	group  int32
	was    vector
	basis  []row
}

const noGroup = -2

func newEngine(owner []int32, groups int) *engine {
	n := len(owner)
	e := &engine{
		owner: owner, rowOf: make([]int32, n), views: make([]view, groups),
		inSecret: make([][]int32, n), inView: make([][]int32, n), pivotIn: make([][]int32, n),
		known: map[[2]int32]bool{}, acc: make([]uint64, n), seen: make([]uint64, (n+63)/64),
	}
	for i := range e.rowOf {
		e.rowOf[i] = -1
	}
	return e
}

// protect adds a secret, before any row.
func (e *engine) protect(v vector, harmless []int32) {
	id := int32(len(e.secrets))
	e.secrets = append(e.secrets, secret{vector: v, harmless: harmless})
	e.stamp = append(e.stamp, 0)
	for _, c := range v.cols {
		e.inSecret[c] = append(e.inSecret[c], id)
	}
}

// reduce takes out of v what the rows tell.
func (e *engine) reduce(v *vector) vector {
	touch := func(c int32, x uint64, after int32) {
		if x == 0 {
			return
		}
		if w, b := c>>6, uint64(1)<<(c&63); e.seen[w]&b == 0 {
			e.seen[w] |= b
			e.acc[c] = 0
		}
		e.acc[c] = fieldAdd(e.acc[c], x)
		if i := e.rowOf[c]; i > after && !e.queued[i] {
			e.queued[i] = true
			e.push(i)
		}
	}
	for i, c := range v.cols {
		touch(c, v.vals[i], -1)
	}
	for len(e.heap) > 0 {
		i := e.pop()
		e.queued[i] = false
		r := &e.rows[i]
		a := e.acc[r.pivot]
		if a == 0 {
			continue
		}
		a = fieldSub(0, a)
		for j, c := range r.cols {
			touch(c, fieldMul(a, r.vals[j]), i)
		}
	}
	var out vector
	n := 0
	for w, word := range e.seen {
		for b := word; b != 0; b &= b - 1 {
			if e.acc[w<<6+bits.TrailingZeros64(b)] != 0 {
				n++
			}
		}
	}
	out.cols, out.vals = make([]int32, 0, n), make([]uint64, 0, n)
	for w, word := range e.seen {
		for b := word; b != 0; b &= b - 1 {
			c := w<<6 + bits.TrailingZeros64(b)
			if e.acc[c] != 0 {
				out.cols, out.vals = append(out.cols, int32(c)), append(out.vals, e.acc[c])
			}
		}
		e.seen[w] = 0
	}
	return out
}

func (e *engine) push(i int32) {
	h := append(e.heap, i)
	for k := len(h) - 1; k > 0; {
		p := (k - 1) / 2
		if h[p] <= h[k] {
			break
		}
		h[p], h[k] = h[k], h[p]
		k = p
	}
	e.heap = h
}

func (e *engine) pop() int32 {
	h := e.heap
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	for k := 0; ; {
		c := 2*k + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1] < h[c] {
			c++
		}
		if h[k] <= h[c] {
			break
		}
		h[k], h[c] = h[c], h[k]
		k = c
	}
	e.heap = h
	return top
}

// minus is v − a·r, without the columns of one group; gained is told which
// columns were not in v.
func (e *engine) minus(v *vector, a uint64, r *vector, without int32, gained func(int32)) vector {
	out := vector{make([]int32, 0, len(v.cols)+len(r.cols)), make([]uint64, 0, len(v.cols)+len(r.cols))}
	a = fieldSub(0, a)
	i, j := 0, 0
	for i < len(v.cols) || j < len(r.cols) {
		switch {
		case j == len(r.cols) || i < len(v.cols) && v.cols[i] < r.cols[j]:
			out.cols, out.vals = append(out.cols, v.cols[i]), append(out.vals, v.vals[i])
			i++
		case i == len(v.cols) || r.cols[j] < v.cols[i]:
			if c := r.cols[j]; e.owner[c] != without {
				out.cols, out.vals = append(out.cols, c), append(out.vals, fieldMul(a, r.vals[j]))
				gained(c)
			}
			j++
		default:
			if x := fieldAdd(v.vals[i], fieldMul(a, r.vals[j])); x != 0 {
				out.cols, out.vals = append(out.cols, v.cols[i]), append(out.vals, x)
			}
			i++
			j++
		}
	}
	return out
}

// without copies v less the columns of one group.
func (e *engine) without(v *vector, group int32) vector {
	var out vector
	for i, c := range v.cols {
		if e.owner[c] != group {
			out.cols, out.vals = append(out.cols, c), append(out.vals, v.vals[i])
		}
	}
	return out
}

// tell adds the rows of some sums, all of them or, when that would tell a secret, none. told is
// the first secret that forbids it, -1 when there is none. Forced rows are
// added whatever they tell: that is history, and no longer protected.
func (e *engine) tell(rows []vector, from, to int32, forced bool) (told int32) {
	mark := len(e.rows)
	for i := from; i < to; i++ {
		r := e.reduce(&rows[i])
		if len(r.cols) == 0 {
			continue
		}
		if told := e.add(i, r, forced); told >= 0 {
			e.rollback(mark)
			return told
		}
	}
	e.commit()
	return -1
}

// add adds one reduced row.
func (e *engine) add(sum int32, r vector, forced bool) (told int32) {
	pivot := r.cols[0]
	for _, c := range r.cols[1:] {
		if e.owner[pivot] >= 0 && e.owner[c] < 0 ||
			(e.owner[pivot] < 0) == (e.owner[c] < 0) && len(e.inSecret[c]) < len(e.inSecret[pivot]) {
			pivot = c
		}
	}
	r.scale(fieldInverse(r.at(pivot)))
	e.rowOf[pivot] = int32(len(e.rows))
	e.rows = append(e.rows, row{pivot, sum, r})
	if len(e.queued) < len(e.rows) {
		e.queued = append(e.queued, false)
	}

	told = -1
	tells := func(s int32) bool { // whether to go on
		if told < 0 || s < told {
			told = s
		}
		return forced
	}
	// What everybody now derives.
	var moved []int32
	e.clock++
	for _, s := range e.inSecret[pivot] {
		f := &e.secrets[s]
		if e.stamp[s] == e.clock {
			continue
		}
		e.stamp[s] = e.clock
		a := f.at(pivot)
		if a == 0 {
			continue
		}
		next := e.minus(&f.vector, a, &r, noGroup, func(c int32) { e.inSecret[c] = append(e.inSecret[c], s) })
		e.undo = append(e.undo, change{secret: s, was: f.vector})
		f.vector = next
		if f.known {
			continue
		}
		if len(next.cols) == 0 {
			if !tells(s) {
				return told
			}
			f.known = true
			continue
		}
		moved = append(moved, s)
	}
	// What each group now derives, knowing its own.
	var changed []int32
	for _, g := range slices.Clone(e.inView[pivot]) {
		if g != e.owner[pivot] && e.refresh(g, pivot, &r) {
			changed = append(changed, g)
		}
	}
	if g := e.owner[pivot]; g >= 0 {
		e.save(g)
		e.extend(g, e.without(&r, g))
		changed = append(changed, g)
	}
	for _, s := range moved {
		if g := e.insider(s); g >= 0 {
			if !tells(s) {
				return told
			}
		}
		if forced {
			e.learn(s)
		}
	}
	for _, g := range changed {
		for i := range e.views[g].basis {
			for _, s := range e.inSecret[e.views[g].basis[i].pivot] {
				if e.derives(g, s) && !tells(s) {
					return told
				}
			}
		}
	}
	if forced {
		for _, g := range changed {
			for i := range e.views[g].basis {
				for _, s := range e.inSecret[e.views[g].basis[i].pivot] {
					if e.derives(g, s) {
						e.known[[2]int32{s, g}] = true
					}
				}
			}
		}
		return -1
	}
	return told
}

// learn notes the groups that history lets derive a secret.
func (e *engine) learn(s int32) {
	for {
		g := e.insider(s)
		if g < 0 {
			return
		}
		e.known[[2]int32{s, g}] = true
	}
}

// insider gives a group that derives a secret and must not, -1 for none.
func (e *engine) insider(s int32) int32 {
	f := &e.secrets[s]
	if len(f.cols) == 0 {
		return -1
	}
	g := e.owner[f.cols[0]]
	e.turn++
	for _, c := range f.cols {
		if e.owner[c] != g {
			g = -1
		}
		for _, h := range e.pivotIn[c] {
			if e.views[h].tried != e.turn {
				e.views[h].tried = e.turn
				if e.derives(h, s) {
					return h
				}
			}
		}
	}
	if g >= 0 && e.minds(s, g) {
		return g
	}
	return -1
}

// minds tells that a group may not derive a secret, and does not by history.
func (e *engine) minds(s, g int32) bool {
	f := &e.secrets[s]
	return !f.known && !slices.Contains(f.harmless, g) && !e.known[[2]int32{s, g}]
}

// derives tells that a group derives a secret it must not.
func (e *engine) derives(g, s int32) bool {
	f, basis := &e.secrets[s], e.views[g].basis
	if !e.minds(s, g) {
		return false
	}
	used, some := e.used[:0], false
	for i := range basis {
		x := f.at(basis[i].pivot)
		used, some = append(used, x), some || x != 0
	}
	e.used = used
	if !some {
		return false // or alone its own, which insider tells
	}
	for i, c := range f.cols {
		if e.owner[c] == g {
			continue
		}
		sum := uint64(0)
		for j, x := range used {
			if x != 0 {
				sum = fieldAdd(sum, fieldMul(x, basis[j].at(c)))
			}
		}
		if sum != f.vals[i] {
			return false
		}
	}
	// Every column of the secret agrees; those it does not have must vanish.
	for j := range basis {
		if used[j] == 0 {
			continue
		}
		for _, c := range basis[j].cols {
			if f.at(c) != 0 {
				continue
			}
			sum := uint64(0)
			for k := range basis {
				if used[k] != 0 {
					sum = fieldAdd(sum, fieldMul(used[k], basis[k].at(c)))
				}
			}
			if sum != 0 {
				return false
			}
		}
	}
	return true
}

// save keeps the view of a group until commit.
func (e *engine) save(g int32) {
	v := &e.views[g]
	if !v.mark {
		v.mark = true
		e.undo = append(e.undo, change{secret: -1, group: g, basis: slices.Clone(v.basis)})
	}
}

// refresh takes a new row out of the view of a group.
func (e *engine) refresh(g, pivot int32, r *vector) bool {
	v := &e.views[g]
	var hit []row
	for i := 0; i < len(v.basis); i++ {
		if v.basis[i].at(pivot) == 0 {
			continue
		}
		e.save(g)
		hit = append(hit, v.basis[i])
		v.basis = slices.Delete(v.basis, i, i+1)
		i--
	}
	for i := range hit {
		e.extend(g, e.minus(&hit[i].vector, hit[i].at(pivot), r, g, func(int32) {}))
	}
	return len(hit) > 0
}

// extend adds a row to the view of a group, which is saved.
func (e *engine) extend(g int32, r vector) {
	v := &e.views[g]
	for i := range v.basis {
		if a := r.at(v.basis[i].pivot); a != 0 {
			r = e.minus(&r, a, &v.basis[i].vector, g, func(int32) {})
		}
	}
	if len(r.cols) == 0 {
		return
	}
	pivot := r.cols[0]
	for _, c := range r.cols[1:] {
		if len(e.inSecret[c]) < len(e.inSecret[pivot]) {
			pivot = c
		}
	}
	r.scale(fieldInverse(r.at(pivot)))
	for _, c := range r.cols {
		e.inView[c] = appendOnce(e.inView[c], g)
	}
	for i := range v.basis {
		if a := v.basis[i].at(pivot); a != 0 {
			v.basis[i].vector = e.minus(&v.basis[i].vector, a, &r, g, func(c int32) { e.inView[c] = appendOnce(e.inView[c], g) })
		}
	}
	v.basis = append(v.basis, row{pivot: pivot, vector: r})
	e.pivotIn[pivot] = appendOnce(e.pivotIn[pivot], g)
}

func appendOnce(list []int32, x int32) []int32 {
	if slices.Contains(list, x) {
		return list
	}
	return append(list, x)
}

func (e *engine) commit() {
	for i := range e.undo {
		if c := &e.undo[i]; c.secret < 0 {
			e.views[c.group].mark = false
		}
	}
	clear(e.undo)
	e.undo = e.undo[:0]
}

func (e *engine) rollback(rows int) {
	for i := len(e.undo) - 1; i >= 0; i-- {
		if c := &e.undo[i]; c.secret < 0 {
			e.views[c.group].basis, e.views[c.group].mark = c.basis, false
		} else {
			e.secrets[c.secret].vector = c.was
		}
	}
	clear(e.undo)
	e.undo = e.undo[:0]
	for i := rows; i < len(e.rows); i++ {
		e.rowOf[e.rows[i].pivot] = -1
	}
	e.rows = e.rows[:rows]
}
