package api

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/dcat"
	"github.com/grandlyon/retombees/pkg/impact"
)

// catalogPage is how many datasets one page of the catalogue describes at most.
const catalogPage = 100

// rdfFormats are the syntaxes of the catalogue: the same statements in each.
var rdfFormats = []Format{FormatJSONLD, FormatTurtle, FormatRDFXML}

// publication gives who publishes and where, with the addresses of this service.
func (s *server) publication() *dcat.Catalogue {
	p := s.Publication
	p.Base = s.PublicURL
	if p.Identifiers == "" {
		p.Identifiers = s.PublicURL
	}
	return &p
}

// published lists the datasets of the latest release, in the order of their ids;
// none before the first one. What moved a moment ago by another clock moved now.
func (s *server) published(c *call) ([]impact.Dataset, error) {
	if s.Exports == nil {
		return nil, nil
	}
	all, err := s.Exports.Datasets(c.r.Context(), 0)
	if err != nil {
		return nil, err
	}
	now := s.Now()
	all = slices.DeleteFunc(slices.Clone(all), func(d impact.Dataset) bool { return d.Release == 0 })
	for i := range all {
		if all[i].Modified.After(now) {
			all[i].Modified = now
		}
	}
	slices.SortFunc(all, func(a, b impact.Dataset) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return all, nil
}

// catalogTag changes with what the catalogue says.
func (s *server) catalogTag(c *call, datasets []impact.Dataset) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %+v", s.Version, *s.publication())
	for i := range datasets {
		d := &datasets[i]
		fmt.Fprintf(h, "\n%s %d %d %d %v", d.ID, d.Release, d.Issued.Unix(), d.Modified.Unix(), d.Temporal)
		for _, f := range d.Distributions {
			fmt.Fprintf(h, " %s %d %s %d", f.Kind.Name, f.Size, f.SHA256, f.Modified.Unix())
		}
	}
	return c.weakTag(hex(h.Sum(nil)[:8]))
}

// catalog describes what is published, for portals.
//
//	@Summary		Catalogue of datasets, in RDF
//	@Description	DCAT-AP 3: datasets, their files and the services, as portals harvest them. JSON-LD by default; Turtle and RDF/XML by suffix (`.ttl`, `.rdf`, `.jsonld`) or `Accept`, with the same statements. `dct:identifier` of a dataset never changes, and neither does the `dcat:downloadURL` of its files. Pages follow one another by `hydra:next`, in the syntax of the first. Empty before the first release. With `modified_since` only what moved since then is listed: what is absent from such an answer was not removed.
//	@ID				getCatalog
//	@Tags			publication
//	@Produce		application/ld+json
//	@Produce		text/turtle
//	@Produce		application/rdf+xml
//	@Param			modified_since	query		string	false	"Only datasets that moved at this instant or later, or on this day or later"	example(2026-03-31)
//	@Param			after			query		string	false	"Only datasets whose id comes after this one, from hydra:next"					example(impact-aggregates)
//	@Param			limit			query		int		false	"Datasets of a page"																minimum(1)	maximum(100)	default(100)
//	@Success		200				{object}	map[string]any
//	@Success		304				"The caller has it already"
//	@Failure		default			{object}	Problem
//	@Router			/v1/catalog [get]
func (s *server) catalog(c *call) error {
	limit := c.query.integer("limit", catalogPage, 1, catalogPage)
	after := c.query.one("after")
	since := c.modifiedSince()
	if err := c.query.err(); err != nil {
		return err
	}
	all, err := s.published(c)
	if err != nil {
		return err
	}
	if c.fresh(s.catalogTag(c, all)) {
		return nil
	}
	all = slices.DeleteFunc(all, func(d impact.Dataset) bool { return d.Modified.Before(since) })
	start := 0
	for after != "" && start < len(all) && string(all[start].ID) <= after {
		start++
	}
	end := min(start+limit, len(all))
	p := dcat.Page{Datasets: all[start:end], Total: len(all), First: c.catalogPage(""), Self: c.catalogPage(after), Last: c.catalogPage("")}
	if last := (len(all) - 1) / limit * limit; last > 0 {
		p.Last = c.catalogPage(string(all[last-1].ID))
	}
	if end < len(all) {
		p.Next = c.catalogPage(string(all[end-1].ID))
	}
	switch back := start - limit; {
	case start == 0:
	case back <= 0:
		p.Previous = p.First
	default:
		p.Previous = c.catalogPage(string(all[back-1].ID))
	}
	if p.Next != "" {
		c.w.Header().Add("Link", "<"+p.Next+`>; rel="next"`)
	}
	if len(all) > 0 {
		c.modified(latest(all))
	}
	return c.answerGraph(s.publication().Graph(p))
}

// catalogPage is the address of a page, in the syntax of this one.
func (c *call) catalogPage(after string) string {
	q := c.query.canonical("after")
	if after != "" {
		if q != "" {
			q += "&"
		}
		q += "after=" + after
	}
	return c.address("/v1/catalog"+c.format.Suffix, q)
}

func latest(datasets []impact.Dataset) time.Time {
	var t time.Time
	for i := range datasets {
		if datasets[i].Modified.After(t) {
			t = datasets[i].Modified
		}
	}
	return t
}

// modified tells when what is answered last moved.
func (c *call) modified(t time.Time) {
	if !t.IsZero() {
		c.w.Header().Set("Last-Modified", t.UTC().Format(http.TimeFormat))
	}
}

// modifiedSince reads an instant or a day.
func (c *call) modifiedSince() time.Time {
	v := c.query.one("modified_since")
	if v == "" {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, v); err == nil {
			return t.UTC()
		}
	}
	c.query.unread("modified_since", "invalid_date", v,
		impact.Text{FR: "Ce n'est ni un instant RFC 3339, ni un jour.", EN: "This is neither an RFC 3339 instant nor a day."},
		impact.Text{FR: "Par exemple modified_since=2026-03-31 ou modified_since=2026-03-31T00:00:00Z.", EN: "For instance modified_since=2026-03-31 or modified_since=2026-03-31T00:00:00Z."})
	return time.Time{}
}

// answerGraph writes statements in the syntax asked for.
func (c *call) answerGraph(g *dcat.Graph) error {
	var body []byte
	switch c.format.Name {
	case FormatTurtle.Name:
		body = g.Turtle()
	case FormatRDFXML.Name:
		body = g.RDFXML()
	default:
		var err error
		if body, err = g.JSONLD(); err != nil {
			return fmt.Errorf("writing the catalogue: %w", err)
		}
	}
	c.w.Header().Add("Link", "<"+impact.Licence+`>; rel="license"`)
	c.write(http.StatusOK, c.format.Type, body)
	return nil
}

// identified describes what an identifier of the catalogue names.
//
//	@Summary		What an identifier of the catalogue names
//	@Description	The identifiers of datasets, distributions and services are addresses that answer: with the description of the dataset they belong to, in RDF, without redirection.
//	@ID				getIdentified
//	@Tags			publication
//	@Produce		application/ld+json
//	@Produce		text/turtle
//	@Produce		application/rdf+xml
//	@Param			kind	path		string	true	"dataset, distribution or service"	example(dataset)
//	@Param			name	path		string	true	"Its name"						example(impact-aggregates)
//	@Success		200		{object}	map[string]any
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/id/{kind}/{name} [get]
func (s *server) identified(c *call) error {
	datasets, err := s.published(c)
	if err != nil {
		return err
	}
	kind, name, pub := c.param("kind"), c.param("name"), s.publication()
	if kind == "service" && (name == "api" || name == "ogc") {
		if c.fresh(s.catalogTag(c, datasets)) {
			return nil
		}
		return c.answerGraph(pub.Services(datasets))
	}
	for i := range datasets {
		d := &datasets[i]
		named := kind == "dataset" && name == string(d.ID)
		for _, k := range d.Files {
			named = named || kind == "distribution" && name == string(d.ID)+"-"+k.Name
		}
		if named {
			if c.fresh(s.catalogTag(c, datasets)) {
				return nil
			}
			c.modified(d.Modified)
			return c.answerGraph(pub.Dataset(d))
		}
	}
	return impact.NotFoundError()
}

// identifiedAlone describes the publisher and the catalogue itself.
//
//	@Summary		What an identifier of the catalogue names: the publisher, the catalogue
//	@Description	`/id/publisher` describes who publishes, `/id/catalog` the catalogue, in RDF, without redirection.
//	@ID				getIdentifiedAlone
//	@Tags			publication
//	@Produce		application/ld+json
//	@Produce		text/turtle
//	@Produce		application/rdf+xml
//	@Param			name	path		string	true	"publisher or catalog"	example(publisher)
//	@Success		200		{object}	map[string]any
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/id/{name} [get]
func (s *server) identifiedAlone(c *call) error {
	switch c.param("name") {
	case "publisher":
		if c.fresh(s.catalogTag(c, nil)) {
			return nil
		}
		return c.answerGraph(s.publication().Agent())
	case "catalog":
		return s.catalog(c)
	}
	return impact.NotFoundError()
}
