package impact_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/impact"
)

func TestParseQuantity(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"0", "0"},
		{"-0", "0"},
		{"1840", "1840"},
		{"1e3", "1000"},
		{"1.5E+2", "150"},
		{"12e-1", "1.2"},
		{"-0.000001", "-0.000001"},
		{"0.1", "0.1"},
		{"1.0000000", "1"}, // zeros after the sixth decimal lose nothing
		{"1000000000000", "1000000000000"},
		{"-1e12", "-1000000000000"},
		{"0e99999999999", "0"},
		{"0.00000012e1", "too_many_decimals"},
		{"0.0000012e1", "0.000012"},
		{"1e-7", "too_many_decimals"},
		{"1.2345678", "too_many_decimals"},
		{"1000000000000.000001", "out_of_range"},
		{"1e13", "out_of_range"},
		{"1e999999999999", "out_of_range"},
		{"", "invalid_number"},
		{"-", "invalid_number"},
		{"01", "invalid_number"},
		{"1.", "invalid_number"},
		{".5", "invalid_number"},
		{"+1", "invalid_number"},
		{"1e", "invalid_number"},
		{"1 000", "invalid_number"},
		{"1,5", "invalid_number"},
		{"NaN", "invalid_number"},
		{"0x10", "invalid_number"},
	} {
		q, f := impact.ParseQuantity(c.in)
		got := q.String()
		if f != nil {
			got = string(f.Code)
			wellSaid(t, *f)
		}
		if got != c.want {
			t.Errorf("ParseQuantity(%q) = %s, want %s", c.in, got, c.want)
		}
	}
}

func TestFilesAreRoundedHalfToEven(t *testing.T) {
	for _, c := range []struct {
		in, want string
		rounded  bool
	}{
		{"1.0000005", "1", true},
		{"1.0000015", "1.000002", true},
		{"1.00000051", "1.000001", true},
		{"-1.0000015", "-1.000002", true},
		{"-1.0000005", "-1", true},
		{"-0.0000004", "0", true},
		{"2.5", "2.5", false},
		{"1e-9", "0", true},
		{"999999999999.9999999", "1000000000000", true},
	} {
		q, rounded, f := impact.RoundQuantity(c.in)
		if f != nil || q.String() != c.want || rounded != c.rounded {
			t.Errorf("RoundQuantity(%q) = %s, %v, %v; want %s, %v", c.in, q, rounded, f, c.want, c.rounded)
		}
	}
	if _, _, f := impact.RoundQuantity("1000000000000.0000009"); f == nil || f.Code != "out_of_range" {
		t.Errorf("rounding past the limit: %v", f)
	}
}

func TestQuantityInJSONIsANumber(t *testing.T) {
	b, err := json.Marshal(map[string]impact.Quantity{"v": 2_720_500_000})
	if err != nil || string(b) != `{"v":2720.5}` {
		t.Errorf("%s, %v", b, err)
	}
	var q impact.Quantity
	if err := json.Unmarshal([]byte("9007199254.740993"), &q); err != nil || q.String() != "9007199254.740993" {
		t.Errorf("digits beyond a double: %s, %v", q, err)
	}
	if err := json.Unmarshal([]byte(`"1"`), &q); impact.KindOf(err) != impact.Invalid {
		t.Errorf("text is not a number: %v", err)
	}
}

func TestConvert(t *testing.T) {
	for _, c := range []struct {
		in       string
		num, den int64
		want     string
		exact    bool
	}{
		{"3400", 1, 1000, "3.4", true},
		{"1", 5, 18, "0.277778", false},       // GJ to MWh
		{"0.000003", 1, 2, "0.000002", false}, // half to even
		{"0.000001", 1, 2, "0", false},
		{"-0.000003", 1, 2, "-0.000002", false},
		{"1", 3664, 1000, "3.664", true}, // t C to t CO2e
	} {
		q, _ := impact.ParseQuantity(c.in)
		got, exact, f := q.Convert(c.num, c.den)
		if f != nil || got.String() != c.want || exact != c.exact {
			t.Errorf("%s × %d/%d = %s, %v, %v; want %s, %v", c.in, c.num, c.den, got, exact, f, c.want, c.exact)
		}
	}
	if _, _, f := impact.MaxQuantity.Convert(1000, 1); f == nil || f.Code != "out_of_range" {
		t.Errorf("a conversion past the limit: %v", f)
	}
}

func TestRatFromQuantityRoundsOnce(t *testing.T) {
	for _, c := range []struct {
		num, den int64
		decimals int
		want     string
	}{
		{1, 3, 2, "0.33"},
		{1, 8, 2, "0.12"}, // 0.125, half to even
		{3, 8, 2, "0.38"},
		{-1, 8, 2, "-0.12"},
		{2647, 365, 2, "7.25"},         // E6
		{182 * 1200, 366, 2, "596.72"}, // E18
		{5, 2, 0, "2"},
	} {
		q, err := impact.QuantityFromRat(big.NewRat(c.num, c.den), c.decimals)
		if err != nil || q.String() != c.want {
			t.Errorf("%d/%d at %d = %s, %v; want %s", c.num, c.den, c.decimals, q, err, c.want)
		}
	}
	if _, err := impact.QuantityFromRat(new(big.Rat).SetInt64(2_000_000_000_000), 0); !errors.Is(err, impact.ErrOverflow) {
		t.Errorf("beyond the limit: %v", err)
	}
}

func quantities() *rapid.Generator[impact.Quantity] {
	return rapid.Map(rapid.Int64Range(-int64(impact.MaxQuantity), int64(impact.MaxQuantity)), func(n int64) impact.Quantity { return impact.Quantity(n) })
}

func TestQuantityProperties(t *testing.T) {
	t.Run("what is written is read back", rapid.MakeCheck(func(t *rapid.T) {
		q := quantities().Draw(t, "q")
		back, f := impact.ParseQuantity(q.String())
		if f != nil || back != q {
			t.Fatalf("%s came back as %s, %v", q, back, f)
		}
	}))
	t.Run("a sum is exact or refused", rapid.MakeCheck(func(t *rapid.T) {
		a, b := quantities().Draw(t, "a"), quantities().Draw(t, "b")
		want := new(big.Int).Add(big.NewInt(int64(a)), big.NewInt(int64(b)))
		got, err := a.Add(b)
		tooLarge := want.CmpAbs(big.NewInt(int64(impact.MaxQuantity))) > 0
		if (err != nil) != tooLarge || err == nil && int64(got) != want.Int64() {
			t.Fatalf("%s + %s = %s, %v", a, b, got, err)
		}
		if other, err2 := b.Add(a); other != got || (err == nil) != (err2 == nil) {
			t.Fatalf("%s + %s depends on the order", a, b)
		}
	}))
	t.Run("a conversion equals the rounded fraction", rapid.MakeCheck(func(t *rapid.T) {
		q := quantities().Draw(t, "q")
		num, den := rapid.Int64Range(1, 1_000_000).Draw(t, "num"), rapid.Int64Range(1, 1_000_000).Draw(t, "den")
		r := new(big.Rat).Mul(q.Rat(), big.NewRat(num, den))
		want, err := impact.QuantityFromRat(r, impact.Decimals)
		got, exact, f := q.Convert(num, den)
		if (err != nil) != (f != nil) {
			t.Fatalf("%s × %d/%d: %v against %v", q, num, den, err, f)
		}
		if f == nil && (got != want || exact != (got.Rat().Cmp(r) == 0)) {
			t.Fatalf("%s × %d/%d = %s (exact %v), want %s", q, num, den, got, exact, want)
		}
	}))
}

func FuzzParseQuantity(f *testing.F) {
	for _, s := range []string{"0", "-1.5", "1e3", "1.0000001", "1e13", "0.5e-7", "٣", "1,5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, fault := impact.ParseQuantity(s)
		exact, ok := new(big.Rat).SetString(s)
		if fault == nil {
			if !ok || exact.Cmp(q.Rat()) != 0 {
				t.Fatalf("%q read as %s", s, q)
			}
			return
		}
		wellSaid(t, *fault)
		r, rounded, fault := impact.RoundQuantity(s)
		if fault != nil {
			return
		}
		want, err := impact.QuantityFromRat(exact, impact.Decimals)
		if err != nil || r != want || !rounded {
			t.Fatalf("%q rounded to %s, want %s", s, r, want)
		}
	})
}
