package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
)

var today = impact.NewDate(2026, 11, 25)

func testCatalogue(t testing.TB) *impact.Catalogue {
	t.Helper()
	ref, err := codelist.Load()
	if err != nil {
		t.Fatal(err)
	}
	c, err := impact.NewCatalogue(ref)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func oneFeature(id, properties, geometry string) string {
	return fmt.Sprintf(`{"type":"FeatureCollection","features":[{"type":"Feature","id":%q,"properties":{%s},"geometry":%s}]}`, id, properties, geometry)
}

const square = `{"type":"Polygon","coordinates":[[[4.80,45.70],[4.81,45.70],[4.81,45.71],[4.80,45.71],[4.80,45.70]]]}`

func TestAFeatureIsMatchedWithOneTerritoryVersion(t *testing.T) {
	g := testCatalogue(t).Gazetteer()
	for _, c := range []struct {
		name, id, properties string
		want                 impact.TerritoryID
		validTo              impact.Date
	}{
		{"by its id", "commune-69123", ``, "commune-69123", impact.MaxDate},
		{"by type and code", "whatever", `"type":"commune","code":"69123"`, "commune-69123", impact.MaxDate},
		{"the version in force", "", `"type":"commune","code":"69149"`, "commune-69149", impact.MaxDate},
		{"the version that ended", "", `"type":"commune","code":"69149","valid_to":"2023-12-31"`, "commune-69149", impact.NewDate(2023, 12, 31)},
		{"the version dated by the id", "commune-69149@2023-12-31", ``, "commune-69149", impact.NewDate(2023, 12, 31)},
		{"the version that began", "", `"type":"commune","code":"69149","valid_from":"2024-01-01"`, "commune-69149", impact.MaxDate},
		{"a commune that is no more", "", `"type":"commune","code":"69152"`, "commune-69152", impact.NewDate(2023, 12, 31)},
		{"a CTM with the code of the file", "", `"type":"ctm","code":"CTM-RHONE-AMONT"`, "ctm-rhone-amont", impact.MaxDate},
		{"an arrondissement by INSEE's name", "", `"type":"arrondissement_municipal","code":"69381"`, "arrondissement-69381", impact.MaxDate},
		{"a code alone", "69123", ``, "", 0},
		{"an unknown commune", "commune-99999", ``, "", 0},
		{"a date nothing ended on", "", `"type":"commune","code":"69149","valid_to":"2022-12-31"`, "", 0},
		{"nothing", "", ``, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := readGeometry([]byte(oneFeature(c.id, c.properties, square)), g, today)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if len(r.unmatched) != 1 || len(r.geometries) != 0 {
					t.Errorf("matched: %v", r.lines())
				}
				return
			}
			for key, geometry := range r.geometries {
				v := g.ByKey(key)
				if v.ID != c.want || v.ValidTo != c.validTo {
					t.Errorf("matched with %s until %s", v.ID, v.ValidTo)
				}
				var got, want any
				if json.Unmarshal(geometry, &got) != nil || json.Unmarshal([]byte(square), &want) != nil || !cmp.Equal(got, want) {
					t.Errorf("geometry %s", geometry)
				}
			}
			if len(r.geometries) != 1 {
				t.Errorf("not matched: %v", r.lines())
			}
		})
	}
}

func TestAWrongContourIsRefusedWithItsReason(t *testing.T) {
	g := testCatalogue(t).Gazetteer()
	for reason, geometry := range map[string]string{
		"at least 4":                     `{"type":"Polygon","coordinates":[[[4.8,45.7],[4.81,45.7],[4.8,45.7]]]}`,
		"last position is not its first": `{"type":"Polygon","coordinates":[[[4.8,45.7],[4.81,45.7],[4.81,45.71],[4.8,45.71]]]}`,
		"encloses nothing":               `{"type":"Polygon","coordinates":[[[4.8,45.7],[4.81,45.7],[4.82,45.7],[4.8,45.7]]]}`,
		"crosses itself":                 `{"type":"Polygon","coordinates":[[[4.8,45.7],[4.81,45.71],[4.81,45.7],[4.8,45.715],[4.8,45.7]]]}`,
		"latitude seems to stand before": `{"type":"Polygon","coordinates":[[[45.7,4.8],[45.71,4.8],[45.71,4.81],[45.7,4.8]]]}`,
		"not a longitude and a latitude": `{"type":"Polygon","coordinates":[[[842000,6519000],[843000,6519000],[843000,6520000],[842000,6519000]]]}`,
		"outside of mainland France":     `{"type":"Polygon","coordinates":[[[-61,14],[-60.9,14],[-60.9,14.1],[-61,14]]]}`,
		"a Polygon or MultiPolygon":      `{"type":"Point","coordinates":[4.8,45.7]}`,
		"the MultiPolygon is empty":      `{"type":"MultiPolygon","coordinates":[]}`,
		"a hole outside of its polygon":  `{"type":"Polygon","coordinates":[[[4.8,45.7],[4.81,45.7],[4.81,45.71],[4.8,45.7]],[[4.9,45.7],[4.9,45.71],[4.91,45.7],[4.9,45.7]]]}`,
		"it has no geometry":             `null`,
		"polygon 2, ring 1: its last":    `{"type":"MultiPolygon","coordinates":[[[[4.8,45.7],[4.81,45.7],[4.81,45.71],[4.8,45.7]]],[[[4.8,45.7],[4.81,45.7],[4.81,45.71],[4.8,45.72]]]]}`,
		"polygon 1 is empty":             `{"type":"Polygon","coordinates":[]}`,
	} {
		r, err := readGeometry([]byte(oneFeature("commune-69123", "", geometry)), g, today)
		if err != nil {
			t.Errorf("%s: %v", reason, err)
			continue
		}
		if len(r.geometries) != 0 || len(r.faults) == 0 || !strings.Contains(strings.Join(r.faults, "\n"), reason) {
			t.Errorf("want %q, got %v", reason, r.lines())
		}
	}
}

func TestRingsAreTurnedTheWayRFC7946Asks(t *testing.T) {
	clockwise := `{"type":"Polygon","coordinates":[[[4.8,45.7],[4.8,45.71],[4.81,45.71],[4.81,45.7],[4.8,45.7]]]}`
	r, err := readGeometry([]byte(oneFeature("commune-69123", "", clockwise)), testCatalogue(t).Gazetteer(), today)
	if err != nil {
		t.Fatal(err)
	}
	for _, geometry := range r.geometries {
		if want := `{"type":"Polygon","coordinates":[[[4.8,45.7],[4.81,45.7],[4.81,45.71],[4.8,45.71],[4.8,45.7]]]}`; string(geometry) != want {
			t.Errorf("got %s", geometry)
		}
	}
	if r.rewound != 1 || len(r.geometries) != 1 {
		t.Errorf("%v", r.lines())
	}
}

func TestAFileThatIsNoFeatureCollectionIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":        `{`,
		"a lone geometry": square,
		"Lambert 93":      `{"type":"FeatureCollection","crs":{"type":"name","properties":{"name":"urn:ogc:def:crs:EPSG::2154"}},"features":[]}`,
		"no list":         `{"type":"FeatureCollection","features":{"type":"Feature"}}`,
	} {
		if _, err := readGeometry([]byte(text), testCatalogue(t).Gazetteer(), today); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The files are not in the repository; RETOMBEES_CONTOURS names their folder.
func TestTheContoursOfTheMetropoleAllMatch(t *testing.T) {
	folder := os.Getenv("RETOMBEES_CONTOURS")
	if folder == "" {
		t.Skip("RETOMBEES_CONTOURS is not set")
	}
	for file, want := range map[string]map[impact.TerritoryType]int{
		"lyon-communes.geojson":             {impact.Commune: 58, impact.Arrondissement: 9},
		"lyon-ctm.geojson":                  {impact.CTM: 10, impact.Metropole: 1},
		"lyon-communes-historiques.geojson": {impact.Commune: 2},
	} {
		text, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		r, err := readGeometry(text, testCatalogue(t).Gazetteer(), today)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, r.matched); diff != "" || len(r.unmatched)+len(r.faults)+r.rewound > 0 {
			t.Errorf("%s: %s\n%s", file, diff, strings.Join(r.lines(), "\n"))
		}
	}
}
