package impact

import (
	"errors"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// Quantity is an exact decimal: a count of millionths. |Quantity| is at most
// 10^12 units (MaxQuantity). SQL stores the integer; JSON shows a number.
type Quantity int64

// One unit, and the largest magnitude accepted.
const (
	One         Quantity = 1_000_000
	MaxQuantity Quantity = 1_000_000_000_000 * One
)

// Decimals is how many decimals a Quantity carries.
const Decimals = 6

// ErrOverflow says that a result is beyond MaxQuantity.
var ErrOverflow = errors.New("quantity beyond 10^12 units")

// ParseQuantity reads the digits of a JSON number ("1840", "-0.5", "1e3").
// Faults: invalid_number, too_many_decimals (a digit other than 0 after the
// sixth decimal), out_of_range (more than 10^12 units).
func ParseQuantity(s string) (Quantity, *Fault) {
	q, rest, f := readDecimal(s)
	if f != nil {
		return 0, f
	}
	if rest != restNone {
		near := ""
		if r, ok := roundUp(q, rest); ok {
			near = r.String()
		}
		f := newFault("too_many_decimals", s,
			"Ce nombre a plus de six décimales.", "This number has more than six decimals.",
			"Arrondissez à six décimales au plus.", "Round it to six decimals at most.")
		f.Suggestion = near
		return 0, f
	}
	return q, nil
}

// RoundQuantity reads a number and rounds what is after the sixth decimal, half
// to even, as is done for files. rounded tells that something was lost.
func RoundQuantity(s string) (q Quantity, rounded bool, f *Fault) {
	q, rest, f := readDecimal(s)
	if f != nil {
		return 0, false, f
	}
	if rest == restNone {
		return q, false, nil
	}
	r, ok := roundUp(q, rest)
	if !ok {
		return 0, false, quantityOutOfRange(s)
	}
	return r, true, nil
}

// What follows the sixth decimal, with the sign of the number.
type remainder int8

const (
	restNone remainder = 0
	restLow  remainder = 1
	restHalf remainder = 2
	restHigh remainder = 3
	restNeg  remainder = 4 // added when the number is negative
)

func roundUp(q Quantity, rest remainder) (Quantity, bool) {
	step := Quantity(1)
	if rest > restHigh {
		rest -= restNeg
		step = -1
	}
	if rest == restHigh || rest == restHalf && q&1 != 0 {
		q += step
	}
	return q, q <= MaxQuantity && q >= -MaxQuantity
}

// readDecimal reads the JSON grammar of numbers and truncates toward zero.
func readDecimal(s string) (Quantity, remainder, *Fault) {
	i, neg := 0, false
	if i < len(s) && s[i] == '-' {
		neg = true
		i++
	}
	whole := i
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	if i == whole || s[whole] == '0' && i-whole > 1 {
		return 0, 0, invalidNumber(s)
	}
	wholeDigits, fraction := s[whole:i], ""
	if i < len(s) && s[i] == '.' {
		i++
		start := i
		for i < len(s) && isDigit(s[i]) {
			i++
		}
		if i == start {
			return 0, 0, invalidNumber(s)
		}
		fraction = s[start:i]
	}
	exponent := 0
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		sign := 1
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			if s[i] == '-' {
				sign = -1
			}
			i++
		}
		start := i
		for i < len(s) && isDigit(s[i]) {
			if exponent < 1<<24 {
				exponent = exponent*10 + int(s[i]-'0')
			}
			i++
		}
		if i == start {
			return 0, 0, invalidNumber(s)
		}
		exponent *= sign
	}
	if i != len(s) {
		return 0, 0, invalidNumber(s)
	}

	var n int64 // millionths
	rest := restNone
	keep := len(wholeDigits) + exponent + Decimals // digits before this place count
	for place := range len(wholeDigits) + len(fraction) {
		var d byte
		if place < len(wholeDigits) {
			d = wholeDigits[place] - '0'
		} else {
			d = fraction[place-len(wholeDigits)] - '0'
		}
		switch {
		case place < keep:
			if n = timesTen(n) + int64(d); n > int64(MaxQuantity) {
				return 0, 0, quantityOutOfRange(s)
			}
		case place == keep && d >= 5:
			rest = restHigh
			if d == 5 {
				rest = restHalf
			}
		case d != 0 && rest == restNone:
			rest = restLow
		case d != 0 && rest == restHalf:
			rest = restHigh
		}
	}
	for range min(keep-len(wholeDigits)-len(fraction), 20) {
		if n == 0 {
			break
		}
		if n = timesTen(n); n > int64(MaxQuantity) {
			return 0, 0, quantityOutOfRange(s)
		}
	}
	if neg {
		n = -n
		if rest != restNone {
			rest += restNeg
		}
	}
	return Quantity(n), rest, nil
}

// timesTen stays beyond the limit once it is there, so that nothing wraps.
func timesTen(n int64) int64 { return min(n, int64(MaxQuantity)/10+1) * 10 }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func invalidNumber(s string) *Fault {
	f := newFault("invalid_number", s,
		"Ce n'est pas un nombre.", "This is not a number.",
		"Écrivez des chiffres, un point pour les décimales, sans espace ni unité : 1840 ou 12.5.",
		"Write digits, a point for decimals, no space and no unit: 1840 or 12.5.")
	if repaired := strings.NewReplacer(" ", "", "\u00a0", "", "\u202f", "", ",", ".").Replace(s); repaired != s {
		if q, _, bad := readDecimal(repaired); bad == nil {
			f.Suggestion = q.String()
		}
	}
	return f
}

func quantityOutOfRange(s string) *Fault {
	return newFault("out_of_range", s,
		"Ce nombre dépasse 1 000 000 000 000 en valeur absolue.", "This number is beyond 1,000,000,000,000 in magnitude.",
		"Vérifiez l'unité, ou choisissez une unité plus grande.", "Check the unit, or choose a larger one.")
}

// String writes the decimal without exponent and without trailing zeros.
func (q Quantity) String() string { return string(q.append(make([]byte, 0, 24))) }

// french writes the digits as a French sentence does.
func (q Quantity) french() string { return strings.Replace(q.String(), ".", ",", 1) }

func (q Quantity) append(b []byte) []byte {
	n := uint64(q)
	if q < 0 {
		b = append(b, '-')
		n = -n
	}
	b = strconv.AppendUint(b, n/uint64(One), 10)
	if frac := n % uint64(One); frac != 0 {
		b = append(b, '.')
		for unit := uint64(One) / 10; frac != 0; unit /= 10 {
			b = append(b, byte('0'+frac/unit))
			frac %= unit
		}
	}
	return b
}

// MarshalJSON writes a JSON number.
func (q Quantity) MarshalJSON() ([]byte, error) { return q.append(nil), nil }

// UnmarshalJSON reads a JSON number from its digits, never through a float.
func (q *Quantity) UnmarshalJSON(b []byte) error {
	v, f := ParseQuantity(string(b))
	if f != nil {
		return Refuse(*f)
	}
	*q = v
	return nil
}

// Add gives the exact sum, ErrOverflow beyond MaxQuantity.
func (q Quantity) Add(o Quantity) (Quantity, error) {
	s := q + o // neither operand is beyond 10^18, so int64 holds the sum
	if s > MaxQuantity || s < -MaxQuantity {
		return 0, ErrOverflow
	}
	return s, nil
}

// Convert gives q x num / den, rounded half to even at the sixth decimal; exact
// tells that nothing was rounded. num and den are positive. Fault: out_of_range.
func (q Quantity) Convert(num, den int64) (converted Quantity, exact bool, f *Fault) {
	if num == den {
		return q, true, nil
	}
	n := uint64(q)
	if q < 0 {
		n = -n
	}
	hi, lo := bits.Mul64(n, uint64(num))
	if hi >= uint64(den) {
		return 0, false, quantityOutOfRange(q.String())
	}
	quo, rem := bits.Div64(hi, lo, uint64(den))
	if half := uint64(den) - rem; rem > half || rem == half && quo&1 == 1 {
		quo++
	}
	if quo > uint64(MaxQuantity) {
		return 0, false, quantityOutOfRange(q.String())
	}
	converted = Quantity(quo)
	if q < 0 {
		converted = -converted
	}
	return converted, rem == 0, nil
}

// Rat gives the quantity as a fraction of units.
func (q Quantity) Rat() *big.Rat { return big.NewRat(int64(q), int64(One)) }

// QuantityFromRat rounds a fraction of units to decimals (0 to 6), half to
// even. It is the one rounding of a computed figure. ErrOverflow beyond
// MaxQuantity.
func QuantityFromRat(r *big.Rat, decimals int) (Quantity, error) {
	decimals = max(0, min(decimals, Decimals))
	step := big.NewInt(1) // millionths of one unit of the last decimal kept
	for range Decimals - decimals {
		step.Mul(step, big.NewInt(10))
	}
	num := new(big.Int).Mul(r.Num(), big.NewInt(int64(One)))
	den := new(big.Int).Mul(r.Denom(), step)
	quo, rem := new(big.Int).QuoRem(new(big.Int).Abs(num), den, new(big.Int))
	switch rem.Lsh(rem, 1).Cmp(den) {
	case 1:
		quo.Add(quo, big.NewInt(1))
	case 0:
		if quo.Bit(0) == 1 {
			quo.Add(quo, big.NewInt(1))
		}
	}
	quo.Mul(quo, step)
	if num.Sign() < 0 {
		quo.Neg(quo)
	}
	if !quo.IsInt64() || Quantity(quo.Int64()) > MaxQuantity || Quantity(quo.Int64()) < -MaxQuantity {
		return 0, ErrOverflow
	}
	return Quantity(quo.Int64()), nil
}
