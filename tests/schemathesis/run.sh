#!/bin/sh
# Runs schemathesis with the settings that stand beside this file, and with these arguments.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/harness/venv.sh
. "$here/../harness/venv.sh"

# What it draws from decides which requests are made, so hypothesis is pinned too.
need_pypi schemathesis==4.32.5 hypothesis==6.170.17
PYTHONPATH=$here exec "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$@"
