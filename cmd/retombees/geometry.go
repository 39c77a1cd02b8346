package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/paulmach/orb"
	"github.com/paulmach/orb/planar"

	"github.com/grandlyon/retombees/pkg/impact"
)

const maxGeometryBytes = 200 << 20

// mainlandFrance bounds every contour but the country's own: degrees in the
// wrong order, or metres of Lambert 93, do not fit in it.
var mainlandFrance = orb.Bound{Min: orb.Point{-5.6, 41}, Max: orb.Point{9.9, 51.5}}

// featureCollection is what we read of RFC 7946; members we do not know are
// ignored, as it asks. (orb's own reader would bring a database driver along.)
type featureCollection struct {
	Type     string          `json:"type"`
	CRS      json.RawMessage `json:"crs"`
	Features []feature       `json:"features"`
}

type feature struct {
	ID         any             `json:"id"`
	BBox       []float64       `json:"bbox"`
	Properties map[string]any  `json:"properties"`
	Geometry   json.RawMessage `json:"geometry"`
}

// polygons reads a Polygon or MultiPolygon; fault says why it is neither.
func (f *feature) polygons() (polygons orb.MultiPolygon, fault string) {
	var g struct {
		Type        string          `json:"type"`
		Coordinates json.RawMessage `json:"coordinates"`
	}
	if len(f.Geometry) == 0 || bytes.Equal(f.Geometry, []byte("null")) {
		return nil, "it has no geometry"
	}
	if err := json.Unmarshal(f.Geometry, &g); err != nil {
		return nil, "its geometry cannot be read: " + err.Error()
	}
	var err error
	switch g.Type {
	case "Polygon":
		polygons = make(orb.MultiPolygon, 1)
		err = json.Unmarshal(g.Coordinates, &polygons[0])
	case "MultiPolygon":
		err = json.Unmarshal(g.Coordinates, &polygons)
	default:
		return nil, fmt.Sprintf("a Polygon or MultiPolygon is expected, this is %q", g.Type)
	}
	switch {
	case err != nil:
		return nil, "its coordinates cannot be read: " + err.Error()
	case len(polygons) == 0:
		return nil, "the MultiPolygon is empty"
	}
	return polygons, ""
}

// encode writes polygons as a GeoJSON geometry.
func encode(polygons orb.MultiPolygon) ([]byte, error) {
	type geometry struct {
		Type        string `json:"type"`
		Coordinates any    `json:"coordinates"`
	}
	if len(polygons) == 1 {
		return json.Marshal(geometry{"Polygon", polygons[0]})
	}
	return json.Marshal(geometry{"MultiPolygon", polygons})
}

// readGeometry reads an RFC 7946 feature collection and matches it with the
// gazetteer. The error tells a file that is no such collection; what is wrong
// with single features stands in the report, all at once.
func readGeometry(text []byte, g *impact.Gazetteer, today impact.Date) (*geometryReport, error) {
	var file featureCollection
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("not a JSON feature collection: %w", err)
	}
	if file.Type != "FeatureCollection" {
		return nil, fmt.Errorf("a FeatureCollection is expected, this is %q", file.Type)
	}
	if len(file.CRS) > 0 && !bytes.Contains(file.CRS, []byte("CRS84")) && !bytes.Equal(file.CRS, []byte("null")) {
		return nil, errors.New("it names a coordinate reference system (crs); RFC 7946 has only longitude and latitude in WGS 84: convert it first")
	}
	r := &geometryReport{geometries: map[impact.TerritoryKey][]byte{}, matched: map[impact.TerritoryType]int{}}
	for n := range file.Features {
		f := &file.Features[n]
		prop := func(name string) string { return asText(f.Properties[name]) }
		id := asText(f.ID)
		if id == "" {
			id = prop("id")
		}
		called := fmt.Sprintf("feature %d (%s)", n+1, strings.TrimSpace(id+" "+prop("name")))
		t, reason := matchTerritory(g, today, id, prop("type"), prop("code"), prop("valid_from"), prop("valid_to"))
		if t == nil {
			r.unmatched = append(r.unmatched, called+": "+reason)
			continue
		}
		if _, twice := r.geometries[t.Key]; twice {
			r.faults = append(r.faults, called+": a second contour for "+string(t.ID))
			continue
		}
		polygons, fault := f.polygons()
		if fault != "" {
			r.faults = append(r.faults, called+": "+fault)
			continue
		}
		faults, rewound := checkGeometry(polygons, f.BBox, t.Type)
		for _, fault := range faults {
			r.faults = append(r.faults, called+": "+fault)
		}
		if len(faults) > 0 {
			continue
		}
		if rewound {
			r.rewound++
		}
		text, err := encode(polygons)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", called, err)
		}
		r.geometries[t.Key] = text
		r.matched[t.Type]++
	}
	return r, nil
}

func asText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return fmt.Sprintf("%.0f", v)
	}
	return ""
}

// geometryReport is what a file of contours holds for us.
type geometryReport struct {
	geometries map[impact.TerritoryKey][]byte // GeoJSON geometries
	matched    map[impact.TerritoryType]int
	unmatched  []string // feature and reason
	faults     []string // feature and what is wrong with its contour
	rewound    int      // features whose rings ran the wrong way
}

func (r *geometryReport) lines() []string {
	var lines []string
	for _, typ := range slices.Sorted(maps.Keys(r.matched)) {
		lines = append(lines, fmt.Sprintf("matched    %d %s", r.matched[typ], typ))
	}
	if r.rewound > 0 {
		lines = append(lines, fmt.Sprintf("rewound    %d contours whose rings ran the wrong way", r.rewound))
	}
	for _, u := range r.unmatched {
		lines = append(lines, "unmatched  "+u)
	}
	for _, f := range r.faults {
		lines = append(lines, "wrong      "+f)
	}
	return lines
}

// matchTerritory finds the territory a feature is about. id is the feature's
// own; typ, code, from and to are properties, as text, empty when absent.
func matchTerritory(g *impact.Gazetteer, today impact.Date, id, typ, code, from, to string) (*impact.Territory, string) {
	bare, day, dated := strings.Cut(id, "@")
	if dated && to == "" {
		to = day
	}
	name := bare
	if typ != "" && code != "" {
		name = typ + "-" + code
	}
	versions := g.Versions(canonicalID(name))
	if len(versions) == 0 {
		if name == "" {
			return nil, "it has no id, and no type and code in its properties"
		}
		if !strings.Contains(name, "-") {
			return nil, "a code alone may name several territories: add the property type (commune, arrondissement, ctm…)"
		}
		return nil, "no territory of the reference data is called " + name
	}
	for _, bound := range []struct {
		text string
		of   func(*impact.Territory) impact.Date
	}{
		{to, func(t *impact.Territory) impact.Date { return t.ValidTo }},
		{from, func(t *impact.Territory) impact.Date { return t.ValidFrom }},
	} {
		if bound.text == "" {
			continue
		}
		want, fault := impact.ParseDate(bound.text)
		if fault != nil {
			return nil, "date not readable: " + bound.text
		}
		for _, t := range versions {
			if bound.of(t) == want {
				return t, ""
			}
		}
		return nil, fmt.Sprintf("%s has no version bounded by %s", name, bound.text)
	}
	for _, t := range versions {
		if t.ValidFrom <= today && today <= t.ValidTo {
			return t, ""
		}
	}
	if len(versions) == 1 {
		return versions[0], ""
	}
	return nil, name + " had several versions, none in force today: add the property valid_to"
}

// canonicalID spells an id as the reference data do; INSEE's long name of the
// arrondissements and the capitals of codes are understood.
func canonicalID(name string) impact.TerritoryID {
	name = strings.ToLower(name)
	name = strings.Replace(name, "arrondissement_municipal-", "arrondissement-", 1)
	name = strings.Replace(name, "ctm-ctm-", "ctm-", 1)
	typ, code, _ := strings.Cut(name, "-")
	if typ == string(impact.Country) || typ == string(impact.Commune) || typ == string(impact.Departement) {
		code = strings.ToUpper(code) // FR, 2A004, 69D
	}
	if code == "" {
		return impact.TerritoryID(typ)
	}
	return impact.TerritoryID(typ + "-" + code)
}

// checkGeometry says what is wrong with a contour, and turns its rings the way
// RFC 7946 asks (exteriors counterclockwise, holes clockwise).
func checkGeometry(polygons orb.MultiPolygon, bbox []float64, typ impact.TerritoryType) (faults []string, rewound bool) {
	for p, polygon := range polygons {
		if len(polygon) == 0 {
			faults = append(faults, fmt.Sprintf("polygon %d is empty", p+1))
		}
		for n, ring := range polygon {
			where := fmt.Sprintf("polygon %d, ring %d: ", p+1, n+1)
			if fault := checkRing(ring); fault != "" {
				faults = append(faults, where+fault)
				continue
			}
			turn := orb.CCW
			if n > 0 {
				turn = orb.CW
				if len(polygon[0]) > 3 && !planar.RingContains(polygon[0], ring[0]) {
					faults = append(faults, where+"a hole outside of its polygon")
				}
			}
			if ring.Orientation() != turn {
				ring.Reverse()
				rewound = true
			}
		}
	}
	if len(faults) > 0 {
		return faults, false
	}
	bound := polygons.Bound()
	if typ != impact.Country && (!mainlandFrance.Contains(bound.Min) || !mainlandFrance.Contains(bound.Max)) {
		hint := "are the coordinates longitude and latitude, in degrees?"
		if swapped := (orb.Bound{Min: orb.Point{bound.Min[1], bound.Min[0]}, Max: orb.Point{bound.Max[1], bound.Max[0]}}); mainlandFrance.Contains(swapped.Min) {
			hint = "latitude seems to stand before longitude"
		}
		faults = append(faults, fmt.Sprintf("it lies outside of mainland France (%v to %v): %s", bound.Min, bound.Max, hint))
	}
	switch n := len(bbox); n {
	case 0:
	case 4, 6: // 6 with altitudes
		said := orb.Bound{Min: orb.Point{bbox[0], bbox[1]}, Max: orb.Point{bbox[n/2], bbox[n/2+1]}}.Pad(1e-5)
		if !said.Contains(bound.Min) || !said.Contains(bound.Max) {
			faults = append(faults, "its bbox does not hold its contour")
		}
	default:
		faults = append(faults, fmt.Sprintf("its bbox has %d numbers, not 4 or 6", n))
	}
	return faults, rewound
}

// checkRing gives what makes a ring unusable, "" when nothing does.
func checkRing(ring orb.Ring) string {
	for _, p := range ring {
		if !(math.Abs(p[0]) <= 180 && math.Abs(p[1]) <= 90) {
			return fmt.Sprintf("%v is not a longitude and a latitude", p)
		}
	}
	switch {
	case len(ring) < 4:
		return fmt.Sprintf("%d positions, at least 4 are needed", len(ring))
	case !ring.Closed():
		return "its last position is not its first"
	case planar.Area(ring) == 0:
		return "it encloses nothing"
	}
	if a, b, crosses := crossing(ring); crosses {
		return fmt.Sprintf("it crosses itself between positions %d and %d", min(a, b)+1, max(a, b)+1)
	}
	return ""
}

// crossing finds two sides of a ring that cross each other. Sides are swept by
// longitude: contours have short sides, so that each meets few others.
func crossing(ring orb.Ring) (a, b int, found bool) {
	sides := make([]int, len(ring)-1)
	for i := range sides {
		sides[i] = i
	}
	west := func(i int) float64 { return min(ring[i][0], ring[i+1][0]) }
	east := func(i int) float64 { return max(ring[i][0], ring[i+1][0]) }
	slices.SortFunc(sides, func(i, j int) int {
		if west(i) < west(j) {
			return -1
		}
		if west(i) > west(j) {
			return 1
		}
		return 0
	})
	for n, i := range sides {
		for _, j := range sides[n+1:] {
			if west(j) > east(i) {
				break
			}
			if cross(ring[i], ring[i+1], ring[j], ring[j+1]) {
				return i, j, true
			}
		}
	}
	return 0, 0, false
}

// cross tells that the open segments ab and cd meet in one inner point; sides
// that only touch are left alone.
func cross(a, b, c, d orb.Point) bool {
	side := func(p, q, r orb.Point) float64 { return (q[0]-p[0])*(r[1]-p[1]) - (q[1]-p[1])*(r[0]-p[0]) }
	return side(a, b, c)*side(a, b, d) < 0 && side(c, d, a)*side(c, d, b) < 0
}
