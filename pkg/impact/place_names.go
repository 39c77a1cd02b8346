package impact

import (
	"slices"
	"strconv"
	"strings"
)

// longestName is the longest text that is compared with names, in bytes.
const longestName = 100

// usualNames are what people call the Métropole besides its name.
var usualNames = map[string]TerritoryID{
	"metropole": "metropole-200046977", "la metropole": "metropole-200046977",
	"grand lyon": "metropole-200046977", "le grand lyon": "metropole-200046977",
	"metropole lyon": "metropole-200046977", "lyon metropole": "metropole-200046977",
	"la metropole de lyon": "metropole-200046977", "metropole grand lyon": "metropole-200046977",
	"metropole du grand lyon": "metropole-200046977", "grand lyon metropole": "metropole-200046977",
}

// findHome gathers the places inside a métropole.
func (g *Gazetteer) findHome() {
	for _, t := range g.all {
		if t.Type != Commune && t.Type != Arrondissement {
			continue
		}
		if slices.ContainsFunc(g.above[t.Key], func(k TerritoryKey) bool { return g.byKey[k].Type == Metropole }) {
			g.home = append(g.home, t)
		}
	}
	g.homeTexts = foldTexts(func(yield func(string, string) bool) {
		for _, t := range g.home {
			if !yield(t.Name, string(t.ID)) {
				return
			}
		}
	})
}

// Named gives the id of the one place that people call s, as in files:
// "Villeurbanne", "69100 Villeurbanne", "Lyon 3e", "Grand Lyon", "Ste Foy", "Lyon"
// with the postal code 69003. Accents and case do not count; communes and
// arrondissements go before wider territories; inside the Métropole the beginning
// of a name is enough when one commune begins so. It is empty for a code, which
// stands for itself, and when no place or several fit. The warning
// source_value_mapped says what was understood.
func (g *Gazetteer) Named(s, postal string) (id string, warning *Fault) {
	if len(s) > longestName {
		return "", nil
	}
	code, _, _ := strings.Cut(s, "@")
	low := strings.ToLower(strings.TrimSpace(code))
	if g.ids[low] != "" || len(g.bare[low]) > 0 && strings.ContainsAny(low, "0123456789") {
		return "", nil // a code; our own word "lyon" for a CTM is also a commune's name
	}
	words, within := placeWords(s)
	if postal == "" {
		postal = within
	}
	want := strings.Join(words, " ")
	if want == "" || allDigits(want) {
		return "", nil
	}
	found := g.called(want, postal)
	if len(found) == 0 {
		if ranked := rankedPlace(words); ranked != "" {
			found = g.called(ranked, postal)
		}
	}
	if usual := usualNames[want]; len(found) == 0 && usual != "" && postal == "" && g.versions[usual] != nil {
		found = []TerritoryID{usual}
	}
	if len(found) == 0 {
		found = g.beginning(want, postal)
	}
	if len(found) != 1 {
		return "", nil
	}
	id = string(found[0])
	understood := g.withName(found[0])
	warning = newFault("source_value_mapped", s,
		"« "+s+" » a été lu comme "+understood+".", "“"+s+"” was read as "+understood+".",
		"Écrivez le code pour lever tout doute.", "Write the code to leave no doubt.")
	warning.Suggestion = id
	return id, warning
}

// placeWords cuts a text into folded words, Saint and Sainte in full, and takes a
// postal code out of them.
func placeWords(s string) (words []string, postal string) {
	for w := range strings.FieldsSeq(Fold(s)) {
		switch {
		case len(w) == 5 && allDigits(w) && postal == "":
			postal = w
		case w == "cedex":
		case w == "st":
			words = append(words, "saint")
		case w == "ste":
			words = append(words, "sainte")
		default:
			words = append(words, w)
		}
	}
	return words, postal
}

// rankedPlace writes "lyon 3", "lyon 03", "lyon 3 eme arrdt" as the name of an
// arrondissement, empty when the words say no rank.
func rankedPlace(words []string) string {
	at := slices.IndexFunc(words, func(w string) bool { return isDigit(w[0]) })
	if at < 1 {
		return ""
	}
	rank, rest := words[at], words[at+1:]
	if len(rest) > 0 && ordinal(rank+rest[0]) == rank {
		rest = rest[1:]
	}
	n, ok := digits(ordinal(rank))
	if !ok || n < 1 || n > 20 || len(rest) > 1 || len(rest) == 1 && !strings.HasPrefix(rest[0], "ar") {
		return ""
	}
	rank = strconv.Itoa(n) + "e"
	if n == 1 {
		rank = "1er"
	}
	return strings.Join(words[:at], " ") + " " + rank + " arrondissement"
}

// called gives the places of that name, the finer when one lies in the other.
func (g *Gazetteer) called(want, postal string) []TerritoryID {
	var local, wide []TerritoryID
	for _, t := range g.all {
		name := g.folded[t.Key]
		within := postal != "" && slices.Contains(t.PostalCodes, postal)
		if name != want && (!within || !strings.HasPrefix(name, want+" ")) {
			continue
		}
		switch {
		case postal != "" && !within:
		case t.Type == Commune || t.Type == Arrondissement:
			if !slices.Contains(local, t.ID) {
				local = append(local, t.ID)
			}
		case !slices.Contains(wide, t.ID):
			wide = append(wide, t.ID)
		}
	}
	if len(local) == 0 {
		return wide
	}
	if len(local) == 1 {
		return local
	}
	return slices.DeleteFunc(local, func(a TerritoryID) bool { // Lyon and its third arrondissement
		return slices.ContainsFunc(local, func(b TerritoryID) bool {
			return a != b && g.Encloses(g.versions[a][0].Key, g.versions[b][0].Key)
		})
	})
}

// beginning gives the communes of a métropole whose name begins with the words.
func (g *Gazetteer) beginning(want, postal string) []TerritoryID {
	telling := slices.ContainsFunc(strings.Fields(want), func(w string) bool {
		return len(w) > 2 && w != "saint" && w != "sainte" && w != "les"
	})
	if !telling {
		return nil
	}
	var out []TerritoryID
	for _, t := range g.home {
		if t.Type == Commune && strings.HasPrefix(g.folded[t.Key], want+" ") && !slices.Contains(out, t.ID) &&
			(postal == "" || slices.Contains(t.PostalCodes, postal)) {
			out = append(out, t.ID)
		}
	}
	return out
}

// withName writes "commune-69034 (Caluire-et-Cuire)".
func (g *Gazetteer) withName(id TerritoryID) string {
	vs := g.versions[id]
	return string(id) + " (" + vs[len(vs)-1].Name + ")"
}

// suggest names what an unknown reference may have meant: a place of the
// Métropole before any other, which must differ by one letter at most. Most
// names of saints are near one another.
func (g *Gazetteer) suggest(f *Fault, name string) {
	words, _ := placeWords(name)
	want := strings.Join(words, " ")
	if !strings.ContainsAny(want, "0123456789") {
		letters := len(strings.TrimPrefix(strings.TrimPrefix(want, "sainte "), "saint "))
		f.Suggestion = nearestWithin(want, g.homeTexts, letters/4)
	}
	if several := g.beginning(want, ""); f.Suggestion == "" && len(several) > 1 && len(several) < 6 {
		fr, en := g.candidates(slices.Values(several))
		f.Hint = Text{FR: "Plusieurs communes commencent ainsi : " + fr + ".", EN: "Several communes begin so: " + en + "."}
		return
	}
	if f.Suggestion == "" {
		f.Suggestion = nearestWithin(name, g.texts, min(1, len(name)/3))
	}
	if f.Suggestion != "" {
		meant := g.withName(TerritoryID(f.Suggestion))
		f.Hint = Text{FR: "Vouliez-vous dire " + meant + " ? " + f.Hint.FR, EN: "Did you mean " + meant + "? " + f.Hint.EN}
	}
}
