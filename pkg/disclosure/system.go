package disclosure

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// ErrTable says that a table cannot be read.
var ErrTable = errors.New("disclosure table")

// system is a table as linear algebra. Facts that enter every sum with the same
// coefficient are one unknown: nobody can tell them apart.
type system struct {
	t      *Table
	order  []int32 // figures as they are tried
	owner  []int32 // column → sole group or -1
	signed []bool
	value  []float64 // of a column, in units of Quantity
	bound  []float64 // 0 where there is none
	// Rows of the sums: those of figure f from first[f] on, then Secrets,
	// Published, Identities.
	first                         []int32
	secrets, published, identical int32
	rows                          []vector
	coefs                         [][]float64 // of rows, for intervals
	groups                        int
}

type use struct {
	sum  int32
	coef uint64
	real float64
}

func newSystem(t *Table) (*system, error) {
	s := &system{t: t, order: make([]int32, len(t.Figures)), first: make([]int32, len(t.Figures)+1)}
	for i := range t.Figures {
		s.order[i] = int32(i)
	}
	slices.SortFunc(s.order, func(a, b int32) int {
		x, y := &t.Figures[a], &t.Figures[b]
		return cmp.Or(x.Rank.compare(&y.Rank), cmp.Compare(x.Name, y.Name))
	})
	var sums []*Sum
	for i, f := range s.order {
		if i > 0 && t.Figures[s.order[i-1]].Name == t.Figures[f].Name {
			return nil, fmt.Errorf("%w: two figures are named %q", ErrTable, t.Figures[f].Name)
		}
		s.first[f] = int32(len(sums))
		for j := range t.Figures[f].Sums {
			sums = append(sums, &t.Figures[f].Sums[j])
		}
	}
	add := func(list []Sum) int32 {
		at := len(sums)
		for j := range list {
			sums = append(sums, &list[j])
		}
		return int32(at)
	}
	s.secrets = add(t.Secrets)
	s.published = add(t.Published)
	s.identical = add(t.Identities)
	return s, s.merge(sums)
}

func (r *Rank) compare(o *Rank) int {
	flag := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(flag(r.Moved), flag(o.Moved)), cmp.Compare(r.Level, o.Level), cmp.Compare(flag(r.Part), flag(o.Part)),
		cmp.Compare(flag(r.Cut), flag(o.Cut)), cmp.Compare(r.Contributor, o.Contributor))
}

// merge makes the columns and the rows.
func (s *system) merge(sums []*Sum) error {
	facts := s.t.Facts
	counts := make([]int32, len(facts)+1)
	for i, sum := range sums {
		for j := range sum.Terms {
			t := &sum.Terms[j]
			if t.Fact < 0 || int(t.Fact) >= len(facts) || t.Den <= 0 || t.Num == 0 {
				return fmt.Errorf("%w: term %d of sum %d is no term", ErrTable, j, i)
			}
			counts[t.Fact+1]++
		}
	}
	for i := range facts {
		if facts[i].Group < 0 {
			return fmt.Errorf("%w: fact %d has no group", ErrTable, i)
		}
		s.groups = max(s.groups, int(facts[i].Group)+1)
		counts[i+1] += counts[i]
	}
	uses := make([]use, counts[len(facts)])
	next := slices.Clone(counts[:len(facts)])
	for i, sum := range sums {
		for j := range sum.Terms {
			t := &sum.Terms[j]
			at := next[t.Fact]
			if at > counts[t.Fact] && uses[at-1].sum == int32(i) {
				return fmt.Errorf("%w: fact %d is twice in sum %d", ErrTable, t.Fact, i)
			}
			coef := fieldInt(t.Num)
			if t.Den != 1 {
				coef = fieldMul(coef, fieldInverse(fieldInt(t.Den)))
			}
			uses[at] = use{int32(i), coef, float64(t.Num) / float64(t.Den)}
			next[t.Fact]++
		}
	}
	of := func(f int32) []use { return uses[counts[f]:counts[f+1]] }
	var unknown []int32
	for i := range facts {
		if !facts[i].Waived && counts[i+1] > counts[i] {
			unknown = append(unknown, int32(i))
		}
	}
	compare := func(a, b int32) int {
		return slices.CompareFunc(of(a), of(b), func(x, y use) int { return cmp.Or(cmp.Compare(x.sum, y.sum), cmp.Compare(x.coef, y.coef)) })
	}
	slices.SortFunc(unknown, compare)

	s.rows = make([]vector, len(sums))
	s.coefs = make([][]float64, len(sums))
	for i := 0; i < len(unknown); {
		col := int32(len(s.owner))
		owner, value, bound, signed, free := facts[unknown[i]].Group, 0.0, 0.0, false, false
		end := i
		for ; end < len(unknown) && compare(unknown[i], unknown[end]) == 0; end++ {
			f := &facts[unknown[end]]
			if f.Group != owner {
				owner = -1
			}
			value += float64(f.Value)
			bound += float64(f.Max)
			signed = signed || f.Signed
			free = free || f.Max <= 0
		}
		if free {
			bound = 0
		}
		s.owner, s.value, s.bound, s.signed = append(s.owner, owner), append(s.value, value), append(s.bound, bound), append(s.signed, signed)
		for _, u := range of(unknown[i]) {
			r := &s.rows[u.sum]
			r.cols, r.vals = append(r.cols, col), append(r.vals, u.coef)
			s.coefs[u.sum] = append(s.coefs[u.sum], u.real)
		}
		i = end
	}
	return nil
}

// of gives the rows of a figure.
func (s *system) of(figure int32) (from, to int32) {
	from = s.first[figure]
	return from, from + int32(len(s.t.Figures[figure].Sums))
}
