package impact

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Client is a registered application. Secrets are stored hashed only.
type Client struct {
	ID           string
	Name         string
	Role         Role
	Organisation OrganisationID
	Network      NetworkID
	Buyer        string
	Scopes       []Scope
	SecretHashes []string // current, and the former one while it overlaps
	JWKS         string   // public keys it signs assertions with (RFC 7517), or empty
	Revoked      bool
	Version      int
	CreatedAt    time.Time // by the store
	UpdatedAt    time.Time
}

// ClientFilter narrows a list of clients; empty fields do not.
type ClientFilter struct {
	Role         Role
	Organisation OrganisationID
	Network      NetworkID
	Buyer        string
}

const maxClientName = 200

// Check lists what is wrong with a client as stated: its name, its role, whom
// it acts for, and scopes beyond the ceiling of its role. Whether the parties
// exist is the store's to say.
func (c *Client) Check() []Fault {
	var faults []Fault
	wrong := func(code FaultCode, pointer, value string, detail, hint Text) {
		faults = append(faults, Fault{Code: code, Pointer: pointer, Value: value, Detail: detail, Hint: hint})
	}
	switch name := strings.TrimSpace(c.Name); {
	case name == "":
		wrong("missing_field", "/name", "", Text{FR: "Ce champ est obligatoire.", EN: "This field is required."},
			Text{FR: "Nommez le logiciel : « CRM de l'association ».", EN: "Name the program: \"CRM of the association\"."})
	case utf8.RuneCountInString(name) > maxClientName:
		wrong("too_long", "/name", "", Text{FR: "Le nom dépasse 200 caractères.", EN: "The name is longer than 200 characters."},
			Text{FR: "Raccourcissez-le.", EN: "Shorten it."})
	}
	if AllowedScopes(c.Role) == nil {
		wrong("unknown_code", "/role", string(c.Role), Text{FR: "Ce rôle n'existe pas.", EN: "This role does not exist."},
			Text{FR: "organisation, network, buyer, steward ou administrator.", EN: "organisation, network, buyer, steward or administrator."})
		return faults
	}
	for _, party := range []struct {
		role        Role
		name, value string
	}{{RoleOrganisation, "organisation", string(c.Organisation)}, {RoleNetwork, "network", string(c.Network)}, {RoleBuyer, "buyer", c.Buyer}} {
		switch {
		case c.Role == party.role && party.value == "":
			wrong("missing_field", "/"+party.name, "", Text{FR: "Le rôle " + string(c.Role) + " dit pour qui il agit.", EN: "The role " + string(c.Role) + " says whom it acts for."},
				Text{FR: "Donnez l'identifiant : " + party.name + ".", EN: "Give the id: " + party.name + "."})
		case c.Role != party.role && party.value != "":
			wrong("inconsistent", "/"+party.name, party.value, Text{FR: "Le rôle " + string(c.Role) + " n'agit pas pour cela.", EN: "The role " + string(c.Role) + " does not act for that."},
				Text{FR: "Retirez ce membre, ou changez le rôle.", EN: "Remove this member, or change the role."})
		case len(party.value) > 64:
			wrong("too_long", "/"+party.name, "", Text{FR: "Un identifiant a 64 caractères au plus.", EN: "An id has 64 characters at most."}, Text{FR: "Vérifiez-le.", EN: "Check it."})
		}
	}
	for i, s := range c.Scopes {
		if !MayHold(c.Role, s) {
			can := strings.Join(Words(Ceiling(c.Role)), ", ")
			wrong("unknown_code", "/scopes/"+strconv.Itoa(i), string(s), Text{FR: "Le rôle " + string(c.Role) + " ne peut pas avoir cette portée.", EN: "The role " + string(c.Role) + " cannot hold this scope."},
				Text{FR: "Il peut avoir : " + can + ".", EN: "It can hold: " + can + "."})
		} else if slices.Index(c.Scopes, s) < i {
			wrong("inconsistent", "/scopes/"+strconv.Itoa(i), string(s), Text{FR: "Cette portée est donnée deux fois.", EN: "This scope is given twice."}, Text{FR: "Gardez-en une.", EN: "Keep one of them."})
		}
	}
	return faults
}
