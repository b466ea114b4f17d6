#!/usr/bin/env bash
# A client of the Open Inference Protocol that is not ours: tritonclient, from PyPI.
#
#   tests/triton.sh fetch                       get it, once; needs Python's venv and the network then
#   tests/triton.sh path                        print its folder, or fail where it is not
#   tests/triton.sh check ADDRESS TOKEN VERSION have it talk to an instance that serves this version of the
#                                               tests' model (tests/triton.py)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's/^tritonclient==//p' "$here/triton.txt")
venv=${FORETELL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/foretell}/tritonclient-$version

fail() {
  printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

is_fetched() { cmp -s "$here/triton.txt" "$venv/triton.txt"; }

# A venv cannot be moved, so it is made in its place, under a lock; the list inside says that it is whole.
fetch() {
  if is_fetched; then return; fi
  mkdir -p "$(dirname "$venv")"
  exec 9>"$venv.lock"
  flock 9
  if is_fetched; then return; fi
  echo "fetching tritonclient $version (about 40 MB, once) into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv" >&2 || fail "python3 could not make a venv" "run \`tests/setup.sh test\`"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$here/triton.txt" >&2 9>&- ||
    fail "pip could not fetch tritonclient $version" "this needs PyPI or an index like it (PIP_INDEX_URL); its reason is above"
  cp "$here/triton.txt" "$venv/triton.txt"
  exec 9>&-
}

case ${1:-}-$# in
fetch-1) fetch ;;
path-1) is_fetched && echo "$venv" ;;
check-4) fetch && "$venv/bin/python" "$here/triton.py" "${@:2}" ;;
*) echo "usage: tests/triton.sh fetch | path | check ADDRESS TOKEN VERSION" >&2 && exit 64 ;;
esac
