package disclosure

import "math/bits"

// Elimination works in the field of integers modulo 2^61−1: a residual is zero
// or it is not, without a tolerance. A sum that could be derived over the
// rationals can be derived here too; the reverse could only hide a cell more.
const modulus = 1<<61 - 1

func fieldAdd(a, b uint64) uint64 {
	s := a + b
	if s >= modulus {
		s -= modulus
	}
	return s
}

func fieldSub(a, b uint64) uint64 {
	if a >= b {
		return a - b
	}
	return a + modulus - b
}

func fieldMul(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	s := lo&modulus + (lo>>61 | hi<<3)
	if s >= modulus {
		s -= modulus
	}
	return s
}

func fieldInverse(a uint64) uint64 {
	if a == 1 || a == modulus-1 {
		return a
	}
	r := uint64(1)
	for e := uint64(modulus - 2); e > 0; e >>= 1 {
		if e&1 == 1 {
			r = fieldMul(r, a)
		}
		a = fieldMul(a, a)
	}
	return r
}

func fieldInt(n int64) uint64 {
	if n >= 0 {
		return uint64(n) % modulus
	}
	return fieldSub(0, uint64(-n)%modulus)
}

// vector is sparse: columns ascending, no zero.
type vector struct {
	cols []int32
	vals []uint64
}

// at gives the value in a column.
func (v *vector) at(col int32) uint64 {
	lo, hi := 0, len(v.cols)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if v.cols[mid] < col {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(v.cols) && v.cols[lo] == col {
		return v.vals[lo]
	}
	return 0
}

func (v *vector) scale(by uint64) {
	for i := range v.vals {
		v.vals[i] = fieldMul(v.vals[i], by)
	}
}
