package api

import (
	"encoding/base64"
	"net/http"

	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
)

// KeyPublisher gives the keys that verify access tokens, whose private parts
// stay in pkg/auth, and the other issuers whose tokens are taken.
type KeyPublisher interface {
	Keys() auth.KeySet
	Issuers() []string
}

// JWKS is the public keys of access tokens (RFC 7517).
type JWKS struct {
	Keys []JWK `json:"keys"`
}

// JWK is one public key (RFC 8037).
type JWK struct {
	KeyType string `json:"kty" enums:"OKP" example:"OKP"`
	Curve   string `json:"crv" enums:"Ed25519" example:"Ed25519"`
	// The public key, in base64url.
	X string `json:"x" example:"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
	// RFC 7638 thumbprint: the kid of the tokens it verifies.
	KeyID     string `json:"kid" example:"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"`
	Use       string `json:"use" enums:"sig" example:"sig"`
	Algorithm string `json:"alg" enums:"EdDSA" example:"EdDSA"`
}

// AuthorizationServer is the metadata of RFC 8414.
type AuthorizationServer struct {
	Issuer               string   `json:"issuer" example:"https://impact.example.org"`
	TokenEndpoint        string   `json:"token_endpoint" example:"https://impact.example.org/oauth/token"`
	JWKSURI              string   `json:"jwks_uri" example:"https://impact.example.org/oauth/jwks.json"`
	ScopesSupported      []string `json:"scopes_supported"`
	ResponseTypes        []string `json:"response_types_supported"`
	GrantTypes           []string `json:"grant_types_supported"`
	TokenAuthMethods     []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgorithms  []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationEndpoint   string   `json:"revocation_endpoint" example:"https://impact.example.org/oauth/revoke"`
	RevocationMethods    []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAlgorithms []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectEndpoint   string   `json:"introspection_endpoint" example:"https://impact.example.org/oauth/introspect"`
	IntrospectMethods    []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectAlgorithms []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	ServiceDocumentation string   `json:"service_documentation"`
	UILocales            []string `json:"ui_locales_supported"`
}

// ProtectedResource is the metadata of RFC 9728.
type ProtectedResource struct {
	// The audience of the tokens.
	Resource string `json:"resource" example:"https://impact.example.org/v1"`
	// This server, and the other issuers whose tokens are taken.
	AuthorizationServers []string `json:"authorization_servers"`
	JWKSURI              string   `json:"jwks_uri"`
	ScopesSupported      []string `json:"scopes_supported"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	Documentation        string   `json:"resource_documentation"`
}

// cacheKeys is shorter than the time a new key is published before it signs.
const cacheKeys = "public, max-age=300"

// protectedResource is where RFC 9728 looks for the metadata of /v1.
const protectedResource = "/.well-known/oauth-protected-resource/v1"

// clientMethods are the ways a client may prove who it is (RFC 8414).
var clientMethods = []string{"client_secret_basic", "client_secret_post", "private_key_jwt"}

// jwks publishes the keys.
//
//	@Summary		Public keys of access tokens
//	@Description	Every key that verifies a token of this server, by `kid`. A key is here at least ten minutes before it signs, and until the last token it signed has expired.
//	@ID				getJWKS
//	@Tags			access
//	@Produce		json
//	@Success		200		{object}	JWKS
//	@Header			200		{string}	ETag	"Its version"
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/oauth/jwks.json [get]
func (s *server) jwks(c *call) error {
	var set JWKS
	tag := ""
	for _, k := range s.Keys.Keys().Keys() {
		set.Keys = append(set.Keys, JWK{KeyType: "OKP", Curve: "Ed25519", X: base64.RawURLEncoding.EncodeToString(k.Public), KeyID: k.ID, Use: "sig", Algorithm: "EdDSA"})
		tag += k.ID[:12]
	}
	if c.fresh(`"` + tag + `"`) {
		return nil
	}
	return c.answer(http.StatusOK, set)
}

// authorizationServer tells where tokens are asked for, and how.
//
//	@Summary		Where and how to get a token
//	@Description	Metadata of the authorization server (RFC 8414).
//	@ID				getAuthorizationServer
//	@Tags			access
//	@Produce		json
//	@Success		200		{object}	AuthorizationServer
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/.well-known/oauth-authorization-server [get]
func (s *server) authorizationServer(c *call) error {
	if c.fresh(c.weakTag(s.Version)) {
		return nil
	}
	return c.answer(http.StatusOK, AuthorizationServer{
		Issuer: s.PublicURL, TokenEndpoint: s.PublicURL + "/oauth/token", JWKSURI: s.PublicURL + "/oauth/jwks.json",
		ScopesSupported: impact.Words(impact.Scopes()), ResponseTypes: []string{}, GrantTypes: []string{"client_credentials"},
		TokenAuthMethods: clientMethods, TokenAuthAlgorithms: auth.Algorithms(), RevocationAlgorithms: auth.Algorithms(), IntrospectAlgorithms: auth.Algorithms(), RevocationEndpoint: s.PublicURL + "/oauth/revoke", RevocationMethods: clientMethods,
		IntrospectEndpoint: s.PublicURL + "/oauth/introspect", IntrospectMethods: clientMethods,
		ServiceDocumentation: s.PublicURL + "/docs", UILocales: []string{"fr", "en"},
	})
}

// protected tells which tokens /v1 takes.
//
//	@Summary		Which tokens the API takes
//	@Description	Metadata of the protected resource (RFC 9728); the challenges of refusals lead here.
//	@ID				getProtectedResource
//	@Tags			access
//	@Produce		json
//	@Success		200		{object}	ProtectedResource
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/.well-known/oauth-protected-resource/v1 [get]
func (s *server) protected(c *call) error {
	if c.fresh(c.weakTag(s.Version)) {
		return nil
	}
	return c.answer(http.StatusOK, ProtectedResource{
		Resource: s.PublicURL + "/v1", AuthorizationServers: append([]string{s.PublicURL}, s.Keys.Issuers()...), JWKSURI: s.PublicURL + "/oauth/jwks.json",
		ScopesSupported: impact.Words(impact.Scopes()), BearerMethods: []string{"header"}, Documentation: s.PublicURL + "/docs",
	})
}
