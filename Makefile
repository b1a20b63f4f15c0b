# `make demo`: from nothing to demo-run/report.html.  `make test`: lint, types, tests.
# `make coverage`: the same tests, and how much of the code they reach (a third slower).
# `make test-versions`: the tests that touch other libraries, on the lowest and the newest versions allowed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# Tests that touch other libraries, run by `make test-versions` on the lowest and the newest versions allowed.
VERSION_TESTS := tests/router tests/clustering/test_plan.py tests/xelm/test_add.py tests/xelm/test_architectures.py \
	tests/xelm/test_checkpoint.py tests/xelm/test_cli.py tests/xelm/test_continuing.py tests/xelm/test_expert_kinds.py tests/xelm/test_isolation.py \
	tests/xelm/test_log_probs.py tests/xelm/test_loop.py tests/xelm/test_pipeline.py tests/xelm/test_reading_texts.py tests/xelm/test_routed.py \
	tests/xelm/test_routed_causal_lm.py tests/xelm/test_serve.py tests/xelm/test_shared_beginnings.py tests/xelm/test_store.py tests/xelm/test_align.py \
	tests/xelm/test_align_train.py tests/xelm/test_denoise.py tests/xelm/test_distill.py tests/xelm/test_longer.py \
	tests/xelm/test_loss_in_chunks.py tests/xelm/test_tlm.py tests/xelm/test_transfer_models.py tests/xelm/test_unread.py \
	tests/xelm/test_marks.py tests/xelm/test_vocabulary.py
# torch stays at the build of the usual environment; uv has its own name for pip's folder of wheels.
TORCH = torch==$$($(BIN)/python -c "from importlib.metadata import version; print(version('torch'))")
UV := UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" SSL_CERT_FILE="$${SSL_CERT_FILE-$$PIP_CERT}" $(BIN)/uv

.PHONY: demo test coverage test-versions lint docs clean

demo: $(READY)
	$(BIN)/xelm demo --out demo-run

test: $(READY) lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

coverage: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --cov --cov-report=term --cov-fail-under=85

# Beside the usual environment: the lowest direct and the newest versions of everything in pyproject.toml.
test-versions: .versions/lowest/.ready .versions/newest/.ready
	for which in lowest newest; do \
	    echo "== $$which"; .versions/$$which/bin/python -c "from router.mixture.releases import versions; print(versions())" || exit 1; \
	    OMP_NUM_THREADS=1 .versions/$$which/bin/python -m pytest -n 2 --dist worksteal $(VERSION_TESTS) || exit 1; \
	done

.versions/%/.ready: pyproject.toml constraints.txt $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .versions/$*
	$(UV) pip install --quiet --python .versions/$*/bin/python "$(TORCH)" --editable '.[test]' \
	    --resolution $(if $(filter lowest,$*),lowest-direct,highest)
	touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation, into site/; fails on a warning (which --quiet would not count).
docs: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv .versions demo-run site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

# Installed again only when a dependency changed; the package itself is editable.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $(READY)
