# Needs python3 (3.11 or newer) and make; everything else goes into .venv, but for redis-server and nginx, which
# several processes need, postgresql, which grown projects need, and chromium, which looks at the admin: root on
# Debian and Ubuntu gets them installed.
#
#   make run [PORT=8000] [HOST=127.0.0.1]    start the demonstration shop
#   make cluster [PORT=8000]                 the shop on three nodes, with Redis behind them and nginx in front
#   make test [PYTEST_ARGS="-k name"]        run the quick tests, which need nothing but Python: a minute
#   make test-all [PYTEST_ARGS="-k name"]    run all tests, with Redis, PostgreSQL, nginx, HAProxy and Chromium
#   make coverage                            measure which branches the tests take, and hold the floors
#   make test VENV=.venv-6.1 PYTHON=python3.13 DJANGO=6.1    ... on another Python and Django
#   make test-slow                           build and run the generated container image, for minutes
#   make test-aws                            synthesise and pack what is generated for AWS, with tools from npm
#   make test-projects                       grown projects with each Django behind each server, for an hour
#   make test-dynamodb                       the tests of several processes with their sessions in DynamoDB, for minutes
#   make test-regions [RUNS=100]             lose a region in the middle of calls, again and again, for half an hour
#   make test-packaging                      build the wheel, install it into empty environments, try it there
#   make lint                                ruff and mypy
#   make security                            look for known faults, in the code, its settings and what it depends on
#   make conformance                         the official conformance suite against a server started for it
#   make conformance-cluster                 the suite against three nodes behind nginx, sharing Redis
#   make conformance-cluster-dynamodb        the same with their sessions in DynamoDB
#   make conformance-lambda                  what of 2026-07-28 needs no stream, through a function of AWS Lambda
#   make conformance-server [PORT=8000]      only that server
#   make soak [SECONDS=600] [SEED=1]         kill and pause nodes and Redis under load, check what clients see
#   make failover [RUNS=100]                 kill the node of a call, again and again, with a client of three nodes
#   make failover-regions [RUNS=100]         lose the region of a call, again and again, with a client of two regions
#   make attack [ATTACK_ARGS="--short"]      send hostile requests to servers started for it, for half an hour
#   make bench                               measure everything beside its peers: two hours on a quiet machine
#   make bench-quick                         the same in one short round
#   make bench-client                        compare the client with the SDK's own, in paired rounds
#   make bench-paired OTHER=/path            compare this checkout with another one, round by round
#   make bench-load [SECONDS=30] [LOAD_ARGS="--short"]    overload a server, with its limits and without: twelve minutes
#   make screenshots                         take the documentation's pictures of the admin anew
#   make messages                            bring the translations up to date with the sources; needs GNU gettext
#   make dist                                build what a release publishes, into dist/
#   make requirements                        write requirements.txt anew, from pyproject.toml
#   make clean                               remove .venv, caches and the demonstration database

SHELL := /bin/sh
# Tests start hundreds of processes: let the first keep what it has compiled, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# HOST is not taken from the environment: some shells export it as the machine's name.
HOST = 127.0.0.1
PORT ?= 8000
PYTEST_ARGS ?=
ATTACK_ARGS ?=
LOAD_ARGS ?=
SECONDS ?= 600
RUNS ?= 100

VENV := .venv
BIN := $(VENV)/bin
# One stamp for what `make run` needs and one for everything. They go when the environment no longer works.
RUNNABLE := $(VENV)/installed-to-run
INSTALLED := $(VENV)/installed
$(shell $(BIN)/python -c "" 2>/dev/null || rm -f $(VENV)/created $(RUNNABLE) $(INSTALLED))

.PHONY: help run cluster servers browser containers databases test test-all coverage test-slow test-aws test-projects
.PHONY: test-packaging lint security conformance conformance-cluster conformance-server conformance-lambda
.PHONY: conformance-cluster-dynamodb conformance-cluster-dynamodb-short test-dynamodb test-regions
.PHONY: soak failover attack bench bench-quick bench-client bench-paired bench-load screenshots dist requirements clean

help:
	@sed -n 's/^#   //p' Makefile

run: $(RUNNABLE)
	@$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python manage.py load_demo
	@echo "Site:        http://$(HOST):$(PORT)/  (admin: http://$(HOST):$(PORT)/admin/)"
	@echo "Claude Code: claude mcp add --transport http shop http://$(HOST):$(PORT)/mcp"
	@echo "Inspector:   npx @modelcontextprotocol/inspector --cli http://$(HOST):$(PORT)/mcp --transport http --method tools/list"
	@echo "Stop with Ctrl-C."
	@exec $(BIN)/python -m daphne --bind $(HOST) --port $(PORT) mcpsite.asgi:application

cluster: $(INSTALLED) servers
	@exec $(BIN)/python -m tests.cluster --port $(PORT)

# What several processes need, or a look at the admin, and pip does not install.
servers: PROGRAMS = redis-server nginx
browser: PROGRAMS = redis-server chromium
containers: PROGRAMS = redis-server buildah podman runc mmdebstrap
servers browser containers:
	@PATH="$$PATH:/usr/local/sbin:/usr/sbin"; missing=; \
	for program in $(PROGRAMS); do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing$$missing"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq && apt-get install -qq -y --no-install-recommends $$missing >/dev/null && exit 0; \
	fi; \
	echo "Missing:$$missing; on Debian and Ubuntu: sudo apt-get install$$missing" >&2; \
	exit 1

# Debian keeps PostgreSQL's programs off PATH.
databases:
	@if ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing postgresql"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql >/dev/null && exit 0; \
	fi; \
	echo "Missing: postgresql; on Debian and Ubuntu: sudo apt-get install postgresql" >&2; \
	exit 1

# pytest-xdist starts a worker a core; one that is done takes over half of what another has left.
PARALLEL := -n auto --dist worksteal
# Tests of servers wait for half of their time, so `make test-all` has half as many workers again.
WORKERS = $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores + (cores + 1) / 2)))
# These wait for deadlines and leases nearly all their time: one more process runs them beside the others.
WAITING := $(addprefix tests/,client docs/test_calling_servers.py doctor/test_proxy_faults.py garbage/test_node_tasks.py)
WAITING += $(addprefix tests/,backends/redis/test_nodes.py backends/dynamodb/test_nodes.py)
WAITING += $(addprefix tests/cluster/,test_redis_outage.py test_session_expiry.py test_stopped_readers.py)
QUICK := -m "not servers and not slow and not slow_deploy and not aws_tools and not projects and not packaging"
# In these folders everything needs servers: reading them takes seconds.
QUICK += $(addprefix --ignore=tests/,cluster browser clients projects backends/redis auth/oauth)

test: $(INSTALLED)
	@$(BIN)/python -m pytest $(PARALLEL) $(QUICK) $(PYTEST_ARGS)

test-all: $(INSTALLED)
	@$(MAKE) servers || echo "THE TESTS OF SEVERAL PROCESSES (tests/cluster) ARE SKIPPED WITHOUT THEM." >&2
	@$(MAKE) databases || echo "THE TESTS OF GROWN PROJECTS (tests/projects) ARE SKIPPED WITHOUT IT." >&2
	@$(MAKE) browser || echo "THE TESTS OF THE ADMIN'S PAGES (tests/browser) ARE SKIPPED WITHOUT THEM." >&2
	@waiting=$$(mktemp); \
	$(BIN)/python -m pytest $(WAITING) $(PYTEST_ARGS) >$$waiting 2>&1 & \
	$(BIN)/python -m pytest $(PARALLEL) -n $(WORKERS) $(addprefix --ignore=,$(WAITING)) $(PYTEST_ARGS); outcome=$$?; \
	wait $$! || outcome=1; cat $$waiting; rm $$waiting; exit $$outcome

# Every branch of the protocol and of the backends' contract; of all, what the quick tests reach: without those of Redis.
CONTRACT := mcp_transport/protocol/*,mcp_transport/domain/*,mcp_transport/backends/base.py,mcp_transport/backends/contracts.py
CONTRACT := $(CONTRACT),mcp_transport/backends/local.py,mcp_transport/backends/local_bus.py,mcp_transport/backends/memory.py,mcp_transport/backends/cache.py
FLOOR := 88

# tests/support tests no package, and measuring makes its loops slow.
coverage: $(INSTALLED)
	@$(BIN)/python -m pytest $(PARALLEL) $(QUICK) --ignore=tests/support --cov --cov-report= $(PYTEST_ARGS)
	@$(BIN)/python -m coverage report --include="$(CONTRACT)" --fail-under=100
	@$(BIN)/python -m coverage report --fail-under=$(FLOOR)

test-slow: $(INSTALLED) containers
	@$(BIN)/python -m pytest -m slow_deploy tests/deploy $(PYTEST_ARGS)

test-aws: $(INSTALLED)
	@$(BIN)/python -m pytest -m aws_tools tests/deploy $(PYTEST_ARGS)

test-projects: $(INSTALLED) servers databases
	@$(BIN)/python -m tests.projects $(PYTEST_ARGS)

# In virtual time, what a seed has happen to regions; then real processes.
test-regions: $(INSTALLED)
	@MCP_REGION_SEEDS=$(RUNS) $(BIN)/python -m pytest $(PARALLEL) tests/backends/dynamodb/test_region_schedules.py
	@MCP_REGION_RUNS=$(RUNS) $(BIN)/python -m pytest -s tests/cluster/test_region_lost.py

test-packaging: $(INSTALLED)
	@$(BIN)/python -m pytest -m packaging tests/packaging $(PYTEST_ARGS)

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict

# pip-audit asks PyPI for advisories; where that cannot be reached it says so, and the rest still counts.
security: $(INSTALLED)
	@$(BIN)/ruff check --select S --no-cache mcp_transport mcpsite
	@echo "Settings: manage.py check --deploy"
	@ulimit -n $$(ulimit -Hn); DJANGO_DEBUG=false DJANGO_ALLOWED_HOSTS=shop.example.com \
		DJANGO_SECRET_KEY=$$($(BIN)/python -c "import secrets; print(secrets.token_urlsafe(64))") \
		$(BIN)/python manage.py check --deploy --fail-level WARNING
	@$(BIN)/python -m tests.security

conformance: $(INSTALLED)
	@$(BIN)/python -m tests.conformance.run

conformance-cluster: $(INSTALLED) servers
	@$(BIN)/python -m tests.conformance.run --cluster

test-dynamodb: $(INSTALLED) servers
	@CLUSTER_STORE=dynamodb MCP_GARBAGE=all $(BIN)/python -m pytest -n 2 tests/cluster tests/garbage/test_each_item.py tests/backends/dynamodb $(PYTEST_ARGS)

conformance-cluster-dynamodb: $(INSTALLED) servers
	@$(BIN)/python -m tests.conformance.run --cluster --store dynamodb

conformance-cluster-dynamodb-short: $(INSTALLED) servers
	@$(BIN)/python -m tests.conformance.run --cluster --store dynamodb --through mounted --spec 2025-11-25

conformance-lambda: $(INSTALLED)
	@$(BIN)/python -m tests.conformance.run --function

conformance-server: $(INSTALLED)
	@$(BIN)/python -m tests.conformance.serve --port $(PORT)

soak: $(INSTALLED) servers
	@$(BIN)/python -m tests.cluster.soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

failover: $(INSTALLED) servers
	@$(BIN)/python -m tests.client --runs $(RUNS)

.PHONY: failover-regions
failover-regions: $(INSTALLED) servers
	@REGION_RUNS=$(RUNS) $(BIN)/python -m pytest -q tests/client/test_regions.py

attack: $(INSTALLED) servers
	@$(BIN)/python -m tests.attack $(ATTACK_ARGS)
	@$(if $(ATTACK_ARGS),,$(BIN)/python -m tests.attack --generated 10000)

bench: $(INSTALLED) servers
	@$(BIN)/python -m tests.bench --output .bench/results
	@$(BIN)/python -m tests.bench.report .bench/results

bench-quick: $(INSTALLED) servers
	@$(BIN)/python -m tests.bench --quick

bench-client: $(INSTALLED) servers
	@$(BIN)/python -m tests.client.overhead

bench-paired: $(INSTALLED) servers
	@$(BIN)/python -m tests.bench.paired $(OTHER)

# SECONDS is the soak's, too, whose default is longer.
bench-load: SECONDS = 30
bench-load: $(INSTALLED) servers
	@$(BIN)/python -m tests.bench.overload --seconds $(SECONDS) --output .bench/load $(LOAD_ARGS)
	@$(BIN)/python -m tests.bench.less_work --output .bench/load/less_work.md

screenshots: $(INSTALLED) browser
	@$(BIN)/python -m tests.browser.screenshots

dist: $(INSTALLED)
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist

.PHONY: messages
messages: $(INSTALLED)
	@$(BIN)/python -m tests.support.messages

requirements: $(VENV)/created
	@$(BIN)/python -m tests.support.requirements > requirements.txt

clean:
	rm -rf $(VENV) build dist node_modules staticfiles .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf .cluster .bench .venv-projects
	rm -f .projects.md
	rm -f db.sqlite3 db.sqlite3-shm db.sqlite3-wal
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv installs in seconds what takes pip a minute. It does not read pip's configuration, so pip is there to fall back on.
define install
	@echo "Installing $(notdir $(1)) into $(VENV)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --requirements $(1) || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $(1)
	@touch $@
endef

$(RUNNABLE): requirements.txt | $(VENV)/created
	$(call install,requirements.txt)

$(INSTALLED): pyproject.toml tests/support/requirements.py | $(VENV)/created
	@$(BIN)/python -m tests.support.requirements dev > $(VENV)/requirements-dev.txt
	@$(if $(DJANGO),echo "Django==$(DJANGO).*" >> $(VENV)/requirements-dev.txt)
	$(call install,$(VENV)/requirements-dev.txt)

$(VENV)/created:
	@set -e; \
	for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
		python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "No Python 3.11 or newer on PATH; install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing python3-venv"; \
			apt-get update -qq && apt-get install -qq -y python3-venv >/dev/null; \
		fi; \
		if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
			echo "$$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
			exit 1; \
		fi; \
	fi; \
	echo "Making $(VENV)"; \
	$(BIN)/python -c "import pip" 2>/dev/null || $$python -m venv --clear $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || echo "uv is not to be had: pip installs" >&2; \
	touch $@
