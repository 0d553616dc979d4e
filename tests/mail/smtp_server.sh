#!/bin/sh
# Runs tests/mail/smtp_server.py, a real SMTP server for tests, with the same arguments. The server
# replaces this shell, so the child's process id is the server's.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/harness/venv.sh
. "$here/../harness/venv.sh"

need_pypi aiosmtpd==1.4.6 trustme==1.2.1
exec "$venv/bin/python" "$here/smtp_server.py" "$@"
