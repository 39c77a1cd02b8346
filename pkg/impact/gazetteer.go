package impact

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Gazetteer knows every territory there is and was, and how they nest and
// succeed one another. It never changes after NewGazetteer and may be read from
// many goroutines.
type Gazetteer struct {
	all       []*Territory                    // by key
	byKey     []*Territory                    // index = key, nil where there is none
	versions  map[TerritoryID][]*Territory    // by ValidFrom
	ids       map[string]TerritoryID          // lower-case ids and aliases
	bare      map[string][]TerritoryID        // lower-case codes
	postal    map[string][]TerritoryID        // postal codes
	children  map[TerritoryID][]*Territory    // by key
	comesFrom map[TerritoryKey][]*Territory   // versions that this one takes over
	above     map[TerritoryKey][]TerritoryKey // ancestors on any common day
	texts     []foldedText                    // ids, codes and names, for suggestions
	folded    map[TerritoryKey]string         // names, accents and case set aside
	home      []*Territory                    // what a métropole encloses: whose names people shorten
	homeTexts []foldedText                    // its names, for suggestions
}

// Projection is a part of a territory seen in another vintage: Share of it is
// (in) the territory Key.
type Projection struct {
	Key   TerritoryKey
	Share Quantity
}

// NewGazetteer arranges territories. It refuses duplicate keys, two versions of
// one id in force on the same day, unknown parents and successors, and cycles.
func NewGazetteer(ts []Territory) (*Gazetteer, error) {
	g := &Gazetteer{
		versions:  map[TerritoryID][]*Territory{},
		ids:       map[string]TerritoryID{},
		bare:      map[string][]TerritoryID{},
		postal:    map[string][]TerritoryID{},
		children:  map[TerritoryID][]*Territory{},
		comesFrom: map[TerritoryKey][]*Territory{},
		above:     map[TerritoryKey][]TerritoryKey{},
	}
	for i := range ts {
		t := ts[i]
		g.all = append(g.all, &t)
	}
	slices.SortFunc(g.all, func(a, b *Territory) int { return cmp.Compare(a.Key, b.Key) })

	var errs []error
	for i, t := range g.all {
		if t.Key <= 0 || i > 0 && g.all[i-1].Key == t.Key {
			errs = append(errs, fmt.Errorf("territory %s: key %d is not positive and unique", t.ID, t.Key))
			continue
		}
		g.byKey = append(g.byKey, make([]*Territory, int(t.Key)+1-len(g.byKey))...)
		g.byKey[t.Key] = t
		g.versions[t.ID] = append(g.versions[t.ID], t)
		g.ids[strings.ToLower(string(t.ID))] = t.ID
		for _, a := range t.Aliases {
			g.ids[strings.ToLower(string(a))] = t.ID
		}
		addID(g.bare, strings.ToLower(t.Code), t.ID)
		for _, p := range t.PostalCodes {
			addID(g.postal, p, t.ID)
		}
		if t.Parent != "" {
			g.children[t.Parent] = append(g.children[t.Parent], t)
		}
	}
	for id, vs := range g.versions {
		slices.SortFunc(vs, func(a, b *Territory) int { return cmp.Compare(a.ValidFrom, b.ValidFrom) })
		for i, t := range vs {
			if t.ValidFrom > t.ValidTo || i > 0 && vs[i-1].ValidTo >= t.ValidFrom {
				errs = append(errs, fmt.Errorf("territory %s: two versions in force on %s", id, t.ValidFrom))
			}
		}
	}
	for _, t := range g.all {
		if t.Parent != "" && g.versions[t.Parent] == nil {
			errs = append(errs, fmt.Errorf("territory %s: unknown parent %s", t.ID, t.Parent))
		}
		for _, s := range t.Successors {
			next := g.successor(t, s)
			if next == nil {
				errs = append(errs, fmt.Errorf("territory %s: no successor %s after %s", t.ID, s.ID, t.ValidTo))
				continue
			}
			g.comesFrom[next.Key] = append(g.comesFrom[next.Key], t)
		}
	}
	if len(errs) == 0 {
		for _, t := range g.all {
			if err := g.climb(t, t, t.ValidFrom, t.ValidTo, 0); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	g.folded = make(map[TerritoryKey]string, len(g.all))
	for _, t := range g.all {
		g.folded[t.Key] = Fold(t.Name)
	}
	g.texts = foldTexts(func(yield func(string, string) bool) {
		for _, t := range g.all {
			if !yield(string(t.ID), string(t.ID)) || !yield(t.Code, string(t.ID)) || !yield(t.Name, string(t.ID)) {
				return
			}
		}
	})
	g.findHome()
	return g, nil
}

func addID(m map[string][]TerritoryID, k string, id TerritoryID) {
	if !slices.Contains(m[k], id) {
		m[k] = append(m[k], id)
	}
}

// sharesCode tells that a bare code may mean a part as well: 69 is the Rhône
// with the Métropole, and for many the Rhône alone.
func (g *Gazetteer) sharesCode(id TerritoryID) bool {
	whole := g.versions[id][0]
	return slices.ContainsFunc(g.children[id], func(t *Territory) bool { return t.Type == whole.Type })
}

// climb notes every territory above t on some day from..to.
func (g *Gazetteer) climb(start, t *Territory, from, to Date, depth int) error {
	if depth > 10 {
		return fmt.Errorf("territory %s: its parents form a cycle", start.ID)
	}
	for _, p := range g.versions[t.Parent] {
		from, to := max(from, p.ValidFrom), min(to, p.ValidTo)
		if from > to {
			continue
		}
		if !slices.Contains(g.above[start.Key], p.Key) {
			g.above[start.Key] = append(g.above[start.Key], p.Key)
		}
		if err := g.climb(start, p, from, to, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// successor gives the version of s in force the day after t ended.
func (g *Gazetteer) successor(t *Territory, s Succession) *Territory {
	for _, v := range g.versions[s.ID] {
		if v.ValidFrom > t.ValidTo || v.ValidTo > t.ValidTo {
			return v
		}
	}
	return nil
}

// All gives every version, by key. The slice is shared: do not change it.
func (g *Gazetteer) All() []*Territory { return g.all }

// ByKey gives the version of that key, nil when there is none.
func (g *Gazetteer) ByKey(k TerritoryKey) *Territory {
	if k < 0 || int(k) >= len(g.byKey) {
		return nil
	}
	return g.byKey[k]
}

// Versions gives every version that ever bore the id, oldest first.
func (g *Gazetteer) Versions(id TerritoryID) []*Territory { return g.versions[id] }

// At gives the version of id in force on a day, nil when there is none.
func (g *Gazetteer) At(id TerritoryID, on Date) *Territory {
	for _, t := range g.versions[id] {
		if t.inForce(on) {
			return t
		}
	}
	return nil
}

func (t *Territory) inForce(on Date) bool { return t.ValidFrom <= on && on <= t.ValidTo }

// Day gives the day whose territories the vintage holds.
func (v Vintage) Day() Date { return NewDate(int(v), time.January, 1) }

// CurrentVintage gives the vintage in use on a day: its year.
func (g *Gazetteer) CurrentVintage(today Date) Vintage { return Vintage(today.Year()) }

// Children gives the territories directly below k in the vintage, by key.
func (g *Gazetteer) Children(k TerritoryKey, v Vintage) []*Territory {
	t := g.ByKey(k)
	if t == nil {
		return nil
	}
	var out []*Territory
	for _, c := range g.children[t.ID] {
		if c.inForce(v.Day()) {
			out = append(out, c)
		}
	}
	return out
}

// Ancestors gives the territories above k in the vintage, nearest first. A
// territory out of force in that vintage still has those above it.
func (g *Gazetteer) Ancestors(k TerritoryKey, v Vintage) []*Territory {
	var out []*Territory
	for t := g.ByKey(k); t != nil && t.Parent != ""; {
		if t = g.At(t.Parent, v.Day()); t != nil {
			out = append(out, t)
		}
	}
	return out
}

// Descendants gives the territories of a type below k in the vintage, by key;
// all of them when typ is empty.
func (g *Gazetteer) Descendants(k TerritoryKey, v Vintage, typ TerritoryType) []*Territory {
	var out []*Territory
	var below func(TerritoryKey)
	below = func(k TerritoryKey) {
		for _, c := range g.Children(k, v) {
			if typ == "" || c.Type == typ {
				out = append(out, c)
			}
			below(c.Key)
		}
	}
	below(k)
	slices.SortFunc(out, func(a, b *Territory) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

// Encloses tells that a is b, or is above b on some day both are in force.
func (g *Gazetteer) Encloses(a, b TerritoryKey) bool {
	return a == b || slices.Contains(g.above[b], a)
}

// Project tells what the territory k is in a vintage: itself, the territory it
// merged into (share One), or the parts it was split into with their declared
// weights. It is empty when the vintage cannot express it: a new commune seen in
// an older vintage, unless it only changed its code.
func (g *Gazetteer) Project(k TerritoryKey, v Vintage) []Projection {
	t := g.ByKey(k)
	if t == nil {
		return nil
	}
	if t.inForce(v.Day()) {
		return []Projection{{k, One}}
	}
	var out []Projection
	if t.ValidFrom > v.Day() {
		if from := g.comesFrom[k]; len(from) == 1 && len(from[0].Successors) == 1 {
			return g.Project(from[0].Key, v)
		}
		return nil
	}
	for _, s := range t.Successors {
		next := g.successor(t, s)
		for _, p := range g.Project(next.Key, v) {
			share, _, _ := p.Share.Convert(int64(s.Share), int64(One))
			if i := slices.IndexFunc(out, func(o Projection) bool { return o.Key == p.Key }); i >= 0 {
				out[i].Share += share
			} else {
				out = append(out, Projection{p.Key, share})
			}
		}
	}
	return out
}

// ForPeriod reads a reference to a territory ("commune-69123",
// "commune-69149@2023", a code borne by one territory only) for a fact about the
// period. A retired code in force during the period is kept; after its end it
// becomes its single successor, with the warning retired_territory. Faults:
// unknown_territory, ambiguous_territory, retired_territory_split.
func (g *Gazetteer) ForPeriod(s string, p Period) (*Territory, []Fault, *Fault) {
	if vs, ok := g.versions[TerritoryID(s)]; ok { // the common spelling
		for i := len(vs) - 1; i >= 0; i-- {
			if vs[i].ValidFrom <= p.End && p.Start <= vs[i].ValidTo {
				return vs[i], nil, nil
			}
		}
	}
	return g.resolve(s, p)
}

// ForVintage reads a reference to a territory for a query in a vintage: what is
// retired becomes its successor, with the warning retired_territory. Faults as
// in ForPeriod.
func (g *Gazetteer) ForVintage(s string, v Vintage) (*Territory, []Fault, *Fault) {
	return g.ForPeriod(s, Period{v.Day(), v.Day()})
}

func (g *Gazetteer) resolve(s string, p Period) (*Territory, []Fault, *Fault) {
	name, pin, pinned := strings.Cut(strings.TrimSpace(s), "@")
	id, f := g.identify(s, name)
	if f != nil {
		return nil, nil, f
	}
	vs := g.versions[id]
	if pinned {
		year, ok := digits(pin)
		if !ok || len(pin) != 4 {
			return nil, nil, newFault("unknown_territory", s,
				"Ce qui suit @ n'est pas une année.", "What follows @ is not a year.",
				"Écrivez l'année du code officiel géographique : commune-69149@2023.",
				"Write the year of the official geographic code: commune-69149@2023.")
		}
		t := g.At(id, Vintage(year).Day())
		if t == nil {
			return nil, nil, g.notInForce(s, id, Period{Vintage(year).Day(), Vintage(year).Day()})
		}
		vs = []*Territory{t}
	}
	for i := len(vs) - 1; i >= 0; i-- {
		if vs[i].ValidFrom <= p.End && p.Start <= vs[i].ValidTo {
			return vs[i], nil, nil
		}
	}
	// Not in force: the latest version that ended before the period leads on.
	var ended *Territory
	for _, t := range vs {
		if t.ValidTo < p.Start {
			ended = t
		}
	}
	if ended == nil {
		return nil, nil, g.notInForce(s, id, p)
	}
	t := ended
	for t.ValidTo < p.Start {
		switch len(t.Successors) {
		case 0:
			return nil, nil, newFault("unknown_territory", s,
				t.Name+" n'existe plus depuis le "+t.ValidTo.String()+" et n'a pas de successeur.",
				t.Name+" ceased to exist on "+t.ValidTo.String()+" and has no successor.",
				"Indiquez le territoire où l'impact a lieu pendant la période.",
				"Give the territory where the impact takes place in the period.")
		case 1:
			t = g.successor(t, t.Successors[0])
		default:
			fr, en := g.candidates(func(yield func(TerritoryID) bool) {
				for _, s := range t.Successors {
					if !yield(s.ID) {
						return
					}
				}
			})
			return nil, nil, newFault("retired_territory_split", s,
				t.Name+" a été partagé après le "+t.ValidTo.String()+".",
				t.Name+" was split after "+t.ValidTo.String()+".",
				"Choisissez parmi : "+fr+".", "Choose among: "+en+".")
		}
	}
	w := newFault("retired_territory", s,
		ended.Name+" ("+string(id)+") n'existe plus depuis le "+ended.ValidTo.String()+" : lu comme "+t.Name+" ("+string(t.ID)+").",
		ended.Name+" ("+string(id)+") ceased to exist on "+ended.ValidTo.String()+": read as "+t.Name+" ("+string(t.ID)+").",
		"Écrivez désormais "+string(t.ID)+".", "From now on write "+string(t.ID)+".")
	w.Suggestion = string(t.ID)
	return t, []Fault{*w}, nil
}

func (g *Gazetteer) notInForce(s string, id TerritoryID, p Period) *Fault {
	first := g.versions[id][0]
	f := newFault("unknown_territory", s,
		first.Name+" ("+string(id)+") n'existe que depuis le "+first.ValidFrom.String()+".",
		first.Name+" ("+string(id)+") exists only since "+first.ValidFrom.String()+".",
		"", "")
	if first.ValidFrom <= p.End {
		f.Detail = Text{
			FR: string(id) + " n'était pas en vigueur le " + p.Start.String() + ".",
			EN: string(id) + " was not in force on " + p.Start.String() + ".",
		}
	}
	var before []TerritoryID
	for _, t := range g.comesFrom[first.Key] {
		before = append(before, t.ID)
	}
	if len(before) == 0 {
		f.Hint = Text{
			FR: "Indiquez le territoire en vigueur pendant la période.",
			EN: "Give the territory in force during the period.",
		}
		return f
	}
	fr, en := g.candidates(slices.Values(before))
	f.Hint = Text{FR: "Avant cette date : " + fr + ".", EN: "Before that day: " + en + "."}
	if len(before) == 1 {
		f.Suggestion = string(before[0])
	}
	return f
}

// identify finds the one id that name means; s is what was written.
func (g *Gazetteer) identify(s, name string) (TerritoryID, *Fault) {
	low := strings.ToLower(name)
	if id, ok := g.ids[low]; ok {
		return id, nil
	}
	ids := g.bare[low]
	var postal []TerritoryID
	for _, id := range g.postal[low] {
		if !slices.Contains(ids, id) {
			postal = append(postal, id)
		}
	}
	switch {
	case len(ids) == 1 && len(postal) == 0 && !g.sharesCode(ids[0]):
		return ids[0], nil
	case len(ids) == 1 && len(postal) == 0:
		ids = slices.Clone(ids)
		for _, t := range g.children[ids[0]] {
			if !slices.Contains(ids, t.ID) {
				ids = append(ids, t.ID)
			}
		}
		fallthrough
	case len(ids) > 0:
		fr, en := g.candidates(slices.Values(append(slices.Clone(ids), postal...)))
		f := newFault("ambiguous_territory", s,
			"Le code "+name+" seul désigne plusieurs territoires.", "The code "+name+" alone names several territories.",
			"Écrivez le type devant le code : "+fr+".", "Write the type before the code: "+en+".")
		return "", f
	case len(postal) > 0:
		fr, en := g.candidates(slices.Values(postal))
		f := newFault("unknown_territory", s,
			name+" est un code postal ; un code postal n'est pas un territoire.", name+" is a postal code; a postal code is not a territory.",
			"Choisissez la commune ou l'arrondissement : "+fr+".", "Choose the commune or arrondissement: "+en+".")
		if len(postal) == 1 {
			f.Suggestion = string(postal[0])
		}
		return "", f
	}
	f := newFault("unknown_territory", s,
		"Aucun territoire ne porte ce code : "+name+".", "No territory bears this code: "+name+".",
		"Écrivez type-code, par exemple commune-69266 ; GET /v1/territories?q= les trouve par leur nom.",
		"Write type-code, for example commune-69266; GET /v1/territories?q= finds them by name.")
	g.suggest(f, name)
	return "", f
}

// candidates writes "commune-69003 (Albigny-sur-Saône), …" in both languages.
func (g *Gazetteer) candidates(ids iter.Seq[TerritoryID]) (fr, en string) {
	var parts []string
	for id := range ids {
		vs := g.versions[id]
		parts = append(parts, string(id)+" ("+vs[len(vs)-1].Name+")")
	}
	if n := len(parts); n > 1 {
		last := parts[n-1]
		head := strings.Join(parts[:n-1], ", ")
		return head + " ou " + last, head + " or " + last
	}
	return strings.Join(parts, ""), strings.Join(parts, "")
}

// Search finds territories by name or code, accents and case set aside: names
// that begin with the words first, territories in force before retired ones,
// wider before finer. Nothing for an empty question.
func (g *Gazetteer) Search(q string) []*Territory {
	want := Fold(q)
	if want == "" {
		return nil
	}
	words := strings.Fields(want)
	type hit struct {
		t    *Territory
		rank int
	}
	var hits []hit
	for _, t := range g.all {
		name := Fold(t.Name)
		var rank int
		switch {
		case name == want || strings.EqualFold(t.Code, strings.TrimSpace(q)) || Fold(string(t.ID)) == want:
			rank = 0
		case strings.HasPrefix(name, want):
			rank = 2
		case containsAll(name, words):
			rank = 4
		case len(want) > 1 && strings.HasPrefix(strings.ToLower(t.Code), want):
			rank = 6
		default:
			continue
		}
		if t.ValidTo != MaxDate {
			rank++
		}
		hits = append(hits, hit{t, rank})
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Compare(a.rank, b.rank) })
	out := make([]*Territory, len(hits))
	for i, h := range hits {
		out[i] = h.t
	}
	return out
}

func containsAll(name string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(" "+name, " "+w) {
			return false
		}
	}
	return true
}

// String writes the year.
func (v Vintage) String() string { return strconv.Itoa(int(v)) }
