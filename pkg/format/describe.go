package format

import (
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Described is what the documents beside a CSV say of it.
type Described struct {
	About About
	// File is the address of the CSV, as it is written in the document.
	File string
	// Modified is an instant (RFC 3339), empty when not known.
	Modified string
}

// AppendTableSchema writes a Table Schema (Frictionless) of the columns.
func AppendTableSchema(dst []byte, concepts []Concept, d Described) []byte {
	dst = append(dst, `{"$schema":"https://datapackage.org/profiles/2.0/tableschema.json","name":`...)
	dst = AppendString(dst, d.About.Name)
	dst = append(dst, `,"title":`...)
	dst = AppendString(dst, d.About.Title.FR)
	dst = append(dst, `,"description":`...)
	dst = AppendString(dst, d.About.Description.FR)
	dst = append(dst, `,"homepage":`...)
	dst = AppendString(dst, d.About.Address)
	dst = append(dst, `,"fields":[`...)
	for i, c := range concepts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = AppendString(dst, c.Name)
		dst = append(dst, `,"type":"`...)
		dst = append(dst, c.Type...)
		dst = append(dst, `","title":`...)
		dst = AppendString(dst, c.About.FR)
		dst = append(dst, `,"description":`...)
		dst = AppendString(dst, c.About.EN)
		if codes := closedLists[c.Name]; codes != "" {
			dst = append(dst, `,"constraints":{"required":true,"enum":["`...)
			dst = append(dst, strings.ReplaceAll(codes, " ", `","`)...)
			dst = append(dst, `"]}`...)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `],"missingValues":[""]`...)
	if key := primaryKey(concepts); len(key) > 0 {
		dst = append(dst, `,"primaryKey":`...)
		dst = appendStrings(dst, key)
	}
	return append(dst, "}\n"...)
}

// closedLists are the codes of the columns that take no other.
var closedLists = map[string]string{
	"obs_status":  "A E P I B L M O Q",
	"conf_status": "F C",
}

// primaryKey is what makes a row unique: its dimensions, else its code. A key
// that may be empty is none.
func primaryKey(concepts []Concept) []string {
	var key []string
	for _, c := range concepts {
		if c.Role == Dimension && c.Name != "qualifiers" {
			key = append(key, c.Name)
		}
	}
	if key == nil && len(concepts) > 0 && (concepts[0].Name == "code" || concepts[0].Name == "id") {
		key = []string{concepts[0].Name}
	}
	return key
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, s)
	}
	return append(dst, ']')
}

// csvwTypes are the datatypes of CSV on the Web.
var csvwTypes = map[ConceptType]string{StringType: "string", NumberType: "decimal", IntegerType: "integer", DateType: "date"}

// AppendCSVW writes the metadata of a table as CSV on the Web has it.
func AppendCSVW(dst []byte, concepts []Concept, d Described) []byte {
	dst = append(dst, `{"@context":["http://www.w3.org/ns/csvw",{"@language":"fr"}],"url":`...)
	dst = AppendString(dst, d.File)
	dst = append(dst, `,"dc:title":`...)
	dst = AppendString(dst, d.About.Title.FR)
	dst = append(dst, `,"dc:description":`...)
	dst = AppendString(dst, d.About.Description.FR)
	dst = append(dst, `,"dc:publisher":`...)
	dst = AppendString(dst, d.About.Source)
	dst = append(dst, `,"dc:license":{"@id":"`+impact.Licence+`"}`...)
	if d.Modified != "" {
		dst = append(dst, `,"dc:modified":{"@value":`...)
		dst = AppendString(dst, d.Modified)
		dst = append(dst, `,"@type":"xsd:dateTime"}`...)
	}
	dst = append(dst, `,"dialect":{"encoding":"utf-8","delimiter":",","quoteChar":"\"","doubleQuote":true,"header":true,"lineTerminators":["\r\n"]},"null":"","tableSchema":{"columns":[`...)
	for i, c := range concepts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = AppendString(dst, strings.ReplaceAll(c.Name, ".", "_"))
		dst = append(dst, `,"titles":`...)
		dst = AppendString(dst, c.Name)
		dst = append(dst, `,"dc:description":[{"@value":`...)
		dst = AppendString(dst, c.About.FR)
		dst = append(dst, `,"@language":"fr"},{"@value":`...)
		dst = AppendString(dst, c.About.EN)
		dst = append(dst, `,"@language":"en"}],"datatype":"`...)
		dst = append(dst, csvwTypes[c.Type]...)
		dst = append(dst, `"}`...)
	}
	dst = append(dst, ']')
	if key := primaryKey(concepts); len(key) > 0 {
		for i := range key {
			key[i] = strings.ReplaceAll(key[i], ".", "_")
		}
		dst = append(dst, `,"primaryKey":`...)
		dst = appendStrings(dst, key)
	}
	return append(dst, "}}\n"...)
}
