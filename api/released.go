package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
)

// Released is a published release with its figures, which passed disclosure
// control and are for everyone. It answers declared cells only: other queries
// are refused with the code disclosure_uncontrolled_slice.
type Released interface {
	FigureSource
	Release() *impact.Release
}

// Releases are the published ones. Each method fails with an *impact.Error:
// of kind NotFound when there is no such release, release_withdrawn when it was
// taken back.
type Releases interface {
	// Latest is the one read when none is named.
	Latest(context.Context) (Released, error)
	Get(context.Context, impact.ReleaseNumber) (Released, error)
	// At is the one that was in force at an instant.
	At(context.Context, time.Time) (Released, error)
}

// Shelf is what keeps releases in memory; *release.Shelf is one.
type Shelf[S Released] interface {
	Latest(context.Context) (S, error)
	Get(context.Context, impact.ReleaseNumber) (S, error)
	At(context.Context, time.Time) (S, error)
}

// ReleasesOn gives the releases of a shelf.
func ReleasesOn[S Released](shelf Shelf[S]) Releases { return shelved[S]{shelf} }

type shelved[S Released] struct{ shelf Shelf[S] }

func (s shelved[S]) Latest(ctx context.Context) (Released, error) {
	return released(s.shelf.Latest(ctx))
}

func (s shelved[S]) Get(ctx context.Context, n impact.ReleaseNumber) (Released, error) {
	return released(s.shelf.Get(ctx, n))
}

func (s shelved[S]) At(ctx context.Context, t time.Time) (Released, error) {
	return released(s.shelf.At(ctx, t))
}

// released keeps a typed nil from looking like a release.
func released[S Released](s S, err error) (Released, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// liveRelease names today's facts where a release is asked for.
const liveRelease = "live"

// releaseWords are what release= takes.
var releaseWords = []string{"latest", "1, 2, 3…", liveRelease}

// releaseOf is the release that a query reads: the latest when it names none.
// It is nil for live figures, after the right on them was asked for, and where
// what is written cannot be read, which the reader of the query tells.
func (s *server) releaseOf(c *call, criteria []criterion) (Released, error) {
	word, named := sole(criteria, "release")
	instant, dated := sole(criteria, "as_of")
	ctx := c.r.Context()
	switch {
	case word == liveRelease:
		return nil, c.rightHolder()
	case s.Releases == nil:
		return nil, noRelease(c)
	case named && word != "latest":
		n, ok := releaseNumber(word)
		if !ok {
			return nil, nil
		}
		rel, err := s.Releases.Get(ctx, n)
		return rel, missing(err, impact.Text{FR: "La publication " + word + " n'existe pas.", EN: "There is no release " + word + "."})
	case dated && !named:
		t, err := time.Parse(time.RFC3339, instant)
		if err != nil {
			return nil, nil //nolint:nilerr // the reader of the query tells
		}
		rel, err := s.Releases.At(ctx, t)
		return rel, missing(err, impact.Text{FR: "Aucune publication n'était en vigueur à cet instant.", EN: "No release was in force at that instant."})
	}
	rel, err := s.Releases.Latest(ctx)
	if impact.KindOf(err) == impact.NotFound {
		return nil, noRelease(c)
	}
	return rel, err
}

// sole is the one plain value of a parameter written once.
func sole(criteria []criterion, name string) (value string, ok bool) {
	for i := range criteria {
		k := &criteria[i]
		if k.name != name {
			continue
		}
		if ok || len(k.terms) != 1 || k.terms[0].op != opEqual {
			return "", true
		}
		value, ok = k.terms[0].value, true
	}
	return value, ok
}

func releaseNumber(s string) (impact.ReleaseNumber, bool) {
	n, err := strconv.Atoi(s)
	return impact.ReleaseNumber(n), err == nil && n > 0 && strconv.Itoa(n) == s
}

// noRelease is said until a first release is published. An empty answer would
// say that nothing was reported.
func noRelease(c *call) error {
	c.w.Header().Set("Vary", varyByForm)
	return &impact.Error{
		Kind: impact.NotFound, Code: "not_found",
		Detail: bilingual("Aucune publication (release) n'existe encore : il n'y a pas encore de chiffres publics.", "No release exists yet: there are no public figures yet."),
		Hint: bilingual("Revenez après la première publication (GET /v1/releases). Un titulaire de droits demande release=live, avec son jeton.",
			"Come back after the first release (GET /v1/releases). A rights holder asks release=live, with its token."),
		Link: "/v1/releases",
	}
}

// missing words what a release that is not there is called.
func missing(err error, detail impact.Text) error {
	if impact.KindOf(err) != impact.NotFound {
		return err
	}
	return &impact.Error{
		Kind: impact.NotFound, Code: "not_found", Detail: detail, Err: err,
		Hint: bilingual("GET /v1/releases les liste ; release=latest lit la dernière.", "GET /v1/releases lists them; release=latest reads the last one."),
		Link: "/v1/releases",
	}
}

// declared refuses what only live figures know, before the release is asked.
// The release itself refuses other cells that it does not hold.
func (q *aggregateQuery) declared() error {
	var faults []impact.Fault
	live := func(name string, asked bool, fr, en string) {
		if asked {
			faults = append(faults, q.place(name).mark(fault("inconsistent", "", bilingual(fr, en),
				bilingual("Ôtez-le ; ou, titulaire de droits, ajoutez release=live et votre jeton.", "Leave it out; or, as a rights holder, add release=live and your token."))))
		}
	}
	live(dimOrganisation, q.organisation != "", "Une publication ne montre jamais une organisation seule.", "A release never shows one organisation alone.")
	live("group_by", q.grouped(dimOrganisation), "Une publication ne se découpe pas par organisation.", "A release is not cut by organisation.")
	live("state", q.state != impact.Approved, "Une publication ne compte que ce qui est approuvé.", "A release counts only what is approved.")
	live("split", q.prorata, "Une publication ne partage pas par jours.", "A release does not share by days.")
	live("allow_bounds", q.allowBounds, "Une publication ne donne pas de bornes.", "A release gives no bounds.")
	for _, d := range q.disaggregations {
		live(d.dimension, true, "Les ventilations ne sont pas encore publiées.", "Disaggregations are not published yet.")
	}
	if slices.ContainsFunc(q.groupBy, func(g string) bool { return strings.HasPrefix(g, dimDisaggregation) }) {
		live("group_by", true, "Les ventilations ne sont pas encore publiées.", "Disaggregations are not published yet.")
	}
	if len(faults) == 0 {
		return nil
	}
	return &impact.Error{
		Kind: impact.Invalid, Code: uncontrolled, Faults: faults,
		Detail: bilingual("Cette requête n'est pas une cellule des tableaux publiés.", "This query is not a cell of the published cubes."),
		Hint: bilingual("Une publication répond à des cellules déclarées, jamais à une somme sur un filtre : c'est ce qui protège le secret de chacun.",
			"A release answers declared cells, never a sum over a filter: that is what keeps everyone's secret."),
	}
}

// uncontrolled is the code of what no release answers.
const uncontrolled = "disclosure_uncontrolled_slice"

// blocked is a refusal of disclosure control, with queries that are allowed.
type blocked struct {
	refusal *impact.Error
	control DisclosureControl
	nearest []string
}

func (b *blocked) Error() string { return b.refusal.Error() }
func (b *blocked) Unwrap() error { return b.refusal }

// leadOn turns a refusal of the release into one that leads on.
func (s *server) leadOn(q *aggregateQuery, err error) error {
	e, ok := errors.AsType[*impact.Error](err)
	if !ok || e.Code != uncontrolled || q.published == nil {
		return err
	}
	return &blocked{refusal: e, control: s.control(q, "BLOCKED", nil), nearest: s.allowedNear(q, err)}
}

// leadOn says in a problem document what disclosure control did, and what it
// allows.
func (c *call) leadOn(p *Problem, b *blocked) {
	p.DisclosureControl = &b.control
	var links []string
	for _, l := range b.nearest {
		links = append(links, c.address(l, ""))
	}
	if p.Links == nil {
		p.Links = &ProblemLinks{Related: b.control.Documentation}
	}
	p.Links.Nearest = links
}

// allowedNear gives a few queries close to q that the release answers; each was
// tried. The release knows its lattice and comes first.
func (s *server) allowedNear(q *aggregateQuery, refused error) []string {
	var out []string
	try := func(change func(*aggregateQuery)) {
		n := *q
		n.organisation, n.disaggregations, n.state, n.prorata, n.allowBounds = "", nil, impact.Approved, false, false
		n.groupBy = slices.DeleteFunc(slices.Clone(q.groupBy), func(g string) bool {
			return g == dimOrganisation || strings.HasPrefix(g, dimDisaggregation)
		})
		n.spelled = nil
		change(&n)
		for _, d := range []string{dimPeriod, dimTerritory} {
			if !n.grouped(d) {
				n.groupBy = slices.Insert(n.groupBy, 0, d)
			}
		}
		if !n.counting && !n.grouped(dimIndicator) {
			n.groupBy = slices.Insert(n.groupBy, 0, dimIndicator)
		}
		if n.parent == nil {
			n.totals = false
			n.measures = slices.DeleteFunc(slices.Clone(n.measures), func(m string) bool { return m == measureShareOfTotal })
			n.conditions = slices.DeleteFunc(slices.Clone(n.conditions), func(k condition) bool { return k.measure == measureShareOfTotal })
		}
		n.order = slices.DeleteFunc(slices.Clone(n.order), func(k sortKey) bool {
			return !slices.Contains(n.groupBy, k.field) && !slices.Contains(n.measures, k.field)
		})
		if len(n.groupBy) > maxGroupBy || len(n.measures) == 0 || n.impossible() || s.cells(&n) > maxReturned {
			return
		}
		if _, _, err := s.figures(&n); err != nil {
			return
		}
		link := "/v1/aggregates?" + queryString(n.normalised())
		if len(link) < maxURI && !slices.Contains(out, link) {
			out = append(out, link)
		}
	}
	structures := []string{dimClass, dimStructureKind, dimSizeClass}
	uncut := func(n *aggregateQuery) {
		n.classes, n.structureKinds, n.sizeClasses = nil, nil, nil
		n.groupBy = slices.DeleteFunc(n.groupBy, func(g string) bool { return slices.Contains(structures, g) })
	}
	years := func(n *aggregateQuery) {
		of := make([]impact.Period, 0, len(n.periods))
		for _, p := range n.periods {
			for y := p.Start.Year(); y <= p.End.Year(); y++ {
				of = append(of, impact.YearPeriod(y))
			}
		}
		slices.SortFunc(of, byStart)
		n.periods, n.granularity = slices.Compact(of), impact.Year
	}
	if u, ok := errors.AsType[*calculation.UncontrolledSliceError](refused); ok {
		for _, near := range u.Nearest {
			try(func(n *aggregateQuery) { n.become(s, near) })
		}
	}
	try(func(*aggregateQuery) {})
	// One structure dimension at a time, at the levels where it is published.
	for _, d := range structures {
		if !q.grouped(d) && !q.filtered(d) {
			continue
		}
		try(func(n *aggregateQuery) {
			codes := [...]*[]string{&n.classes, &n.structureKinds, &n.sizeClasses}
			keep := *codes[slices.Index(structures, d)]
			uncut(n)
			*codes[slices.Index(structures, d)] = keep
			if !n.grouped(d) {
				n.groupBy = append(n.groupBy, d)
			}
			years(n)
		})
	}
	try(uncut)
	try(func(n *aggregateQuery) { uncut(n); years(n) })
	return out[:min(3, len(out))]
}

// become takes over the territories, periods and cuts of another query.
func (q *aggregateQuery) become(s *server, near calculation.Query) {
	q.periods, q.granularity = near.Periods, impact.Interval
	if len(near.Periods) > 0 {
		q.granularity = near.Periods[0].Granularity()
	}
	for _, p := range near.Periods {
		if p.Granularity() != q.granularity {
			q.granularity = impact.Interval
		}
	}
	same := len(near.Territories) == len(q.territories)
	for i := 0; same && i < len(near.Territories); i++ {
		same = near.Territories[i] == q.territories[i].Key
	}
	if !same {
		q.territories, q.territoryType, q.parent = nil, "", nil
		var ids []string
		for _, k := range near.Territories {
			if t := s.Catalogue.Gazetteer().ByKey(k); t != nil {
				q.territories, ids = append(q.territories, t), append(ids, string(t.ID))
			}
		}
		q.territory = selection{{text: strings.Join(ids, ","), equal: ids}}
	}
	q.classes, q.structureKinds, q.sizeClasses = nil, nil, nil
	for _, f := range near.Filters {
		switch string(f.Dimension) {
		case dimClass:
			q.classes = f.Codes
		case dimStructureKind:
			q.structureKinds = f.Codes
		case dimSizeClass:
			q.sizeClasses = f.Codes
		}
	}
	q.groupBy = slices.DeleteFunc(slices.Clone(q.groupBy), isCut)
	for _, d := range near.Cuts {
		q.groupBy = append(q.groupBy, string(d))
	}
}

// filtered tells that a condition is set on a structure dimension.
func (q *aggregateQuery) filtered(dimension string) bool {
	switch dimension {
	case dimClass:
		return q.classes != nil
	case dimStructureKind:
		return q.structureKinds != nil
	}
	return dimension == dimSizeClass && q.sizeClasses != nil
}

// control tells what disclosure control did to an answer.
func (s *server) control(q *aggregateQuery, status string, rows []figureRow) DisclosureControl {
	if q.published == nil {
		return DisclosureControl{Status: "LIVE"}
	}
	d := DisclosureControl{Status: status, Ruleset: q.published.Ruleset, Documentation: s.PublicURL + disclosurePage}
	if status != "" {
		return d
	}
	n := 0
	for i := range rows {
		if rows[i].Status == impact.Suppressed {
			n++
		}
	}
	d.Status, d.SuppressedCells = "OK", &n
	if n > 0 {
		d.Status = "SUPPRESSED"
	}
	return d
}

// disclosurePage is the public page of the method.
const disclosurePage = "/docs/disclosure.md"

// method is the version of the rules of calculation behind the answer.
func (q *aggregateQuery) method() string {
	if q.published != nil {
		return q.published.Method
	}
	return calculation.MethodVersion
}

// methodology is the version of an indicator behind the answer.
func (q *aggregateQuery) methodology(ind *impact.Indicator) string {
	if q.published != nil {
		if v := q.published.Methodology[ind.Code]; v != "" {
			return v
		}
	}
	return ind.MethodologyVersion
}

// releaseText is how the answer names what it was read from.
func (q *aggregateQuery) releaseText() string {
	if q.published != nil {
		return strconv.Itoa(int(q.published.Number))
	}
	return liveRelease
}

// releasedTag names an answer of a release: the release, what was asked, and
// the program that wrote it down.
func (s *server) releasedTag(c *call, q *aggregateQuery) (string, error) {
	var outlines string
	if c.drawn() {
		shapes, err := s.currentShapes(c)
		if err != nil {
			return "", err
		}
		outlines = shapes.tag
	}
	id := digest([]byte(q.published.Digest), []byte(s.Version), []byte(outlines))
	return c.weakTag(q.releaseText() + "-" + hex(id[:4])), nil
}

// drawn tells that the answer holds outlines, which are no part of the release:
// they may be loaded again.
func (c *call) drawn() bool { return c.format.Name == FormatGeoJSON.Name }

// fromRelease serves an answer that a release alone decides: the caller has it,
// or it is kept, or it is computed once for all who ask at that moment.
func (s *server) fromRelease(c *call, q *aggregateQuery, compute func() (*answer, error)) error {
	tag, err := s.releasedTag(c, q)
	if err != nil {
		return err
	}
	if c.r.Method != http.MethodGet {
		a, err := compute()
		if err != nil {
			return s.leadOn(q, err)
		}
		s.aboutRelease(q, a, "")
		c.send(a)
		return nil
	}
	c.w.Header().Set("Cache-Control", q.cacheControl())
	if c.drawn() {
		c.w.Header().Set("Cache-Control", cacheLatest)
	}
	again := q.asOf.IsZero() && !c.drawn()
	if c.has(tag, lastModified(q.published)) {
		if again {
			s.answers.ask(c, q, s.answers.promise(tag, lastModified(q.published)))
		}
		return nil
	}
	a, err := s.answers.get(tag+c.suffix, func() (*answer, error) {
		a, err := compute()
		if err == nil {
			s.aboutRelease(q, a, tag)
		}
		return a, err
	})
	if err != nil {
		return s.leadOn(q, err)
	}
	if again {
		s.answers.ask(c, q, a)
	}
	c.send(a)
	return nil
}

// aboutRelease sets the headers that tell where figures come from: for flat
// formats, which have no room for it, and for caches.
func (s *server) aboutRelease(q *aggregateQuery, a *answer, tag string) {
	h := a.header
	h.Add("Link", "<"+impact.Licence+`>; rel="license"`)
	h.Add("Link", "<"+s.PublicURL+"/v1/releases/"+q.releaseText()+`>; rel="describedby"`)
	h.Set("Impact-Release", q.releaseText())
	if tag != "" {
		h.Set("ETag", tag)
		h.Set("Last-Modified", lastModified(q.published))
	}
}

func lastModified(r *impact.Release) string {
	return r.PublishedAt.UTC().Format(http.TimeFormat)
}

// cacheControl: the answer of a numbered release never changes.
func (q *aggregateQuery) cacheControl() string {
	if _, ok := releaseNumber(q.release); ok {
		return cacheForEver
	}
	return cacheLatest
}
