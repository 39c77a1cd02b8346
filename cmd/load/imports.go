package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

// memberRows is what one member states in the nightly file of its network.
const memberRows = 500

// nightly is a network and its file.
type nightly struct {
	world
	network impact.Client
	secret  string
	members int
	file    string
}

// prepareNightly registers a network whose members let it write for them, and
// writes its file.
func prepareNightly(ctx context.Context, b *bench, rows int) (*nightly, error) {
	n := &nightly{world: world{dir: b.dir, keyFile: filepath.Join(b.dir, "signing-key.pem")}, secret: auth.NewSecret(), members: max(1, rows/memberRows)}
	s, err := openMigrated(ctx, b.db.url())
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	catalogue, err := s.Catalogue(ctx)
	if err != nil {
		return nil, err
	}
	n.choose(catalogue)
	admin := impact.Principal{Client: "load", Role: impact.RoleAdministrator, Scopes: impact.AllowedScopes(impact.RoleAdministrator)}
	network, err := s.CreateNetwork(ctx, admin, impact.Network{Name: "Réseau", Code: "LOAD"})
	if err != nil {
		return nil, err
	}
	n.network, err = s.CreateClient(ctx, admin, impact.Client{
		Name: "Réseau", Role: impact.RoleNetwork, Network: network.ID, Scopes: impact.AllowedScopes(impact.RoleNetwork), SecretHashes: auth.Rotate(nil, n.secret),
	})
	if err != nil {
		return nil, err
	}
	n.file = filepath.Join(b.dir, "nightly.csv")
	to, err := os.Create(n.file)
	if err != nil {
		return nil, err
	}
	file := bufio.NewWriter(to)
	fmt.Fprintln(file, "siren;indicateur;code insee;période;valeur;unité")
	for i := range n.members {
		if err := n.member(ctx, s, admin, network.ID, i); err != nil {
			return nil, err
		}
		for row := range memberRows {
			at, quarter := row/quarters, row%quarters
			indicator := n.indicators[(i+at)%len(n.indicators)]
			fmt.Fprintf(file, "%s;%s;%s;%d-Q%d;%d,5;%s\n", siren(i), indicator.Code, n.communes[(i*series+at)%len(n.communes)], firstYear+quarter/4, quarter%4+1, 100+(i+at*7)%50, indicator.Unit)
		}
	}
	return n, errors.Join(file.Flush(), to.Close())
}

func (n *nightly) rows() int { return n.members * memberRows }

func (n *nightly) member(ctx context.Context, s *store.Store, admin impact.Principal, network impact.NetworkID, i int) error {
	o, _, err := s.CreateOrganisation(ctx, admin, impact.Organisation{
		Name: fmt.Sprintf("Organisation %d", i), SIREN: siren(i), Class: impact.Association, OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate,
	})
	if err != nil {
		return err
	}
	p := impact.Principal{Client: fmt.Sprintf("load-%d", i), Role: impact.RoleOrganisation, Organisation: o.ID, Scopes: impact.AllowedScopes(impact.RoleOrganisation)}
	_, _, err = s.CreateMandate(ctx, p, impact.Mandate{
		Organisation: o.ID, Network: network, Scopes: []impact.Scope{impact.ObservationsRead, impact.ObservationsWrite, impact.OrganisationsRead},
		Periods: impact.Period{Start: impact.MinDate, End: impact.MaxDate}, ValidFrom: impact.MinDate, ValidTo: impact.MaxDate,
	})
	return err
}

// measureImport sends one file in one import, and the same file again.
func measureImport(ctx context.Context, c config, b *bench) error {
	n, err := prepareNightly(ctx, b, c.importRows)
	if err != nil {
		return err
	}
	keys, _, err := auth.LoadOrCreateKeyFile(n.keyFile)
	if err != nil {
		return err
	}
	issuer, err := auth.NewIssuer(auth.Config{Issuer: publicURL, Audience: publicURL + "/v1", Keys: keys, TTL: 12 * time.Hour, Now: time.Now})
	if err != nil {
		return err
	}
	token, _, err := issuer.Issue(n.network, n.network.Scopes)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("import of a CSV of %d rows by a network for %d members, report included", n.rows(), n.members)
	return n.measure(ctx, c, b, what, func(s *server, outcome string) error { return n.importFile(ctx, s, token, outcome) })
}

// measurePush sends a file with the command that networks run every night, which
// cuts it into imports; and the same file again.
func measurePush(ctx context.Context, c config, b *bench) error {
	n, err := prepareNightly(ctx, b, c.pushRows)
	if err != nil {
		return err
	}
	var peak int64
	what := fmt.Sprintf("`retombees push` of a CSV of %d rows by a network for %d members", n.rows(), n.members)
	err = n.measure(ctx, c, b, what, func(s *server, outcome string) error {
		used, err := n.push(ctx, c.binary, s, outcome)
		peak = max(peak, used)
		return err
	})
	if err != nil {
		return err
	}
	b.add("peak memory of `retombees push`", fmt.Sprintf("%d MB", peak>>20), "", "")
	return nil
}

// measure times send, which must write every row the first time and none the
// second, against the bulk load of what it wrote.
func (n *nightly) measure(ctx context.Context, c config, b *bench, what string, send func(s *server, outcome string) error) error {
	srv, err := startServer(ctx, c.binary, b.db, &n.world)
	if err != nil {
		return err
	}
	defer srv.stop()
	before, err := srv.peak()
	if err != nil {
		return err
	}
	log.Printf("%s: %s", b.name, what)
	var took [2]time.Duration
	for i, outcome := range []string{"created", "unchanged"} {
		start := time.Now()
		if err := send(srv, outcome); err != nil {
			return err
		}
		took[i] = time.Since(start)
	}
	after, err := srv.peak()
	if err != nil {
		return err
	}
	bulk, rows, _, err := b.db.bulk(ctx, b.dir)
	if err != nil {
		return err
	}
	b.add(what, perSecond(rows, took[0]), b.db.bulkName()+": "+perSecond(rows, bulk), ratio(bulk, took[0]))
	b.add("… the same file again, nothing written", perSecond(rows, took[1]), "first sending: "+perSecond(rows, took[0]), ratio(took[0], took[1]))
	b.add("… peak memory of the server during both", fmt.Sprintf("%d MB", after>>20), fmt.Sprintf("before: %d MB; aim: 200 MB", before>>20), "")
	return nil
}

// importFile sends the file and waits until it is processed, every row with the
// same outcome.
func (n *nightly) importFile(ctx context.Context, s *server, token, outcome string) error {
	file, err := os.ReadFile(n.file)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/imports", bytes.NewReader(file))
	if err != nil {
		return err
	}
	for header, value := range map[string]string{"Authorization": "Bearer " + token, "Content-Type": "text/csv", "Idempotency-Key": outcome, "Prefer": "respond-async"} {
		req.Header.Set(header, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var job struct {
		ID, State string
		Counts    map[string]int
	}
	if err := json.NewDecoder(resp.Body).Decode(&job); err != nil || resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("import: %s %w", resp.Status, err)
	}
	for job.State == "pending" || job.State == "running" {
		time.Sleep(50 * time.Millisecond)
		text, err := call(ctx, "GET", s.url+"/v1/imports/"+job.ID, token, nil, http.StatusOK)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &job); err != nil {
			return err
		}
		if job.State == "completed" && job.Counts[outcome] != n.rows() {
			return fmt.Errorf("of %d rows, %d are %s: %.2000s", n.rows(), job.Counts[outcome], outcome, text)
		}
	}
	if job.State != "completed" {
		return fmt.Errorf("the import is %s", job.State)
	}
	return nil
}

// push runs `retombees push` and gives the most memory it took.
func (n *nightly) push(ctx context.Context, binary string, s *server, outcome string) (peak int64, err error) {
	cmd := exec.CommandContext(ctx, binary, "push", "--server", s.url, "--client-id", n.network.ID, "--state", n.dir, "--json", n.file)
	cmd.Env = append(os.Environ(), "RETOMBEES_CLIENT_SECRET="+n.secret)
	var report, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &report, &progress
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	// Looked at while it runs: what wait tells afterwards begins with the memory of
	// its parent.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for looking := true; looking; {
		select {
		case err = <-ended:
			looking = false
		case <-time.After(100 * time.Millisecond):
			if now, err := statusOf(cmd, "VmHWM:"); err == nil {
				peak = now
			}
		}
	}
	if err != nil {
		return 0, fmt.Errorf("push: %w\n%.2000s\n%.2000s", err, progress.String(), report.String())
	}
	var pushed struct{ Counts map[string]int }
	if err := json.Unmarshal(report.Bytes(), &pushed); err != nil {
		return 0, err
	}
	if pushed.Counts[outcome] != n.rows() {
		return 0, fmt.Errorf("of %d rows, %d are %s: %.2000s", n.rows(), pushed.Counts[outcome], outcome, report.String())
	}
	return peak, nil
}
