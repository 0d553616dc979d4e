#!/bin/sh
# Runs tests/waitlist/verify_webhooks.py: the published library of Standard Webhooks for receivers.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/harness/venv.sh
. "$here/../harness/venv.sh"

need_pypi standardwebhooks==1.0.1
exec "$venv/bin/python" "$here/verify_webhooks.py"
