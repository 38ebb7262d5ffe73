# make demo, make test: each makes what it needs, once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
MEDIAPIPE := .venv-mediapipe
TORCH := .venv-torch
JAX := .venv-jax
RUN := $(VENV)/bin/python
export CUDA_VISIBLE_DEVICES ?= -1

# Environments are installed side by side. Tests of one file share fixtures, so a worker takes whole files.
MAKEFLAGS += --jobs=3
PYTEST := $(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: demo test test-all bench golden lint clean

demo: $(VENV)/.installed $(MEDIAPIPE)/.installed ## fine-tune, convert, verify, MediaPipe, benchmark
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" sh examples/demo.sh $(MEDIAPIPE)/bin/python

test: lint $(MEDIAPIPE)/.installed $(JAX)/.installed $(VENV)/.devices ## everything but the slow tests; what .ci/run runs
	$(PYTEST) -m "not slow" --durations=15

test-all: lint $(MEDIAPIPE)/.installed $(JAX)/.installed $(TORCH)/.installed $(VENV)/.devices ## the slow tests too, and those against PyTorch
	$(PYTEST)

bench: $(VENV)/.installed $(TORCH)/.installed $(VENV)/.devices ## speed of inference, training and conversion, side by side; what a teacher gains
	$(RUN) benchmarks/inference.py --readme README.md
	$(RUN) benchmarks/comparison.py --torch-python $(TORCH)/bin/python --readme README.md
	for precision in float32 mixed_bfloat16; do \
	    $(RUN) benchmarks/training_step.py --precision $$precision --torch-python $(TORCH)/bin/python \
	        --json runs/bench/training_$$precision.json --readme README.md || exit; \
	done
	$(RUN) benchmarks/training_heads.py --torch-python $(TORCH)/bin/python --json runs/bench/heads.json --readme README.md
	$(RUN) benchmarks/conversion.py --json runs/bench/conversion.json
	$(RUN) benchmarks/outliers.py --readme README.md
	$(RUN) benchmarks/harness.py --readme README.md
	$(RUN) benchmarks/presets.py
	$(RUN) benchmarks/distillation.py --json runs/bench/distillation.json --readme README.md
	$(RUN) benchmarks/pretraining.py --json runs/bench/pretraining.json --readme README.md --plot docs/pretraining.png

golden: $(TORCH)/.installed ## what PyTorch computes, for the tests that run without it
	rm -rf tests/golden
	for kind in classification regression token_classification span multiple_choice masked_lm encoder; do \
	    $(TORCH)/bin/python tests/peers/reference.py tests/golden/$$kind $$kind 1 || exit; \
	done
	$(TORCH)/bin/python tests/peers/weight_files.py tests/golden/weight_files

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean: ## removes environments, runs and caches
	rm -rf $(VENV) $(MEDIAPIPE) $(TORCH) $(JAX) runs .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.installed: requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v[:2] != (3, 11) and f"Python 3.11 is needed, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -r requirements.txt
	$(VENV)/bin/python -m pip check
	touch $@

$(MEDIAPIPE)/.installed: tests/peers/mediapipe/requirements.txt tests/peers/mediapipe/setup.sh
	sh tests/peers/mediapipe/setup.sh "$(PYTHON)" $(MEDIAPIPE)
	touch $@

# adb, an ssh server and a browser, for tests against devices of our own and for the report's page.
$(VENV)/.devices: tests/simulators/setup.sh $(VENV)/.installed
	sh tests/simulators/setup.sh
	touch $@

$(TORCH)/.installed: benchmarks/torch-requirements.txt
	$(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/python -m pip install -r benchmarks/torch-requirements.txt
	touch $@

$(JAX)/.installed: tests/peers/jax_backend/requirements.txt
	$(PYTHON) -m venv $(JAX)
	$(JAX)/bin/python -m pip install -r tests/peers/jax_backend/requirements.txt
	touch $@
