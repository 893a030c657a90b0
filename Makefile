# Every target sets itself up: run it on a fresh machine, run it again and it starts in seconds.
OUT ?= runs/demo
NAME ?=
PY = .venv/bin/python
WORKER = .venv-worker/bin/python

.PHONY: help setup setup-test demo test test-slow lint bench package repository blender-test clean cuda-check lock

help:
	@echo "make demo [OUT=DIR]   restyle a head into a splat, into runs/demo (about 6 minutes on 2 cores)"
	@echo "make test             all tests but the slow ones"
	@echo "make lint             ruff and mypy"
	@echo "make bench [NAME=x]   the comparisons behind README's numbers"
	@echo "make cuda-check       with an NVIDIA card: train with gsplat and graphdeco, print a table"
	@echo "make package          the Blender extension's zip, in dist/"
	@echo "make repository       the same, listed for Blender's Get Extensions, in dist/repository"
	@echo "make blender-test     the zip in Blender 4.2 to 5.2, and in its window where there is one"
	@echo "make setup            only the environments"
	@echo "make lock             the newest allowed versions and their hashes into the lock files"

setup:
	@sh tools/setup.sh

setup-test:
	@sh tools/setup.sh --test

demo:
	@sh tools/setup.sh --demo
	@$(PY) demo/run_demo.py --out "$(OUT)"

# The tests note which of the program's sentences they provoke; one that none provokes is a failure.
test: export GSD_SENTENCES = $(CURDIR)/.cache/sentences
test: setup-test
	@rm -rf .cache/sentences && mkdir -p .cache/sentences
	$(PY) -m pytest tests/unit tests/blender tests/system -m "not slow"
	$(WORKER) -m pytest tests/engine tests/unit/test_a1111.py -m "not slow"
	@$(PY) tools/sentences.py --provoked .cache/sentences

test-slow: setup-test
	$(PY) -m pytest tests/unit tests/blender tests/system -m slow
	$(WORKER) -m pytest tests/engine -m slow

lint: setup-test
	$(WORKER) -m ruff check .
	$(WORKER) -m ruff format --check .
	$(WORKER) -m mypy

bench: setup-test
	@sh tools/bench.sh $(NAME)

package:
	@sh tools/setup.sh
	@$(PY) tools/package.py

repository:
	@sh tools/setup.sh
	@$(PY) tools/package.py --repository

blender-test: setup
	@$(PY) tools/blender_test.py

# The script's exit code is 3 without a card; make itself reports it as "Error 3".
cuda-check: setup
	@PYTHONPATH=. $(WORKER) tools/cuda_check.py

lock:
	@sh tools/lock.sh

clean:
	rm -rf .venv .venv-worker dist build
