# `make` lists the targets. Everything runs in .venv, which is made from uv.lock when it is missing or old.
PYTHON ?= python3
T ?=
M ?=
FLAGS ?=
RUN = .venv/bin/python -m
# Each with servers of its own; a module stays together. They wait more than they compute, so more than there are cores.
SIDE_BY_SIDE = -n 4 --dist loadscope --no-loadscope-reorder
# What `make check` does beside mypy, which takes as long on one core.
RULES = $(RUN) ruff format --check . && $(RUN) ruff check . && .venv/bin/lint-imports && $(RUN) pytest tests/house

.DEFAULT_GOAL := help
.PHONY: help up test check fix browser pictures manual bench bench-gpu chaos stripe-smoke proofs year lock migration clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

up: .venv/.product ## Run everything on this machine, with a demo account; FLAGS=--demo-usage: a month of usage, too
	@exec $(RUN) gigarouter up $(FLAGS)

test: .venv/.dev browser ## Run the tests on servers of their own; one file or folder with T=path
	@$(RUN) compileall -q web router billing providers catalog mail store gigarouter migrations tests bench # not in each of the processes that they start
	@$(RUN) pytest $(or $(T),$(SIDE_BY_SIDE))

check: .venv/.dev ## Format, lint, types, import contracts, house rules: what needs no server
	@$(RUN) mypy & types=$$!; /bin/sh -c '$(RULES)'; rules=$$?; wait $$types && exit $$rules

fix: .venv/.dev ## Repair formatting and what lint can repair
	@$(RUN) ruff format . && $(RUN) ruff check --fix .

browser: ## Install Chromium for the browser tests, or say how
	@$(PYTHON) environment/browser.py

pictures: .venv/.dev browser ## Take pictures of all pages in their states, with an index, in pictures/
	@rm -rf pictures && mkdir pictures
	@GIGAROUTER_TEST_PICTURES=pictures $(RUN) pytest tests/stories/pages
	@echo pictures/index.html

manual: .venv/.dev browser ## Take the pictures of docs/pages anew: the steps of finance and operations
	@GIGAROUTER_TEST_MANUAL=1 $(RUN) pytest tests/stories/pages/test_three_stories.py -k "finance_closes or ops_adds"

bench: .venv/.dev ## Measure against other gateways; the figures are kept in bench/results
	@$(RUN) bench

bench-gpu: .venv/.dev ## Prove the worker on a GPU in nine minutes; DEVICE=cpu SHAPE=tiny tries the code
	@$(RUN) bench.gpu $(if $(DEVICE),--device $(DEVICE)) $(if $(SHAPE),--shape $(SHAPE))

chaos: .venv/.dev ## Do every fault at every place; SEED= CELL='kill@*/short', or STORMS= SECONDS= for all at once
	@$(RUN) tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(CELL),--cell '$(CELL)') $(if $(STORMS),--storms $(STORMS)) $(if $(SECONDS),--seconds $(SECONDS))

proofs: .venv/.dev ## Prove money at length: RUNS= of the state machine (100), then every cut of every story
	@GIGAROUTER_TEST_RUNS=$(or $(RUNS),100) $(RUN) pytest --timeout 36000 tests/properties/test_money_machine.py
	@GIGAROUTER_TEST_CUTS=all $(RUN) pytest --timeout 36000 tests/parts/billing/test_cuts.py

year: .venv/.dev ## Simulate a year of a thousand accounts and a million calls; CALLS= and ACCOUNTS= scale it
	@GIGAROUTER_TEST_YEAR_CALLS=$(or $(CALLS),1000000) GIGAROUTER_TEST_YEAR_ACCOUNTS=$(or $(ACCOUNTS),1000) \
		$(RUN) pytest --timeout 36000 -s tests/stories/finance/test_year.py

lock: .venv/.dev ## Resolve all dependencies again and write uv.lock
	@.venv/bin/uv lock --upgrade

migration: .venv/.dev ## Start a migration file with M="what it does"
	@.venv/bin/alembic revision -m "$(M)"

stripe-smoke: .venv/.dev ## Try payments at Stripe itself, with the test key in GIGAROUTER_TEST_STRIPE_KEY
	@$(RUN) tests.stripe_smoke

clean: ## Remove the environment and caches, never the data folder
	rm -rf pictures .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist bench/out

LOCKS = uv.lock pyproject.toml environment/install.py environment/torch-cpu.txt

.venv/.product: $(LOCKS)
	@$(PYTHON) environment/install.py product && touch $@

.venv/.dev: $(LOCKS)
	@$(PYTHON) environment/install.py dev && touch $@ .venv/.product
