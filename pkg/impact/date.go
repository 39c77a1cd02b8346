package impact

import (
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // the civil day of Paris must not depend on the machine
)

// Date is a calendar day, counted from 1970-01-01 (0). Days are civil days of
// Europe/Paris; no instant is implied.
type Date int32

// Open ends of validity.
const (
	MinDate Date = -1 << 30
	MaxDate Date = 1<<30 - 1
)

var paris = sync.OnceValue(func() *time.Location {
	l, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		panic("impact: the embedded time zones lack Europe/Paris: " + err.Error())
	}
	return l
})

// NewDate gives the day y-m-d; days beyond the month carry over, as in time.Date.
func NewDate(y int, m time.Month, d int) Date {
	// Days since the civil epoch, years starting in March so that the leap day
	// comes last.
	y += int(m-1) / 12
	m = (m-1)%12 + 1
	if m < 1 {
		m += 12
		y--
	}
	if m <= 2 {
		y--
		m += 12
	}
	era := floorDiv(y, 400)
	yearOfEra := y - era*400
	dayOfYear := (153*(int(m)-3)+2)/5 + d - 1
	dayOfEra := yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear
	return Date(era*146097 + dayOfEra - 719468)
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// DateOf gives the civil day of an instant in Europe/Paris.
func DateOf(t time.Time) Date {
	y, m, d := t.In(paris()).Date()
	return NewDate(y, m, d)
}

// ParseDate reads "2024-12-31". Fault: invalid_date.
func ParseDate(s string) (Date, *Fault) {
	if d, ok := readDate(s); ok {
		return d, nil
	}
	f := newFault("invalid_date", s,
		"Ce n'est pas une date du calendrier.", "This is not a calendar date.",
		"Écrivez année-mois-jour : 2024-12-31.", "Write year-month-day: 2024-12-31.")
	if len(s) == 10 && (s[2] == '/' || s[2] == '.') && s[5] == s[2] {
		if d, ok := readDate(s[6:] + "-" + s[3:5] + "-" + s[:2]); ok {
			f.Suggestion = d.String()
		}
	}
	return 0, f
}

// ReadDate reads a day as people write it in files: "2024-12-31", "31/12/2024",
// "31.12.2024", "1/7/2024" (day before month), "31 décembre 2024", "2024-12-31
// 00:00:00". Two-digit years are not guessed. Fault: invalid_date.
func ReadDate(s string) (Date, *Fault) {
	if d, ok := readDate(s); ok {
		return d, nil
	}
	if d, ok := writtenDate(s); ok {
		return d, nil
	}
	_, f := ParseDate(s)
	f.Hint = Text{"Écrivez 2024-12-31 ou 31/12/2024, l'année en quatre chiffres.", "Write 2024-12-31 or 31/12/2024, the year in four digits."}
	return 0, f
}

func writtenDate(s string) (Date, bool) {
	s = strings.TrimSpace(s)
	if len(s) > 40 {
		return 0, false
	}
	if len(s) > 10 && (s[10] == 'T' || s[10] == ' ') && strings.Trim(s[11:], "0:.Z") == "" {
		return readDate(s[:10])
	}
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == '/' || r == '.' || r == '-' || r == ' ' || r == '\u00a0' })
	if len(parts) != 3 || len(parts[2]) != 4 {
		return 0, false
	}
	y, ok := digits(parts[2])
	d, ok2 := digits(strings.TrimSuffix(parts[0], "er"))
	m, ok3 := digits(parts[1])
	if !ok3 {
		m = monthNamed(Fold(parts[1]))
	}
	if !ok || !ok2 || len(parts[0]) > 4 || len(parts[1]) > 12 || y == 0 || m < 1 || m > 12 || d < 1 || d > daysIn(y, time.Month(m)) {
		return 0, false
	}
	return NewDate(y, time.Month(m), d), true
}

// monthNamed gives the month of a folded name, whole or cut short, in French or
// English; 0 when there is none.
func monthNamed(word string) int {
	for i, names := range monthNames {
		for _, name := range names {
			if word == name {
				return i + 1
			}
		}
	}
	return 0
}

var monthNames = [12][]string{
	{"janvier", "janv", "january", "jan"},
	{"fevrier", "fevr", "fev", "february", "feb"},
	{"mars", "march", "mar"},
	{"avril", "avr", "april", "apr"},
	{"mai", "may"},
	{"juin", "june", "jun"},
	{"juillet", "juil", "july", "jul"},
	{"aout", "august", "aug"},
	{"septembre", "sept", "september", "sep"},
	{"octobre", "oct", "october"},
	{"novembre", "nov", "november"},
	{"decembre", "dec", "december"},
}

func readDate(s string) (Date, bool) {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' {
		return 0, false
	}
	y, ok1 := digits(s[:4])
	m, ok2 := digits(s[5:7])
	d, ok3 := digits(s[8:])
	if !ok1 || !ok2 || !ok3 || y == 0 || m < 1 || m > 12 || d < 1 || d > daysIn(y, time.Month(m)) {
		return 0, false
	}
	return NewDate(y, time.Month(m), d), true
}

func digits(s string) (n int, ok bool) {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, s != ""
}

func daysIn(y int, m time.Month) int {
	switch m {
	case time.February:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	case time.April, time.June, time.September, time.November:
		return 30
	}
	return 31
}

// YMD gives year, month and day.
func (d Date) YMD() (year int, month time.Month, day int) {
	z := int(d) + 719468
	era := floorDiv(z, 146097)
	dayOfEra := z - era*146097
	yearOfEra := (dayOfEra - dayOfEra/1460 + dayOfEra/36524 - dayOfEra/146096) / 365
	dayOfYear := dayOfEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	shifted := (5*dayOfYear + 2) / 153
	day = dayOfYear - (153*shifted+2)/5 + 1
	month = time.Month(shifted + 3)
	year = yearOfEra + era*400
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

// Year gives the calendar year.
func (d Date) Year() int {
	y, _, _ := d.YMD()
	return y
}

// Time gives midnight UTC of the day.
func (d Date) Time() time.Time {
	y, m, day := d.YMD()
	return time.Date(y, m, day, 0, 0, 0, 0, time.UTC)
}

// String writes "2024-12-31", nothing for an open end.
func (d Date) String() string {
	if d == MinDate || d == MaxDate {
		return ""
	}
	return string(d.append(make([]byte, 0, 10)))
}

func (d Date) append(b []byte) []byte {
	y, m, day := d.YMD()
	b = appendYear(b, y)
	b = append(b, '-')
	b = appendTwo(b, int(m))
	b = append(b, '-')
	return appendTwo(b, day)
}

func appendYear(b []byte, y int) []byte {
	return appendTwo(appendTwo(b, y/100%100), y%100)
}

func appendTwo(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }
