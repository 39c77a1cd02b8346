package api

import (
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Format is one way of writing an answer.
type Format struct {
	Name string
	// Suffix of the address, with its dot; empty for JSON.
	Suffix string
	// MediaType is what Accept names, Type the whole Content-Type.
	MediaType, Type string
}

// Formats of this version (api.md 10). FormatAny marks routes that serve one
// fixed document whatever Accept says.
var (
	FormatJSON      = Format{Name: "json", MediaType: "application/json", Type: "application/json; charset=utf-8"}
	FormatCSV       = Format{Name: "csv", Suffix: ".csv", MediaType: "text/csv", Type: "text/csv; charset=utf-8; header=present"}
	FormatFrenchCSV = Format{Name: "fr.csv", Suffix: ".fr.csv", MediaType: "text/csv; dialect=fr", Type: "text/csv; charset=utf-8; header=present; dialect=fr"}
	FormatGeoJSON   = Format{Name: "geojson", Suffix: ".geojson", MediaType: "application/geo+json", Type: "application/geo+json"}
	FormatXLSX      = Format{Name: "xlsx", Suffix: ".xlsx", MediaType: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", Type: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
	FormatNDJSON    = Format{Name: "ndjson", Suffix: ".ndjson", MediaType: "application/x-ndjson", Type: "application/x-ndjson"}
	FormatJSONLD    = Format{Name: "jsonld", Suffix: ".jsonld", MediaType: "application/ld+json", Type: "application/ld+json; charset=utf-8"}
	FormatTurtle    = Format{Name: "ttl", Suffix: ".ttl", MediaType: "text/turtle", Type: "text/turtle; charset=utf-8"}
	FormatRDFXML    = Format{Name: "rdf", Suffix: ".rdf", MediaType: "application/rdf+xml", Type: "application/rdf+xml; charset=utf-8"}
	FormatParquet   = Format{Name: "parquet", Suffix: ".parquet", MediaType: "application/vnd.apache.parquet", Type: "application/vnd.apache.parquet"}
	FormatSDMXCSV   = Format{Name: "sdmx.csv", Suffix: ".sdmx.csv", MediaType: "application/vnd.sdmx.data+csv", Type: "application/vnd.sdmx.data+csv; version=2.0.0; charset=utf-8"}
	// JSON-stat is asked for by suffix: its media type is that of JSON.
	FormatJSONStat = Format{Name: "jsonstat", Suffix: ".jsonstat.json", MediaType: "application/json", Type: "application/json; charset=utf-8"}
	FormatGzipCSV  = Format{Name: "csv.gz", Suffix: ".csv.gz", MediaType: "application/gzip", Type: "application/gzip"}
	FormatAny      = Format{Name: "any", MediaType: "*/*"}
)

// suffixes are cut from the address before routing, the longest first. Those
// of formats to come are cut too, so that they answer 406 with the list and
// never 404.
var suffixes = []string{".jsonstat.json", ".sdmx.csv", ".fr.csv", ".csv.gz", ".csv", ".geojson", ".ndjson", ".xlsx", ".parquet", impact.TableSchemaSuffix, impact.CSVWSuffix, ".jsonld", ".ttl", ".rdf"}

func cutSuffix(path string) (rest, suffix string) {
	for _, s := range suffixes {
		if rest, ok := strings.CutSuffix(path, s); ok && rest != "" && !strings.HasSuffix(rest, "/") {
			return rest, s
		}
	}
	return path, ""
}

// negotiate chooses the format of the answer: the suffix wins, else Accept,
// else the first of the route.
func negotiate(produces []Format, suffix, accept string) (Format, error) {
	if suffix != "" {
		for _, f := range produces {
			if f.Suffix == suffix {
				return f, nil
			}
		}
		return Format{}, notAcceptable(produces)
	}
	if strings.TrimSpace(accept) == "" || produces[0].Name == FormatAny.Name {
		return produces[0], nil
	}
	best, bestQ := -1, 0.0
	ranges := parseAccept(accept)
	for i, f := range produces {
		// A more precise range decides over a wider one (RFC 9110 12.5.1).
		q, precision := 0.0, -1
		for _, r := range ranges {
			if p := r.precision(f); p > precision {
				q, precision = r.q, p
			}
		}
		if q > bestQ {
			best, bestQ = i, q
		}
	}
	if best < 0 {
		return Format{}, notAcceptable(produces)
	}
	return produces[best], nil
}

type acceptRange struct {
	value   string // "text/csv", "application/*", "*/*", "fr", "gzip"
	dialect string
	q       float64
}

// precision tells how exactly the range names the format: -1 not at all.
func (r acceptRange) precision(f Format) int {
	media, params, _ := strings.Cut(f.MediaType, ";")
	dialect := strings.TrimPrefix(strings.TrimSpace(params), "dialect=")
	switch {
	case r.value == "*/*":
		return 0
	case strings.HasSuffix(r.value, "/*"):
		if strings.HasPrefix(media, strings.TrimSuffix(r.value, "*")) {
			return 1
		}
	case r.value == media && r.dialect == dialect:
		return 3
	case r.value == "application/json" && f.Name == FormatJSONLD.Name:
		// JSON-LD is JSON.
		return 2
	case r.value == "application/problem+json" && f.Name == "json":
		// Errors are always problem documents: asking for them asks for JSON.
		return 0
	}
	return -1
}

// parseAccept reads Accept, Accept-Language and Accept-Encoding. What cannot
// be read is left out: a header of preferences never makes a request fail.
func parseAccept(h string) []acceptRange {
	var out []acceptRange
	for part := range strings.SplitSeq(h, ",") {
		value, params, _ := strings.Cut(part, ";")
		r := acceptRange{value: strings.ToLower(strings.TrimSpace(value)), q: 1}
		if r.value == "" {
			continue
		}
		if r.value == "*" {
			r.value = "*/*"
		}
		for p := range strings.SplitSeq(params, ";") {
			k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
			switch strings.ToLower(k) {
			case "q":
				q, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
				if err != nil || q < 0 || q > 1 {
					q = 0
				}
				r.q = q
			case "dialect":
				r.dialect = strings.ToLower(strings.Trim(v, `" `))
			}
		}
		if out = append(out, r); len(out) == 32 {
			break
		}
	}
	return out
}

// language of titles, details and hints: French unless English is preferred.
func language(h string) impact.Lang {
	if h == "" {
		return impact.French
	}
	fr, en := -1.0, -1.0
	other := 0.0
	for _, r := range parseAccept(h) {
		primary, _, _ := strings.Cut(r.value, "-")
		switch primary {
		case "fr":
			fr = max(fr, r.q)
		case "en":
			en = max(en, r.q)
		case "*/*":
			other = r.q
		}
	}
	if fr < 0 {
		fr = other
	}
	if en < 0 {
		en = min(other, fr)
	}
	if en > fr {
		return impact.English
	}
	return impact.French
}

// acceptsGzip follows RFC 9110 12.5.3; without the header nothing is
// compressed.
func acceptsGzip(h string) bool {
	if !strings.Contains(h, "gzip") && !strings.Contains(h, "*") {
		return false
	}
	star, named := 0.0, -1.0
	for _, r := range parseAccept(h) {
		switch r.value {
		case "gzip", "x-gzip":
			named = max(named, r.q)
		case "*/*":
			star = r.q
		}
	}
	if named >= 0 {
		return named > 0
	}
	return star > 0
}

func notAcceptable(produces []Format) error {
	var list []string
	for _, f := range produces {
		s := f.MediaType
		if f.Suffix != "" {
			s += " (" + f.Suffix + ")"
		}
		list = append(list, s)
	}
	types := strings.Join(list, ", ")
	return &impact.Error{
		Kind: impact.Malformed, Code: "not_acceptable",
		Detail: impact.Text{FR: "Ce format n'existe pas ici.", EN: "There is no such format here."},
		Hint:   impact.Text{FR: "Formats servis : " + types + ".", EN: "Formats served: " + types + "."},
	}
}
