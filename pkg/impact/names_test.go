package impact_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/impact"
)

func TestUnitsAsPeopleWriteThem(t *testing.T) {
	for in, want := range map[string]string{
		"t": "t", "T": "t", "Tonnes": "t", "TONNE": "t", "Mg": "t", "MG": "", "mg": "",
		"KG": "kg", "Kg": "kg", "g": "g", "G": "", "Heures": "h", "HEURE": "h", "H": "h", " h ": "h",
		"kWh": "kW.h", "KWH": "kW.h", "Kwh": "kW.h", "MWh": "MW.h", "MWH": "MW.h", "mwh": "MW.h", "mWh": "", "mWH": "",
		"EUROS": "EUR", "Euro": "EUR", "€": "EUR", "€ HT": "EUR", "euros hors taxes": "EUR", "k€ HT": "kEUR", "EUR H.T.": "EUR", "€ TTC": "", "t HT": "",
		"K€": "kEUR", "KEUR": "kEUR", "M€": "MEUR", "m€": "", "mEUR": "", "Meur": "MEUR",
		"Personnes": "{person}", "PERSONNES": "{person}", "Équivalent temps plein": "{FTE}", "equivalent temps plein": "{FTE}", "Etp": "{FTE}",
		"m": "m", "M": "", "M2": "m2", "m²": "m2", "km²": "km2", "KM": "km", "J": "", "j": "d", "D": "", "t CO2e": "t{CO2e}", "T CO2E": "t{CO2e}",
		"pour cent": "%", "%": "%", "": "", "HT": "", "litre par minute": "", strings.Repeat("h", 200): "",
	} {
		got := ""
		if u := catalogue().UnitNamed(in); u != nil {
			got = u.Code
		}
		if got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestIndicatorsByTheirLabel(t *testing.T) {
	for in, want := range map[string]impact.IndicatorCode{
		"Heures de bénévolat": "volunteer_hours", "HEURES DE BENEVOLAT": "volunteer_hours", "Volunteer hours": "volunteer_hours",
		"volunteer_hours": "", "Heures": "", "Heures de benevola": "", "": "", strings.Repeat("x", 200): "",
	} {
		code, w := catalogue().IndicatorNamed(in)
		if code != want || (w != nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", in, code, w, want)
		}
		if w != nil {
			wellSaid(t, *w)
		}
	}
}

// Names are read only where they leave no choice.
func TestNamesNeverGuess(t *testing.T) {
	c := catalogue()
	rapid.Check(t, func(t *rapid.T) {
		ind := rapid.SampledFrom(c.Indicators()).Draw(t, "indicator")
		label := rapid.SampledFrom([]string{ind.Label.FR, ind.Label.EN}).Draw(t, "label")
		if code, _ := c.IndicatorNamed(strings.ToUpper(label)); code != "" && code != ind.Code {
			t.Fatalf("%q is %s, of %s", label, code, ind.Code)
		}
		u := rapid.SampledFrom(c.Reference().Units).Draw(t, "unit")
		name := rapid.SampledFrom(append([]string{u.Code}, u.Aliases...)).Draw(t, "name")
		if got := c.UnitNamed(name); got == nil || got.Code != u.Code {
			t.Fatalf("%q is %v, of %s", name, got, u.Code)
		}
	})
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"Lyon 3e", "Ste Foy", "€ HT", "MWH", "69003 Lyon 3", "Heures de bénévolat", "saint 1", "ht", "\xff", "İ HT"} {
		f.Add(s, "69003")
	}
	c := catalogue()
	f.Fuzz(func(t *testing.T, s, postal string) {
		c.UnitNamed(s)
		if code, w := c.IndicatorNamed(s); code != "" && (w == nil || c.Indicator(code) == nil) {
			t.Fatalf("%q is %q, %v", s, code, w)
		}
		id, w := c.Gazetteer().Named(s, postal)
		if (id == "") != (w == nil) {
			t.Fatalf("%q is %q, %v", s, id, w)
		}
		if id != "" && len(c.Gazetteer().Versions(impact.TerritoryID(id))) == 0 {
			t.Fatalf("%q is %q, which is not", s, id)
		}
	})
}
