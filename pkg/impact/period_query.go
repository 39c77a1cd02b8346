package impact

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FirstYear is the first year the tool keeps facts about; an open range
// ("../2023-12") begins there.
const FirstYear = 2000

// PeriodQuery is what a reader asks for in time (api.md 6.1): a list of named
// periods, ranges and relative expressions.
type PeriodQuery struct{ terms []periodTerm }

// periodTerm is one element of the list; the word tells how to read the rest.
type periodTerm struct {
	word     string // "", "last", "ytd", "latest", "latest_period"
	from, to Period // of a range or a single period (from == to)
	open     openEnd
	count    int         // last:4Q
	unit     Granularity // last:4Q
	year     int         // ytd:2025
	text     string
}

type openEnd uint8

const (
	openStart openEnd = 1 << iota
	openFinish
)

// ParsePeriodQuery reads "2025", "2023/2025", "2024-01-01/P3M", "2024/..",
// "../2023-12", "last:4Q", "ytd:2025", "latest", "latest_period", and lists of
// these separated by commas. Faults as in ParsePeriod.
func ParsePeriodQuery(s string) (PeriodQuery, *Fault) {
	var q PeriodQuery
	for _, part := range strings.Split(s, ",") {
		t, f := parseTerm(part)
		if f != nil {
			return PeriodQuery{}, f
		}
		q.terms = append(q.terms, t)
	}
	return q, nil
}

func parseTerm(s string) (periodTerm, *Fault) {
	t := periodTerm{text: s}
	word, rest, _ := strings.Cut(s, ":")
	switch word {
	case "latest", "latest_period":
		if t.word = word; s == word {
			return t, nil
		}
		return t, unknownPeriodQuery(s)
	case "last":
		t.word = word
		n, ok := 0, len(rest) > 1 && len(rest) < 5
		if ok {
			n, ok = digits(rest[:len(rest)-1])
			t.unit = map[byte]Granularity{'Y': Year, 'A': Year, 'S': Semester, 'Q': Quarter, 'M': Month}[rest[len(rest)-1]&^0x20]
		}
		if t.count = n; !ok || n == 0 || t.unit == "" {
			return t, unknownPeriodQuery(s)
		}
		return t, nil
	case "ytd":
		t.word = word
		y, ok := digits(rest)
		if t.year = y; !ok || len(rest) != 4 || y == 0 {
			return t, unknownPeriodQuery(s)
		}
		return t, nil
	}
	if p, ok := readPeriod(s); ok {
		t.from, t.to = p, p
		return t, nil
	}
	a, b, isRange := strings.Cut(s, "/")
	if !isRange {
		_, f := ParsePeriod(s)
		f.Hint = unknownPeriodQuery(s).Hint
		return t, f
	}
	var f *Fault
	if a == ".." {
		t.open |= openStart
	} else if t.from, f = rangeEnd(a); f != nil {
		return t, f
	}
	switch {
	case b == "..":
		t.open |= openFinish
	case strings.HasPrefix(b, "P") && a != "..":
		end, ok := plusDuration(t.from.Start, b)
		if !ok {
			return t, unknownPeriodQuery(s)
		}
		p := Period{t.from.Start, end}
		t.from, t.to = p, p
		return t, nil
	default:
		if t.to, f = rangeEnd(b); f != nil {
			return t, f
		}
	}
	if t.open == openStart|openFinish || t.open == 0 && t.from.Start > t.to.End {
		return t, unknownPeriodQuery(s)
	}
	return t, nil
}

// rangeEnd reads one end of a range: a named period or a day.
func rangeEnd(s string) (Period, *Fault) {
	if d, ok := readDate(s); ok {
		return Period{d, d}, nil
	}
	return ParsePeriod(s)
}

// plusDuration reads P3M, P1Y, P30D: the last day of that length from start.
func plusDuration(start Date, s string) (Date, bool) {
	if len(s) < 3 || len(s) > 6 {
		return 0, false
	}
	n, ok := digits(s[1 : len(s)-1])
	if !ok || n == 0 {
		return 0, false
	}
	y, m, d := start.YMD()
	switch s[len(s)-1] {
	case 'Y':
		y += n
	case 'M':
		y += (int(m) - 1 + n) / 12
		m = time.Month((int(m)-1+n)%12 + 1)
	case 'D':
		return start + Date(n) - 1, true
	default:
		return 0, false
	}
	if y > 9999 {
		return 0, false
	}
	return NewDate(y, m, min(d, daysIn(y, m)+1)) - 1, true
}

func unknownPeriodQuery(s string) *Fault {
	f := unknownPeriod(s)
	f.Hint = Text{
		FR: "Écrivez une période (2024-Q1), une plage (2023/2025, 2024/..), une liste (2023,2025), last:4Q, ytd:2025, latest ou latest_period.",
		EN: "Write a period (2024-Q1), a range (2023/2025, 2024/..), a list (2023,2025), last:4Q, ytd:2025, latest or latest_period.",
	}
	return f
}

// IsZero tells that nothing was asked.
func (q PeriodQuery) IsZero() bool { return len(q.terms) == 0 }

// String writes the query as read, periods in canonical form.
func (q PeriodQuery) String() string {
	var parts []string
	for _, t := range q.terms {
		switch {
		case t.word == "last":
			parts = append(parts, "last:"+strconv.Itoa(t.count)+strings.ToUpper(string(t.unit[0])))
		case t.word != "":
			parts = append(parts, t.text)
		case t.open == openStart:
			parts = append(parts, "../"+rangeText(t.to))
		case t.open == openFinish:
			parts = append(parts, rangeText(t.from)+"/..")
		case t.from == t.to:
			parts = append(parts, t.from.String())
		default:
			parts = append(parts, rangeText(t.from)+"/"+rangeText(t.to))
		}
	}
	return strings.Join(parts, ",")
}

func rangeText(p Period) string {
	if p.Start == p.End {
		return p.Start.String()
	}
	return p.String()
}

// Resolve gives the periods asked for, in order and each once, as buckets of
// length g (the buckets that share a day with what was asked); with an empty g
// each term keeps its own length. Relative terms count from today: last:4Q is
// the four last quarters that are over, ytd the year up to today, latest_period
// the last bucket that is over. latest asks latestWithValue for the latest
// period that has a value.
func (q PeriodQuery) Resolve(today Date, g Granularity, latestWithValue func() (Period, bool)) []Period {
	var out []Period
	for _, t := range q.terms {
		span, own, ok := t.span(today, g, latestWithValue)
		if span.Days() > 2*366 { // long ranges stop where no fact can be
			span.Start = max(span.Start, NewDate(FirstYear, time.January, 1))
			span.End = min(span.End, YearPeriod(today.Year()+1).End)
			ok = ok && span.Start <= span.End
		}
		switch {
		case !ok:
		case g != "" && g != Interval:
			out = append(out, span.Buckets(g)...)
		default:
			out = append(out, span.Buckets(own)...)
		}
	}
	slices.SortFunc(out, func(a, b Period) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End))
	})
	return slices.Compact(out)
}

// span gives the days a term covers and the length of its own buckets.
func (t periodTerm) span(today Date, g Granularity, latestWithValue func() (Period, bool)) (Period, Granularity, bool) {
	switch t.word {
	case "last":
		first := lastOver(today, t.unit)
		y, m, _ := first.Start.YMD()
		start := monthsFrom(y, int(m)-1-(t.count-1)*t.unit.months(), 1).Start
		return Period{start, first.End}, t.unit, true
	case "ytd":
		p := YearPeriod(t.year)
		p.End = min(p.End, today)
		return p, Interval, p.Start <= p.End
	case "latest":
		p, ok := Period{}, false
		if latestWithValue != nil {
			p, ok = latestWithValue()
		}
		return p, Interval, ok
	case "latest_period":
		if g.months() == 0 {
			g = Year
		}
		return lastOver(today, g), g, true
	}
	from, to := t.from, t.to
	switch t.open {
	case openStart:
		from = Period{NewDate(FirstYear, time.January, 1), NewDate(FirstYear, time.January, 1)}
		own := to.Granularity()
		return Period{min(from.Start, to.End), to.End}, own, true
	case openFinish:
		return Period{from.Start, max(from.End, today)}, from.Granularity(), true
	}
	if from == to {
		return from, Interval, true
	}
	own := finer(from.Granularity(), to.Granularity())
	return Period{from.Start, to.End}, own, true
}

// lastOver gives the last bucket of length g that ended before today.
func lastOver(today Date, g Granularity) Period {
	now := Period{today, today}.Buckets(g)[0]
	return Period{now.Start - 1, now.Start - 1}.Buckets(g)[0]
}

// finer gives the shorter of two lengths; a day interval stays whole.
func finer(a, b Granularity) Granularity {
	if a == Interval || b == Interval {
		return Interval
	}
	if a.months() < b.months() {
		return a
	}
	return b
}
