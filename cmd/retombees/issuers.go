package main

import (
	"fmt"
	"os"
	"time"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/store"
)

// issuerFlags say which other issuers of access tokens are trusted.
type issuerFlags struct {
	ExternalIssuers string `env:"RETOMBEES_EXTERNAL_ISSUERS" placeholder:"PATH" help:"JSON list of other issuers whose access tokens are accepted, each with its audience, algorithms, claims, roles and ceiling of scopes (docs/operation.md)."`
	LocalIssuers    bool   `env:"RETOMBEES_LOCAL_ISSUERS" help:"Let external issuers be on this machine without TLS. For development only."`
}

func (f issuerFlags) issuers() ([]auth.ExternalIssuer, error) {
	if f.ExternalIssuers == "" {
		return nil, nil
	}
	text, err := os.ReadFile(f.ExternalIssuers)
	if err != nil {
		return nil, fmt.Errorf("reading the external issuers: %w", err)
	}
	return auth.ParseIssuers(text)
}

// issuer signs the tokens of this service and verifies those of all issuers;
// keyFile is where its keys are read again, empty when they are given otherwise.
func (c serveCmd) issuer(w *world) (issuer *auth.Issuer, keyFile string, err error) {
	keys, keyFile, err := c.keys(w, c.databaseFlags)
	if err != nil {
		return nil, "", err
	}
	trusted, err := c.issuers()
	if err != nil {
		return nil, "", err
	}
	issuer, err = auth.NewIssuer(auth.Config{
		Issuer: c.PublicURL, Audience: c.PublicURL + "/v1", Keys: keys, Now: w.now, External: trusted, AllowLoopback: c.LocalIssuers,
	})
	if err != nil {
		return nil, "", err
	}
	if others := issuer.Issuers(); len(others) > 0 {
		w.log.Info("tokens of other issuers are accepted", "issuers", others)
	}
	return issuer, keyFile, nil
}

// revocationsEvery is how long a token revoked on another replica may still be
// taken here.
const revocationsEvery = 2 * time.Second

// followRevocations learns what other replicas, and commands, have revoked
// since an instant.
func followRevocations(w *world, s *store.Store, issuer *auth.Issuer, since time.Time) {
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-time.After(revocationsEvery):
		}
		asked := w.now()
		list, err := s.Revocations(w.ctx, since)
		if err != nil {
			if w.ctx.Err() == nil {
				w.log.Error("what was revoked elsewhere is not known", "err", err)
			}
			continue
		}
		since = asked
		issuer.Revoke(list...)
	}
}
