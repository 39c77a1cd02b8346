package format

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Mapping is what a sender decided once about its files: headers and values
// that the tool would not know by itself.
type Mapping struct {
	// Headers leads from a header as given to a member; "" leaves the column out.
	Headers map[string]string
	// Values leads, for a member, from a text of the file to the code meant.
	Values map[string]map[string]string

	// The same without case and accents; what only they tell apart is left out.
	headers map[string]string
	values  map[string]map[string]string
}

// folded readies a mapping: texts match as written first, then without case and
// accents.
func (m Mapping) folded() Mapping {
	if m.headers != nil {
		return m
	}
	m.headers, m.values = foldKeys(m.Headers), make(map[string]map[string]string, len(m.Values))
	for member, texts := range m.Values {
		m.values[member] = foldKeys(texts)
	}
	return m
}

func foldKeys(texts map[string]string) map[string]string {
	out := make(map[string]string, len(texts))
	doubtful := map[string]bool{}
	for text, to := range texts {
		text = impact.FoldCase(text)
		if other, taken := out[text]; taken && other != to {
			doubtful[text] = true
		}
		out[text] = to
	}
	for text := range doubtful {
		delete(out, text)
	}
	return out
}

// header tells what the sender decided about a column.
func (m *Mapping) header(given string) (member string, decided bool) {
	if len(m.Headers) == 0 {
		return "", false
	}
	if member, decided = m.Headers[given]; !decided {
		member, decided = m.headers[impact.FoldCase(given)]
	}
	return member, decided
}

// value tells what the sender decided about a text of a member.
func (m *Mapping) value(member, given string) (meant string, decided bool) {
	texts := m.Values[member]
	if len(texts) == 0 {
		return "", false
	}
	if meant, decided = texts[given]; !decided {
		meant, decided = m.values[member][impact.FoldCase(given)]
	}
	return meant, decided
}

// HeaderMapping says what each column was taken for.
type HeaderMapping struct {
	// Members holds, for each column, the member it gives, empty when the
	// column is ignored.
	Members []string
	// Ignored are the headers of the columns nothing was made of.
	Ignored []string

	fields []match // by column
}

// ByHeader leads from each header that was understood to its member.
func (m *HeaderMapping) ByHeader(header []string) map[string]string {
	out := map[string]string{}
	for i, name := range m.Members {
		if name != "" {
			out[header[i]] = name
		}
	}
	return out
}

// Column gives the column of a member, from 1; 0 when there is none.
func (m *HeaderMapping) Column(member string) int { return slices.Index(m.Members, member) + 1 }

// headerDepth is how many lines from the top a header may stand.
const headerDepth = 30

// MapHeader tells the member of each column: what the sender decided, then the
// exact name, then the name and its synonyms without case and accents. The
// faults say that two columns give one member; the warnings, what is ignored.
func MapHeader(header []string, s *Schema, decided Mapping) (m HeaderMapping, faults, warnings []impact.Fault) {
	s.prepare()
	decided = decided.folded()
	m.Members, m.fields = make([]string, len(header)), make([]match, len(header))
	taken := map[string]int{}
	for i, h := range header {
		m.fields[i] = s.match(h, decided)
	}
	// A loose word gives way to any other column that claims its field.
	claims := slices.Clone(m.fields)
	for i, f := range claims {
		for k, o := range claims {
			if f.loose && k != i && o.field != nil && (o.field == f.field || !o.loose && slices.Contains(f.field.Rivals, o.field.Name)) {
				m.fields[i] = s.strict(header[i], f.field)
			}
		}
	}
	for i, f := range m.fields {
		h := header[i]
		if f.field == nil {
			if h != "" && !s.silent(h) && !leftOut(decided, h) {
				m.Ignored = append(m.Ignored, h)
				warnings = append(warnings, unknownColumn(i+1, h, s))
			}
			continue
		}
		name := f.field.Name + f.suffix
		if f.field.Object != "" && f.suffix == "" {
			name = f.field.Object
		}
		if first, twice := taken[name]; twice {
			faults = append(faults, columnTwice(i+1, h, name, header[first], first+1))
			continue
		}
		taken[name] = i
		m.Members[i] = name
	}
	return m, faults, warnings
}

func leftOut(decided Mapping, header string) bool {
	_, ok := decided.header(header)
	return ok
}

func (s *Schema) match(header string, decided Mapping) match {
	if to, ok := decided.header(header); ok {
		return s.named(to)
	}
	name := trim(header)
	if m := s.named(name); m.field != nil {
		return m
	}
	if m, ok := s.family(name); ok {
		return m
	}
	word := impact.Fold(name)
	if m, ok := s.loose[word]; ok {
		return m
	}
	return s.folded[word]
}

// strict gives what a loose word means besides the field it gave way for.
func (s *Schema) strict(header string, not *Field) match {
	if m := s.folded[impact.Fold(header)]; m.field != not {
		return m
	}
	return match{}
}

// named gives the field of that exact name.
func (s *Schema) named(name string) match {
	if f := s.byName[name]; f != nil && !strings.HasSuffix(name, ".") {
		return match{field: f}
	}
	if m, ok := s.family(name); ok && strings.HasPrefix(name, m.field.Name) {
		return m
	}
	return match{}
}

// recognised counts the cells that are headers.
func (s *Schema) recognised(cells []string, decided Mapping) int {
	s.prepare()
	n := 0
	for _, c := range cells {
		if len(c) <= 100 && s.match(c, decided).field != nil {
			n++
		}
	}
	return n
}

// findHeader finds the header among the first records: the one with most known
// columns. A line of titles above it is no header; a header of one known column
// must come first.
func (t *Table) findHeader(sample []Record) (at int, err error) {
	best := 0
	for i, r := range sample[:min(len(sample), headerDepth)] {
		n := t.options.Schema.recognised(r.Cells, t.options.Mapping)
		if n > best && (n > 1 || i == 0) {
			at, best = i, n
		}
	}
	if best == 0 {
		return 0, t.noHeader(sample)
	}
	return at, t.setHeader(&sample[at])
}

// setHeader adopts a record as the header of the table.
func (t *Table) setHeader(r *Record) error {
	header := slices.Clone(r.Cells)
	for len(header) > 0 && trim(header[len(header)-1]) == "" {
		header = header[:len(header)-1]
	}
	if len(header) > t.limits.Columns {
		return tooManyColumns(len(header), t.limits.Columns)
	}
	for i, h := range header {
		if utf8.RuneCountInString(h) > t.limits.Cell {
			return unreadable(impact.Text{FR: "L'en-tête de la colonne " + strconv.Itoa(i+1) + " est trop long.", EN: "The header of column " + strconv.Itoa(i+1) + " is too long."},
				impact.Text{FR: "Donnez un nom court à chaque colonne.", EN: "Give each column a short name."})
		}
		header[i] = trim(h)
	}
	m, faults, warnings := MapHeader(header, t.options.Schema, t.options.Mapping)
	if len(faults) > 0 {
		return unreadable(impact.Text{FR: "Deux colonnes donnent la même information.", EN: "Two columns give the same information."},
			impact.Text{FR: "Gardez-en une seule, ou renommez l'autre.", EN: "Keep one of them, or rename the other."}, faults...)
	}
	t.Header, t.Headers, t.Layout.HeaderLine = header, m, r.Line
	t.Warnings = append(t.Warnings, warnings...)
	t.width = len(r.Cells)
	return nil
}

func (t *Table) noHeader(sample []Record) error {
	if len(sample) == 0 {
		return unreadable(impact.Text{FR: "Le fichier est vide.", EN: "The file is empty."},
			impact.Text{FR: "La première ligne nomme les colonnes ; un modèle est à GET /v1/import-templates.", EN: "The first line names the columns; a template is at GET /v1/import-templates."})
	}
	given, known := strings.Join(clip(sample[0].Cells, 10), ", "), strings.Join(t.options.Schema.names(), ", ")
	return unreadable(
		impact.Text{FR: "Aucune ligne du début du fichier ne nomme de colonne connue. Première ligne lue : " + given + ".", EN: "No line at the top of the file names a known column. First line read: " + given + "."},
		impact.Text{FR: "Nommez les colonnes : " + known + ".", EN: "Name the columns: " + known + "."})
}

// clip keeps the first n texts, none of them long.
func clip(texts []string, n int) []string {
	out := make([]string, 0, n)
	for _, s := range texts[:min(len(texts), n)] {
		out = append(out, shorten(trim(s)))
	}
	return out
}

// shorten cuts a text that is shown in a sentence or a report.
func shorten(s string) string {
	const longest = 100
	if utf8.RuneCountInString(s) <= longest {
		return s
	}
	return string([]rune(s)[:longest-1]) + "…"
}

func unknownColumn(column int, header string, s *Schema) impact.Fault {
	f := impact.Fault{
		Code: "unknown_column", Column: column, Value: shorten(header),
		Detail: impact.Text{FR: "La colonne « " + shorten(header) + " » est ignorée.", EN: "The column “" + shorten(header) + "” is ignored."},
		Hint:   impact.Text{FR: "Rien à faire si elle ne sert qu'à vous.", EN: "Nothing to do if it is for you only."},
	}
	if f.Suggestion = impact.Suggest(header, slices.Values(s.names())); f.Suggestion != "" {
		f.Hint = impact.Text{FR: "Vouliez-vous dire " + f.Suggestion + " ?", EN: "Did you mean " + f.Suggestion + "?"}
	}
	return f
}

func columnTwice(column int, header, member, first string, firstColumn int) impact.Fault {
	return impact.Fault{
		Code: "duplicate_member", Column: column, Value: shorten(header),
		Detail: impact.Text{
			FR: "Les colonnes " + strconv.Itoa(firstColumn) + " (" + shorten(first) + ") et " + strconv.Itoa(column) + " (" + shorten(header) + ") donnent toutes deux " + member + ".",
			EN: "Columns " + strconv.Itoa(firstColumn) + " (" + shorten(first) + ") and " + strconv.Itoa(column) + " (" + shorten(header) + ") both give " + member + ".",
		},
		Hint: impact.Text{FR: "Gardez-en une seule, ou renommez l'autre.", EN: "Keep one of them, or rename the other."},
	}
}

func tooManyColumns(n, limit int) error {
	return &impact.Error{
		Kind: impact.TooLarge, Code: "body_too_large",
		Detail: impact.Text{FR: "Le fichier a " + strconv.Itoa(n) + " colonnes ; " + strconv.Itoa(limit) + " au plus sont lues.", EN: "The file has " + strconv.Itoa(n) + " columns; at most " + strconv.Itoa(limit) + " are read."},
		Hint:   impact.Text{FR: "Ne gardez que les colonnes utiles.", EN: "Keep the useful columns only."},
	}
}
