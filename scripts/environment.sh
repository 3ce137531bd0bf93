# The other scripts source this file. It creates .venv with everything that this project needs, in the versions and with
# the hashes of requirements/, which scripts/lock writes.
# Usage: source scripts/environment.sh [dev]

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
extra="${1:-}"

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

if [ ! -x "$root/.venv/bin/python" ]; then
  python=""
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
    if [ -n "$candidate" ] && new_enough "$candidate"; then python="$candidate"; break; fi
  done
  if [ -z "$python" ]; then
    echo "Python 3.11 or newer is needed; found: $(python3 --version 2>&1 || echo none)." >&2
    echo "Install it, for example with apt install python3.11 python3.11-venv, or name it: PYTHON=/path/to/python3.11 $0" >&2
    exit 1
  fi
  echo "creating .venv with $("$python" --version)"
  if ! "$python" -m venv "$root/.venv"; then
    rm -rf "$root/.venv"
    echo "$python cannot create an environment. On Debian and Ubuntu, install python3-venv." >&2
    exit 1
  fi
elif ! new_enough "$root/.venv/bin/python"; then
  echo ".venv holds $("$root/.venv/bin/python" --version); Python 3.11 or newer is needed. Remove .venv and run this script again." >&2
  exit 1
fi

lock="$root/requirements/lock${extra:+-$extra}.txt"
stamp="$root/.venv/.installed${extra:+-$extra}"
if ! cat "$root/pyproject.toml" "$root/requirements/build.txt" "$lock" | cmp -s - "$stamp"; then
  echo "installing dependencies (the first time takes some minutes, as torch is large)"
  install=("$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps)
  # Only files whose hashes are in the locks are installed, what builds them included.
  { "${install[@]}" --require-hashes --only-binary :all: --requirement "$root/requirements/build.txt" &&
    "${install[@]}" --require-hashes --no-build-isolation --requirement "$lock" &&
    "${install[@]}" --no-build-isolation --editable "$root"; } || {
    echo "The installation failed. It needs a network and about 7 GB of disk." >&2
    echo "If hashes do not match because your index serves builds of its own, scripts/lock writes a lock of its files." >&2
    exit 1
  }
  cat "$root/pyproject.toml" "$root/requirements/build.txt" "$lock" > "$stamp"
fi
PATH="$root/.venv/bin:$PATH"
