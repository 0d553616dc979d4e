#!/bin/sh
# Runs tests/batches/cloud_events.py, which speaks through the official CloudEvents SDK, with the
# same arguments.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/harness/venv.sh
. "$here/../harness/venv.sh"

need_pypi cloudevents==2.2.0
exec "$venv/bin/python" "$here/cloud_events.py" "$@"
