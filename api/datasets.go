package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Dataset describes a dataset of open data.
type Dataset struct {
	// Never changes.
	ID          string `json:"id" example:"impact-aggregates"`
	Title       Text   `json:"title"`
	Description Text   `json:"description"`
	Keywords    []Text `json:"keywords"`
	// Codes of the EU authority list data-theme.
	Themes []string `json:"themes" example:"SOCI"`
	// Code of the EU authority list frequency.
	Frequency string `json:"frequency" example:"QUARTERLY"`
	// Number of the release; null before the first one.
	Version *int `json:"version" extensions:"x-nullable" example:"3"`
	// When the first version was published, and when the bytes last moved.
	Issued   *string `json:"issued" extensions:"x-nullable" format:"date-time"`
	Modified *string `json:"modified" extensions:"x-nullable" format:"date-time"`
	// First and last day the figures are about; null for lists of codes.
	Temporal      *DatasetPeriod        `json:"temporal" extensions:"x-nullable"`
	License       string                `json:"license" example:"https://www.etalab.gouv.fr/licence-ouverte-open-licence"`
	Distributions []DatasetDistribution `json:"distributions"`
	Links         DatasetLinks          `json:"links"`
} // @name Dataset

// DatasetPeriod is a span of days, both included.
type DatasetPeriod struct {
	Start string `json:"start" format:"date" example:"2023-01-01"`
	End   string `json:"end" format:"date" example:"2025-12-31"`
} // @name DatasetPeriod

// DatasetDistribution is a file of a dataset.
type DatasetDistribution struct {
	Format    string `json:"format" example:"csv"`
	Title     Text   `json:"title"`
	MediaType string `json:"media_type" example:"text/csv"`
	// The latest release, and this one for ever.
	URL       string `json:"url" example:"https://impact.grandlyon.com/v1/exports/impact-aggregates.csv"`
	Permanent string `json:"permanent_url,omitempty" example:"https://impact.grandlyon.com/v1/exports/impact-aggregates@3.csv"`
	// Bytes, SHA-256 and rows of the file; null until it is made, in the minutes
	// after a release, or when first asked for.
	Size     *int64  `json:"size" extensions:"x-nullable" example:"18203311"`
	SHA256   *string `json:"sha256" extensions:"x-nullable"`
	Rows     *int    `json:"rows" extensions:"x-nullable" example:"221327"`
	Modified *string `json:"modified" extensions:"x-nullable" format:"date-time"`
} // @name DatasetDistribution

// DatasetLinks leads to what describes a dataset.
type DatasetLinks struct {
	Self        string `json:"self"`
	Versions    string `json:"versions"`
	Release     string `json:"release,omitempty"`
	TableSchema string `json:"table_schema"`
	CSVW        string `json:"csvw"`
} // @name DatasetLinks

// DatasetPage is the list of datasets.
type DatasetPage = Page[Dataset] // @name DatasetPage

// DatasetVersion is a release as a version of a dataset.
type DatasetVersion struct {
	Version     int    `json:"version" example:"3"`
	State       string `json:"state" enums:"published,withdrawn" example:"published"`
	PublishedAt string `json:"published_at" format:"date-time"`
	// Day the figures were closed.
	Day         string  `json:"day" format:"date" example:"2026-11-22"`
	WithdrawnAt *string `json:"withdrawn_at" extensions:"x-nullable" format:"date-time"`
	// Why it was withdrawn, and what is read in its place.
	Reason    *Text `json:"reason,omitempty"`
	Successor *int  `json:"successor,omitempty"`
	Links     struct {
		Self    string `json:"self"`
		Release string `json:"release"`
		Changes string `json:"changes"`
	} `json:"links"`
} // @name DatasetVersion

// DatasetVersionPage lists the versions of a dataset.
type DatasetVersionPage = Page[DatasetVersion] // @name DatasetVersionPage

// listDatasets lists what is published.
//
//	@Summary		Datasets of open data
//	@Description	What is published as files, for everyone. GET /v1/catalog says the same in RDF, for portals.
//	@ID				listDatasets
//	@Tags			publication
//	@Produce		json
//	@Success		200		{object}	DatasetPage
//	@Success		304		"Nothing moved"
//	@Failure		default	{object}	Problem
//	@Router			/v1/datasets [get]
func (s *server) listDatasets(c *call) error {
	all, err := s.datasets(c, 0)
	if err != nil {
		return err
	}
	if c.fresh(s.catalogTag(c, all)) {
		return nil
	}
	list := make([]Dataset, 0, len(all))
	for i := range all {
		list = append(list, s.dataset(&all[i], 0))
	}
	return c.answer(http.StatusOK, page(c, list, nil))
}

// datasets gives those of a release, 0 for the latest, and those to come before
// the first one.
func (s *server) datasets(c *call, n impact.ReleaseNumber) ([]impact.Dataset, error) {
	if s.Exports == nil {
		return impact.Datasets(), nil
	}
	return s.Exports.Datasets(c.r.Context(), n)
}

// getDataset describes one dataset.
//
//	@Summary		One dataset and its files
//	@Description	JSON, or the statements of the catalogue about it in RDF.
//	@ID				getDataset
//	@Tags			publication
//	@Produce		json
//	@Produce		application/ld+json
//	@Produce		text/turtle
//	@Produce		application/rdf+xml
//	@Param			id		path		string	true	"Id of the dataset"	example(impact-aggregates)
//	@Success		200		{object}	Dataset
//	@Success		304		"Nothing moved"
//	@Failure		default	{object}	Problem
//	@Router			/v1/datasets/{id} [get]
func (s *server) getDataset(c *call) error { return s.oneDataset(c, 0) }

func (s *server) oneDataset(c *call, n impact.ReleaseNumber) error {
	id := impact.DatasetID(c.param("id"))
	if impact.DatasetByID(id) == nil {
		return noDataset()
	}
	if n != 0 && s.Exports == nil {
		return noVersion()
	}
	all, err := s.datasets(c, n)
	if err != nil {
		return err
	}
	for i := range all {
		if all[i].ID == id {
			if c.fresh(s.catalogTag(c, all[i:i+1])) {
				return nil
			}
			if c.format.Name != FormatJSON.Name {
				return c.answerGraph(s.publication().Dataset(&all[i]))
			}
			return c.answer(http.StatusOK, s.dataset(&all[i], n))
		}
	}
	return noDataset()
}

func noVersion() error {
	return &impact.Error{
		Kind: impact.NotFound, Code: "not_found",
		Detail: bilingual("Aucune publication n'existe encore.", "No release exists yet."),
		Hint:   bilingual("GET /v1/releases liste les publications.", "GET /v1/releases lists the releases."),
	}
}

// listDatasetVersions lists the releases that hold a dataset.
//
//	@Summary		Versions of a dataset
//	@Description	A version is a release, under its number, the newest first. Each dataset is in each release. A withdrawn version says why and what is read in its place.
//	@ID				listDatasetVersions
//	@Tags			publication
//	@Produce		json
//	@Param			id		path		string	true	"Id of the dataset"	example(impact-aggregates)
//	@Success		200		{object}	DatasetVersionPage
//	@Success		304		"Nothing moved"
//	@Failure		default	{object}	Problem
//	@Router			/v1/datasets/{id}/versions [get]
func (s *server) listDatasetVersions(c *call) error {
	id := impact.DatasetID(c.param("id"))
	if impact.DatasetByID(id) == nil {
		return noDataset()
	}
	list := []DatasetVersion{}
	if s.Exports != nil {
		all, err := s.Exports.Versions(c.r.Context(), id)
		if err != nil {
			return err
		}
		for i := range all {
			list = append(list, s.datasetVersion(id, &all[i]))
		}
	}
	return c.answer(http.StatusOK, page(c, list, nil))
}

func (s *server) datasetVersion(id impact.DatasetID, r *impact.Release) DatasetVersion {
	v := DatasetVersion{Version: int(r.Number), State: string(r.State), PublishedAt: instant(r.PublishedAt), Day: r.Day.String()}
	if r.State == impact.ReleaseWithdrawn {
		at, reason := instant(r.WithdrawnAt), text(r.Reason)
		v.WithdrawnAt, v.Reason = &at, &reason
		if r.Successor != 0 {
			n := int(r.Successor)
			v.Successor = &n
		}
	}
	n := strconv.Itoa(int(r.Number))
	v.Links.Self = s.PublicURL + "/v1/datasets/" + string(id) + "/versions/" + n
	v.Links.Release = s.PublicURL + "/v1/releases/" + n
	v.Links.Changes = v.Links.Self + "/changes"
	return v
}

// getDatasetVersion describes a dataset as one release holds it.
//
//	@Summary		One version of a dataset
//	@ID				getDatasetVersion
//	@Tags			publication
//	@Produce		json
//	@Param			id		path		string	true	"Id of the dataset"	example(impact-aggregates)
//	@Param			version	path		integer	true	"Number of the release"	example(3)
//	@Success		200		{object}	Dataset
//	@Success		304		"Nothing moved"
//	@Failure		default	{object}	Problem
//	@Router			/v1/datasets/{id}/versions/{version} [get]
func (s *server) getDatasetVersion(c *call) error {
	n, err := datasetVersion(c.param("version"))
	if err != nil {
		return err
	}
	return s.oneDataset(c, n)
}

// listDatasetVersionChanges tells what a version changed.
//
//	@Summary		What a version of a dataset changed
//	@Description	The changes of the release the version is, as GET /v1/releases/{n}/changes gives them. Only datasets of figures have some: of the lists of codes, compare the files.
//	@ID				listDatasetVersionChanges
//	@Tags			publication
//	@Produce		json
//	@Param			id				path		string	true	"Id of the dataset"		example(impact-aggregates)
//	@Param			version			path		string	true	"Number of the release, or `latest`"	example(3)
//	@Param			since			query		int		false	"Number of an older release; the one before when absent"	minimum(1)	example(2)
//	@Param			change			query		string	false	"Changes of one sort only"	Enums(new, revised, withheld, disclosed, gone)
//	@Param			indicator		query		string	false	"Cells of one indicator"	example(insertion_hours)
//	@Param			impact_type		query		string	false	"Counts of one impact type"	example(inclusion.insertion)
//	@Param			territory		query		string	false	"Cells of one territory"	example(commune-69266)
//	@Param			limit			query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor			query		string	false	"Where to go on, from links.next"
//	@Success		200				{object}	ReleaseChangePage
//	@Success		304				"Nothing moved"
//	@Failure		default			{object}	Problem
//	@Router			/v1/datasets/{id}/versions/{version}/changes [get]
func (s *server) listDatasetVersionChanges(c *call) error {
	d := impact.DatasetByID(impact.DatasetID(c.param("id")))
	if d == nil {
		return noDataset()
	}
	if !d.Figures {
		return &impact.Error{
			Kind: impact.NotFound, Code: "not_found",
			Detail: bilingual("Les changements d'une liste de codes ne sont pas tenus.", "The changes of a list of codes are not kept."),
			Hint:   bilingual("Comparez les fichiers des deux versions.", "Compare the files of the two versions."),
		}
	}
	return s.listReleaseChanges(c)
}

// releaseAsked is the release of the address: the version of a dataset, or the
// release itself.
func (c *call) releaseAsked() string {
	if v := c.param("version"); v != "" {
		return v
	}
	return c.param("id")
}

// dataset writes a dataset; n is the version asked for, 0 for the latest.
func (s *server) dataset(d *impact.Dataset, n impact.ReleaseNumber) Dataset {
	self := s.PublicURL + "/v1/datasets/" + string(d.ID)
	w := Dataset{
		ID: string(d.ID), Title: text(d.Title), Description: text(d.Description), Keywords: []Text{}, Themes: d.Themes,
		Frequency: d.Frequency, License: impact.Licence, Distributions: []DatasetDistribution{},
		Links: DatasetLinks{
			Self: self, Versions: self + "/versions",
			TableSchema: s.PublicURL + impact.ExportPath(d.ID, n, impact.TableSchemaSuffix), CSVW: s.PublicURL + impact.ExportPath(d.ID, n, impact.CSVWSuffix),
		},
	}
	for _, k := range d.Keywords {
		w.Keywords = append(w.Keywords, text(k))
	}
	if n != 0 {
		w.Links.Self += "/versions/" + strconv.Itoa(int(n))
	}
	if d.Release == 0 {
		return w
	}
	version := int(d.Release)
	w.Version, w.Issued, w.Modified = &version, optionalInstant(d.Issued), optionalInstant(d.Modified)
	w.Links.Release = s.PublicURL + "/v1/releases/" + strconv.Itoa(version)
	if d.Temporal != nil {
		w.Temporal = &DatasetPeriod{Start: d.Temporal.Start.String(), End: d.Temporal.End.String()}
	}
	for _, k := range d.Files {
		f := DatasetDistribution{
			Format: k.Name, Title: text(k.Title), MediaType: k.MediaType,
			URL: s.PublicURL + impact.ExportPath(d.ID, 0, k.Suffix), Permanent: s.PublicURL + impact.ExportPath(d.ID, d.Release, k.Suffix),
		}
		for i := range d.Distributions {
			if made := &d.Distributions[i]; made.Kind.Name == k.Name {
				f.Size, f.SHA256, f.Rows, f.Modified = &made.Size, &made.SHA256, &made.Rows, optionalInstant(made.Modified)
			}
		}
		w.Distributions = append(w.Distributions, f)
	}
	return w
}

func optionalInstant(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := instant(t)
	return &text
}
