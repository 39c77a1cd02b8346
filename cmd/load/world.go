package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

// The workload of the issue: 5,000 organisations × 60 indicators × 58 communes
// × 40 quarters, of which each organisation states 5 (commune, indicator)
// series of 40 quarters. Fewer observations are of fewer organisations.
const (
	organisations = 5000
	series        = 5
	indicators    = 60
	quarters      = 40
	firstYear     = 2016
	publicURL     = "http://127.0.0.1:8080"
)

// world is what is known before the first request: who sends, and what.
type world struct {
	dir, keyFile string
	communes     []string // of the Métropole
	elsewhere    []string // communes of the Ain
	indicators   []*impact.Indicator
	tokens       []string // by organisation
	steward      string
	bodies       [][]byte // one request per organisation
}

// prepare registers the senders through the store, as the administration
// command does, and writes down every request. None of this is measured.
func prepare(ctx context.Context, db database, dir string, observations int) (*world, error) {
	w := &world{dir: dir, keyFile: filepath.Join(dir, "signing-key.pem")}
	keys, _, err := auth.LoadOrCreateKeyFile(w.keyFile)
	if err != nil {
		return nil, err
	}
	issuer, err := auth.NewIssuer(auth.Config{Issuer: publicURL, Audience: publicURL + "/v1", Keys: keys, TTL: 12 * time.Hour, Now: time.Now})
	if err != nil {
		return nil, err
	}
	s, err := openMigrated(ctx, db.url())
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	catalogue, err := s.Catalogue(ctx)
	if err != nil {
		return nil, err
	}
	w.choose(catalogue)
	return w, w.register(ctx, s, issuer, observations)
}

// choose takes the communes of the Métropole and the first sixty flows that
// need nothing but a number, quarter by quarter: plain SQL can redo their sums.
func (w *world) choose(c *impact.Catalogue) {
	g := c.Gazetteer()
	vintage := g.CurrentVintage(impact.DateOf(time.Now()))
	lyon := g.At("metropole-200046977", impact.DateOf(time.Now()))
	for _, t := range g.Descendants(lyon.Key, vintage, impact.Commune) {
		w.communes = append(w.communes, string(t.ID))
	}
	for _, t := range g.Descendants(g.At("departement-01", impact.DateOf(time.Now())).Key, vintage, impact.Commune) {
		w.elsewhere = append(w.elsewhere, string(t.ID))
	}
	for _, i := range c.Indicators() {
		yearly := slices.Contains(i.Disaggregations, "agec_category")
		if i.Kind == impact.Flow && !yearly && len(i.RequiredMetadata)+len(i.HomogeneousBy)+len(i.NotAdditiveOver) == 0 && len(w.indicators) < indicators {
			w.indicators = append(w.indicators, i)
		}
	}
}

func (w *world) register(ctx context.Context, s *store.Store, issuer *auth.Issuer, observations int) error {
	admin := impact.Principal{Client: "load", Role: impact.RoleAdministrator, Scopes: impact.AllowedScopes(impact.RoleAdministrator)}
	q := impact.Questionnaire{
		Code: "load", Label: impact.Text{FR: "Charge", EN: "Load"}, Review: impact.Automatic,
		From: impact.NewDate(firstYear, time.January, 1), To: impact.MaxDate,
	}
	for _, i := range w.indicators {
		q.Indicators = append(q.Indicators, impact.QuestionnaireItem{Indicator: i.Code})
	}
	if _, err := s.PutQuestionnaire(ctx, admin, q, 0); err != nil {
		return err
	}
	span := impact.Period{Start: impact.NewDate(firstYear, time.January, 1), End: impact.NewDate(firstYear+quarters/4-1, time.December, 31)}
	random := rand.New(rand.NewPCG(1, 2))
	senders := min(organisations, observations/series/quarters)
	series := observations / senders / quarters
	w.tokens, w.bodies = make([]string, senders), make([][]byte, senders)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range senders {
		seat := impact.TerritoryID(w.communes[random.IntN(len(w.communes))])
		w.bodies[i] = w.body(random, series)
		g.Go(func() (err error) {
			w.tokens[i], err = sender(ctx, s, issuer, admin, i, seat, span)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c := impact.Client{ID: "load-steward", Name: "Steward", Role: impact.RoleSteward, Scopes: impact.AllowedScopes(impact.RoleSteward)}
	var err error
	w.steward, _, err = issuer.Issue(c, c.Scopes)
	return err
}

// sender registers the i-th organisation and opens its submission. Review is
// automatic: once approved, each later value without a warning counts at once.
func sender(ctx context.Context, s *store.Store, issuer *auth.Issuer, admin impact.Principal, i int, seat impact.TerritoryID, span impact.Period) (token string, err error) {
	o, _, err := s.CreateOrganisation(ctx, admin, impact.Organisation{
		Name: fmt.Sprintf("Organisation %d", i), SIREN: siren(i), Class: impact.Association, Questionnaires: []string{"load"},
		Sites:    []impact.Site{{Territory: seat, From: impact.MinDate, To: impact.MaxDate}},
		OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate,
	})
	if err != nil {
		return "", err
	}
	scopes := impact.AllowedScopes(impact.RoleOrganisation)
	p := impact.Principal{Client: fmt.Sprintf("load-%d", i), Role: impact.RoleOrganisation, Organisation: o.ID, Scopes: scopes}
	sub, _, err := s.CreateSubmission(ctx, p, impact.Submission{Organisation: o.ID, Period: span, Questionnaire: "load"}, nil)
	if err != nil {
		return "", err
	}
	if _, err := s.Transition(ctx, p, sub.ID, sub.Version, "submit", ""); err != nil {
		return "", err
	}
	token, _, err = issuer.Issue(impact.Client{ID: p.Client, Name: o.Name, Role: p.Role, Organisation: o.ID, Scopes: scopes}, scopes)
	return token, err
}

// body is one request of an organisation: series of quarters, each of one
// indicator in one commune, that move little from quarter to quarter.
func (w *world) body(random *rand.Rand, series int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"observations":[`)
	communes := random.Perm(len(w.communes))
	for s := range series {
		commune := w.communes[communes[s%len(communes)]]
		indicator := w.indicators[random.IntN(len(w.indicators))]
		level := 20 + random.IntN(400)
		for q := range quarters {
			if s+q > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"indicator":%q,"territory":%q,"period":"%d-Q%d","value":%d,"unit":%q}`,
				indicator.Code, commune, firstYear+q/4, q%4+1, level+random.IntN(10), indicator.Unit)
		}
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// siren makes the i-th nine-digit number that passes the Luhn check.
func siren(i int) string {
	base := fmt.Sprintf("%08d", 90000000+i)
	for check := '0'; check <= '9'; check++ {
		if _, fault := impact.CheckSIREN(base + string(check)); fault == nil {
			return base + string(check)
		}
	}
	panic("every prefix has a check digit")
}
