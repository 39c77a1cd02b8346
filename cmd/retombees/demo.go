package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/publish"
	"github.com/grandlyon/retombees/pkg/store"
)

type demoCmd struct{ databaseFlags }

// Run loads the data set without its clients: a client whose secret everybody
// knows exists under `serve --demo` only.
func (c demoCmd) Run(w *world) (err error) {
	s, err := c.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	loaded, err := loadDemo(w, s)
	if err == nil {
		err = publishDemo(w, s)
	}
	if err != nil {
		return err
	}
	if !loaded {
		_, err = fmt.Fprintln(w.stdout, "The demonstration is already there; nothing was changed.")
		return err
	}
	_, err = fmt.Fprintln(w.stdout, "The demonstration is loaded. `retombees client create` makes a client to read it.")
	return err
}

// demoClient is a client whose secret is printed in the documentation.
type demoClient struct{ id, secret, name string }

var (
	demoOrganisationClient  = demoClient{"demo-organisation", "demo-organisation-secret", "Organisation (démo)"}
	demoStewardClient       = demoClient{"demo-steward", "demo-steward-secret", "Gestionnaire (démo)"}
	demoNetworkClient       = demoClient{"demo-network", "demo-network-secret", "Réseau (démo)"}
	demoAdministratorClient = demoClient{"demo-administrator", "demo-administrator-secret", "Administration (démo)"}
)

// demoNetwork is the code of the network of the bulky-waste programme: its
// members are those of the programme, and the first of them has given it a
// mandate to read and write.
const demoNetwork = "DEMO-ENCOMBRANTS"

// demoReference names the organisation the first of these clients acts for.
const demoReference = "ext:" + demoSource + ":programme-01"

// demonstration prepares what --demo asks for and tells whether the database
// holds the demonstration. Without --demo, a database whose secrets are public
// is refused: it would be an open door.
func (c serveCmd) demonstration(w *world, s *store.Store) (bool, error) {
	if !c.Demo {
		clients, err := s.AllClients(w.ctx)
		if err != nil {
			return false, fmt.Errorf("listing clients: %w", err)
		}
		for _, k := range clients {
			if k.ID == demoAdministratorClient.id && !k.Revoked {
				return false, errors.New("this database has the demonstration's clients, whose secrets are public: start with --demo, or with another database")
			}
		}
		return demoLoaded(w.ctx, s)
	}
	if _, err := loadDemo(w, s); err != nil {
		return false, err
	}
	if err := publishDemo(w, s); err != nil {
		return false, err
	}
	return true, registerDemoClients(w.ctx, s)
}

// demoLoaded tells whether the demonstration is in the database.
func demoLoaded(ctx context.Context, s *store.Store) (bool, error) {
	_, err := s.Questionnaire(ctx, demoBase)
	if impact.KindOf(err) == impact.NotFound {
		return false, nil
	}
	return err == nil, err
}

// refuseStrangers is an error when the database holds anything beside the
// demonstration. what says what is refused then.
func refuseStrangers(ctx context.Context, s *store.Store, what string) error {
	clients, err := s.AllClients(ctx)
	if err != nil {
		return fmt.Errorf("listing clients: %w", err)
	}
	for _, c := range clients {
		if !strings.HasPrefix(c.ID, "demo-") {
			return fmt.Errorf("%s, and this database has client %s (%s)", what, c.Name, c.ID)
		}
	}
	page := impact.Page{Limit: 1000}
	for {
		list, next, err := s.Organisations(ctx, operator(), impact.OrganisationFilter{}, page)
		if err != nil {
			return fmt.Errorf("listing organisations: %w", err)
		}
		for _, o := range list {
			if !slices.ContainsFunc(o.ExternalIDs, func(x impact.ExternalID) bool { return x.Source == demoSource }) {
				return fmt.Errorf("%s, and this database has organisation %s (%s)", what, o.Name, o.ID)
			}
		}
		if next == nil {
			return nil
		}
		page.After = next
	}
}

func registerDemoClients(ctx context.Context, s *store.Store) error {
	_, err := s.Client(ctx, demoAdministratorClient.id)
	if impact.KindOf(err) != impact.NotFound {
		return err // there already, or cannot be read
	}
	if err := refuseStrangers(ctx, s, "--demo lets everybody in"); err != nil {
		return err
	}
	organisations, err := s.FindOrganisations(ctx, operator(), demoReference)
	if err != nil || len(organisations) != 1 {
		return errors.Join(err, fmt.Errorf("the demonstration's organisation %s is not there", demoReference))
	}
	network, err := s.Network(ctx, demoNetwork)
	if err != nil {
		return fmt.Errorf("the demonstration's network %s: %w", demoNetwork, err)
	}
	// The administrator comes last: it is the sign that all of them are there.
	for _, c := range []struct {
		demoClient
		role         impact.Role
		organisation impact.OrganisationID
		network      impact.NetworkID
	}{
		{demoOrganisationClient, impact.RoleOrganisation, organisations[0].ID, ""},
		{demoStewardClient, impact.RoleSteward, "", ""},
		{demoNetworkClient, impact.RoleNetwork, "", network.ID},
		{demoAdministratorClient, impact.RoleAdministrator, "", ""},
	} {
		_, err := s.CreateClient(ctx, operator(), impact.Client{
			ID: c.id, Name: c.name, Role: c.role, Organisation: c.organisation, Network: c.network,
			Scopes: impact.AllowedScopes(c.role), SecretHashes: []string{auth.HashSecret(c.secret)},
		})
		if err != nil && impact.KindOf(err) != impact.Conflict { // another replica was first
			return err
		}
	}
	return nil
}

// loadDemo loads the demonstration in one transaction: all of it is there, or
// nothing. loaded is false when it was there before.
func loadDemo(w *world, s *store.Store) (loaded bool, err error) {
	began := w.now()
	for {
		if there, err := demoLoaded(w.ctx, s); there || err != nil {
			return false, err
		}
		if err := refuseStrangers(w.ctx, s, "the demonstration goes into an empty database only"); err != nil {
			return false, err
		}
		key := impact.IdempotencyKey{Client: "command-line", Route: "demo", Key: "demo", Fingerprint: sha256.Sum256([]byte("demo"))}
		_, replayed, err := s.Idempotent(w.ctx, key, func(ctx context.Context) (impact.StoredResponse, error) {
			return impact.StoredResponse{}, writeDemo(ctx, w, s)
		})
		if e, ok := errors.AsType[*impact.Error](err); ok && e.Code == "idempotency_in_progress" {
			select { // another replica is loading it
			case <-w.ctx.Done():
				return false, w.ctx.Err()
			case <-time.After(200 * time.Millisecond):
			}
			continue
		}
		if err != nil {
			return false, fmt.Errorf("loading the demonstration: %w", err)
		}
		if !replayed {
			w.log.Info("demonstration loaded: everything in it is invented", "took", w.now().Sub(began).Round(time.Millisecond))
		}
		return !replayed, nil
	}
}

// publishDemo publishes two releases of the demonstration: one of half a year
// ago, then, after a late correction, one of today. Replicas do it once.
func publishDemo(w *world, s *store.Store) error {
	today := impact.DateOf(w.now())
	config, err := releaseFlags{ReleaseRules: "strict-1", ReleaseLease: 30 * time.Second, ReleaseWorkers: runtime.GOMAXPROCS(0)}.config(w, s)
	if err != nil {
		return err
	}
	// Nobody waits for the auditor here: it takes longer than all the rest.
	config.Make = publish.Make(disclosure.Strict1, nil)
	for n, day := range []impact.Date{today - 183, today} {
		public, err := s.PublicReleases(w.ctx)
		if err != nil {
			return err
		}
		if len(public) > n {
			continue
		}
		if n == 1 {
			if err := correctDemo(w, s); err != nil {
				return fmt.Errorf("correcting the demonstration: %w", err)
			}
		}
		r, err := buildRelease(w, s, config, impact.NewRelease{Day: day, Embargo: impact.DefaultEmbargo, Publish: true, ScheduledFor: day.Time()})
		if err != nil {
			return fmt.Errorf("publishing the demonstration: %w", err)
		}
		if r.State != impact.ReleasePublished {
			return fmt.Errorf("publishing the demonstration: release %d is %s", r.Number, r.State)
		}
	}
	return nil
}

// correctDemo has the houses of two communes correct what they had stated too low:
// a public figure is revised by the release that follows. One alone would not do: the
// difference would be its own.
func correctDemo(w *world, s *store.Store) error {
	catalogue, err := s.Catalogue(w.ctx)
	if err != nil {
		return err
	}
	today := impact.DateOf(w.now())
	set, err := newDemoSet(catalogue, today)
	if err != nil {
		return err
	}
	checker := &impact.Checker{Catalogue: catalogue, Today: today}
	for i := range set.Organisations {
		slug := set.Organisations[i].ExternalIDs[0].ID
		if !strings.HasPrefix(slug, "neighbourhood-01-") && !strings.HasPrefix(slug, "neighbourhood-02-") {
			continue
		}
		for _, sub := range set.Organisations[i].Submissions {
			for _, st := range sub.Statements {
				if st.Indicator == "training_hours" && sub.Period == impact.YearPeriod(demoLast-1) {
					if err := correctOne(w, s, checker, slug, st); err != nil {
						return fmt.Errorf("%s: %w", slug, err)
					}
				}
			}
		}
	}
	return nil
}

// correctOne states a tenth more than was stated.
func correctOne(w *world, s *store.Store, checker *impact.Checker, slug string, st impact.Statement) error {
	found, err := s.FindOrganisations(w.ctx, operator(), "ext:"+demoSource+":"+slug)
	if err != nil || len(found) == 0 {
		return err // a demonstration of an earlier version
	}
	o := &found[0]
	was, fault := impact.ParseQuantity(st.Value)
	if fault != nil {
		return errors.New(fault.Detail.EN)
	}
	st.Value = (was + was/10/impact.One*impact.One).String()
	row := &impact.Row{Organisation: o}
	row.Resolved, row.Faults, row.Warnings = checker.Resolve(&st, o)
	sender := demoSender(o)
	made, err := s.PutObservations(w.ctx, impact.Batch{Principal: sender, Checker: checker, AllOrNothing: true, Rows: []*impact.Row{row}})
	if err != nil || made.Rows[0].Outcome == impact.Unchanged {
		return err
	}
	u, err := s.Submission(w.ctx, sender, made.Rows[0].Observation.Submission)
	if err == nil && u.State == impact.Draft {
		u, err = s.Transition(w.ctx, sender, u.ID, 0, "submit", "")
	}
	if err == nil && u.State == impact.Submitted {
		_, err = s.Transition(w.ctx, demoReviewer(), u.ID, 0, "approve", "")
	}
	return err
}

// writeDemo writes the set as its senders and reviewers would.
func writeDemo(ctx context.Context, w *world, s *store.Store) error {
	catalogue, err := s.Catalogue(ctx)
	if err != nil {
		return err
	}
	set, err := newDemoSet(catalogue, impact.DateOf(w.now()))
	if err != nil {
		return err
	}
	for _, q := range set.Questionnaires {
		if _, err := s.PutQuestionnaire(ctx, operator(), q, 0); err != nil {
			return err
		}
	}
	checker := &impact.Checker{Catalogue: catalogue, Today: impact.DateOf(w.now())}
	var programme []impact.Organisation
	for i := range set.Organisations {
		o, _, err := s.CreateOrganisation(ctx, operator(), set.Organisations[i].Organisation)
		if err != nil {
			return err
		}
		if strings.HasPrefix(o.ExternalIDs[0].ID, "programme-") {
			programme = append(programme, o)
		}
		for _, sub := range set.Organisations[i].Submissions {
			if err := writeDemoSubmission(ctx, s, checker, &o, sub); err != nil {
				return fmt.Errorf("%s, %s: %w", o.Name, sub.Period, err)
			}
		}
	}
	return writeDemoNetwork(ctx, s, checker.Today, programme)
}

// writeDemoNetwork gathers the programme in a network, to which its first
// organisation gives a mandate.
func writeDemoNetwork(ctx context.Context, s *store.Store, today impact.Date, members []impact.Organisation) error {
	n, err := s.CreateNetwork(ctx, operator(), impact.Network{Name: "Réseau des Encombrants (démo)", Code: demoNetwork})
	if err != nil {
		return err
	}
	sender := impact.Principal{
		Client: demoNetworkClient.id, Name: demoNetworkClient.name, Role: impact.RoleNetwork, Network: n.ID,
		Scopes: impact.AllowedScopes(impact.RoleNetwork),
	}
	for i := range members {
		m := impact.Membership{From: impact.NewDate(demoFirst, 1, 1), To: impact.MaxDate, ExternalID: fmt.Sprintf("adherent-%02d", i+1)}
		if _, _, err := s.PutMembership(ctx, sender, n.ID, &members[i], m); err != nil {
			return err
		}
	}
	giver := impact.Principal{
		Client: demoOrganisationClient.id, Name: demoOrganisationClient.name, Role: impact.RoleOrganisation, Organisation: members[0].ID,
		Scopes: impact.AllowedScopes(impact.RoleOrganisation),
	}
	_, _, err = s.CreateMandate(ctx, giver, impact.Mandate{
		Network: n.ID, Scopes: []impact.Scope{impact.ObservationsRead, impact.ObservationsWrite, impact.SubmissionsManage, impact.AggregatesLive},
		Periods: impact.Period{Start: impact.MinDate, End: impact.MaxDate}, ValidFrom: today, ValidTo: impact.MaxDate,
	})
	return err
}

func demoSender(o *impact.Organisation) impact.Principal {
	return impact.Principal{
		Client: demoOrganisationClient.id, Name: demoOrganisationClient.name, Role: impact.RoleOrganisation,
		Organisation: o.ID, Scopes: impact.AllowedScopes(impact.RoleOrganisation),
	}
}

func demoReviewer() impact.Principal {
	return impact.Principal{
		Client: demoStewardClient.id, Name: demoStewardClient.name, Role: impact.RoleSteward,
		Scopes: impact.AllowedScopes(impact.RoleSteward),
	}
}

func writeDemoSubmission(ctx context.Context, s *store.Store, checker *impact.Checker, o *impact.Organisation, sub demoSubmission) error {
	sender, reviewer := demoSender(o), demoReviewer()
	batch := impact.Batch{Principal: sender, Checker: checker, AllOrNothing: true}
	for n := range sub.Statements {
		row := &impact.Row{Organisation: o}
		row.Resolved, row.Faults, row.Warnings = checker.Resolve(&sub.Statements[n], o)
		batch.Rows = append(batch.Rows, row)
	}
	made, _, err := s.CreateSubmission(ctx, sender, impact.Submission{
		Organisation: o.ID, Period: sub.Period, Questionnaire: sub.Questionnaire, Source: demoSource,
	}, &batch)
	if err != nil {
		return err
	}
	steps := map[impact.SubmissionState][]string{
		impact.Submitted: {"submit"}, impact.Approved: {"submit", "approve"}, impact.Returned: {"submit", "return"},
	}[sub.State]
	for _, action := range steps {
		who, reason := reviewer, ""
		if action == "submit" {
			who = sender
		}
		if action == "return" {
			reason = sub.Reason
		}
		if made, err = s.Transition(ctx, who, made.ID, made.Version, action, reason); err != nil {
			return fmt.Errorf("to %s: %w", action, err)
		}
	}
	return nil
}

// firstSteps are commands to paste into a shell: a token, a first read, a first
// write, and what came of it. A test runs them as they are.
func firstSteps(base string) string {
	return strings.NewReplacer("BASE", base,
		"ORG_USER", demoOrganisationClient.id+":"+demoOrganisationClient.secret,
		"NETWORK_USER", demoNetworkClient.id+":"+demoNetworkClient.secret,
		"STEWARD_USER", demoStewardClient.id+":"+demoStewardClient.secret,
		"ORGANISATION", demoReference,
	).Replace(`
Everything in this demonstration is invented. To try it, paste:

  # Figures for everyone, of the latest release, without a token
  curl -s 'BASE/v1/aggregates?indicator=recovery_rate,training_hours&territory=metropole-200046977&period=2021/2025&granularity=year'

  # A token for the steward, who may read every figure (15 minutes)
  TOKEN=$(curl -s -u STEWARD_USER -d grant_type=client_credentials BASE/oauth/token | sed 's/.*"access_token": *"\([^"]*\)".*/\1/')

  # First read: the share of bulky waste recovered, year by year (0.2 in 2019, 0.8 in 2021)
  curl -s -H "Authorization: Bearer $TOKEN" 'BASE/v1/aggregates?release=live&indicator=recovery_rate,waste_collected&territory=metropole-200046977&period=2019/2025&granularity=year'

  # A token for an organisation of the programme, which reads and writes its own data
  TOKEN=$(curl -s -u ORG_USER -d grant_type=client_credentials BASE/oauth/token | sed 's/.*"access_token": *"\([^"]*\)".*/\1/')

  # First write: 120 hours given by volunteers in Villeurbanne in 2025
  curl -s -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' BASE/v1/observations \
    -d '{"organisation":"ORGANISATION","indicator":"volunteer_hours","territory":"commune-69266","period":"2025","value":120}'

  # What was written, in the organisation's own figures before any review
  curl -s -H "Authorization: Bearer $TOKEN" 'BASE/v1/aggregates?release=live&organisation=ORGANISATION&state=draft&indicator=volunteer_hours&territory=commune-69266&period=2025'

  # A token for the network, to which this organisation has given a mandate
  TOKEN=$(curl -s -u NETWORK_USER -d grant_type=client_credentials BASE/oauth/token | sed 's/.*"access_token": *"\([^"]*\)".*/\1/')

  # What the network writes for its member bears the mandate
  curl -s -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' BASE/v1/observations \
    -d '{"organisation":"ORGANISATION","indicator":"volunteer_hours","territory":"commune-69266","period":"2024","value":90}'

`)
}
