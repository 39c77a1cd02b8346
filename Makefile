SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# Tests prove the binary that is shipped, and that one has no cgo.
export CGO_ENABLED ?= 0
# Nothing is asked of other hosts than the package registries.
export REDOCLY_TELEMETRY := off
export REDOCLY_SUPPRESS_UPDATE_NOTICE := true

TOOL := go tool -modfile=tools/go.mod
NPM  := tools/node_modules/.bin
FUZZTIME ?= 20s

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r name text; do printf '  %-10s %s\n' "$$name" "$$text"; done

.PHONY: run
run: build ## build and start on http://127.0.0.1:8080 with the embedded database and invented demonstration data
	bin/retombees serve --demo

.PHONY: build
build: ## build the static binary bin/retombees
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/retombees ./cmd/retombees

.PHONY: test
test: postgres nginx glpk ## run every test, on SQLite and on a throw-away PostgreSQL
	go test -timeout 30m ./...

.PHONY: test-race
test-race: postgres nginx glpk ## the same with the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race ./...

.PHONY: postgres
postgres: ## install PostgreSQL from the system's packages where initdb is missing; starts and changes no cluster
	@if [ -n "$${PGBIN:-}" ] || command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then exit 0; fi; \
	command -v apt-get >/dev/null || { echo 'initdb is missing: install PostgreSQL, or set PGBIN to the directory that has it' >&2; exit 1; }; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	echo 'installing PostgreSQL (for tests only)'; \
	$$sudo apt-get update -q; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends postgresql-common; \
	conf=/etc/postgresql-common/createcluster.conf; \
	$$sudo sed -i.before 's/^#* *create_main_cluster.*/create_main_cluster = false/' $$conf; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends postgresql; \
	$$sudo mv $$conf.before $$conf

.PHONY: nginx
nginx: ## install nginx from the system's packages where it is missing: tests put its cache in front of the API; starts no service
	@if command -v nginx >/dev/null || [ -x /usr/sbin/nginx ]; then exit 0; fi; \
	command -v apt-get >/dev/null || { echo 'nginx is missing: install it' >&2; exit 1; }; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	echo 'installing nginx (for tests only)'; \
	$$sudo apt-get update -q; \
	policy=/usr/sbin/policy-rc.d; made=; \
	if [ ! -e $$policy ]; then printf '#!/bin/sh\nexit 101\n' | $$sudo tee $$policy >/dev/null; $$sudo chmod +x $$policy; made=1; fi; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends nginx-light; \
	[ -z "$$made" ] || $$sudo rm -f $$policy

.PHONY: glpk
glpk: ## install GLPK's solver from the system's packages where glpsol is missing: tests attack our own figures with it
	@if command -v glpsol >/dev/null; then exit 0; fi; \
	command -v apt-get >/dev/null || { echo 'glpsol is missing: install GLPK (macOS: brew install glpk)' >&2; exit 1; }; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	echo 'installing GLPK (for tests only)'; \
	$$sudo apt-get update -q; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends glpk-utils

.PHONY: lint
lint: lint-go lint-openapi lint-catalog ## check the code, the contract, that clients can be generated from it, and the catalogue

.PHONY: lint-go
lint-go:
	$(TOOL) golangci-lint run ./...

.PHONY: lint-openapi
lint-openapi: tools/node_modules/.package-lock.json
	go run ./cmd/openapi --check
	$(NPM)/spectral lint --ruleset tools/spectral.yaml --fail-severity=warn openapi.yaml
	$(NPM)/redocly lint --config tools/redocly.yaml openapi.yaml
	@mkdir -p tools/generated/client
	$(NPM)/openapi-typescript openapi.yaml --output tools/generated/client.ts
	$(NPM)/tsc --noEmit --strict tools/generated/client.ts
	$(TOOL) oapi-codegen -generate types,client -package client -o tools/generated/client/client.go openapi.yaml
	cd tools && go build ./generated/client

.PHONY: lint-catalog
lint-catalog: tools/node_modules/.package-lock.json
	node tools/catalog.mjs

tools/node_modules/.package-lock.json: tools/package-lock.json
	npm ci --prefix tools --ignore-scripts --no-audit --no-fund
	@touch $@

.PHONY: fmt
fmt: ## format the code
	$(TOOL) gofumpt -w api cmd docs pkg

.PHONY: openapi
openapi: ## write openapi.yaml and docs/openapi.json from the annotations
	go run ./cmd/openapi

.PHONY: bench
bench: postgres nginx glpk ## measure: the benchmarks of the packages, then the load on a running binary
	go test -run '^$$' -bench . -benchmem ./...
	@if [ -d cmd/load ]; then $(MAKE) --no-print-directory build && go run ./cmd/load; fi

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (20s)
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package"; \
		done; \
	done

.PHONY: docker
docker: ## build the container image retombees:VERSION
	docker build --build-arg VERSION=$(VERSION) -t retombees:$(VERSION) .
