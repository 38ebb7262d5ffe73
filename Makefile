# `make` lists the targets. Each makes the environments that it needs, once, in this folder.
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
MEDIAPIPE := .venv-mediapipe
TORCH := .venv-torch
JAX := .venv-jax
AUDIT := .venv-audit
NPU := .venv-npu
RUN := $(VENV)/bin/python
export CUDA_VISIBLE_DEVICES ?= -1

# Environments are installed side by side. Bundles and packages are shared on disk (tests/fixtures/cache.py),
# so a worker that has nothing left takes half of what the slowest one still has.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += --jobs=3
endif
PYTEST := $(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: help demo test test-all bench accuracy docs golden lint types lock audit clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

demo: ## fine-tune, convert, verify, MediaPipe, benchmark; says first what it installs
	@[ -e $(VENV)/.installed ] || echo "make demo installs into $(VENV): TensorFlow, Keras, LiteRT, their tools (3.6 GB on disk)"
	@[ -e $(MEDIAPIPE)/.installed ] || echo "make demo installs into $(MEDIAPIPE): MediaPipe (0.7 GB on disk)"
	@echo "Results go to runs/. Nothing outside $(CURDIR) is changed, and nothing needs root."
	@$(MAKE) --no-print-directory $(VENV)/.installed $(MEDIAPIPE)/.installed
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" sh examples/demo.sh $(MEDIAPIPE)/bin/python

test: lint types $(MEDIAPIPE)/.libraries $(JAX)/.installed $(VENV)/.devices ## everything but the slow tests; .ci/run calls it
	$(PYTEST) -m "not slow"

test-all: lint types $(MEDIAPIPE)/.libraries $(JAX)/.installed $(TORCH)/.installed $(NPU)/.installed $(VENV)/.devices $(AUDIT)/.installed ## the slow tests too, those against PyTorch and an NPU's emulator, and the audit
	$(PYTEST)
	$(AUDIT)/bin/python locks/audit.py

# The page that `make bench` writes its tables into. For another CPU or date: copy it, and give the copy's name.
RESULTS ?= docs/results/2026-11-28-epyc-avx512-vnni.md

bench: $(VENV)/.installed $(TORCH)/.installed $(VENV)/.devices ## speed of inference, training and conversion, side by side; what a teacher gains
	$(RUN) benchmarks/inference.py --readme $(RESULTS)
	$(RUN) benchmarks/comparison.py --torch-python $(TORCH)/bin/python --readme $(RESULTS)
	for precision in float32 mixed_bfloat16; do \
	    $(RUN) benchmarks/training_step.py --precision $$precision --torch-python $(TORCH)/bin/python \
	        --json runs/bench/training_$$precision.json --readme $(RESULTS) || exit; \
	done
	$(RUN) benchmarks/training_heads.py --torch-python $(TORCH)/bin/python --json runs/bench/heads.json --readme $(RESULTS)
	$(RUN) benchmarks/conversion.py --json runs/bench/conversion.json
	$(RUN) benchmarks/outliers.py --readme $(RESULTS)
	$(RUN) benchmarks/harness.py --readme $(RESULTS)
	$(RUN) benchmarks/presets.py
	$(RUN) benchmarks/distillation.py --json runs/bench/distillation.json --readme $(RESULTS)
	$(RUN) benchmarks/pretraining.py --json runs/bench/pretraining.json --readme $(RESULTS) --plot docs/pretraining.png

# The checkpoints' teacher, by its name on the hub or its folder, and the text that students of it are squeezed on.
TEACHER ?= sentence-transformers/all-MiniLM-L6-v2
TEXT ?= ../shared/data/text/mixed
SHARDS := runs/bench/shards
# The page of the tables. What was measured is kept in the folder of its name, and not measured again.
ACCURACY ?= docs/results/2026-11-30-real-weights.md
LABELS := docs/results/2026-11-30-several-labels
KEPT = $(basename $(ACCURACY))

accuracy: $(VENV)/.installed $(TORCH)/.installed ## the checkpoints beside their teacher on ten tasks; what squeezing and trimming cost; many hours, goes on when repeated
	$(RUN) benchmarks/squeezing_step.py --teacher $(TEACHER) --torch-python $(TORCH)/bin/python --readme $(ACCURACY)
	$(RUN) benchmarks/pareto.py --teacher $(TEACHER) --results $(KEPT)/pareto.json --readme $(ACCURACY) \
	    --summary README.md --picture docs/pareto.svg --cards
	$(RUN) benchmarks/multi_label.py --torch-python $(TORCH)/bin/python --results $(LABELS)/multi-label.json \
	    --readme $(LABELS).md
	$(RUN) benchmarks/long_texts.py --results $(LABELS)/long-texts.json --readme $(LABELS).md
	$(RUN) benchmarks/calibration.py --results $(LABELS)/calibration.json --readme $(LABELS).md \
	    --picture docs/out-of-scope.svg
	$(RUN) benchmarks/surveying.py --readme $(LABELS).md
	$(RUN) benchmarks/trimming.py --results $(KEPT)/trimming.json --readme $(ACCURACY)
	$(RUN) tools/squeeze.py --teacher $(TEACHER) --text $(TEXT) --seq-length 128 --held-out 0.5 --shards $(SHARDS) --steps 0
	$(RUN) benchmarks/squeeze_curve.py --teacher $(TEACHER) --shards $(SHARDS) --results $(KEPT)/squeeze-curve.json \
	    --readme $(ACCURACY) --picture docs/squeeze-curve.svg
	$(RUN) benchmarks/squeeze_tokens.py --squeezed $(KEPT)/squeeze-curve.json --scores $(KEPT)/pareto.json \
	    --readme $(ACCURACY) --picture docs/squeeze-tokens.svg

golden: $(TORCH)/.installed ## what PyTorch computes, for the tests that run without it
	rm -rf tests/golden/squeezebert tests/golden/bert
	for head in classification regression token_classification span multiple_choice masked_lm encoder; do \
	    for type in squeezebert bert; do \
	        $(TORCH)/bin/python tests/peers/reference.py tests/golden/$$type/$$head $$type $$head 1 || exit; \
	    done; \
	done
	$(TORCH)/bin/python tests/peers/reference.py tests/golden/bert/pretraining bert pretraining 1
	rm -rf tests/golden/sentence_transformers
	$(TORCH)/bin/python tests/peers/sentence_reference.py tests/golden/sentence_transformers 4
	rm -rf tests/golden/sentence_transformers/encoder-* tests/golden/sentence_transformers/*/README.md
	rm -rf tests/golden/weight_files
	$(TORCH)/bin/python tests/peers/weight_files.py tests/golden/weight_files

docs: $(VENV)/.installed ## docs/commands.md from the tools' options
	$(RUN) -m sqb_tools.commands_page > docs/commands.md

lint: $(VENV)/.installed ## style
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# mypy knows nothing of setuptools' package-dir, which installs tflite/ as sqb_tflite: links do.
types: $(VENV)/.installed ## types of the three packages
	mkdir -p .build/types
	ln -sfn ../../sqb_tf .build/types/sqb_tf
	ln -sfn ../../tflite .build/types/sqb_tflite
	ln -sfn ../../tools .build/types/sqb_tools
	$(VENV)/bin/mypy

lock: $(AUDIT)/.installed ## the hashes of every environment in locks/, after a pin has changed
	PATH="$(CURDIR)/$(AUDIT)/bin:$$PATH" $(AUDIT)/bin/python locks/lock.py

audit: $(AUDIT)/.installed ## known vulnerabilities of what is pinned, where the network has their list
	$(AUDIT)/bin/python locks/audit.py

clean: ## removes environments, runs and caches
	rm -rf $(VENV) $(MEDIAPIPE) $(TORCH) $(JAX) $(NPU) $(AUDIT) runs build dist .build .pytest_cache .ruff_cache .mypy_cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

# An environment of what a lock names: pip refuses a file whose hash is not there. What builds the distributions
# that have no wheel comes first, from a lock too: pip checks no hash of what it fetches for a build by itself.
define install
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --require-hashes -r locks/build.txt
	$(1)/bin/python -m pip install --require-hashes --no-deps --no-build-isolation -r locks/$(2).txt
endef

# The project itself has no hash: it is installed in place, so that `python tools/convert.py` finds its packages.
$(VENV)/.installed: locks/main.txt locks/build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v[:2] <= (3, 13) and f"Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	$(call install,$(VENV),main)
	$(VENV)/bin/python -m pip install --no-deps --no-build-isolation -e .
	$(VENV)/bin/python -m pip check
	touch $@

$(MEDIAPIPE)/.installed: locks/mediapipe.txt locks/build.txt
	$(call install,$(MEDIAPIPE),mediapipe)
	touch $@

# Libraries of the system that MediaPipe loads, for the tests; `make demo` goes without.
$(MEDIAPIPE)/.libraries: $(MEDIAPIPE)/.installed tests/peers/mediapipe/libraries.sh
	sh tests/peers/mediapipe/libraries.sh $(MEDIAPIPE)/bin/python
	touch $@

# adb, an ssh server and a browser, for tests against devices of our own and for the report's page.
$(VENV)/.devices: tests/simulators/setup.sh $(VENV)/.installed
	sh tests/simulators/setup.sh
	touch $@

# torch of PyPI wants the libraries of CUDA. torch for CPUs does not: one that is there before is kept.
$(TORCH)/.installed: locks/torch.txt locks/torch-cuda.txt locks/build.txt
	$(call install,$(TORCH),torch)
	$(TORCH)/bin/python -m pip check || $(TORCH)/bin/python -m pip install --require-hashes --no-deps -r locks/torch-cuda.txt
	$(TORCH)/bin/python -m pip check
	touch $@

$(JAX)/.installed: locks/jax.txt locks/build.txt
	$(call install,$(JAX),jax)
	touch $@

$(AUDIT)/.installed: locks/audit.txt locks/build.txt
	$(call install,$(AUDIT),audit)
	touch $@

$(NPU)/.installed: locks/npu.txt locks/build.txt
	$(call install,$(NPU),npu)
	touch $@
