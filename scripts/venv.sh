#!/bin/sh
# Make .venv with the first Python that is new enough, unless a working one is there already.
# PYTHON names one instead: PYTHON=/path/to/python3 scripts/venv.sh
set -eu

is_new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

# Each candidate is run and not only looked for: a version manager's shim may exist and not work.
if .venv/bin/python -c "import pip; $is_new_enough" >/dev/null 2>&1; then
  exit 0
fi
if [ -n "${PYTHON:-}" ]; then
  set -- "$PYTHON"
else
  set -- python3.13 python3.12 python3.11 python3 python
fi
incomplete=
for python in "$@"; do
  if "$python" -c "import venv, ensurepip; $is_new_enough" >/dev/null 2>&1; then
    echo "Making .venv with $("$python" --version)"
    exec "$python" -m venv --clear .venv
  fi
  if [ -z "$incomplete" ] && "$python" -c "$is_new_enough" >/dev/null 2>&1; then
    incomplete=$python
  fi
done
if [ -n "$incomplete" ]; then
  echo "$incomplete lacks the venv or ensurepip module; on Debian and Ubuntu: apt install python3-venv" >&2
else
  echo "gpukeeper needs Python 3.11 or newer, and none of these is one: $*" >&2
  echo "Name yours with: make PYTHON=/path/to/python3 …" >&2
fi
exit 1
