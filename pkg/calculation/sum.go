package calculation

import (
	"math/big"
	"math/bits"

	"github.com/grandlyon/retombees/pkg/impact"
)

// wide is a signed 128-bit integer. A value of 10^18 millionths times two
// shares and a number of days stays below 10^33, far from its 10^38.
type wide struct {
	hi int64
	lo uint64
}

func product(a, b int64) wide {
	neg := (a < 0) != (b < 0)
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	if neg {
		var borrow uint64
		lo, borrow = bits.Sub64(0, lo, 0)
		hi, _ = bits.Sub64(0, hi, borrow)
	}
	return wide{int64(hi), lo}
}

func magnitude(a int64) uint64 {
	if a < 0 {
		return -uint64(a)
	}
	return uint64(a)
}

// add gives a + b, false when 128 bits do not hold it.
func (a wide) add(b wide) (wide, bool) {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi := a.hi + b.hi + int64(carry)
	if (a.hi < 0) == (b.hi < 0) && (hi < 0) != (a.hi < 0) {
		return wide{}, false
	}
	return wide{hi, lo}, true
}

// times gives a × n for n ≥ 0, false when 128 bits do not hold it.
func (a wide) times(n int64) (wide, bool) {
	if n == 1 {
		return a, true
	}
	neg := a.hi < 0
	if neg {
		lo, borrow := bits.Sub64(0, a.lo, 0)
		a = wide{-a.hi - int64(borrow), lo}
	}
	over, hi := bits.Mul64(uint64(a.hi), uint64(n))
	carry, lo := bits.Mul64(a.lo, uint64(n))
	hi, c := bits.Add64(hi, carry, 0)
	if over != 0 || c != 0 || int64(hi) < 0 {
		return wide{}, false
	}
	if neg {
		var borrow uint64
		lo, borrow = bits.Sub64(0, lo, 0)
		hi, _ = bits.Sub64(0, hi, borrow)
	}
	return wide{int64(hi), lo}, true
}

func (a wide) int64() (int64, bool) {
	v := int64(a.lo)
	return v, a.hi == v>>63
}

func (a wide) big() *big.Int {
	b := big.NewInt(a.hi)
	b.Lsh(b, 64)
	return b.Add(b, new(big.Int).SetUint64(a.lo))
}

// total is an exact sum of fractions of millionths that share few
// denominators: 1 for plain sums, numbers of days for averages, 10^6 for
// shares. Nothing is rounded and the order of additions does not matter.
type total struct {
	parts []part
	some  bool // something was added, be it zero
}

type part struct {
	den int64
	num wide
}

func (t *total) reset() { t.parts, t.some = t.parts[:0], false }

func (t *total) add(num wide, den int64) error {
	t.some = true
	for i := range t.parts {
		if p := &t.parts[i]; p.den == den {
			var ok bool
			if p.num, ok = p.num.add(num); !ok {
				return impact.ErrOverflow
			}
			return nil
		}
	}
	t.parts = append(t.parts, part{den, num})
	return nil
}

// plain gives the sum when it is a whole number of millionths, at hand.
func (t *total) plain() (int64, bool) {
	switch {
	case len(t.parts) == 0:
		return 0, t.some
	case len(t.parts) == 1 && t.parts[0].den == 1:
		return t.parts[0].num.int64()
	}
	return 0, false
}

// rat gives the sum in units; nil when nothing was added.
func (t *total) rat() *big.Rat {
	if !t.some {
		return nil
	}
	sum := new(big.Rat)
	for _, p := range t.parts {
		den := big.NewInt(p.den)
		sum.Add(sum, new(big.Rat).SetFrac(p.num.big(), den.Mul(den, big.NewInt(int64(impact.One)))))
	}
	return sum
}

// rounded gives the sum at so many decimals, half to even; nil when nothing
// was added.
func (t *total) rounded(decimals int) (*impact.Quantity, error) {
	if !t.some {
		return nil, nil
	}
	if v, ok := t.plain(); ok {
		return roundMillionths(v, decimals)
	}
	return round(t.rat(), decimals)
}

func roundMillionths(v int64, decimals int) (*impact.Quantity, error) {
	step := int64(1)
	for range impact.Decimals - max(0, min(decimals, impact.Decimals)) {
		step *= 10
	}
	if rest := v % step; rest != 0 {
		v -= rest
		away := int64(1)
		if rest < 0 {
			away, rest = -1, -rest
		}
		if rest*2 > step || rest*2 == step && v/step%2 != 0 {
			v += away * step
		}
	}
	q := impact.Quantity(v)
	if q > impact.MaxQuantity || q < -impact.MaxQuantity {
		return nil, impact.ErrOverflow
	}
	return &q, nil
}

func round(r *big.Rat, decimals int) (*impact.Quantity, error) {
	if r == nil {
		return nil, nil
	}
	q, err := impact.QuantityFromRat(r, decimals)
	if err != nil {
		return nil, err
	}
	return &q, nil
}
