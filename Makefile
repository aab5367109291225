# Every target is a thin name for `python -m runner ...` or `python -m watchdog ...`.
# make itself exits with 2 when a command fails; it prints the command's own code ("Error 3").
# Scripts that need the code call .venv/bin/python -m runner submit; the codes are in its --help.

SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV ?= .venv
PYTHON3 ?= python3
PY := $(VENV)/bin/python
STAMP := $(VENV)/setup.stamp
AUDIT_STAMP := $(VENV)-audit/setup.stamp
SERVERS := prometheus prometheus-alertmanager

# Values reach the commands through the environment, never through make's text, so that blanks,
# semicolons, commas and quotes in SET and DRILL arrive as they were given.
export JOB DATA WORKERS SET VARIANT DRILL RUN ADDRESS FOLLOW RUNS_DIR LOG FORMAT CONFIG JSON ONLY PREFLIGHT LR_RANGE OUT A B C D NAME FROM WEBHOOK ALERTMANAGER EXAMPLES
ADDRESS_OPTION = $${ADDRESS:+--address "$$ADDRESS"}
RUNS_OPTION = $${RUNS_DIR:+--runs-dir "$$RUNS_DIR"}

.PHONY: help setup setup-servers submit preflight predict compare resume stop status logs watch list report replay drills \
	new-job fmt lint type test test-fast test-ray fuzz audit audit-online check bench deploy-files monitoring clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## virtual environment with everything, from a bare Debian with Python 3.11 or newer

submit: $(STAMP) ## start a run: JOB=vesuvius [DATA= WORKERS=2|1-4 SET="a.b=c d=e" VARIANT= DRILL= RUN= ADDRESS= FOLLOW=0 PREFLIGHT=0]
	@$(PY) -m runner submit --job "$$JOB" $${DATA:+--data "$$DATA"} $${WORKERS:+--workers "$$WORKERS"} $${SET:+--set "$$SET"} $${VARIANT:+--variant "$$VARIANT"} $${DRILL:+--drill "$$DRILL"} $${RUN:+--run "$$RUN"} $(ADDRESS_OPTION) $${FOLLOW:+--follow "$$FOLLOW"} $$([ "$$PREFLIGHT" != 0 ] || echo --no-preflight) $(RUNS_OPTION)

preflight: $(STAMP) ## the checks alone, with what to do about each: JOB=vesuvius [DATA= WORKERS= SET= VARIANT= LR_RANGE=1 JSON=1]
	@$(PY) -m runner preflight --job "$$JOB" $${DATA:+--data "$$DATA"} $${WORKERS:+--workers "$$WORKERS"} $${SET:+--set "$$SET"} $${VARIANT:+--variant "$$VARIANT"} $$([ -z "$$LR_RANGE" ] || echo --lr-range) $${JSON:+--json} $(RUNS_OPTION)

resume: $(STAMP) ## continue a run from its newest checkpoint: RUN= [FOLLOW=0]
	@$(PY) -m runner resume --run "$$RUN" $${FOLLOW:+--follow "$$FOLLOW"} $(ADDRESS_OPTION) $(RUNS_OPTION)

stop: $(STAMP) ## ask a run to save and stop, and wait for it: RUN=
	@$(PY) -m runner stop --run "$$RUN" $(ADDRESS_OPTION) $(RUNS_OPTION)

status: $(STAMP) ## what is known of one run: RUN=
	@$(PY) -m runner status --run "$$RUN" $(ADDRESS_OPTION) $(RUNS_OPTION)

logs: $(STAMP) ## output of a run and its ledger in plain words: RUN= [FOLLOW=1]
	@$(PY) -m runner logs --run "$$RUN" $$([ "$$FOLLOW" != 1 ] || echo --follow) $(ADDRESS_OPTION) $(RUNS_OPTION)

watch: $(STAMP) ## live view of a run, from any shell; q closes it: RUN=
	@$(PY) -m runner watch --run "$$RUN" $(ADDRESS_OPTION) $(RUNS_OPTION)

list: $(STAMP) ## all runs, the latest first
	@$(PY) -m runner list $(RUNS_OPTION)

report: $(STAMP) ## write the report of a run again: RUN=
	@$(PY) -m runner report --run "$$RUN" $(ADDRESS_OPTION) $(RUNS_OPTION)

new-job: $(STAMP) ## a new folder under jobs/ that runs at once: NAME=my_job [FROM=template|plain_loop]
	@$(PY) -m runner new-job "$$NAME" $${FROM:+--from "$$FROM"}

drills: $(STAMP) ## the game day: every fault against a small job, one table [ONLY=kill,hang JSON=1]
	@$(PY) -m runner drills $${ONLY:+--only "$$ONLY"} $${JSON:+--json} $(RUNS_OPTION)

compare: $(STAMP) ## runs side by side, and a page with their curves: A= B= [C= D= OUT=page.html JSON=1]
	@$(PY) -m runner compare "$$A" "$$B" $${C:+"$$C"} $${D:+"$$D"} $${OUT:+--out "$$OUT"} $${JSON:+--json} $(ADDRESS_OPTION) $(RUNS_OPTION)

predict: $(STAMP) ## write what a run's model makes of the job's test data: RUN= [DATA= OUT=]
	@$(PY) -m runner predict --run "$$RUN" $${DATA:+--data "$$DATA"} $${OUT:+--out "$$OUT"} $(RUNS_OPTION)

replay: $(STAMP) ## what would the watchdog have done on these logs? LOG="file ..." [FORMAT= CONFIG=job.yaml JSON=1]
	@set -- "$$LOG"; [ -e "$$LOG" ] || set -- $$LOG; \
	$(PY) -m watchdog replay "$$@" $${FORMAT:+--format "$$FORMAT"} $${CONFIG:+--config "$$CONFIG"} $${JSON:+--json}

fmt: $(STAMP) ## format the code and repair what the linter can
	$(PY) -m ruff check --fix-only --quiet . ; $(PY) -m ruff format .

lint: $(STAMP) ## style, format and the floors of the house
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(VENV)/bin/lint-imports --no-logo

type: $(STAMP) ## types, strictly
	$(PY) -m mypy

test: $(STAMP) test-fast ## the whole suite that needs no GPU
	$(PY) -m pytest -m "(ray or server or group) and not gpu"

# Tests of clusters and servers stay apart: they share ports and clocks, and want the machine alone.
test-fast: $(STAMP) ## the tests without clusters, servers and process groups, on all cores
	$(PY) -m pytest -m "not ray and not gpu and not server and not group" -n auto --dist loadfile

test-ray: $(STAMP) ## the tests on local Ray clusters
	$(PY) -m pytest -m ray

fuzz: $(STAMP) ## thousands of damaged inputs where the fast tests try a dozen: [EXAMPLES=3000]
	FUZZ_EXAMPLES=$${EXAMPLES:-3000} $(PY) -m pytest tests/fuzz --hypothesis-profile=search --timeout=0

audit: $(STAMP) $(AUDIT_STAMP) ## what is installed: ranges, licences, names; a bill of materials in build/sbom.json
	@$(PY) -m deploy.audit

audit-online: $(STAMP) $(AUDIT_STAMP) ## known vulnerabilities of what is installed; needs PyPI
	@$(PY) -m deploy.audit --online

check: lint type audit test ## exactly what CI runs

bench: $(STAMP) ## measure the goals; writes docs/BENCHMARKS.md
	$(PY) -m bench

deploy-files: $(STAMP) ## write the rules, dashboards and runbooks again from their catalogues
	@$(PY) -m deploy.generate

monitoring: $(STAMP) setup-servers ## Prometheus, Alertmanager and Grafana (where it is) for local runs [WEBHOOK= ALERTMANAGER=file RUNS_DIR=]
	@$(PY) -m deploy.local $${WEBHOOK:+--webhook "$$WEBHOOK"} $${ALERTMANAGER:+--alertmanager-config "$$ALERTMANAGER"} $(RUNS_OPTION)

clean: ## remove caches and the virtual environment; runs and data stay
	rm -rf $(VENV) $(VENV)-audit .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .grimp_cache .hypothesis *.egg-info
	find runner watchdog jobs tests bench deploy -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian's packages start a server on 0.0.0.0 when they are installed; the policy forbids it.
setup-servers: ## Debian's Prometheus and Alertmanager, not started
	@.ci/setup-servers $(SERVERS)

# torch first and alone: it is the largest download, and ray and monai accept the one they find.
$(STAMP): pyproject.toml
	@.ci/check-python $(PYTHON3)
	test -x $(PY) || $(PYTHON3) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check --quiet torch==2.13.0
	$(PY) -m pip install --disable-pip-version-check --quiet -e ".[dev,vesuvius,images,bigearthnet,orion]"
	@touch $@

$(AUDIT_STAMP): deploy/audit-tools.txt
	test -x $(VENV)-audit/bin/python || $(PYTHON3) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --disable-pip-version-check --quiet -r deploy/audit-tools.txt
	@touch $@
