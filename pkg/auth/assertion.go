package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/grandlyon/retombees/pkg/impact"
)

const (
	// LongestAssertion is how far in the future an assertion may expire, and so
	// how long its jti is remembered.
	LongestAssertion = 10 * time.Minute
	maxClientKeys    = 5
	maxJTI           = 255
)

// Algorithms lists those that tokens of other issuers and assertions of clients
// may be signed with.
func Algorithms() []string { return slices.Clone(externalAlgorithms) }

// CheckClientKeys lists what is wrong with the public keys (JWKS) of a client:
// each has a kid of its own and fits one of Algorithms.
func CheckClientKeys(jwks string) []impact.Fault {
	var faults []impact.Fault
	wrong := func(code impact.FaultCode, pointer, value, fr, en string) {
		faults = append(faults, impact.Fault{Code: code, Pointer: pointer, Value: value, Detail: impact.Text{FR: fr, EN: en}, Hint: impact.Text{
			FR: "De 1 à 5 clés publiques RSA (2048 bits au moins), P-256 ou Ed25519, chacune avec un kid.", EN: "From 1 to 5 public keys, RSA (2048 bits at least), P-256 or Ed25519, each with a kid.",
		}})
	}
	set, err := rawKeys(jwks)
	if err != nil || len(set) == 0 || len(set) > maxClientKeys {
		wrong("out_of_range", "/jwks/keys", strconv.Itoa(len(set)), "Le nombre de clés ne convient pas.", "The number of keys does not fit.")
		return faults
	}
	seen := map[string]bool{}
	for i, text := range set {
		at := "/jwks/keys/" + strconv.Itoa(i)
		k, ok := publicKey(text)
		usable := ok && slices.ContainsFunc(externalAlgorithms, func(alg string) bool { return (k.Algorithm == "" || k.Algorithm == alg) && fits(k.Key, alg) })
		switch {
		case !usable:
			wrong("invalid_type", at, "", "Cette clé ne peut rien vérifier ici.", "This key can verify nothing here.")
		case k.KeyID == "":
			wrong("missing_field", at+"/kid", "", "Cette clé n'a pas de kid.", "This key has no kid.")
		case seen[k.KeyID]:
			wrong("inconsistent", at+"/kid", k.KeyID, "Deux clés ont ce kid.", "Two keys have this kid.")
		}
		seen[k.KeyID] = true
	}
	return faults
}

func rawKeys(jwks string) ([]json.RawMessage, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	err := json.Unmarshal([]byte(jwks), &set)
	return set.Keys, err
}

// publicKey reads a key; what cannot be read is of a kind not used here, and a
// secret or a private part that was given away verifies nothing.
func publicKey(text json.RawMessage) (k jose.JSONWebKey, ok bool) {
	ok = k.UnmarshalJSON(text) == nil && k.IsPublic() && (k.Use == "" || k.Use == "sig")
	return k, ok
}

// AssertedClient tells whose assertion this claims to be. Nothing is verified.
func AssertedClient(assertion string) (string, error) {
	if len(assertion) > MaxTokenBytes {
		return "", fmt.Errorf("%d bytes", len(assertion))
	}
	return peek(assertion)
}

// CheckAssertion verifies that a client signed the assertion (RFC 7523) with one
// of its keys, for this server, within the last minutes, and gives its id: the
// caller makes sure that it is used once.
func (i *Issuer) CheckAssertion(assertion string, client impact.Client) (jti string, expires time.Time, err error) {
	if client.JWKS == "" || len(assertion) > MaxTokenBytes {
		return "", time.Time{}, errors.New("the client has no key, or the assertion is too long")
	}
	var c jwt.RegisteredClaims
	parser := jwt.NewParser(
		jwt.WithValidMethods(externalAlgorithms), jwt.WithIssuer(client.ID), jwt.WithSubject(client.ID),
		jwt.WithAudience(i.cfg.Issuer, strings.TrimRight(i.cfg.Issuer, "/")+"/oauth/token"), jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), jwt.WithLeeway(Leeway), jwt.WithTimeFunc(i.cfg.Now), jwt.WithStrictDecoding(),
	)
	_, err = parser.ParseWithClaims(assertion, &c, func(t *jwt.Token) (any, error) {
		if _, ok := t.Header["crit"]; ok {
			return nil, errors.New("critical header not understood")
		}
		kid, _ := t.Header["kid"].(string)
		set, err := rawKeys(client.JWKS)
		if err != nil {
			return nil, err
		}
		for _, text := range set {
			k, ok := publicKey(text)
			if ok && k.KeyID == kid && (k.Algorithm == "" || k.Algorithm == t.Method.Alg()) && fits(k.Key, t.Method.Alg()) {
				return k.Key, nil
			}
		}
		return nil, errors.New("unknown kid, or not for this algorithm")
	})
	switch {
	case err != nil:
		return "", time.Time{}, err
	case c.ID == "" || len(c.ID) > maxJTI:
		return "", time.Time{}, errors.New("jti is required, 255 characters at most")
	case c.ExpiresAt.After(i.cfg.Now().Add(LongestAssertion)):
		return "", time.Time{}, fmt.Errorf("exp is more than %s away", LongestAssertion)
	}
	return c.ID, c.ExpiresAt.Time, nil
}
