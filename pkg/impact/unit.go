package impact

import "strings"

// Unit gives the unit of that code or alias, nil when there is none.
func (c *Catalogue) Unit(s string) *Unit { return c.units[s] }

// UnitNamed gives the unit that people call s, as in files: its code, alias,
// symbol or label in any case, and "€ HT", since amounts exclude tax. It is nil
// when none or several fit, and where case makes the unit: "MG" is no megagram,
// "mWh" no megawatt-hour, "m€" may be thousands for some.
func (c *Catalogue) UnitNamed(s string) *Unit {
	s = strings.TrimSpace(s)
	if u := c.units[s]; u != nil || len(s) > longestName {
		return u
	}
	name := FoldCase(s)
	u := c.unitNames[name]
	if u == nil {
		for _, untaxed := range []string{"ht", "h.t.", "hors taxes", "hors taxe"} {
			if before, ok := strings.CutSuffix(name, untaxed); ok && len(before) < len(name) {
				if u = c.unitNames[strings.TrimSpace(before)]; u == nil || u.Quantity != "money" {
					return nil
				}
				break
			}
		}
	}
	if u == nil || caseMatters(s, u) {
		return nil
	}
	return u
}

// caseMatters tells that s would be another unit than u in its own letters: a
// small m makes thousandths where a capital makes millions, and a letter alone
// is another symbol in capitals, hours excepted.
func caseMatters(s string, u *Unit) bool {
	switch {
	case len(s) == 1:
		return s != "H"
	case s[0] == 'm':
		return u.Code[0] == 'M'
	}
	return false
}

func (c *Catalogue) nameUnits() {
	c.unitNames = map[string]*Unit{}
	for i := range c.ref.Units {
		u := &c.ref.Units[i]
		for _, name := range append([]string{u.Code, u.Symbol.FR, u.Symbol.EN, u.Label.FR, u.Label.EN}, u.Aliases...) {
			if name == "Mg" { // a tonne, which no other letters write
				continue
			}
			name = FoldCase(name)
			if other, taken := c.unitNames[name]; taken && other != u {
				c.unitNames[name] = nil
				continue
			}
			c.unitNames[name] = u
		}
	}
	delete(c.unitNames, "")
}
