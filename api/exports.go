package api

import (
	"context"
	"encoding/base64"
	hexadecimal "encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Exports keeps the files of releases: made once each, the same bytes for ever.
// A release of 0 is the latest.
type Exports interface {
	// Datasets describes every dataset as a release holds it, with the files
	// that are made already. Before the first release they have no file.
	Datasets(ctx context.Context, release impact.ReleaseNumber) ([]impact.Dataset, error)
	// Versions gives the releases that hold a dataset, the newest first, those
	// withdrawn included.
	Versions(ctx context.Context, id impact.DatasetID) ([]impact.Release, error)
	// Open gives a file in one of the encodings accepted, the first that exists,
	// making the file when it is not there yet. Errors: not_found,
	// release_withdrawn.
	Open(ctx context.Context, id impact.DatasetID, release impact.ReleaseNumber, suffix string, accepted []impact.FileEncoding) (impact.ExportBody, error)
	// Document gives the Table Schema or the CSV on the Web metadata of a dataset,
	// by suffix.
	Document(ctx context.Context, id impact.DatasetID, release impact.ReleaseNumber, suffix string) ([]byte, error)
}

// Documents beside the tables of exports.
var (
	FormatTableSchema = Format{Name: "tableschema", Suffix: impact.TableSchemaSuffix, MediaType: "application/json", Type: "application/json; charset=utf-8"}
	FormatCSVW        = Format{Name: "csvw", Suffix: impact.CSVWSuffix, MediaType: "application/csvm+json", Type: "application/csvm+json; charset=utf-8"}
)

// exportFormats are those of any dataset; one dataset may have fewer.
var exportFormats = []Format{
	FormatCSV, FormatFrenchCSV, FormatGzipCSV, FormatGeoJSON, FormatXLSX, FormatNDJSON, FormatParquet, FormatJSONStat, FormatSDMXCSV,
	FormatTableSchema, FormatCSVW,
}

// Cache rules of exports (api.md 9.5).
const (
	cacheExport    = "public, max-age=300"
	cachePermanent = "public, max-age=31536000, immutable"
)

// slowest is the rate, in bytes a second, at which a caller must at least take a
// file: the connection is closed on those who are slower.
const slowest = 50_000

// getExport sends a file of a release.
//
//	@Summary		A file of a release
//	@Description	`{dataset}` is the latest release, `{dataset}@{n}` release n, for ever the same bytes. The format is a suffix: `.csv`, `.fr.csv`, `.csv.gz`, `.geojson`, `.xlsx`, `.ndjson`, `.parquet`, `.jsonstat.json`, `.sdmx.csv`; GET /v1/datasets/{id} lists those of a dataset. Beside them `.tableschema.json` (Table Schema) and `.csv-metadata.json` (CSV on the Web) describe the columns. Ranges, `If-Range`, `If-None-Match` and `HEAD` are answered; the body comes in zstd or gzip when `Accept-Encoding` says so, with an `ETag` of its own. The workbook and JSON-stat leave out the figures by kind of organisation, and GeoJSON keeps those of whole years, with simplified outlines. No request is refused for being one too many.
//	@ID				getExport
//	@Tags			publication
//	@Produce		text/csv
//	@Produce		application/gzip
//	@Produce		application/geo+json
//	@Produce		application/vnd.openxmlformats-officedocument.spreadsheetml.sheet
//	@Produce		application/x-ndjson
//	@Produce		application/vnd.apache.parquet
//	@Produce		json
//	@Produce		application/vnd.sdmx.data+csv
//	@Produce		application/csvm+json
//	@Param			file	path		string	true	"Dataset, and release after `@`"	example(impact-aggregates)
//	@Param			Range	header		string	false	"A part of the file: `bytes=0-1023`"
//	@Success		200		{file}		file
//	@Header			200		{string}	Repr-Digest			"SHA-256 of the whole file as it is sent (RFC 9530)"
//	@Header			200		{string}	Content-Disposition	"Name of the file"
//	@Header			200		{string}	Link				"license, describedby, canonical"
//	@Success		206		{file}		file
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/exports/{file} [get]
func (s *server) getExport(c *call) error {
	id, n, err := exportName(c.param("file"))
	if err != nil {
		return err
	}
	d := impact.DatasetByID(id)
	if s.Exports == nil || d == nil {
		return noDataset()
	}
	served := formatsOf(d)
	f, err := negotiate(served, c.suffix, strings.Join(c.r.Header.Values("Accept"), ","))
	if err != nil {
		return err
	}
	c.format = f
	h := c.w.Header()
	if c.suffix != "" {
		h.Set("Vary", "Accept-Encoding") // the address names the format, and files have one language
	}
	h.Set("Cache-Control", cacheExport)
	if f.Suffix == impact.TableSchemaSuffix || f.Suffix == impact.CSVWSuffix {
		// Written by this version of the program: the tables stay, words may improve.
		return s.exportDocument(c, d, n)
	}
	if n != 0 {
		h.Set("Cache-Control", cachePermanent)
	}
	body, err := s.Exports.Open(c.r.Context(), id, n, f.Suffix, acceptedEncodings(c.r.Header.Get("Accept-Encoding")))
	if err != nil {
		return err
	}
	defer body.Content.Close()
	return s.sendExport(c, d, n, &body)
}

// exportName reads "impact-aggregates@3": 0 without a release.
func exportName(file string) (impact.DatasetID, impact.ReleaseNumber, error) {
	name, version, pinned := strings.Cut(file, "@")
	if !pinned {
		return impact.DatasetID(name), 0, nil
	}
	n, err := datasetVersion(version)
	return impact.DatasetID(name), n, err
}

// datasetVersion reads the version of a dataset: the number of a release.
func datasetVersion(s string) (impact.ReleaseNumber, error) {
	n, ok := releaseNumber(s)
	if !ok {
		return 0, &impact.Error{
			Kind: impact.NotFound, Code: "not_found",
			Detail: bilingual("Une version porte le numéro d'une publication : 1, 2, 3…", "A version bears the number of a release: 1, 2, 3…"),
			Hint:   bilingual("GET /v1/releases liste les publications.", "GET /v1/releases lists the releases."),
		}
	}
	return n, nil
}

func noDataset() error {
	return &impact.Error{
		Kind: impact.NotFound, Code: "not_found",
		Detail: bilingual("Aucun jeu de données ne porte ce nom.", "No dataset has this name."),
		Hint:   bilingual("GET /v1/datasets les liste.", "GET /v1/datasets lists them."),
	}
}

// formatsOf are the formats of a dataset, the documents beside it included.
func formatsOf(d *impact.Dataset) []Format {
	var list []Format
	for _, f := range exportFormats {
		if d.File(f.Suffix) != nil || f.Suffix == impact.TableSchemaSuffix || f.Suffix == impact.CSVWSuffix {
			list = append(list, f)
		}
	}
	return list
}

// acceptedEncodings gives what may be sent, the smallest first; as it is, always.
func acceptedEncodings(h string) []impact.FileEncoding {
	var accepted []impact.FileEncoding
	q := map[string]float64{}
	for _, r := range parseAccept(h) {
		q[strings.TrimPrefix(r.value, "x-")] = r.q
	}
	for _, e := range []impact.FileEncoding{impact.Zstd, impact.Gzip} {
		weight, named := q[string(e)]
		if !named {
			weight = q["*/*"]
		}
		if weight > 0 {
			accepted = append(accepted, e)
		}
	}
	slices.SortStableFunc(accepted, func(a, b impact.FileEncoding) int {
		switch x, y := q[string(a)], q[string(b)]; {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return append(accepted, impact.Identity)
}

// sendExport answers with a file, a part of it, or nothing but its headers.
func (s *server) sendExport(c *call, d *impact.Dataset, n impact.ReleaseNumber, body *impact.ExportBody) error {
	h := c.w.Header()
	f, v := &body.File, &body.Variant
	h.Set("Content-Type", f.Kind.ContentType)
	h.Set("ETag", `"`+v.SHA256[:32]+`"`)
	h.Set("Last-Modified", f.Modified.UTC().Format(http.TimeFormat))
	h.Set("Accept-Ranges", "bytes")
	if sum, err := hexadecimal.DecodeString(v.SHA256); err == nil {
		h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":")
	}
	name := string(d.ID)
	if n != 0 {
		name += "-" + strconv.Itoa(int(n))
	}
	c.attach(name + f.Kind.Suffix)
	s.exportLinks(c, d, f.Release, f.Kind.Suffix)
	if v.Encoding != impact.Identity {
		h.Set("Content-Encoding", string(v.Encoding))
	}
	if matchesTag(c.r.Header.Values("If-None-Match"), h.Get("ETag")) {
		h.Del("Content-Encoding")
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	r := c.r
	if c.head {
		r = c.r.Clone(c.r.Context())
		r.Method = http.MethodHead
	} else {
		// What cannot be read is told before the first byte, not by a break.
		if _, err := body.Content.Read(nil); err != nil {
			c.withdrawFileHeaders()
			return err
		}
		// A large file on a slow line takes longer than an answer may.
		deadline := s.Now().Add(time.Minute + time.Duration(v.Size/slowest)*time.Second)
		_ = http.NewResponseController(c.w).SetWriteDeadline(deadline) // not every server has one
	}
	// ServeContent leaves it out beside a Content-Encoding.
	if v.Encoding != impact.Identity && r.Header.Get("Range") == "" {
		h.Set("Content-Length", strconv.FormatInt(v.Size, 10))
	}
	w := &rangeWriter{ResponseWriter: c.w}
	http.ServeContent(w, r, "", f.Modified, body.Content)
	if w.outside {
		c.withdrawFileHeaders()
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(v.Size, 10))
		return &impact.Error{
			Kind: impact.Malformed, Code: "range_not_satisfiable",
			Detail: bilingual("Le fichier a "+strconv.FormatInt(v.Size, 10)+" octets ; la partie demandée n'en contient aucun.", "The file has "+strconv.FormatInt(v.Size, 10)+" bytes; the part asked for contains none of them."),
			Hint:   bilingual("Demandez une partie du fichier : Range: bytes=0-1023.", "Ask for a part of the file: Range: bytes=0-1023."),
			Faults: []impact.Fault{{Code: "out_of_range", Header: "Range", Value: c.r.Header.Get("Range")}},
		}
	}
	return nil
}

// withdrawFileHeaders takes back what was said of a file that is not sent.
func (c *call) withdrawFileHeaders() {
	for _, name := range []string{"Accept-Ranges", "Repr-Digest", "Content-Length", "Content-Range"} {
		c.w.Header().Del(name)
	}
}

// rangeWriter keeps a refused range from being told in plain text.
type rangeWriter struct {
	http.ResponseWriter
	outside bool
}

func (w *rangeWriter) WriteHeader(status int) {
	if w.outside = status == http.StatusRequestedRangeNotSatisfiable; !w.outside {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *rangeWriter) Write(b []byte) (int, error) {
	if w.outside {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// exportLinks names the licence, what describes the file, and its address for
// ever.
func (s *server) exportLinks(c *call, d *impact.Dataset, n impact.ReleaseNumber, suffix string) {
	h := c.w.Header()
	h.Add("Link", "<"+impact.Licence+`>; rel="license"`)
	h.Add("Link", "<"+s.PublicURL+impact.ExportPath(d.ID, n, impact.TableSchemaSuffix)+`>; rel="describedby"; type="application/json"`)
	h.Add("Link", "<"+s.PublicURL+impact.ExportPath(d.ID, n, impact.CSVWSuffix)+`>; rel="describedby"; type="application/csvm+json"`)
	h.Add("Link", "<"+s.PublicURL+impact.ExportPath(d.ID, n, suffix)+`>; rel="canonical"`)
}

// exportDocument answers with what describes the columns of a dataset.
func (s *server) exportDocument(c *call, d *impact.Dataset, n impact.ReleaseNumber) error {
	body, err := s.Exports.Document(c.r.Context(), d.ID, n, c.format.Suffix)
	if err != nil {
		return err
	}
	id := digest(body)
	c.w.Header().Add("Link", "<"+impact.Licence+`>; rel="license"`)
	if c.fresh(`"` + hex(id[:]) + `"`) {
		return nil
	}
	c.write(http.StatusOK, c.format.Type, body)
	return nil
}
