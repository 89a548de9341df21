# Egret's front door. `make` alone sets up and runs the main job; `make help` lists the rest.
#
# Needs python 3.11 or newer (with venv), g++, make and perl; all else comes from PyPI.

# The newest python 3.11+ on the path, unless PYTHON= names one.
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
  $(shell command -v $(p) >/dev/null 2>&1 && $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
# More options for pip, such as --extra-index-url with an index that has torch without GPU libraries.
PIP_FLAGS ?=

TASK ?= digits
SAMPLES ?= 30
SEED ?= 1
BOARD ?= ulx3s_85f
FAMILY ?= ecp5
MUTANTS ?= 400
IMAGE ?= golden/networks/$(TASK).egret
NETWORKS := $(basename $(notdir $(wildcard golden/networks/*.egret)))
# Test processes at once.
JOBS ?= 2

VENV := .venv
EGRET := $(VENV)/bin/egret
STAMP := $(VENV)/.egret-stamp
OUT := build

.DELETE_ON_ERROR:
.PHONY: all setup test junk sanitize sim formal fuzz fuzz-readers coverage sim-full sim-netlist mutate bitstream faults bench bench-fpga bench-train widths frontier lint format doctor clean help

all: setup ## set up; then generate, simulate, build a bitstream and print the summary
	$(EGRET) generate $(IMAGE) -o $(OUT)/$(TASK)/rtl
	$(EGRET) simulate --task $(TASK) --samples $(SAMPLES) --seed $(SEED)
	$(EGRET) bitstream $(IMAGE) --board $(BOARD) -o $(OUT)/$(TASK)/$(BOARD)
	$(EGRET) summary $(OUT)

setup: $(STAMP) ## create .venv with the pinned versions (quick when nothing changed)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "egret: python 3.11 or newer is needed (set PYTHON= to name one)" >&2; exit 2; }
	@for tool in g++ perl; do command -v $$tool >/dev/null 2>&1 \
	  || { echo "egret: $$tool is needed (on Debian: apt-get install $$tool)" >&2; exit 2; }; done
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV) \
	  || { echo "egret: '$(PYTHON) -m venv' failed (on Debian: apt-get install python3-venv)" >&2; exit 2; }
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[train,logs,distributed,sim,formal,build,bench,onnx,dev]'
	@touch $@

test: setup ## all tests
	$(VENV)/bin/python -m pytest -n $(JOBS) tests

junk: setup ## every command and public function with random names, files, arrays and numbers (minutes): N=examples
	EGRET_JUNK=$(or $(N),3000) $(VENV)/bin/python -m pytest tests/egret/test_cli_junk.py tests/egru/test_junk.py

sanitize: setup ## the kernels' tests under the address and the thread sanitizer, each with a fault that it must find: ONLY=address|thread
	@set -e; for kind in $(or $(ONLY),address thread); do $(VENV)/bin/python tests/support/sanitize.py $$kind; done

sim: setup ## RTL against the integer model on real data: TASK=name SAMPLES=n SEED=n; without TASK, all shipped networks
	@set -e; for task in $(if $(filter file,$(origin TASK)),$(NETWORKS),$(TASK)); do \
	  echo "$(EGRET) simulate --task $$task --samples $(SAMPLES) --seed $(SEED)"; \
	  $(EGRET) simulate --task $$task --samples $(SAMPLES) --seed $(SEED); done

sim-netlist: setup ## what synthesis makes of the accelerator, simulated: FAMILY=ice40|ecp5|gowin TASK=name SEED=n
	$(EGRET) sim-netlist --family $(FAMILY) --task $(TASK) --seed $(SEED)

mutate: setup ## faults planted in the design, and how many are caught (minutes): MUTANTS=n SEED=n MODULE=part of a path
	$(EGRET) mutate --mutants $(MUTANTS) --seed $(SEED) $(if $(MODULE),--module $(MODULE))

sim-full: setup ## whole test sets through the RTL (minutes; smnist hours): TASK=name; without TASK, all shipped networks
	$(EGRET) sim-full $(if $(filter file,$(origin TASK)),,--task $(TASK)) --seed $(SEED)

fuzz: setup ## random accelerators against the integer model: N=configurations SEED=n
	$(EGRET) fuzz --configurations $(or $(N),100) --seed $(SEED)

fuzz-readers: setup ## the readers of strangers' files, guided by coverage (Linux): SECONDS=n SEED=n
	mkdir -p $(OUT)/fuzz-readers
	$(VENV)/bin/python tests/fuzz/readers.py --seconds $(or $(SECONDS),60) --seed $(SEED) --corpus $(OUT)/fuzz-readers/corpus

coverage: setup ## the same, with cover points, lines and toggles counted: N=configurations SEED=n
	$(EGRET) fuzz --configurations $(or $(N),100) --seed $(SEED) --steps 500 --code-coverage --task digits --task har

formal: setup ## proofs of the components, each with a planted bug that it must find (minutes): ONLY=name
	$(EGRET) formal --jobs $(JOBS) $(foreach name,$(ONLY),--only $(name))

bitstream: setup ## a bitstream and its report: BOARD=name IMAGE=file
	$(EGRET) bitstream $(IMAGE) --board $(BOARD) -o $(OUT)/$(TASK)/$(BOARD)

faults: setup ## single bits flipped in the RTL, with and without protection, into docs: TASK=name N=n SEED=n
	$(EGRET) faults --task $(TASK) --flips $(or $(N),1400) --seed $(SEED) -o docs

bench: setup ## cycles per step and busy multipliers, predicted and in RTL, into docs (minutes): SAMPLES=n SEED=n
	$(EGRET) bench --samples $(SAMPLES) --seed $(SEED)

bench-fpga: setup ## clock and size on ECP5 and iCE40, several seeds each (an hour or more): ONLY=name SEEDS=1,2
	$(EGRET) bench-fpga $(foreach name,$(ONLY),--only $(name)) $(if $(SEEDS),--seeds $(SEEDS))

bench-train: setup ## wall-clock time of training and inference, sparse and dense, into docs (minutes): ROUNDS=n
	$(EGRET) bench-train $(if $(ROUNDS),--rounds $(ROUNDS))

$(OUT)/float/%.safetensors: | setup
	mkdir -p $(@D)
	$(EGRET) train $* --seed $(if $(filter digits smnist-row,$*),2,0) -o $@

FLOAT := $(OUT)/float/digits.safetensors $(OUT)/float/har.safetensors
FLOAT_ROWS := $(OUT)/float/smnist-row.safetensors

widths: setup $(FLOAT) $(FLOAT_ROWS) ## accuracy and size at 8, 6, 4 and mixed bits, fine-tuned or not, into docs (two hours)
	$(EGRET) widths $(FLOAT) $(FLOAT_ROWS) -o docs

frontier: setup $(FLOAT) ## accuracy over activity and density of weights, pruned in blocks, into docs (half an hour)
	$(EGRET) frontier $(FLOAT) -o docs

lint: setup ## format check, lint and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: setup ## format and mend what can be mended
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

doctor: setup ## what is missing on this machine, and how to get it
	$(EGRET) doctor

clean: ## remove what was built (not .venv)
	rm -rf $(OUT) .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find golden hw sim sw tests -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 12
