# Shared by the scripts: a virtual environment with plmc in it. Source it from the root of the checkout.

say() { printf '\n\033[1m%s\033[0m\n' "$1"; }

# make_venv REQUIREMENT: creates .venv where there is none (or it is broken), installs, and puts it on the PATH.
make_venv() {
  local python=${PYTHON:-}
  if [ -z "$python" ]; then
    for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
      if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        python=$candidate
        break
      fi
    done
  fi
  if [ -z "$python" ]; then
    echo "Python 3.10 or newer is needed, and none was found. Install it, or name it: PYTHON=/path/to/python3 $0" >&2
    exit 1
  fi
  if ! .venv/bin/python -c '' 2>/dev/null; then
    say "a virtual environment in .venv"
    "$python" -m venv --clear .venv
  fi
  # What is installed already is installed again only if what it was made from has changed.
  local stamp
  stamp="$1 $(cksum < pyproject.toml)"
  if [ "$(cat .venv/installed 2>/dev/null)" != "$stamp" ]; then
    say "installing plmc $1"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e "$1"
    echo "$stamp" > .venv/installed
  fi
  export PATH="$PWD/.venv/bin:$PATH"
}
