# Weir: every command a developer or a first visitor needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# How much of the long tests (kills, random cuts, fuzz replays) runs: 1 is `make test`, `make torture` runs them in full.
export WEIR_SCALE ?= 1
CARGO ?= cargo
TOOLS := $(CURDIR)/target/tools
VENV := $(CURDIR)/target/venv
NODE := $(CURDIR)/target/node
SERVERS := $(CURDIR)/target/servers
WEB := $(CURDIR)/target/web
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# What a build needs, and what the tests, the demo and the load tests talk to besides.
BUILD_PACKAGES := build-essential clang libclang-dev libhyperscan-dev pkg-config
RUN_PACKAGES := curl openssl postgresql-15 postgresql-client-15
TEST_PACKAGES := chromium chromium-driver default-jdk-headless dropbear-bin haproxy libpostgresql-jdbc-java nginx-light nodejs openssh-client openssh-server \
	openssh-sftp-server postgresql-15-pgaudit putty-tools python3-venv strace systemd valgrind wget
# What makes the package, and what boots it.
PACKAGE_PACKAGES := help2man mmdebstrap systemd-container

.PHONY: help build demo test bench torture fuzz check conformance package test-appliance clean system-packages test-packages load-packages drivers web-assets

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

build: system-packages ## Build every program, release
	$(CARGO) build --release --workspace --bins

demo: build ## Start the whole appliance on loopback and tour it with stock clients (KEEP=1 leaves it running)
	target/release/weir-admin dev up --dir target/demo $(if $(KEEP),--keep) --tour admin/demo/tour.sh

test: build test-packages drivers ## Every test: unit, simulation, stock clients against real servers
	PATH="$(VENV)/bin:$$PATH" WEIR_NODE_MODULES=$(NODE)/node_modules WEIR_WEB_MODULES=$(WEB)/node_modules $(CARGO) test --release --workspace --no-fail-fast

torture: ## The same tests at full counts, then ten million executions of every fuzz target
	$(MAKE) test WEIR_SCALE=100
	$(MAKE) fuzz RUNS=10000000

fuzz: system-packages ## Coverage-guided fuzzing of every target, RUNS executions each (100000)
	crates/postgres/fuzz/run.sh $(or $(RUNS),100000)

bench: build load-packages ## Criterion, then the load tests beside the peers
	$(CARGO) bench -p weir-benches
	target/release/weir-load pg

check: system-packages $(TOOLS)/bin/cargo-deny ## Formatting, lints, dependency rules
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(TOOLS)/bin/cargo-deny --offline check bans licenses sources

conformance: build ## PostgreSQL's own regression suite, libpq_pipeline and psycopg2's suite, direct and through Weir
	dataplane/tests/conformance/postgres.sh
	dataplane/tests/conformance/psycopg.sh

package: system-packages package-packages $(TOOLS)/bin/cargo-deb ## The Debian package, of the profile PROFILE (dist)
	systemd/package.sh $(or $(PROFILE),dist)

test-appliance: package ## The package in a Debian of its own, booted: install, init, first masked query, kill, reboot, purge
	systemd/boot/run.sh

clean: ## Remove everything built
	$(CARGO) clean

# Installs only what dpkg says is missing, so that a prepared machine needs neither root nor network.
define install-missing
	@missing=; for package in $(1); do dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; $(SUDO) apt-get -qq update; DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get -qq install -y --no-install-recommends $$missing >/dev/null; fi
endef

system-packages:
	$(call install-missing,$(BUILD_PACKAGES) $(RUN_PACKAGES))

test-packages:
	$(call install-missing,$(TEST_PACKAGES))
	@command -v npm >/dev/null || { $(SUDO) apt-get -qq update; $(SUDO) apt-get -qq install -y --no-install-recommends npm >/dev/null; }

package-packages:
	$(call install-missing,$(PACKAGE_PACKAGES))

load-packages:
	loadtest/peers/pgbouncer.sh >/dev/null

# Stock drivers, at fixed versions, inside the tree.
drivers: $(VENV)/.ready $(NODE)/.ready $(SERVERS)/.ready $(WEB)/.ready

$(VENV)/.ready: admin/tests/archive/requirements.txt admin/tests/browser/requirements.txt crates/ssh/tests/peers/requirements.txt dataplane/tests/drivers/requirements.txt recorder/verify/requirements.txt | test-packages
	python3 -m venv $(VENV)
	$(VENV)/bin/pip -q install $(addprefix -r ,$^)
	touch $@

$(NODE)/.ready: dataplane/tests/drivers/package.json | test-packages
	mkdir -p $(NODE)
	cp $< $(NODE)/package.json
	cd $(NODE) && npm install --silent --no-audit --no-fund
	touch $@

# A certified OpenID provider, an accessibility checker, and what the pages' scripts are copied from.
$(WEB)/.ready: admin/tests/people/package.json | test-packages
	mkdir -p $(WEB)
	cp $< $(WEB)/package.json
	cd $(WEB) && npm install --silent --no-audit --no-fund
	touch $@

web-assets: $(WEB)/.ready ## Copy the pages' scripts anew from their npm packages (they are committed: no build needs this)
	cp $(WEB)/node_modules/htmx.org/dist/htmx.min.js admin/src/web/assets/htmx.min.js
	cp $(WEB)/node_modules/htmx-ext-sse/dist/sse.min.js admin/src/web/assets/sse.min.js
	cat $(WEB)/node_modules/htmx.org/LICENSE $(WEB)/node_modules/htmx-ext-sse/LICENSE > admin/src/web/assets/LICENSE-htmx

# PostgreSQL of other versions than Debian's, at fixed versions, inside the tree.
$(SERVERS)/.ready: dataplane/tests/servers/package.json | test-packages
	mkdir -p $(SERVERS)
	cp $< $(SERVERS)/package.json
	cd $(SERVERS) && npm install --silent --no-audit --no-fund
	touch $@

$(TOOLS)/bin/cargo-deb:
	$(CARGO) install --quiet --locked --root $(TOOLS) --target-dir target/tools-build cargo-deb@3.8.0

$(TOOLS)/bin/cargo-deny:
	$(CARGO) install --quiet --locked --root $(TOOLS) --target-dir target/tools-build cargo-deny@0.20.2
