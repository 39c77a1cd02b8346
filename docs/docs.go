// Package docs holds what the server publishes about itself: the OpenAPI document, and the page that lets a person read
// and try it. The comment below is the general part of that document; the operations stand beside their handlers in
// package api, and `make openapi` puts both together.
package docs

import (
	"embed"
	"sync"
)

// General information of the contract, read by cmd/openapi.
//
//	@title			Retombées
//	@version		0.1.0
//	@description	Measures the impact of organisations by territory, for the Métropole de Lyon, its residents and its organisations.
//	@description	Organisations and their networks submit observations; figures by territory, impact type and period come back, exact, with their coverage and their status.
//	@description
//	@description	Mesure les retombées des organisations par territoire : les organisations et leurs réseaux déposent des observations, l'API rend des chiffres exacts par territoire, nature d'impact et période, avec leur taux de couverture et leur statut.
//	@description
//	@description	Codes are strings; numbers are exact decimals with at most six decimals; `null` is "no value" and a status says why; errors are RFC 9457 problem documents in the language asked for (`Accept-Language: fr` or `en`).
//	@contact.name	Retombées
//	@contact.url	https://github.com/grandlyon/retombees
//	@license.name	EUPL-1.2
//	@license.url	https://eupl.eu/1.2/en/
//	@host			127.0.0.1:8080
//	@BasePath		/
//	@schemes		http
//
//	@tag.name			service
//	@tag.description	Entry point, limits, health, version and this document.
//	@tag.name			reference
//	@tag.description	Territories, impact types, indicators and code lists. Read without an account.
//	@tag.name			organisations
//	@tag.description	Who acts: identity, identifiers, sites and status of organisations.
//	@tag.name			observations
//	@tag.description	One fact by one organisation, private to it and to the stewards who review it; every version is kept.
//	@tag.name			submissions
//	@tag.description	The observations of one organisation for one period, with their review.
//	@tag.name			networks
//	@tag.description	Networks and their members; mandates: what an organisation lets its network do, and what was done with it.
//	@tag.name			imports
//	@tag.description	Files as people have them, turned into observations or members, with what was wrong in them.
//	@tag.name			aggregates
//	@tag.description	Figures computed from observations, with contributors, coverage and method.
//	@tag.name			releases
//	@tag.description	What is published for everyone: numbered sets of figures that passed disclosure control and never change.
//	@tag.name			publication
//	@tag.description	What portals and maps take away: the catalogue, datasets and their files, layers of territories. Read without an account, never counted.
//	@tag.name			changes
//	@tag.description	What was committed, in that order, for who keeps a copy.
//	@tag.name			webhooks
//	@tag.description	Addresses that are told of changes, what they were sent and what they answered.
//	@tag.name			access
//	@tag.description	Access tokens, their keys, and what a caller may do.
//
//	@securityDefinitions.apikey	BearerAuth
//	@in							header
//	@name						Authorization
//	@description				Access token of POST /oauth/token (JWT, 15 minutes), or an API key for scripts (`rtb_live_…`), sent as `Authorization: Bearer …`. The scopes that an operation needs are listed with it. A scope opens the door of an operation; the right on a given organisation comes from being it or from its mandate.
//
//	@securityDefinitions.basic	ClientBasic

// OpenAPIJSON is the published OpenAPI 3.1 document.
//
//go:embed openapi.json
var OpenAPIJSON []byte

// OpenAPIYAML is the same document as YAML, byte for byte the openapi.yaml of the repository.
var OpenAPIYAML = sync.OnceValue(func() []byte {
	text, err := YAML(OpenAPIJSON)
	if err != nil {
		panic("docs: the embedded OpenAPI document is not JSON: " + err.Error())
	}
	return text
})

// Guides are the pages that are served beside the contract: the method, how
// secrets are kept, how to begin.
//
//go:embed *.md
var Guides embed.FS

// UI is the documentation page: ui/index.html and what it loads. It asks nothing of other hosts and has no inline script
// or style sheet, so that a strict Content-Security-Policy can be served with it (UIPolicy).
//
//go:embed ui
var UI embed.FS

// UIPolicy is the Content-Security-Policy of the documentation page. Swagger UI sets style attributes and draws its icons
// from data: addresses; the rest comes from the server itself.
const UIPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
