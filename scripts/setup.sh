#!/bin/sh
# Set-up for the Makefile: one line a step; the output of a step is shown only when the step fails.
# Usage: scripts/setup.sh environment | sandbox | browser | database
set -eu
cd "$(dirname "$0")/.."
log=logs/setup.log
mkdir -p logs

step() {
    title=$1
    shift
    printf '%s ... ' "$title"
    start=$(date +%s)
    if "$@" >"$log" 2>&1; then
        echo "done ($(($(date +%s) - start)) s)"
    else
        echo "failed"
        tail -n 40 "$log"
        return 1
    fi
}

newest_python() {
    for name in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "No Python 3.11, 3.12 or 3.13 found. Install one, or name it: make PYTHON=/path/to/python3.11" >&2
    exit 1
}

# Debian keeps the server programs of PostgreSQL off PATH, for it may have several versions.
has_program() {
    command -v "$1" >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/"$1" >/dev/null 2>&1
}

# Install a system package where that can be done without asking; else name it in one line, which is no failure.
system_package() {
    program=$1
    package=$2
    cost=$3
    if has_program "$program"; then
        return
    fi
    as_root=none
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root=sudo
    fi
    if [ "$as_root" != none ] && command -v apt-get >/dev/null 2>&1; then
        export DEBIAN_FRONTEND=noninteractive
        step "Refreshing the list of system packages" $as_root apt-get update -qq || true
        if step "Installing $package" $as_root apt-get install -qq -y --no-install-recommends "$package" &&
            has_program "$program"; then
            return
        fi
    fi
    echo "Not installed: $package ($cost). Get it with your system's packages, for example: sudo apt-get install $package"
}

case $1 in
environment)
    python=$(newest_python)
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        step "Making the Python environment .venv" "$python" -m venv --clear .venv
    fi
    step "Installing the course, about 2 GB, some minutes the first time" \
        .venv/bin/python -m pip install --disable-pip-version-check --quiet \
        -c constraints.txt -e ".[grading,cluster,docs,test]"
    ;;
sandbox)
    system_package bwrap bubblewrap "students' code can then only be run without a sandbox"
    ;;
browser)
    system_package chromium chromium "the tests that look at pages in a browser are then skipped"
    ;;
database)
    system_package postgres postgresql "the tests of a gradebook in PostgreSQL are then skipped"
    ;;
*)
    echo "usage: scripts/setup.sh environment | sandbox | browser | database" >&2
    exit 2
    ;;
esac
