package format

import (
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// numberStyle is how the numbers of a file are written.
type numberStyle struct {
	// strict: only digits and a decimal point.
	strict bool
	// french: declared so, hence a dot before three digits groups thousands.
	french bool
	// mark is the decimal separator, 0 when the file does not tell.
	mark byte
}

func (n numberStyle) decimal() string {
	if n.mark == 0 {
		return ""
	}
	return string(n.mark)
}

// csvNumbers finds the decimal separator of a file. A number in which a comma
// or a point can be nothing else decides; without one, the semicolon goes with
// the decimal comma, the comma with the point.
func csvNumbers(t *Table, sample []Record) numberStyle {
	switch t.options.Dialect {
	case "rfc4180":
		return numberStyle{strict: true, mark: '.'}
	case "fr":
		return numberStyle{french: true, mark: ','}
	}
	points, commas := 0, 0
	for _, r := range sample {
		for i, c := range r.Cells[:min(len(r.Cells), len(t.Header))] {
			if f := t.Headers.fields[i].field; f == nil || f.kind != figure {
				continue
			}
			switch certainMark(trim(c)) {
			case '.':
				points++
			case ',':
				commas++
			}
		}
	}
	switch {
	case points > 0 && commas > 0:
		return numberStyle{}
	case points > 0:
		return numberStyle{mark: '.'}
	case commas > 0 || t.Layout.Delimiter == ";":
		return numberStyle{mark: ','}
	case t.Layout.Delimiter == ",":
		return numberStyle{mark: '.'}
	}
	return numberStyle{}
}

// certainMark gives the decimal separator of a number when it can be no other.
func certainMark(s string) byte {
	point, comma := strings.LastIndexByte(s, '.'), strings.LastIndexByte(s, ',')
	last := max(point, comma)
	if last < 0 || strings.Trim(s[:last], "+-0123456789., \u00a0\u202f\u2009'’") != "" || strings.Trim(s[last+1:], "0123456789") != "" {
		return 0
	}
	mark := s[last]
	switch {
	case strings.Count(s, string(mark)) > 1:
		return ',' + '.' - mark // repeated: it groups thousands, the other is decimal
	case point >= 0 && comma >= 0, len(s)-last-1 != 3:
		return mark
	}
	if whole := strings.TrimLeft(s[:last], "+-"); whole == "0" || len(whole) > 3 || whole == "" {
		return mark
	}
	return 0
}

// reading is what became of a number as people write it.
type reading struct {
	digits  string // JSON digits: "-1234.5"
	percent bool   // it was followed by %
	euros   bool   // a sign € stood beside it
	fault   *impact.Fault
	warning *impact.Fault
}

// readNumber reads a number written in the style of the file: groups of
// thousands, decimal comma, a sign € or % beside it. A number that can mean two
// things is refused with both.
func (n numberStyle) readNumber(s string) reading {
	if plainNumber(s) && !n.mayGroup(s) {
		return rounded(s, s)
	}
	if n.strict {
		return refusedStrictly(s, "")
	}
	if whole, fraction, ok := strings.Cut(s, ","); ok && n.mark == ',' && digitsOnly(fraction) && digitsOnly(whole) && plainNumber(whole) {
		return rounded(s, whole+"."+fraction)
	}
	var r reading
	body := s
	if strings.Trim(s, "-0123456789,.") != "" {
		body = typography.Replace(s)
	}
	body, r.percent = cutSign(body, "%")
	body, r.euros = cutSign(body, "€")
	sign := ""
	switch {
	case strings.HasPrefix(body, "-"):
		sign, body = "-", strings.TrimLeft(body[1:], " ")
	case strings.HasPrefix(body, "+"):
		body = body[1:]
	case strings.HasPrefix(body, "(") && strings.HasSuffix(body, ")"):
		if inner := n.readNumber(body[1 : len(body)-1]); inner.fault == nil {
			return refused(s, "-"+inner.digits)
		}
	}
	mantissa, exponent := body, ""
	if i := strings.IndexAny(body, "eE"); i >= 0 {
		mantissa, exponent = body[:i], body[i:]
	}
	digits, other := n.ungroup(mantissa)
	switch {
	case digits == "":
		return refused(s, "")
	case other != "":
		r.fault = twoReadings(s, sign+digits, sign+other)
		return r
	}
	r2 := rounded(s, sign+digits+strings.Replace(exponent, "+", "", 1))
	r2.percent, r2.euros = r.percent, r.euros
	if exponent != "" && r2.fault == nil && r2.warning == nil {
		r2.warning = &impact.Fault{
			Code: "rounded", Value: s,
			Detail: impact.Text{FR: "Nombre en notation scientifique : des chiffres ont pu se perdre dans le tableur.", EN: "Number in scientific notation: digits may have been lost in the spreadsheet."},
			Hint:   impact.Text{FR: "Mettez la colonne au format nombre avant d'enregistrer en CSV.", EN: "Format the column as a number before saving as CSV."},
		}
	}
	return r2
}

// typography writes signs and spaces of every kind as those of a keyboard.
var typography = strings.NewReplacer("−", "-", "’", "'", "\u00a0", " ", "\u202f", " ", "\u2009", " ")

// plainNumber recognises the digits of JSON.
func plainNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole, fraction, point := strings.Cut(s, ".")
	return digitsOnly(whole) && (len(whole) == 1 || whole[0] != '0') && (!point || digitsOnly(fraction))
}

func digitsOnly(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// mayGroup tells that the point of a plain number may stand before thousands.
func (n numberStyle) mayGroup(s string) bool {
	return n.mark != '.' && !n.strict && strings.IndexByte(s, '.') >= 0 && certainMark(s) == 0
}

func cutSign(s, sign string) (string, bool) {
	rest, was := strings.CutSuffix(s, sign)
	if !was {
		rest, was = strings.CutPrefix(s, sign)
	}
	return strings.Trim(rest, " "), was
}

// ungroup gives the digits of an unsigned number, and those of its other
// reading when there are two; "" when it is no number.
func (n numberStyle) ungroup(s string) (digits, other string) {
	point, comma := strings.Count(s, "."), strings.Count(s, ",")
	whole, fraction, mark := s, "", byte(0)
	if last := strings.LastIndexAny(s, ".,"); last >= 0 {
		mark = s[last]
		if (mark == '.' && point == 1) || (mark == ',' && comma == 1) {
			whole, fraction = s[:last], s[last+1:]
		} else {
			mark = 0 // repeated: it groups
		}
	}
	if mark != 0 && !digitsOnly(fraction) || s == "" {
		return "", ""
	}
	groups := " '"
	switch {
	case mark == 0 && point > 0:
		groups = "."
	case mark == 0 && comma > 0:
		groups = ","
	case mark == ',' && point > 0:
		groups = "."
	case mark == '.' && comma > 0:
		groups = ","
	}
	w, ok := joinGroups(whole, groups)
	if !ok {
		return "", ""
	}
	if mark == 0 {
		return w, ""
	}
	decimal := w + "." + fraction
	if certainMark(s) != 0 || strings.ContainsAny(whole, groups) || mark == n.mark {
		return decimal, ""
	}
	grouped := strings.TrimLeft(w+fraction, "0")
	if n.french && mark == '.' {
		return grouped, ""
	}
	return decimal, grouped
}

// joinGroups removes what stands between groups of three digits.
func joinGroups(s, between string) (string, bool) {
	if s == "" {
		return "0", true
	}
	parts := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(between, r) })
	if len(parts) == 0 || len(strings.Join(parts, ".")) != len(s) {
		return "", false // two separators in a row, or one at an end
	}
	for i, p := range parts {
		if !digitsOnly(p) || i > 0 && len(p) != 3 || i == 0 && len(parts) > 1 && len(p) > 3 {
			return "", false
		}
	}
	joined := strings.TrimLeft(strings.Join(parts, ""), "0")
	if joined == "" {
		joined = "0"
	}
	return joined, true
}

// rounded keeps six decimals of the digits.
func rounded(s, digits string) reading {
	q, lost, f := impact.RoundQuantity(digits)
	if f != nil {
		f.Value = s
		return reading{fault: f}
	}
	if !lost {
		return reading{digits: digits}
	}
	return reading{digits: q.String(), warning: &impact.Fault{
		Code: "rounded", Value: s, Suggestion: q.String(),
		Detail: impact.Text{FR: "Arrondi à six décimales : " + q.String() + ".", EN: "Rounded to six decimals: " + q.String() + "."},
		Hint:   impact.Text{FR: "Arrondissez à six décimales au plus.", EN: "Round to six decimals at most."},
	}}
}

// refused says of a number in a spreadsheet what may be written there.
func refused(s, suggestion string) reading {
	r := refusedStrictly(s, suggestion)
	if !strings.HasPrefix(s, "#") {
		r.fault.Hint = impact.Text{
			FR: "Écrivez un nombre seul, sans unité ni texte : 1840, 12,5 ou 1 250,5.",
			EN: "Write a number alone, without unit or text: 1840, 12.5 or 1 250.5.",
		}
	}
	return r
}

func refusedStrictly(s, suggestion string) reading {
	_, f := impact.ParseQuantity(s)
	if f == nil || f.Code != "invalid_number" {
		f = &impact.Fault{
			Code:   "invalid_number",
			Detail: impact.Text{FR: "Ce n'est pas un nombre.", EN: "This is not a number."},
			Hint:   impact.Text{FR: "Écrivez des chiffres, sans unité.", EN: "Write digits, without a unit."},
		}
	}
	if strings.HasPrefix(s, "#") {
		f.Detail = impact.Text{FR: "La formule de cette cellule donne une erreur.", EN: "The formula of this cell gives an error."}
		f.Hint = impact.Text{FR: "Corrigez la formule, ou écrivez le nombre.", EN: "Mend the formula, or write the number."}
	}
	f.Value = s
	if suggestion != "" {
		f.Suggestion = suggestion
	}
	if f.Suggestion == "" {
		f.Suggestion = leadingNumber(s)
	}
	return reading{fault: f}
}

// leadingNumber gives the digits before a unit: "12.5 t".
func leadingNumber(s string) string {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.' || i == 0 && s[i] == '-') {
		i++
	}
	if rest := s[i:]; i == 0 || rest == "" || !isLetter(strings.TrimLeft(rest, " \u00a0\u202f")) || !plainNumber(s[:i]) {
		return ""
	}
	return s[:i]
}

func isLetter(s string) bool {
	return s != "" && (s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z')
}

func twoReadings(s, decimal, grouped string) *impact.Fault {
	return &impact.Fault{
		Code: "invalid_number", Value: s,
		Detail: impact.Text{
			FR: "Ce nombre peut se lire " + grouped + " ou " + strings.Replace(decimal, ".", ",", 1) + " : rien n'est deviné.",
			EN: "This number can be read as " + grouped + " or " + decimal + ": nothing is guessed.",
		},
		Hint: impact.Text{
			FR: "Ôtez le séparateur de milliers, ou écrivez plus de décimales (" + strings.Replace(decimal, ".", ",", 1) + "0) ; csv_dialect=fr ou rfc4180 tranche pour tout le fichier.",
			EN: "Remove the thousands separator, or write one more decimal (" + decimal + "0); csv_dialect=fr or rfc4180 decides for the whole file.",
		},
	}
}

// noValue recognises what people write for "no number" and gives the status it
// means.
func noValue(s string) (impact.Status, bool) {
	switch strings.ToLower(s) {
	case "nan", "#n/a", "#n/d", "n/a", "na", "n.a.", "-", "–", "—", "nc", "n.c.", "ns", "n.s.", "nd", "n.d.", "n/d", "null", "non communiqué", "non disponible", "not available":
		return impact.NotCollected, true
	case "s.o.", "so", "sans objet", "not applicable", "non applicable":
		return impact.NotApplicable, true
	}
	return 0, false
}

// truthWord reads yes and no.
func truthWord(s string) (string, bool) {
	switch strings.ToLower(s) {
	case "true", "vrai", "oui", "yes":
		return "true", true
	case "false", "faux", "non", "no":
		return "false", true
	}
	return "", false
}

// trim removes spaces of every width at both ends.
func trim(s string) string {
	if s == "" || s[0] > ' ' && s[0] < 0x80 && s[len(s)-1] > ' ' && s[len(s)-1] < 0x80 {
		return s
	}
	return strings.Trim(s, " \t\r\n\u00a0\u202f\u2009\u2007\uFEFF")
}
