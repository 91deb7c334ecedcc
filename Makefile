# Five verbs for newcomers: demo, test, check, bench, docs. Each installs what it needs.
VENV := .venv
PY := $(VENV)/bin/python
.DEFAULT_GOAL := help
# What `make test-vm` runs in Debian's own kernel: TEST_VM="tests/contract/fabric/test_links.py -k jitter" for other tests.
# Links, chains and filters, then machines with the engine crun in version 2 of the cgroup interface.
FABRIC = links vlans reservations shaping filtering chains sticky_chains secured_chains
RUNTIME = cgroups groups control machines
TEST_VM = -m "not slow" -k "not runc" $(FABRIC:%=tests/contract/fabric/test_%.py) $(RUNTIME:%=tests/contract/runtime/test_%.py)
.PHONY: help system testing demo test test-full test-vm check bench docs audit clean

help:
	@echo "make demo       a CDN service through VNFs in two emulated PoPs, from nothing to served content"
	@echo "make test       the test suite (at most 12 minutes on 2 cores); make test-full for all of it"
	@echo "make test-vm    links, chains and machines in Debian's own kernel under qemu: netem, 802.1q, cgroup v2"
	@echo "make check      lint, types, import contracts, security linter, size budgets, docstrings"
	@echo "make bench      benchmarks with their peers beside them, as JSON"
	@echo "make docs       the manual, into site/"

$(VENV)/.runtime: pyproject.toml src/sonata/__init__.py
	@tools/bootstrap runtime

$(VENV)/.dev: $(VENV)/.runtime
	@tools/bootstrap dev

system:
	@tools/bootstrap system

testing:
	@tools/bootstrap testing

demo: $(VENV)/.runtime system
	@$(VENV)/bin/sonata demo cdn

# A test that its own time limit cannot end (its clean-up hangs, too) ends its worker, with a traceback.
STUCK = -o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true
test: $(VENV)/.dev testing
	@failed=0; \
	$(PY) -m pytest -q $(STUCK) -m "not slow and not serial" -n 2 || failed=1; \
	$(PY) -m pytest -q $(STUCK) -m "serial and not slow" -n 2 --dist loadfile || failed=1; \
	exit $$failed

test-full: $(VENV)/.dev testing
	@$(PY) -m pytest -q

test-vm: $(VENV)/.dev testing
	@$(PY) tools/test_vm -- -q -p no:cacheprovider $(TEST_VM)

check: $(VENV)/.dev
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/mypy benchmarks
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/bandit -q -r src -c pyproject.toml 2>/dev/null
	@$(PY) tools/budgets.py

audit: $(VENV)/.dev
	@tools/audit

bench: $(VENV)/.dev testing
	@$(PY) -m benchmarks

docs: $(VENV)/.dev
	@$(VENV)/bin/pip install -q -e '.[docs]' && $(VENV)/bin/mkdocs build -q

clean:
	rm -rf $(VENV) site build dist .mypy_cache .ruff_cache .pytest_cache
