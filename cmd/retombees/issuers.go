package main

import (
	"fmt"
	"os"

	"github.com/grandlyon/retombees/pkg/auth"
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
