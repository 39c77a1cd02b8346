package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

type clientCmd struct {
	Create clientCreateCmd `cmd:"" help:"Register a client and print its secret, once."`
	List   clientListCmd   `cmd:"" help:"List the clients, without secrets."`
	Rotate clientRotateCmd `cmd:"" help:"Give a client a new secret and print it, once. The former one stays valid until it is ended."`
	Revoke clientRevokeCmd `cmd:"" help:"Refuse a client from now on. Tokens already issued are refused within seconds."`
}

// operator is who acts from the command line: the one with the database.
func operator() impact.Principal {
	return impact.Principal{
		Client: "command-line", Name: "retombees", Role: impact.RoleAdministrator,
		Scopes: impact.AllowedScopes(impact.RoleAdministrator),
	}
}

type clientCreateCmd struct {
	databaseFlags
	Name         string   `arg:"" help:"What people call it: \"CRM Cocagne\"."`
	Role         string   `required:"" enum:"organisation,network,buyer,steward,administrator" help:"What it acts as: ${enum}."`
	Organisation string   `placeholder:"REF" help:"The organisation it acts for: its id, siret:…, siren:…, rna:… or ext:SOURCE:ID. Required for role organisation."`
	Network      string   `placeholder:"REF" help:"The network it acts for: its id or its code. Required for role network."`
	Buyer        string   `placeholder:"ID" help:"The buyer whose staff it is. Required for role buyer."`
	Scopes       []string `placeholder:"SCOPE" help:"Scopes it may ask for, separated by commas. Default: all those of its role."`
	JSON         bool     `name:"json" help:"Print JSON, for programs."`
}

func (c clientCreateCmd) Run(w *world) (err error) {
	client := impact.Client{Name: strings.TrimSpace(c.Name), Role: impact.Role(c.Role), Buyer: c.Buyer}
	if client.Name == "" {
		return errors.New("a client needs a name")
	}
	if (c.Organisation != "") != (client.Role == impact.RoleOrganisation) {
		return errors.New("--organisation goes with --role organisation, and this role needs it")
	}
	if (c.Network != "") != (client.Role == impact.RoleNetwork) {
		return errors.New("--network goes with --role network, and this role needs it")
	}
	if (c.Buyer != "") != (client.Role == impact.RoleBuyer) {
		return errors.New("--buyer goes with --role buyer, and this role needs it")
	}
	if client.Scopes, err = scopesFor(client.Role, c.Scopes); err != nil {
		return err
	}
	s, err := c.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if c.Organisation != "" {
		o, err := oneOrganisation(w, s, c.Organisation)
		if err != nil {
			return err
		}
		client.Organisation = o.ID
	}
	if c.Network != "" {
		n, err := s.Network(w.ctx, c.Network)
		if impact.KindOf(err) == impact.NotFound {
			return fmt.Errorf("no network is known as %s; `retombees network create` registers one", c.Network)
		}
		if err != nil {
			return err
		}
		client.Network = n.ID
	}
	secret := auth.NewSecret()
	client.SecretHashes = auth.Rotate(nil, secret)
	if client, err = s.CreateClient(w.ctx, operator(), client); err != nil {
		return err
	}
	return printSecret(w.stdout, client, secret, c.JSON)
}

// scopesFor checks the scopes asked against the ceiling of the role.
func scopesFor(role impact.Role, asked []string) ([]impact.Scope, error) {
	if len(asked) == 0 {
		return impact.AllowedScopes(role), nil
	}
	var scopes []impact.Scope
	for _, a := range asked {
		if !impact.MayHold(role, impact.Scope(a)) {
			return nil, fmt.Errorf("role %s cannot hold scope %q; it can hold %s", role, a, words(impact.Ceiling(role)))
		}
		if !slices.Contains(scopes, impact.Scope(a)) {
			scopes = append(scopes, impact.Scope(a))
		}
	}
	return scopes, nil
}

func oneOrganisation(w *world, s *store.Store, ref string) (impact.Organisation, error) {
	found, err := s.FindOrganisations(w.ctx, operator(), ref)
	if err != nil {
		return impact.Organisation{}, fmt.Errorf("finding organisation %s: %w", ref, err)
	}
	switch len(found) {
	case 0:
		return impact.Organisation{}, fmt.Errorf("no organisation is known as %s", ref)
	case 1:
		return found[0], nil
	}
	var b strings.Builder
	for _, o := range found {
		fmt.Fprintf(&b, "\n  %s  %s %s", o.ID, o.Name, o.StructureKind)
	}
	return impact.Organisation{}, fmt.Errorf("%s names %d organisations; give the id of one:%s", ref, len(found), b.String())
}

// printSecret is the only place where a secret is shown.
func printSecret(to io.Writer, c impact.Client, secret string, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(to).Encode(struct {
			ID           string `json:"client_id"`
			Secret       string `json:"client_secret"`
			Name         string `json:"name"`
			Role         string `json:"role"`
			Organisation string `json:"organisation,omitempty"`
			Network      string `json:"network,omitempty"`
			Buyer        string `json:"buyer,omitempty"`
			Scope        string `json:"scope"`
		}{c.ID, secret, c.Name, string(c.Role), string(c.Organisation), string(c.Network), c.Buyer, words(c.Scopes)})
	}
	_, err := fmt.Fprintf(to, "client_id      %s\nclient_secret  %s\nrole           %s\nscope          %s\n\nThe secret is not stored and cannot be shown again.\n",
		c.ID, secret, c.Role, words(c.Scopes))
	return err
}

type clientListCmd struct{ databaseFlags }

func (c clientListCmd) Run(w *world) (err error) {
	s, err := c.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	clients, err := s.AllClients(w.ctx)
	if err != nil {
		return fmt.Errorf("listing clients: %w", err)
	}
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CLIENT_ID\tNAME\tROLE\tACTS FOR\tSECRETS\tSTATE\tSCOPE")
	for _, c := range clients {
		state := "active"
		if c.Revoked {
			state = "revoked"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", c.ID, c.Name, c.Role, string(c.Organisation)+string(c.Network)+c.Buyer, len(c.SecretHashes), state, words(c.Scopes))
	}
	return t.Flush()
}

type clientRotateCmd struct {
	databaseFlags
	ID     string `arg:"" name:"client-id" help:"The client."`
	Now    bool   `xor:"overlap" help:"Refuse the former secret at once: it has leaked."`
	Finish bool   `xor:"overlap" help:"Make no new secret; refuse the former one: every program has changed over."`
	JSON   bool   `name:"json" help:"Print JSON, for programs."`
}

func (c clientRotateCmd) Run(w *world) (err error) {
	s, err := c.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var secret string
	client, err := s.RotateClient(w.ctx, operator(), c.ID, func(hashes []string) []string {
		if !c.Finish {
			secret = auth.NewSecret()
			hashes = auth.Rotate(hashes, secret)
		}
		if c.Now || c.Finish {
			hashes = hashes[:min(1, len(hashes))]
		}
		return hashes
	})
	if err != nil {
		return noClient(c.ID, err)
	}
	if c.Finish {
		_, err = fmt.Fprintln(w.stdout, "Only the newest secret is accepted now.")
		return err
	}
	return printSecret(w.stdout, client, secret, c.JSON)
}

type clientRevokeCmd struct {
	databaseFlags
	ID string `arg:"" name:"client-id" help:"The client."`
}

func (c clientRevokeCmd) Run(w *world) (err error) {
	s, err := c.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := s.RevokeClient(w.ctx, operator(), c.ID); err != nil {
		return noClient(c.ID, err)
	}
	_, err = fmt.Fprintf(w.stdout, "Client %s is revoked. Tokens it holds are refused within %s.\n", c.ID, revocationsEvery)
	return err
}

// noClient says which client is not there; other errors stay what they are.
func noClient(id string, err error) error {
	if impact.KindOf(err) == impact.NotFound {
		return fmt.Errorf("no client has the id %s; `retombees client list` shows them", id)
	}
	return err
}

func words(scopes []impact.Scope) string { return strings.Join(impact.Words(scopes), " ") }
