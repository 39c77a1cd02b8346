package impact

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of API keys (api.md 12). An owner is an organisation, a network or a
// buyer.
const (
	MaxKeyLife     = 366 * 24 * time.Hour
	MaxKeysOfOwner = 100 // in force at once
	MaxKeyNetworks = 20
)

// APIKey lets a script call without asking for tokens. It acts for who made it,
// with some of the scopes of the token it was made with, until it expires, is
// revoked, or the client that made it is. The key itself is shown once; what is
// kept is its hash.
type APIKey struct {
	ID   string
	Name string
	// Hint is how the key begins, to recognise it by; Hash its SHA-256.
	Hint, Hash string
	// Client made it; Role, Organisation, Network and Buyer are its owner.
	Client       string
	Role         Role
	Organisation OrganisationID
	Network      NetworkID
	Buyer        string
	Scopes       []Scope
	// Networks it may be used from and methods it may be used for; empty is
	// any. GET includes HEAD.
	Networks []netip.Prefix
	Methods  []string
	// RevokedAt and LastUsedAt are zero when it never happened; LastUsedAt is
	// true to the minute.
	CreatedAt, ExpiresAt, RevokedAt, LastUsedAt time.Time
}

// APIKeyState is what has become of a key.
type APIKeyState string

// States of a key.
const (
	KeyActive    APIKeyState = "active"
	KeyIsExpired APIKeyState = "expired"
	KeyIsRevoked APIKeyState = "revoked"
)

// KeyMethods are the methods a key may be restricted to.
var KeyMethods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}

// State tells what has become of the key at an instant.
func (k *APIKey) State(now time.Time) APIKeyState {
	switch {
	case !k.RevokedAt.IsZero():
		return KeyIsRevoked
	case !now.Before(k.ExpiresAt):
		return KeyIsExpired
	}
	return KeyActive
}

// Principal is who calls with the key.
func (k *APIKey) Principal() Principal {
	return Principal{
		Client: k.Client, Name: k.Name, Role: k.Role, Organisation: k.Organisation, Network: k.Network, Buyer: k.Buyer,
		Scopes: k.Scopes, Key: k.ID,
	}
}

// Admit refuses, as key_restricted, a call from an address or by a method that
// the key does not allow.
func (k *APIKey) Admit(from netip.Addr, method string) error {
	if len(k.Methods) > 0 && !slices.Contains(k.Methods, method) {
		list := strings.Join(k.Methods, ", ")
		return restricted(Text{"Cette clé ne vaut que pour " + list + ".", "This key is valid for " + list + " only."},
			Text{"Prenez une clé faite pour cet usage : POST /v1/api-keys.", "Take a key made for this use: POST /v1/api-keys."})
	}
	if len(k.Networks) > 0 && !slices.ContainsFunc(k.Networks, func(p netip.Prefix) bool { return p.Contains(from) }) {
		return restricted(Text{"Cette clé ne vaut pas depuis l'adresse " + from.String() + ".", "This key is not valid from the address " + from.String() + "."},
			Text{"Appelez depuis un des réseaux de la clé, ou faites-en une autre : POST /v1/api-keys.", "Call from one of the networks of the key, or make another: POST /v1/api-keys."})
	}
	return nil
}

func restricted(detail, hint Text) error {
	return &Error{Kind: Forbidden, Code: "key_restricted", Detail: detail, Hint: hint}
}

// Check gives what is wrong with a key that by asks for: missing_field,
// too_long, unknown_code (a scope or a method), out_of_range (its end, its
// networks).
func (k *APIKey) Check(by Principal, now time.Time) []Fault {
	var faults []Fault
	add := func(f *Fault, pointer string) {
		if f != nil {
			faults = append(faults, *f.at(pointer))
		}
	}
	if k.Name == "" {
		add(missingField("Dites à quoi sert la clé : « export de nuit ».", "Say what the key is for: \"nightly export\"."), "/name")
	}
	add(checkLength(k.Name, MaxName), "/name")
	if len(k.Scopes) == 0 {
		add(missingField("Donnez les portées dont le script a besoin.", "Give the scopes that the script needs."), "/scopes")
	}
	grantable := slices.DeleteFunc(slices.Clone(by.Scopes), func(s Scope) bool { return s == KeysManage })
	for i, s := range k.Scopes {
		add(checkGrant(s, grantable), "/scopes/"+strconv.Itoa(i))
	}
	for i, m := range k.Methods {
		if !slices.Contains(KeyMethods, m) {
			list := strings.Join(KeyMethods, ", ")
			add(newFault("unknown_code", m, "Méthode inconnue.", "Unknown method.", "Méthodes : "+list+".", "Methods: "+list+"."), "/allowed_methods/"+strconv.Itoa(i))
		}
	}
	if n := strconv.Itoa(MaxKeyNetworks); len(k.Networks) > MaxKeyNetworks {
		add(newFault("out_of_range", strconv.Itoa(len(k.Networks)), "Plus de "+n+" réseaux.", "More than "+n+" networks.", "Regroupez-les.", "Group them."), "/allowed_cidrs")
	}
	switch {
	case k.ExpiresAt.IsZero():
		add(missingField("Donnez la fin de la clé, un an au plus : 2027-01-31T00:00:00Z.", "Give the end of the key, a year at most: 2027-01-31T00:00:00Z."), "/expires_at")
	case !k.ExpiresAt.After(now) || k.ExpiresAt.Sub(now) > MaxKeyLife:
		add(newFault("out_of_range", k.ExpiresAt.UTC().Format(time.RFC3339),
			"Une clé finit dans l'avenir, un an au plus après sa création.", "A key ends in the future, a year at most after it is made.",
			"Donnez une date proche, et faites une autre clé avant qu'elle n'expire.", "Give a near date, and make another key before it expires."), "/expires_at")
	}
	return faults
}

// checkGrant refuses a scope that the maker of a key may not put into it.
func checkGrant(s Scope, grantable []Scope) *Fault {
	if slices.Contains(grantable, s) {
		return nil
	}
	words := Words(grantable)
	list := strings.Join(words, ", ")
	f := newFault("unknown_code", string(s),
		"Votre jeton ne peut pas donner cette portée à une clé.", "Your token cannot give this scope to a key.",
		"Portées possibles : "+list+".", "Possible scopes: "+list+".")
	if s == KeysManage {
		f.Detail = Text{"Une clé ne fait pas d'autres clés.", "A key does not make other keys."}
	} else {
		f.Suggestion = Suggest(string(s), slices.Values(words))
		didYouMean(f)
	}
	return f
}

// ParseKeyNetwork reads an address range, 192.0.2.0/24, or a single address.
// invalid_type otherwise, and for a range written with bits beyond its length:
// it may be a slip.
func ParseKeyNetwork(s string) (netip.Prefix, *Fault) {
	wrong := func() *Fault {
		return newFault("invalid_type", s, "Ce n'est pas une plage d'adresses.", "This is not a range of addresses.",
			"Par exemple 192.0.2.0/24, 2001:db8::/48, ou une adresse seule.", "For instance 192.0.2.0/24, 2001:db8::/48, or a single address.")
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, wrong()
	}
	if p != p.Masked() {
		f := wrong()
		f.Suggestion = p.Masked().String()
		didYouMean(f)
		return netip.Prefix{}, f
	}
	return p, nil
}
