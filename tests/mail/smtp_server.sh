#!/bin/sh
# Runs tests/mail/smtp_server.py, a real SMTP server for tests, with the same arguments.
#
# Needs python3 and python3-venv. The first run installs aiosmtpd and trustme from PyPI into a
# virtual environment in the user's cache (JOBGATE_TEST_CACHE, else $XDG_CACHE_HOME/jobgate, else
# ~/.cache/jobgate); later runs need no network. Several may start at once: a lock makes one of
# them install. The server replaces this shell, so the child's process id is the server's.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${JOBGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jobgate}
# A change of the versions makes another environment.
venv=$cache/smtp-server-aiosmtpd-1.4.6-trustme-1.2.1

if [ ! -e "$venv/complete" ]; then
    mkdir -p "$cache"
    (
        flock 9
        if [ ! -e "$venv/complete" ]; then
            rm -rf "$venv"
            python3 -m venv "$venv"
            "$venv/bin/pip" install --quiet --disable-pip-version-check \
                aiosmtpd==1.4.6 trustme==1.2.1
            : >"$venv/complete"
        fi
    ) 9>"$venv.lock" >&2
fi

exec "$venv/bin/python" "$here/smtp_server.py" "$@"
