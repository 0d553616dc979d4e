# shellcheck shell=bash
# Sourced by the scripts beside it: what a machine must have, and how it gets it.

# shellcheck disable=SC2034 # the scripts that source this use the two lists

# What `cargo build` needs: librdkafka, SQLite and zstd are compiled from source, OpenSSL is not.
build_packages=(build-essential pkg-config libssl-dev ca-certificates)
# What the local Kafka needs: Java to run it, Maven to fetch it once.
kafka_packages=(openjdk-17-jre-headless maven)

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "${0##*/}: $*"
    exit 1
}

# Whether a Debian package, or the same thing from elsewhere, is there.
has() {
    case $1 in
        build-essential) has_commands cc c++ make ;;
        libssl-dev) pkg-config --exists openssl 2>/dev/null ;;
        ca-certificates) ! has_commands dpkg || [ -e /etc/ssl/certs/ca-certificates.crt ] ;;
        openjdk-17-jre-headless) has_java_17 ;;
        maven) has_commands mvn ;;
        golang-go) has_commands go ;;
        nodejs) has_commands node ;;
        postgresql) compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null ;;
        python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
        *) has_commands "$1" ;;
    esac
}

has_commands() {
    local name
    for name in "$@"; do
        command -v "$name" >/dev/null || return 1
    done
}

# By the rule of src/broker/java.rs: $JAVA_HOME if it is new enough, else the PATH.
has_java_17() {
    local java major
    for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} java; do
        major=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
        [ "${major:-0}" -lt 17 ] || return 0
    done
    return 1
}

# Installs what is missing of the named Debian packages.
need_packages() {
    local name missing=()
    for name in "$@"; do
        has "$name" || missing+=("$name")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0

    if ! has_commands apt-get; then
        say "Not a Debian system, so nothing is installed. What seems to be missing, by its" \
            "Debian name: ${missing[*]}"
        return 0
    fi
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        has_commands sudo || die "install these packages as root, then run this again:" \
            "apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    say "Installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    local wanted=()
    for name in "${missing[@]}"; do
        # Newer releases have newer Javas only.
        if [ "$name" = openjdk-17-jre-headless ] && [ -z "$(apt-cache madison "$name")" ]; then
            name=default-jre-headless
        fi
        wanted+=("$name")
    done
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq --yes --no-install-recommends "${wanted[@]}" >&2
}

# Finds cargo, of the version in rust-toolchain.toml or a newer one.
need_rust() {
    has_commands cargo || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    local wanted found
    wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    has_commands cargo || die "Rust is missing. Install rustup (see https://rustup.rs; it then" \
        "fetches Rust $wanted by itself), and run this again"
    found=$(rustc --version | cut -d' ' -f2) || die "Rust $wanted could not be had; see above"
    # Without rustup nothing heeds rust-toolchain.toml.
    [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
        die "Rust $found is too old: $wanted is needed. rustup (https://rustup.rs) fetches it" \
            "by itself"
}
