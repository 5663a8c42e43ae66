# Each target calls the tool itself. NO_INSTALL=1 only lists what is missing.
.PHONY: demo smoke test test-all unit lint bench site wheel

# More workers than cores: some tests wait for a host to restart.
PYTEST = .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 30

demo: ; @setup/install.sh && .venv/bin/vmapbench run playbooks/demo.yaml
smoke: ; @setup/install.sh && .venv/bin/vmapbench run playbooks/smoke.yaml
test: ; @setup/install.sh test && $(PYTEST) -m "not long"
test-all: ; @setup/install.sh test && $(PYTEST)
unit: ; @setup/install.sh && .venv/bin/python -m pytest -q -n 2 tests/unit
lint: ; @setup/install.sh && .venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports
bench: ; @setup/install.sh && .venv/bin/python -m benchmarks
site: ; @setup/install.sh && .venv/bin/uv pip install -q --python .venv/bin/python --require-hashes -r setup/docs.lock && .venv/bin/sphinx-build -q -W --keep-going docs build/site
wheel: ; @setup/install.sh && setup/wheel.sh
