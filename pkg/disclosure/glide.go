package disclosure

import "math"

// glide moves all unknowns at once towards a goal, each the less the nearer it
// is to its bounds (affine scaling; the direction by a few steps of conjugate
// gradients). It comes far where a simplex would empty one unknown after the
// other, never quite to the end, and leaves the tableau alone. It gives what is
// left of the way.
func (b *block) glide(left float64) float64 {
	g, n, m := b.glider, len(b.glider.vars), b.m
	for range 20 {
		for k, c := range g.vars {
			g.size[k] = b.reachOf(c)
			g.goal[k] = g.size[k] * b.cost[c]
		}
		for r, c := range b.basic {
			g.rowSize[r] = 1 / max(b.reachOf(c), b.scale*1e-7)
		}
		// (1 + A'A) u = goal, where A is the tableau, scaled.
		u, res, dir, img := g.u[:n], g.res[:n], g.dir[:n], g.img[:n]
		clear(u)
		copy(res, g.goal)
		copy(dir, g.goal)
		norm := dot(res, res)
		if norm == 0 {
			return left
		}
		start := norm
		for range 12 {
			g.times(dir)
			for r := range m {
				g.row[r] *= g.rowSize[r] * g.rowSize[r]
			}
			g.back(img, dir)
			a := norm / dot(dir, img)
			for k := range u {
				u[k] += a * dir[k]
				res[k] -= a * img[k]
			}
			next := dot(res, res)
			if next < start*1e-4 {
				break
			}
			f := next / norm
			norm = next
			for k := range dir {
				dir[k] = res[k] + f*dir[k]
			}
		}
		g.times(u) // how basic variables go, with the sign turned
		gain := dot(u, g.goal)
		if gain <= 0 {
			return left
		}
		step := left / gain
		far := math.Inf(1)
		limit := func(c int32, by float64) {
			if by != 0 && !b.free[c] {
				far = min(far, b.room(c, by > 0)/math.Abs(by))
			}
		}
		for k, c := range g.vars {
			if u[k] != 0 {
				limit(c, g.size[k]*u[k])
			}
		}
		for r, c := range b.basic {
			if math.Abs(g.row[r]) > 1e-12*b.scale {
				limit(c, -g.row[r])
			}
		}
		done := far >= step
		if !done {
			step = far * 0.9
		}
		for k, c := range g.vars {
			b.value[c] += step * g.size[k] * u[k]
		}
		for r, c := range b.basic {
			b.value[c] -= step * g.row[r]
		}
		if done {
			return 0
		}
		if step*gain < left/20 {
			return left - step*gain
		}
		left -= step * gain
	}
	return left
}

// reachOf is how far a variable is from its nearest bound.
func (b *block) reachOf(c int32) float64 {
	switch {
	case b.free[c]:
		return b.scale
	case int(c) >= b.n:
		return 0
	}
	return max(min(b.value[c], b.upper[c]-b.value[c]), 0)
}

// glider is the tableau of the start, packed.
type glider struct {
	vars  []int32 // not basic
	first []int32
	rows  []int32
	vals  []float64

	size, goal, u, res, dir, img []float64
	row, rowSize                 []float64
}

func (b *block) pack() *glider {
	g := &glider{row: make([]float64, b.m), rowSize: make([]float64, b.m)}
	for c := range int32(len(b.rowOf)) {
		if b.rowOf[c] >= 0 {
			continue
		}
		g.vars, g.first = append(g.vars, c), append(g.first, int32(len(g.rows)))
		col := b.column(c)
		in(b.colBits(c), func(r int32) {
			if col[r] != 0 {
				g.rows, g.vals = append(g.rows, r), append(g.vals, col[r])
			}
		})
	}
	g.first = append(g.first, int32(len(g.rows)))
	n := len(g.vars)
	g.size, g.goal, g.u, g.res, g.dir, g.img = make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	return g
}

// times sets row to the tableau times scaled variables.
func (g *glider) times(u []float64) {
	clear(g.row)
	for k, x := range u {
		if x *= g.size[k]; x == 0 {
			continue
		}
		from, to := g.first[k], g.first[k+1]
		rows, vals := g.rows[from:to], g.vals[from:to]
		for i, r := range rows {
			g.row[r] += x * vals[i]
		}
	}
}

// back sets img to u + the transposed tableau times row, scaled.
func (g *glider) back(img, u []float64) {
	for k := range img {
		if g.size[k] == 0 {
			img[k] = u[k]
			continue
		}
		from, to := g.first[k], g.first[k+1]
		rows, vals := g.rows[from:to], g.vals[from:to]
		x := 0.0
		for i, r := range rows {
			x += g.row[r] * vals[i]
		}
		img[k] = u[k] + g.size[k]*x
	}
}

func dot(a, b []float64) float64 {
	s := 0.0
	for i, x := range a {
		s += x * b[i]
	}
	return s
}
