#!/bin/sh
# Runs tests/batches/cloud_events.py, which speaks through the official CloudEvents SDK, with the
# same arguments.
#
# Needs python3 and python3-venv. The first run installs cloudevents from PyPI into a virtual
# environment in the user's cache (JOBGATE_TEST_CACHE, else $XDG_CACHE_HOME/jobgate, else
# ~/.cache/jobgate); later runs need no network. Several may start at once: a lock makes one of
# them install.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${JOBGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jobgate}
# A change of the version makes another environment.
venv=$cache/cloudevents-2.2.0

if [ ! -e "$venv/complete" ]; then
    mkdir -p "$cache"
    (
        flock 9
        if [ ! -e "$venv/complete" ]; then
            rm -rf "$venv"
            python3 -m venv "$venv"
            "$venv/bin/pip" install --quiet --disable-pip-version-check cloudevents==2.2.0
            : >"$venv/complete"
        fi
    ) 9>"$venv.lock" >&2
fi

exec "$venv/bin/python" "$here/cloud_events.py" "$@"
