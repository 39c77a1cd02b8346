package dcat_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/dcat"
	"github.com/grandlyon/retombees/pkg/impact"
)

var update = flag.Bool("update", false, "write the golden files again")

// lyon is a catalogue as cmd/retombees configures it.
var lyon = dcat.Catalogue{
	Base: "https://impact.example", Identifiers: "https://impact.example",
	Publisher: dcat.Publisher{Name: "Métropole de Lyon", Homepage: "https://www.grandlyon.com/"},
	Contact:   dcat.Contact{Name: "Données ouvertes & <impact>", Email: "donnees@impact.example"},
	Extent:    dcat.Extent{Name: "Métropole de Lyon", West: 4.6884, South: 45.5524, East: 5.0692, North: 45.9399},
}

// published gives every dataset as a third release would hold it.
func published() []impact.Dataset {
	all := impact.Datasets()
	first, third := time.Date(2026, 2, 15, 3, 0, 0, 0, time.UTC), time.Date(2026, 8, 15, 2, 0, 1, 5e8, time.UTC)
	for i := range all {
		d := &all[i]
		d.Release, d.Issued, d.Modified = 3, first, third
		if d.Figures {
			d.Temporal = &impact.Period{Start: impact.NewDate(2023, 1, 1), End: impact.NewDate(2026, 6, 30)}
		}
		for _, k := range d.Files[:2] {
			d.Distributions = append(d.Distributions, impact.ExportFile{Dataset: d.ID, Release: 3, Kind: k, Size: 12345, SHA256: strings.Repeat("9f86d081", 8), Modified: third})
		}
	}
	slices.SortFunc(all, func(a, b impact.Dataset) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return all
}

func onePage() dcat.Page {
	all, self := published(), "https://impact.example/v1/catalog.jsonld"
	return dcat.Page{Datasets: all, Total: len(all), Self: self, First: self, Last: self}
}

// TestCatalogueIsWrittenAsBefore compares with files that `make lint-catalog`
// gives to RDF parsers and to a SHACL validator that are not ours.
func TestCatalogueIsWrittenAsBefore(t *testing.T) {
	g := lyon.Graph(onePage())
	doc, err := g.JSONLD()
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{"catalog.ttl": g.Turtle(), "catalog.jsonld": doc, "catalog.rdf": g.RDFXML()} {
		path := "testdata/" + name
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s moved (go test ./pkg/dcat -update writes it again, make lint-catalog judges it):\n%s", name, diff)
		}
	}
}

// TestEverySyntaxSaysTheSame reads JSON-LD and RDF/XML back with the standard
// library, whatever people write into names and titles.
func TestEverySyntaxSaysTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := lyon
		c.Publisher.Name = rapid.String().Draw(t, "publisher")
		c.Contact.Name = rapid.String().Draw(t, "contact")
		c.Publisher.Homepage = "https://example.org/" + rapid.String().Draw(t, "homepage")
		p := onePage()
		p.Datasets[0].Title.FR = rapid.String().Draw(t, "title")
		p.Datasets[0].Keywords = []impact.Text{{FR: rapid.String().Draw(t, "keyword")}}
		g := c.Graph(p)
		want := written(g.Triples())
		doc, err := g.JSONLD()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, fromJSONLD(t, doc)); diff != "" {
			t.Fatalf("JSON-LD: %s", diff)
		}
		if diff := cmp.Diff(want, fromRDFXML(t, g.RDFXML())); diff != "" {
			t.Fatalf("RDF/XML: %s", diff)
		}
	})
}

// TestWhatPortalsRelyOn are the rules of harvesters that no parser checks.
func TestWhatPortalsRelyOn(t *testing.T) {
	g := lyon.Graph(onePage())
	const dct, dcatNS = "http://purl.org/dc/terms/", "http://www.w3.org/ns/dcat#"
	statements := map[string][]string{} // "subject predicate" → objects
	for _, x := range g.Triples() {
		k := x[0].Value + " " + x[1].Value
		statements[k] = append(statements[k], x[2].Value)
		if x[0].Kind == dcat.Literal || x[2].Kind == dcat.IRI && !strings.Contains(x[2].Value, ":") {
			t.Errorf("not absolute: %v", x)
		}
		if x[1].Value == dcatNS+"keyword" && strings.Contains(x[2].Value, ",") {
			t.Errorf("a keyword with a comma: %s", x[2].Value)
		}
		if x[1].Value == dct+"temporal" && x[2].Kind != dcat.Blank {
			t.Errorf("a period with an address would be fetched: %v", x[2])
		}
		if strings.Contains(x[1].Value, "accessService") {
			t.Error("data.gouv.fr leaves out services that are access services")
		}
	}
	for _, d := range published() {
		uri := lyon.DatasetURI(d.ID)
		if got := statements[uri+" "+dct+"identifier"]; !cmp.Equal(got, []string{uri}) {
			t.Errorf("identifier of %s: %v", d.ID, got)
		}
		if got := statements[uri+" "+dct+"title"]; len(got) != 1 {
			t.Errorf("%s has %d titles: harvesters take any of them", d.ID, len(got))
		}
		if len(statements[uri+" "+dcatNS+"distribution"]) != len(d.Files) {
			t.Errorf("%s lacks files", d.ID)
		}
		for _, f := range statements[uri+" "+dcatNS+"distribution"] {
			for _, p := range []string{dct + "license", dct + "format", dct + "title", dct + "identifier", dct + "modified", dcatNS + "accessURL", dcatNS + "downloadURL"} {
				if len(statements[f+" "+p]) != 1 {
					t.Errorf("%s has %d %s", f, len(statements[f+" "+p]), p)
				}
			}
			if u := statements[f+" "+dcatNS+"downloadURL"]; strings.ContainsAny(u[0], "@?") {
				t.Errorf("a download address that changes with the release: %s", u)
			}
		}
	}
}

// TestPagesDescribeServicesOnce holds for readers that count what they meet.
func TestPagesDescribeServicesOnce(t *testing.T) {
	p := onePage()
	p.Next, p.Last = "https://impact.example/v1/catalog.jsonld?after=a", "https://impact.example/v1/catalog.jsonld?after=a"
	if ttl := string(lyon.Graph(p).Turtle()); !strings.Contains(ttl, "dcat:DataService") || !strings.Contains(ttl, "hydra:next <https://impact.example/v1/catalog.jsonld?after=a>") {
		t.Error("the first page lacks the services or the way to the next")
	}
	p.Self, p.Next = p.Last, ""
	if ttl := string(lyon.Graph(p).Turtle()); strings.Contains(ttl, "dcat:DataService") || strings.Contains(ttl, "hydra:next") {
		t.Error("the last page repeats the services or leads on")
	}
}

func TestIdentifiersOutliveTheAddress(t *testing.T) {
	c := lyon
	c.Base = "https://moved.example"
	p := onePage()
	ttl := string(c.Graph(p).Turtle())
	if !strings.Contains(ttl, `dct:identifier "https://impact.example/id/dataset/impact-aggregates"`) || !strings.Contains(ttl, "<https://moved.example/v1/exports/impact-aggregates.csv>") {
		t.Error(ttl)
	}
}

func written(triples [][3]dcat.Term) []string {
	var out []string
	for _, x := range triples {
		out = append(out, fmt.Sprintf("%s %s %s", term(x[0]), term(x[1]), term(x[2])))
	}
	slices.Sort(out)
	return out
}

func term(t dcat.Term) string {
	switch t.Kind {
	case dcat.Blank:
		return "_:" + t.Value
	case dcat.Literal:
		return fmt.Sprintf("%q@%s^^%s", t.Value, t.Lang, t.Type)
	}
	return "<" + t.Value + ">"
}

const rdfType = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"

func fromJSONLD(t *rapid.T, b []byte) []string {
	var doc struct {
		Context map[string]string `json:"@context"`
		Graph   []map[string]any  `json:"@graph"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	full := func(s string) string {
		if prefix, local, ok := strings.Cut(s, ":"); ok && doc.Context[prefix] != "" {
			return doc.Context[prefix] + local
		}
		return s
	}
	ref := func(s string) string {
		if strings.HasPrefix(s, "_:") {
			return s
		}
		return "<" + full(s) + ">"
	}
	list := func(v any) []any {
		if l, ok := v.([]any); ok {
			return l
		}
		return []any{v}
	}
	var out []string
	for _, n := range doc.Graph {
		for p, vs := range n {
			for _, v := range list(vs) {
				switch p {
				case "@id":
					continue
				case "@type":
					out = append(out, fmt.Sprintf("%s <%s> <%s>", ref(n["@id"].(string)), rdfType, full(v.(string))))
					continue
				}
				object := ""
				switch v := v.(type) {
				case string:
					object = fmt.Sprintf("%q@^^", v)
				case map[string]any:
					if id, ok := v["@id"].(string); ok {
						object = ref(id)
						break
					}
					lang, _ := v["@language"].(string)
					typ, _ := v["@type"].(string)
					object = fmt.Sprintf("%q@%s^^%s", v["@value"], lang, full(typ))
				}
				out = append(out, fmt.Sprintf("%s <%s> %s", ref(n["@id"].(string)), full(p), object))
			}
		}
	}
	slices.Sort(out)
	return out
}

func fromRDFXML(t *rapid.T, b []byte) []string {
	type property struct {
		XMLName  xml.Name
		Resource string `xml:"http://www.w3.org/1999/02/22-rdf-syntax-ns# resource,attr"`
		NodeID   string `xml:"http://www.w3.org/1999/02/22-rdf-syntax-ns# nodeID,attr"`
		Datatype string `xml:"http://www.w3.org/1999/02/22-rdf-syntax-ns# datatype,attr"`
		Lang     string `xml:"http://www.w3.org/XML/1998/namespace lang,attr"`
		Text     string `xml:",chardata"`
	}
	var doc struct {
		Nodes []struct {
			About      string     `xml:"http://www.w3.org/1999/02/22-rdf-syntax-ns# about,attr"`
			NodeID     string     `xml:"http://www.w3.org/1999/02/22-rdf-syntax-ns# nodeID,attr"`
			Properties []property `xml:",any"`
		} `xml:"Description"`
	}
	d := xml.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Token(); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	ref := func(about, nodeID string) string {
		if nodeID != "" {
			return "_:" + nodeID
		}
		return "<" + about + ">"
	}
	var out []string
	for _, n := range doc.Nodes {
		for _, p := range n.Properties {
			object := fmt.Sprintf("%q@%s^^%s", p.Text, p.Lang, p.Datatype)
			if p.Resource != "" || p.NodeID != "" {
				object = ref(p.Resource, p.NodeID)
			}
			out = append(out, fmt.Sprintf("%s <%s> %s", ref(n.About, n.NodeID), p.XMLName.Space+p.XMLName.Local, object))
		}
	}
	slices.Sort(out)
	return out
}
