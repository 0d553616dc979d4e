#!/bin/sh
# Runs schemathesis with the settings that stand beside this file, and with these arguments.
#
# Needs python3 and python3-venv. The first run installs schemathesis from PyPI into a virtual
# environment in the user's cache (JOBGATE_TEST_CACHE, else $XDG_CACHE_HOME/jobgate, else
# ~/.cache/jobgate); later runs need no network. Several may start at once: a lock makes one of
# them install.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${JOBGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jobgate}
# A change of the version makes another environment.
venv=$cache/schemathesis-4.32.5

if [ ! -e "$venv/complete" ]; then
    mkdir -p "$cache"
    (
        flock 9
        if [ ! -e "$venv/complete" ]; then
            rm -rf "$venv"
            python3 -m venv "$venv"
            # What it draws from decides which requests are made.
            "$venv/bin/pip" install --quiet --disable-pip-version-check \
                schemathesis==4.32.5 hypothesis==6.170.17
            : >"$venv/complete"
        fi
    ) 9>"$venv.lock" >&2
fi

PYTHONPATH=$here exec "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$@"
