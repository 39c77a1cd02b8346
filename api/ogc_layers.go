package api

import (
	"bytes"
	"cmp"
	stdjson "encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// layerSet is every layer of a release. It is made once and
// only read.
type layerSet struct {
	release *impact.Release // nil before the first
	tag     string
	layers  []*layer
}

// layer is the territories of one type; with a release, their figures of a year.
type layer struct {
	id      string
	typ     impact.TerritoryType
	title   impact.Text
	release *impact.Release
	year    impact.Period
	// figures are the columns, places the rows, the most populated first: readers
	// that guess the type of a column from the first rows see figures there.
	figures []figureColumn
	places  []*impact.Territory
	cells   map[impact.TerritoryKey][]*calculation.Figure // beside figures; nil = nothing reported
}

type figureColumn struct {
	indicator  *impact.Indicator
	qualifiers string
	name       string
}

// layerColumn is one column of a layer.
type layerColumn struct {
	name, typ, format, unit string
	title                   impact.Text
}

var territoryTitles = map[impact.TerritoryType]impact.Text{
	impact.Country: {FR: "Pays", EN: "Country"}, impact.Region: {FR: "Régions", EN: "Regions"}, impact.Departement: {FR: "Départements", EN: "Départements"},
	impact.Metropole: {FR: "Métropole", EN: "Métropole"}, impact.CTM: {FR: "Conférences territoriales des maires", EN: "Territorial conferences of mayors"},
	impact.Commune: {FR: "Communes", EN: "Communes"}, impact.Arrondissement: {FR: "Arrondissements", EN: "Arrondissements"},
}

// layerCache keeps the layers of the releases read last.
type layerCache struct {
	mu   sync.Mutex
	sets []*layerSet // the last one read comes last
}

// layerSetsKept: the latest release, and those that somebody is paging through.
const layerSetsKept = 3

func (k *layerCache) find(tag string) *layerSet {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.sets, func(s *layerSet) bool { return s.tag == tag })
	if i < 0 {
		return nil
	}
	found := k.sets[i]
	k.sets = append(slices.Delete(k.sets, i, i+1), found)
	return found
}

func (k *layerCache) keep(set *layerSet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sets = slices.DeleteFunc(k.sets, func(s *layerSet) bool { return s.tag == set.tag })
	if k.sets = append(k.sets, set); len(k.sets) > layerSetsKept {
		k.sets = slices.Clone(k.sets[1:])
	}
}

// ogcLayers gives the layers of a release, of the latest when number is 0.
func (s *server) ogcLayers(c *call, number impact.ReleaseNumber) (*layerSet, error) {
	var released Released
	if s.Releases != nil {
		var err error
		if number > 0 {
			released, err = s.Releases.Get(c.r.Context(), number)
		} else {
			released, err = s.Releases.Latest(c.r.Context())
		}
		if e, ok := errors.AsType[*impact.Error](err); ok && e.Kind == impact.NotFound && number == 0 {
			released, err = nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	tag := s.Catalogue.Reference().Version + "-" + s.vintage().String()
	if released != nil {
		r := released.Release()
		tag += "-" + strconv.Itoa(int(r.Number)) + "-" + r.Digest
	}
	if set := s.layers.find(tag); set != nil {
		return set, nil
	}
	set, err := s.makeLayers(released)
	if err != nil {
		return nil, err
	}
	set.tag = tag
	s.layers.keep(set)
	return set, nil
}

// ogcLayer finds the layer named in the path.
func (s *server) ogcLayer(c *call, number impact.ReleaseNumber) (*layerSet, *layer, error) {
	set, err := s.ogcLayers(c, number)
	if err != nil {
		return nil, nil, err
	}
	id := c.param("id")
	for _, l := range set.layers {
		if l.id == id {
			return set, l, nil
		}
	}
	return nil, nil, notALayer(set, id)
}

// makeLayers lists figures before outlines, the finest territories and the latest
// years first: many readers open the first layer.
func (s *server) makeLayers(released Released) (*layerSet, error) {
	set := &layerSet{}
	for _, typ := range slices.Backward(territoryTypes) {
		if released == nil {
			break
		}
		set.release = released.Release()
		layers, err := s.figureLayers(released, impact.TerritoryType(typ))
		if err != nil {
			return nil, err
		}
		set.layers = append(set.layers, layers...)
	}
	for _, typ := range slices.Backward(territoryTypes) {
		typ := impact.TerritoryType(typ)
		if places := s.places(typ, s.vintage()); len(places) > 0 {
			set.layers = append(set.layers, &layer{id: "territories-" + string(typ), typ: typ, title: territoryTitles[typ], places: places})
		}
	}
	return set, nil
}

// places gives the territories of a type in a vintage, the most populated first.
func (s *server) places(typ impact.TerritoryType, v impact.Vintage) []*impact.Territory {
	var out []*impact.Territory
	for _, t := range s.Catalogue.Gazetteer().All() {
		if t.Type == typ && t.ValidFrom <= v.Day() && v.Day() <= t.ValidTo {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *impact.Territory) int {
		return cmp.Or(cmp.Compare(b.Population, a.Population), strings.Compare(string(a.ID), string(b.ID)))
	})
	return out
}

// figureLayers gives one layer a year, the latest first.
func (s *server) figureLayers(released Released, typ impact.TerritoryType) ([]*layer, error) {
	r := released.Release()
	places := s.places(typ, r.Vintage)
	if len(places) == 0 {
		return nil, nil
	}
	q := calculation.Query{Vintage: r.Vintage, KeepRefused: true}
	for _, t := range places {
		q.Territories = append(q.Territories, t.Key)
	}
	available, err := released.Available(q)
	if err != nil {
		return nil, err
	}
	if q.Indicators = available.Indicators; len(q.Indicators) == 0 {
		return nil, nil
	}
	var out []*layer
	for _, year := range available.Periods {
		if year.Granularity() != impact.Year {
			continue
		}
		q.Periods = []impact.Period{year}
		found, err := released.Figures(q)
		if err != nil {
			return nil, err
		}
		if l := s.figureLayer(r, typ, year, places, found.Figures); l != nil {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b *layer) int { return cmp.Compare(b.year.Start, a.year.Start) })
	return out, nil
}

func (s *server) figureLayer(r *impact.Release, typ impact.TerritoryType, year impact.Period, places []*impact.Territory, figures []calculation.Figure) *layer {
	title := territoryTitles[typ]
	l := &layer{
		id: "impact-" + string(typ) + "-" + strconv.Itoa(year.Start.Year()), typ: typ, release: r, year: year,
		title: impact.Text{FR: title.FR + " : chiffres d'impact " + year.String(), EN: title.EN + ": impact figures of " + year.String()},
		cells: map[impact.TerritoryKey][]*calculation.Figure{},
	}
	type column struct {
		code       impact.IndicatorCode
		qualifiers string
	}
	at := map[column]int{}
	for i := range figures {
		f := &figures[i]
		ind := s.Catalogue.Indicator(f.Indicator)
		if ind == nil || f.Period != year || f.Status == impact.Missing {
			continue
		}
		k := column{f.Indicator, f.Qualifiers}
		if _, ok := at[k]; !ok {
			at[k] = len(l.figures)
			l.figures = append(l.figures, figureColumn{indicator: ind, qualifiers: f.Qualifiers, name: columnName(string(f.Indicator), f.Qualifiers)})
		}
	}
	if len(l.figures) == 0 {
		return nil
	}
	for i := range figures {
		f := &figures[i]
		n, ok := at[column{f.Indicator, f.Qualifiers}]
		if !ok || f.Period != year {
			continue
		}
		row := l.cells[f.Territory]
		if row == nil {
			row = make([]*calculation.Figure, len(l.figures))
			l.cells[f.Territory] = row
		}
		row[n] = f
	}
	// Elsewhere than in the Métropole only places with a figure are shown.
	g := s.Catalogue.Gazetteer()
	for _, t := range places {
		if l.cells[t.Key] != nil || slices.ContainsFunc(g.Ancestors(t.Key, r.Vintage), func(a *impact.Territory) bool { return a.Type == impact.Metropole }) {
			l.places = append(l.places, t)
		}
	}
	return l
}

// columnName writes what a figure is qualified by into the name of its column:
// "commute_km__local_scope_metropole".
func columnName(code, qualifiers string) string {
	if qualifiers == "" {
		return code
	}
	return code + "__" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, qualifiers)
}

func (l *layer) description() impact.Text {
	if l.release == nil {
		return impact.Text{
			FR: "Contours et population des territoires, tels qu'ils sont aujourd'hui.",
			EN: "Outlines and population of the territories as they are today.",
		}
	}
	n := strconv.Itoa(int(l.release.Number))
	return impact.Text{
		FR: "Une colonne par indicateur, pour toute l'année " + l.year.String() + ", telle que la publication " + n + " la donne. La colonne _status dit pourquoi un chiffre manque : Q caché par le contrôle de la confidentialité (ce n'est pas un zéro), L non collecté, M sans objet ; vide : rien n'a été déclaré.",
		EN: "One column an indicator, for the whole of " + l.year.String() + ", as release " + n + " gives it. The _status column says why a figure is absent: Q withheld by disclosure control (it is no zero), L not collected, M not applicable; empty: nothing was reported.",
	}
}

// columns lists the columns in the order of the features.
func (l *layer) columns() []layerColumn {
	out := []layerColumn{
		{name: "territory", typ: "string", title: impact.Text{FR: "Identifiant du territoire", EN: "Id of the territory"}},
		{name: "name", typ: "string", title: impact.Text{FR: "Nom", EN: "Name"}},
		{name: "type", typ: "string", title: impact.Text{FR: "Type de territoire", EN: "Type of territory"}},
		{name: "code", typ: "string", title: impact.Text{FR: "Code officiel", EN: "Official code"}},
		{name: "parent", typ: "string", title: impact.Text{FR: "Territoire juste au-dessus", EN: "Territory just above"}},
		{name: "population", typ: "integer", title: impact.Text{FR: "Population municipale", EN: "Municipal population"}},
	}
	if l.release == nil {
		return append(out,
			layerColumn{name: "population_year", typ: "integer", title: impact.Text{FR: "Année de la population", EN: "Year of the population"}},
			layerColumn{name: "area_km2", typ: "number", unit: "km2", title: impact.Text{FR: "Superficie", EN: "Area"}},
			layerColumn{name: "siren", typ: "string", title: impact.Text{FR: "SIREN", EN: "SIREN"}})
	}
	out = append(out,
		layerColumn{name: "period", typ: "string", title: impact.Text{FR: "Période", EN: "Period"}},
		layerColumn{name: "release", typ: "integer", title: impact.Text{FR: "Publication", EN: "Release"}})
	for _, f := range l.figures {
		title := f.indicator.Label
		if f.qualifiers != "" {
			title = impact.Text{FR: title.FR + " (" + f.qualifiers + ")", EN: title.EN + " (" + f.qualifiers + ")"}
		}
		out = append(out,
			layerColumn{name: f.name, typ: "number", unit: f.indicator.Unit, title: title},
			layerColumn{name: f.name + "_status", typ: "string", title: impact.Text{FR: title.FR + " : statut", EN: title.EN + ": status"}})
	}
	return out
}

// properties are the columns of one row.
func (l *layer) properties(t *impact.Territory) members {
	p := members{}
	p.add("territory", t.ID)
	p.add("name", t.Name)
	p.add("type", t.Type)
	p.add("code", t.Code)
	p.add("parent", optional(t.Parent))
	p.add("population", positive(t.Population))
	if l.release == nil {
		p.add("population_year", positive(t.PopulationYear))
		if t.AreaKM2 > 0 {
			p.add("area_km2", decimal(t.AreaKM2))
		} else {
			p.add("area_km2", nil)
		}
		p.add("siren", optional(t.SIREN))
		return p
	}
	p.add("period", l.year.String())
	p.add("release", int(l.release.Number))
	row := l.cells[t.Key]
	for i, col := range l.figures {
		var value any
		var status any
		if row != nil && row[i] != nil {
			f := row[i]
			status = string(rune(f.Status))
			if f.Value != nil && f.Status != impact.Suppressed {
				value = decimal(*f.Value)
			}
		}
		p.add(col.name, value)
		p.add(col.name+"_status", status)
	}
	return p
}

// decimal writes a number with a decimal point, even where nothing follows it:
// readers take the type of a column from its first rows, and would cut "0.5" to 0
// further down a column that began with whole numbers.
func decimal(q impact.Quantity) stdjson.RawMessage {
	s := q.String()
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return stdjson.RawMessage(s)
}

func positive(n int) any {
	if n > 0 {
		return n
	}
	return nil
}

// members is a JSON object whose members keep their order.
type members struct {
	names  []string
	values []any
}

func (m *members) add(name string, value any) {
	m.names, m.values = append(m.names, name), append(m.values, value)
}

// MarshalJSON writes the members in the order in which they were added.
func (m members) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, name := range m.names {
		if i > 0 {
			b = append(b, ',')
		}
		k, err := plainJSON(name)
		if err != nil {
			return nil, err
		}
		v, err := plainJSON(m.values[i])
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, k...), ':'), v...)
	}
	return append(b, '}'), nil
}

func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := stdjson.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
