# Sourced by the scripts of the tests that need packages from PyPI. Needs python3 and python3-venv.
# shellcheck shell=sh

# need_pypi PACKAGE==VERSION...: a virtual environment with these packages, whose folder is then in
# $venv. It stands in the user's cache (JOBGATE_TEST_CACHE, else $XDG_CACHE_HOME/jobgate, else
# ~/.cache/jobgate): the first run installs, later ones need no network. Several may start at once:
# a lock makes one of them install.
need_pypi() {
    cache=${JOBGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jobgate}
    # A change of a version makes another environment.
    venv=$cache/$(printf '%s' "$*" | sed 's/[ =][ =]*/-/g')
    [ ! -e "$venv/complete" ] || return 0
    mkdir -p "$cache"
    (
        flock 9
        if [ ! -e "$venv/complete" ]; then
            rm -rf "$venv"
            python3 -m venv "$venv"
            "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
            : >"$venv/complete"
        fi
    ) 9>"$venv.lock" >&2
}
