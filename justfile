# The few commands of this project; `just` lists them. Each works without just, too: it is the line below its name.

python := ".venv/bin/python"

# Show the commands.
default:
    @just --list

# An environment with everything that development needs.
setup:
    python3 -m venv .venv
    .venv/bin/pip install -c constraints.txt -e ".[cpu]" -e ".[dev]"
    PYTHON={{python}} bash scripts/typecheck.sh --version

# The fast tests, two at a time.
test *arguments:
    OMP_NUM_THREADS=1 .venv/bin/pytest -q -n 2 -m "not slow" {{arguments}}

# Style, layers, types.
check:
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/lint-imports
    PYTHON={{python}} bash scripts/typecheck.sh

# The documentation, built strictly into site/.
docs:
    .venv/bin/mkdocs build --strict

# Everything, as CI does it, from a clean copy.
ci:
    bash .ci/run
