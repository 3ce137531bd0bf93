# The other scripts source this file. It creates .venv with everything that this project needs.
# Usage: source scripts/environment.sh [EXTRA], where EXTRA is an optional dependency group of pyproject.toml.

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

stamp="$root/.venv/.installed${extra:+-$extra}"
if ! cmp -s "$root/pyproject.toml" "$stamp"; then
  echo "installing dependencies (the first time takes some minutes, as torch is large)"
  # One call installs all, so that pip chooses a torchvision that matches torch.
  "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root${extra:+[$extra]}" || {
    echo "The installation failed. It needs a network and about 7 GB of disk." >&2
    exit 1
  }
  cp "$root/pyproject.toml" "$stamp"
fi
PATH="$root/.venv/bin:$PATH"
