package impact

import (
	"strings"
	"time"
)

// Period is a closed interval of days: both Start and End belong to it.
type Period struct{ Start, End Date }

// Granularity is the length of a named period.
type Granularity string

// Granularities, from the longest to the shortest; Interval is any other
// closed interval of days (a fiscal year for instance).
const (
	Year     Granularity = "year"
	Semester Granularity = "semester"
	Quarter  Granularity = "quarter"
	Month    Granularity = "month"
	Interval Granularity = "interval"
)

// months gives the length of a named granularity, 0 for Interval.
func (g Granularity) months() int {
	switch g {
	case Year:
		return 12
	case Semester:
		return 6
	case Quarter:
		return 3
	case Month:
		return 1
	}
	return 0
}

// YearPeriod gives the calendar year y.
func YearPeriod(y int) Period { return monthsFrom(y, 0, 12) }

// monthsFrom gives n months that begin m months after January of y.
func monthsFrom(y, m, n int) Period {
	y += floorDiv(m, 12)
	m -= floorDiv(m, 12) * 12
	end := m + n
	return Period{
		Start: NewDate(y, time.Month(m+1), 1),
		End:   NewDate(y+end/12, time.Month(end%12+1), 1) - 1,
	}
}

// ParsePeriod reads one period (api.md 6.1): "2024", "2024-S1", "2024-Q1",
// "2024-03", a day interval "2023-07-01/2024-06-30", and the spellings of SDMX
// ("2024-A1", "2024-M03") and DHIS2 ("2024Q1", "202403"). Faults:
// unknown_period_format, ambiguous_period ("2024-T1": quarter in French, four
// months in SDMX), period_not_allowed (weeks, four months).
func ParsePeriod(s string) (Period, *Fault) {
	if p, ok := readPeriod(s); ok {
		return p, nil
	}
	return Period{}, periodFault(s)
}

// ReadPeriod reads a period as people write it in files: what ParsePeriod reads,
// in any case, and "T3 2025", "3e trimestre 2025", "S1 2025", "mars 2025",
// "03/2025", "année 2025", "1T2025", "juil-25", "01/07/2023 - 30/06/2024". A "T" is
// a quarter, with the warning trimestre_read_as_quarter; a year of two digits is
// of this century, with the warning source_value_mapped. Faults:
// unknown_period_format, period_not_allowed.
func ReadPeriod(s string) (p Period, warning, f *Fault) {
	if p, ok := readPeriod(s); ok {
		return p, nil, nil
	}
	if p, ok := readPeriod(strings.ToUpper(strings.TrimSpace(s))); ok {
		return p, nil, nil
	}
	if len(s) > 60 {
		return Period{}, nil, wordedFault(s)
	}
	if p, ok := betweenDays(s); ok {
		return p, nil, nil
	}
	p, letter, short, ok := wordedPeriod(strings.Fields(Fold(s)))
	switch {
	case !ok:
		return Period{}, nil, wordedFault(s)
	case letter:
		warning = newFault("trimestre_read_as_quarter", s,
			"« T » a été lu comme trimestre : "+p.String()+".", `"T" was read as a quarter: `+p.String()+".",
			"Écrivez "+p.String()+".", "Write "+p.String()+".")
		warning.Suggestion = p.String()
	case short:
		warning = newFault("source_value_mapped", s,
			"« "+s+" » a été lu comme "+p.String()+".", "“"+s+"” was read as "+p.String()+".",
			"Écrivez l'année sur quatre chiffres.", "Write the year with four digits.")
		warning.Suggestion = p.String()
	}
	return p, warning, nil
}

// wordedFault refuses a period of a file, where more may be written than in
// ParsePeriod.
func wordedFault(s string) *Fault {
	f := periodFault(s)
	if d, bad := ReadDate(strings.TrimSpace(s)); bad == nil {
		y, m, _ := d.YMD()
		month := monthsFrom(y, int(m)-1, 1).String()
		f.Detail = Text{FR: "Un jour seul n'est pas une période.", EN: "One day is no period."}
		f.Hint = Text{
			FR: "Pour le mois, écrivez " + month + " ; sinon donnez aussi le dernier jour : " + d.String() + "/" + d.String() + " pour ce seul jour.",
			EN: "For the month, write " + month + "; otherwise give the last day as well: " + d.String() + "/" + d.String() + " for that day alone.",
		}
		return f
	}
	if f.Code == "unknown_period_format" {
		f.Hint = Text{
			FR: "Écrivez 2025, 2025-S1, 2025-Q3 ou T3 2025, 2025-03 ou mars 2025, ou deux jours : 2024-07-01/2025-06-30.",
			EN: "Write 2025, 2025-S1, 2025-Q3 or T3 2025, 2025-03 or March 2025, or two days: 2024-07-01/2025-06-30.",
		}
	}
	return f
}

// betweenDays reads two days with "-", "/", "au", "à" or "to" between them.
func betweenDays(s string) (Period, bool) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "du ")
	for _, between := range []string{" - ", " – ", " au ", " à ", " to ", "/"} {
		a, b, ok := strings.Cut(s, between)
		if !ok {
			continue
		}
		start, bad := ReadDate(strings.TrimSpace(a))
		end, worse := ReadDate(strings.TrimSpace(b))
		if bad == nil && worse == nil && start <= end {
			return Period{start, end}, true
		}
	}
	return Period{}, false
}

// wordedPeriod reads folded words: a year, and at most one part of it. letter
// tells that the part was a quarter called T, short that the year had two digits,
// which it may have after the part: "juil-25".
func wordedPeriod(words []string) (p Period, letter, short, ok bool) {
	if len(words) == 1 {
		words = cutCompact(words[0])
	}
	year, part, months, ranked := 0, 0, 0, false
	for i, w := range words {
		n, isNumber := digits(ordinal(w))
		last := i == len(words)-1
		switch {
		case allDigits(w) && len(w) == 4 && year == 0:
			year = n
		case allDigits(w) && len(w) == 2 && year == 0 && part > 0 && months > 0 && last:
			year, short = 2000+n, true
		case isNumber && len(w) <= 5 && part == 0:
			part, ranked = n, !allDigits(w)
		case isPart(w) && part == 0 && months == 0:
			kind := strings.Trim(w, "123456789")
			part, _ = digits(strings.Trim(w, kind))
			months, letter = map[string]int{"t": 3, "q": 3, "s": 6, "m": 1}[kind], kind == "t"
		case months == 0 && monthNamed(w) > 0 && part == 0:
			part, months = monthNamed(w), 1
		case months == 0 && (w == "trimestre" || w == "quarter" || w == "trim"):
			months = 3
		case months == 0 && (w == "semestre" || w == "semester" || w == "half"):
			months = 6
		case months == 0 && (w == "mois" || w == "month"):
			months = 1
		case w == "annee" || w == "year" || w == "exercice" || w == "de" || w == "du" || w == "of":
		default:
			return Period{}, false, false, false
		}
	}
	switch {
	case year == 0 || months > 0 && part == 0 || months == 0 && ranked:
		return Period{}, false, false, false
	case part == 0:
		return YearPeriod(year), false, false, true
	case months == 0:
		months = 1 // 03/2025
	}
	if part > 12/months {
		return Period{}, false, false, false
	}
	return monthsFrom(year, (part-1)*months, months), letter, short, true
}

// cutCompact cuts "2025t3", "t32025" and "3t25" into year and part.
func cutCompact(w string) []string {
	switch {
	case len(w) == 6 && allDigits(w[:4]):
		return []string{w[:4], w[4:]}
	case (len(w) == 6 || len(w) == 4) && isPart(w[:2]):
		return []string{w[:2], w[2:]}
	}
	return []string{w}
}

// isPart recognises t3, q3, s1, m6 and, of what is no number of months, 3t.
func isPart(w string) bool {
	return len(w) == 2 && (strings.IndexByte("tqsm", w[0]) >= 0 && isDigit(w[1]) || strings.IndexByte("tqs", w[1]) >= 0 && isDigit(w[0]))
}

// ordinal cuts what makes a number a rank: 1er, 2nd, 3e, 4ème, 3rd.
func ordinal(w string) string {
	n := strings.TrimLeft(w, "0123456789")
	switch n {
	case "er", "ere", "e", "eme", "ieme", "nd", "nde", "st", "rd", "th":
		return strings.TrimSuffix(w, n)
	}
	return w
}

func readPeriod(s string) (Period, bool) {
	if len(s) == 21 && s[10] == '/' {
		start, ok1 := readDate(s[:10])
		end, ok2 := readDate(s[11:])
		return Period{start, end}, ok1 && ok2 && start <= end
	}
	if len(s) < 4 || len(s) > 8 {
		return Period{}, false
	}
	y, ok := digits(s[:4])
	if !ok || y == 0 {
		return Period{}, false
	}
	rest := s[4:]
	if rest == "" {
		return YearPeriod(y), true
	}
	if rest[0] == '-' {
		if rest = rest[1:]; rest == "" {
			return Period{}, false
		}
	} else if len(rest) == 3 {
		return Period{}, false // "2024M03" is not written anywhere
	}
	var months int
	switch rest[0] {
	case 'A', 'a':
		months = 12
	case 'S', 's':
		months = 6
	case 'Q', 'q':
		months = 3
	case 'M', 'm':
		rest = rest[1:]
		return readMonth(y, rest)
	default:
		return readMonth(y, rest)
	}
	if len(rest) != 2 || rest[1] < '1' || int(rest[1]-'0') > 12/months {
		return Period{}, false
	}
	return monthsFrom(y, int(rest[1]-'1')*months, months), true
}

func readMonth(y int, s string) (Period, bool) {
	m, ok := digits(s)
	if !ok || len(s) != 2 || m < 1 || m > 12 {
		return Period{}, false
	}
	return monthsFrom(y, m-1, 1), true
}

// Granularity tells which kind of named period p is, Interval when none.
func (p Period) Granularity() Granularity {
	y, m, d := p.Start.YMD()
	if d != 1 {
		return Interval
	}
	switch m := int(m) - 1; {
	case m == 0 && p == monthsFrom(y, m, 12):
		return Year
	case m%6 == 0 && p == monthsFrom(y, m, 6):
		return Semester
	case m%3 == 0 && p == monthsFrom(y, m, 3):
		return Quarter
	case p == monthsFrom(y, m, 1):
		return Month
	}
	return Interval
}

// String writes the canonical form: "2024", "2024-S1", "2024-Q1", "2024-03" or
// "2023-07-01/2024-06-30".
func (p Period) String() string {
	b := make([]byte, 0, 21)
	y, m, _ := p.Start.YMD()
	switch p.Granularity() {
	case Year:
		return string(appendYear(b, y))
	case Semester:
		return string(append(appendYear(b, y), '-', 'S', byte('1'+(m-1)/6)))
	case Quarter:
		return string(append(appendYear(b, y), '-', 'Q', byte('1'+(m-1)/3)))
	case Month:
		return string(appendTwo(append(appendYear(b, y), '-'), int(m)))
	}
	b = append(p.Start.append(b), '/')
	return string(p.End.append(b))
}

// Contains tells that every day of q belongs to p.
func (p Period) Contains(q Period) bool { return p.Start <= q.Start && q.End <= p.End }

// Overlaps tells that p and q share a day.
func (p Period) Overlaps(q Period) bool { return p.Start <= q.End && q.Start <= p.End }

// Days counts the days of p, both ends included.
func (p Period) Days() int { return int(p.End-p.Start) + 1 }

// Buckets gives the named periods of length g that share a day with p, in
// order; p itself when g is Interval.
func (p Period) Buckets(g Granularity) []Period {
	n := g.months()
	if n == 0 {
		return []Period{p}
	}
	y, m, _ := p.Start.YMD()
	first := (int(m) - 1) / n * n
	var out []Period
	for b := monthsFrom(y, first, n); b.Start <= p.End; b = monthsFrom(y, first, n) {
		out = append(out, b)
		first += n
	}
	return out
}

func periodFault(s string) *Fault {
	up := strings.ToUpper(strings.TrimSpace(s))
	if p, ok := readPeriod(up); ok && up != s {
		f := unknownPeriod(s)
		f.Suggestion = p.String()
		return f
	}
	if y, n, ok := trimester(up); ok {
		f := newFault("ambiguous_period", s,
			"« T » veut dire trimestre en français et quatre mois dans la norme SDMX.",
			`"T" means a quarter in French and four months in the SDMX standard.`,
			"Pour un trimestre, écrivez Q.", "For a quarter, write Q.")
		f.Suggestion = monthsFrom(y, (n-1)*3, 3).String()
		return f
	}
	if len(up) >= 6 && allDigits(up[:4]) && strings.HasPrefix(strings.TrimPrefix(up[4:], "-"), "W") {
		return newFault("period_not_allowed", s,
			"Les semaines ne sont pas des périodes acceptées.", "Weeks are not accepted periods.",
			"Déclarez un mois (2024-03), un trimestre (2024-Q1), un semestre, une année ou un intervalle de jours.",
			"State a month (2024-03), a quarter (2024-Q1), a semester, a year or an interval of days.")
	}
	f := unknownPeriod(s)
	if a, b, ok := strings.Cut(up, "/"); ok {
		from, ok1 := readPeriod(a)
		to, ok2 := readPeriod(b)
		start, ok3 := readDate(a)
		end, ok4 := readDate(b)
		switch {
		case ok1 && ok2 && from.Start <= to.End:
			f.Suggestion = Period{from.Start, to.End}.String()
		case ok3 && ok4 && end < start:
			f.Suggestion = Period{end, start}.String()
		}
	} else if d, ok := readDate(up); ok {
		f.Suggestion = d.String() + "/" + d.String()
	} else if len(up) == 7 && allDigits(up[3:]) {
		// "Q1 2024", "03/2024" written the other way round
		if p, ok := readPeriod(up[3:] + "-" + up[:2]); ok {
			f.Suggestion = p.String()
		}
	}
	return f
}

func unknownPeriod(s string) *Fault {
	return newFault("unknown_period_format", s,
		"Cette période n'est pas lisible.", "This period cannot be read.",
		"Écrivez 2024, 2024-S1, 2024-Q1, 2024-03 ou un intervalle de jours 2023-07-01/2024-06-30.",
		"Write 2024, 2024-S1, 2024-Q1, 2024-03 or an interval of days 2023-07-01/2024-06-30.")
}

// trimester recognises "2024-T1", "2024T1", "T1 2024", "T1-2024".
func trimester(s string) (year, n int, ok bool) {
	var y, t string
	switch {
	case len(s) == 7 && s[4] == '-':
		y, t = s[:4], s[5:]
	case len(s) == 6:
		y, t = s[:4], s[4:]
	case len(s) == 7 && (s[2] == ' ' || s[2] == '-' || s[2] == '/'):
		y, t = s[3:], s[:2]
	default:
		return 0, 0, false
	}
	year, ok = digits(y)
	if !ok || year == 0 || t[0] != 'T' || t[1] < '1' || t[1] > '4' {
		return 0, 0, false
	}
	return year, int(t[1] - '0'), true
}

func allDigits(s string) bool {
	_, ok := digits(s)
	return ok
}
