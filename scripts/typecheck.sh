#!/usr/bin/env bash
# mypy --strict over the packages, under the names they are imported by, then over tests and scripts.
# The links in .types/ give mypy that view; nothing at run time needs them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mkdir -p .types/ecgkin
for folder in retrieval generation index ui; do
    ln -sfn "../../$folder" ".types/ecgkin/$folder"
done
ln -sfn ../../__init__.py .types/ecgkin/__init__.py
ln -sfn ../../__main__.py .types/ecgkin/__main__.py

"${PYTHON:-python}" -m mypy "$@"
"${PYTHON:-python}" -m mypy "$@" tests scripts
