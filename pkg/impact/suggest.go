package impact

import (
	"iter"
	"strings"
	"unicode"
)

// Suggest gives the candidate nearest to s by edit distance, accents, case and
// punctuation set aside. It gives "" when two candidates are equally near or
// when none is near (more than a third of the letters would change).
func Suggest(s string, candidates iter.Seq[string]) string {
	return nearest(s, func(yield func(string, string) bool) {
		for c := range candidates {
			if !yield(c, c) {
				return
			}
		}
	})
}

// foldedText is a text that people may have meant, ready to be compared, and
// the code it stands for; several texts may stand for one code.
type foldedText struct {
	runes  []rune
	result string
}

// foldTexts readies pairs of text and code.
func foldTexts(texts iter.Seq2[string, string]) []foldedText {
	var out []foldedText
	for text, result := range texts {
		out = append(out, foldedText{[]rune(Fold(text)), result})
	}
	return out
}

// nearest compares s with the first string of each pair and gives the second.
func nearest(s string, texts iter.Seq2[string, string]) string {
	return nearestOf(s, foldTexts(texts))
}

func nearestOf(s string, texts []foldedText) string {
	return nearestWithin(s, texts, len([]rune(Fold(s)))/3)
}

// nearestWithin lets so many letters change.
func nearestWithin(s string, texts []foldedText, limit int) string {
	const longest = 100 // no code or label is longer
	if len(s) > longest {
		return ""
	}
	want := []rune(Fold(s))
	if len(want) == 0 {
		return ""
	}
	best, answer, tied := limit+1, "", false
	var rows distanceRows
	for _, t := range texts {
		if diff := len(t.runes) - len(want); diff > best || -diff > best {
			continue
		}
		switch d := rows.distance(want, t.runes, best); {
		case d < best:
			best, answer, tied = d, t.result, false
		case d == best && answer != "" && t.result != answer:
			tied = true
		}
	}
	if tied {
		return ""
	}
	return answer
}

// distanceRows holds the last three rows of the table, reused between calls.
type distanceRows [3][]int

// distance counts insertions, deletions, substitutions and swaps of neighbours;
// it stops counting beyond enough.
func (rows *distanceRows) distance(a, b []rune, enough int) int {
	for i := range rows {
		if cap(rows[i]) <= len(b) {
			rows[i] = make([]int, 2*len(b)+8)
		}
		rows[i] = rows[i][:len(b)+1]
	}
	before, last, now := rows[0], rows[1], rows[2]
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
			least = min(least, now[j])
		}
		if least > enough {
			return least
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}

// Fold writes a text without case, accents and punctuation, words separated by
// one space: what two people would call the same word.
func Fold(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	gap := false
	for _, r := range s {
		if unicode.Is(unicode.Mn, r) {
			continue
		}
		plain := unaccented(unicode.ToLower(r))
		if plain == "" {
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
				gap = true
				continue
			}
			plain = string(unicode.ToLower(r))
		}
		if gap && b.Len() > 0 {
			b.WriteByte(' ')
		}
		gap = false
		b.WriteString(plain)
	}
	return b.String()
}

// FoldCase writes a text without case and accents, its words separated by one
// space. Signs stay: "k€" and "t/h" keep their meaning.
func FoldCase(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case unicode.Is(unicode.Mn, r):
		default:
			r = unicode.ToLower(r)
			if plain := unaccented(r); plain != "" {
				b.WriteString(plain)
			} else {
				b.WriteRune(r)
			}
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// unaccented covers the letters of French and of its neighbours.
func unaccented(r rune) string {
	switch r {
	case 'à', 'â', 'ä', 'á', 'ã', 'å':
		return "a"
	case 'ç':
		return "c"
	case 'é', 'è', 'ê', 'ë':
		return "e"
	case 'î', 'ï', 'í', 'ì':
		return "i"
	case 'ñ':
		return "n"
	case 'ô', 'ö', 'ó', 'ò', 'õ':
		return "o"
	case 'ù', 'û', 'ü', 'ú':
		return "u"
	case 'ÿ', 'ý':
		return "y"
	case 'œ':
		return "oe"
	case 'æ':
		return "ae"
	}
	return ""
}
