#!/bin/sh
# Builds the wheel into build/dist, installs it into a new environment, and runs it in an empty folder.
set -eu
cd "$(dirname "$0")/.."
rm -rf build/dist build/wheel
.venv/bin/python -m hatchling build -t wheel -d build/dist >/dev/null
python3 -m venv build/wheel
.venv/bin/uv pip install -q --python build/wheel/bin/python build/dist/*.whl
mkdir build/wheel/empty
cd build/wheel/empty
../bin/vmapbench --version
../bin/vmapbench run demo --dry-run >/dev/null
echo "installs and runs: $(ls ../../dist/*.whl | sed 's,.*/,build/dist/,')"
