package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

// What a network's nightly export holds: members, and what each states.
const (
	members    = 200
	importRows = 100_000
)

// measureImports sends one file of 100,000 rows, as a network does for its
// members, to a server of its own; and the same file again.
func measureImports(ctx context.Context, c config, name string, r *report) error {
	dir, err := os.MkdirTemp("", "retombees-load-")
	if err != nil {
		return err
	}
	if !c.keep {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	db, err := openDatabase(ctx, name, dir)
	if err != nil {
		return err
	}
	defer db.close()
	w := &world{dir: dir, keyFile: filepath.Join(dir, "signing-key.pem")}
	token, file, err := w.network(ctx, db)
	if err != nil {
		return err
	}
	srv, err := startServer(ctx, c.binary, db, w)
	if err != nil {
		return err
	}
	defer srv.stop()
	before, err := srv.peak()
	if err != nil {
		return err
	}
	log.Printf("%s: importing a file of %d rows", name, importRows)
	first, err := srv.importFile(ctx, token, "created", file)
	if err != nil {
		return err
	}
	again, err := srv.importFile(ctx, token, "unchanged", file)
	if err != nil {
		return err
	}
	after, err := srv.peak()
	if err != nil {
		return err
	}
	bulk, rows, _, err := db.bulk(ctx, dir)
	if err != nil {
		return err
	}
	r.add(name, fmt.Sprintf("import of a CSV of %d rows by a network for %d members, report included", importRows, members), perSecond(rows, first), db.bulkName()+": "+perSecond(rows, bulk), ratio(bulk, first))
	r.add(name, "the same file again, nothing written", perSecond(rows, again), "first sending: "+perSecond(rows, first), ratio(first, again))
	r.add(name, "peak memory of the server during both", fmt.Sprintf("%d MB", after>>20), fmt.Sprintf("before: %d MB; aim: 200 MB", before>>20), "")
	return nil
}

// network registers a network whose members let it write for them, and writes
// its file.
func (w *world) network(ctx context.Context, db database) (token string, file []byte, err error) {
	keys, _, err := auth.LoadOrCreateKeyFile(w.keyFile)
	if err != nil {
		return "", nil, err
	}
	issuer, err := auth.NewIssuer(auth.Config{Issuer: publicURL, Audience: publicURL + "/v1", Keys: keys, TTL: 12 * time.Hour, Now: time.Now})
	if err != nil {
		return "", nil, err
	}
	s, err := openMigrated(ctx, db.url())
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = s.Close() }()
	catalogue, err := s.Catalogue(ctx)
	if err != nil {
		return "", nil, err
	}
	w.choose(catalogue)
	admin := impact.Principal{Client: "load", Role: impact.RoleAdministrator, Scopes: impact.AllowedScopes(impact.RoleAdministrator)}
	network, err := s.CreateNetwork(ctx, admin, impact.Network{Name: "Réseau", Code: "LOAD"})
	if err != nil {
		return "", nil, err
	}
	var b bytes.Buffer
	b.WriteString("siren;indicateur;code insee;période;valeur;unité\n")
	for i := range members {
		if err := w.member(ctx, s, admin, network.ID, i); err != nil {
			return "", nil, err
		}
		const series = importRows / members / quarters
		for n := range importRows / members {
			at, quarter := n/quarters, n%quarters
			indicator := w.indicators[(i+at)%len(w.indicators)]
			fmt.Fprintf(&b, "%s;%s;%s;%d-Q%d;%d,5;%s\n", siren(i), indicator.Code, w.communes[(i*series+at)%len(w.communes)], firstYear+quarter/4, quarter%4+1, 100+(i+at*7)%50, indicator.Unit)
		}
	}
	scopes := impact.AllowedScopes(impact.RoleNetwork)
	token, _, err = issuer.Issue(impact.Client{ID: "load-network", Name: "Réseau", Role: impact.RoleNetwork, Network: network.ID, Scopes: scopes}, scopes)
	return token, b.Bytes(), err
}

func (w *world) member(ctx context.Context, s *store.Store, admin impact.Principal, network impact.NetworkID, i int) error {
	o, _, err := s.CreateOrganisation(ctx, admin, impact.Organisation{
		Name: fmt.Sprintf("Organisation %d", i), SIREN: siren(i), Class: impact.Association, OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate,
	})
	if err != nil {
		return err
	}
	p := impact.Principal{Client: fmt.Sprintf("load-%d", i), Role: impact.RoleOrganisation, Organisation: o.ID, Scopes: impact.AllowedScopes(impact.RoleOrganisation)}
	_, err = s.CreateMandate(ctx, p, impact.Mandate{
		Organisation: o.ID, Network: network, Scopes: []impact.Scope{impact.ObservationsRead, impact.ObservationsWrite, impact.OrganisationsRead},
		Periods: impact.Period{Start: impact.MinDate, End: impact.MaxDate}, ValidFrom: impact.MinDate, ValidTo: impact.MaxDate,
	})
	return err
}

// importFile sends a file and waits until it is processed, every row with the
// same outcome.
func (s *server) importFile(ctx context.Context, token, outcome string, file []byte) (time.Duration, error) {
	start := time.Now()
	req, err := http.NewRequestWithContext(ctx, "POST", s.url+"/v1/imports", bytes.NewReader(file))
	if err != nil {
		return 0, err
	}
	for header, value := range map[string]string{"Authorization": "Bearer " + token, "Content-Type": "text/csv", "Idempotency-Key": outcome, "Prefer": "respond-async"} {
		req.Header.Set(header, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var job struct {
		ID, State string
		Counts    map[string]int
	}
	if err := json.NewDecoder(resp.Body).Decode(&job); err != nil || resp.StatusCode != http.StatusAccepted {
		return 0, fmt.Errorf("import: %s %w", resp.Status, err)
	}
	for job.State == "pending" || job.State == "running" {
		time.Sleep(20 * time.Millisecond)
		text, err := call(ctx, "GET", s.url+"/v1/imports/"+job.ID, token, nil, http.StatusOK)
		if err != nil {
			return 0, err
		}
		if err := json.Unmarshal(text, &job); err != nil {
			return 0, err
		}
		if job.State == "completed" && job.Counts[outcome] != importRows {
			return 0, fmt.Errorf("of %d rows, %d are %s: %.2000s", importRows, job.Counts[outcome], outcome, text)
		}
	}
	if job.State != "completed" {
		return 0, fmt.Errorf("the import is %s", job.State)
	}
	return time.Since(start), nil
}
