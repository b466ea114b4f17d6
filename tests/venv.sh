# Python packages of tests, each list in a venv of its own: read by moto.sh, triton.sh and retrain.sh, not run.
#
#   venv_of NAME MEGABYTES [LIST]   the venv of a package, as LIST (default: NAME.txt) pins it and what it needs
#   is_fetched, fetch               whether it is there; get it, once: needs Python's venv and the network then

fail() {
  printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

venv_of() {
  name=$1 megabytes=$2
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  list=${3:-$here/$name.txt}
  version=$(sed -n "s/^$name==//p" "$list")
  venv=${FORETELL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/foretell}/$name-$version
}

is_fetched() { cmp -s "$list" "$venv/${list##*/}"; }

# A venv cannot be moved, so it is made in its place, under a lock; the list inside says that it is whole.
fetch() {
  if is_fetched; then return; fi
  mkdir -p "$(dirname "$venv")"
  exec 9>"$venv.lock"
  flock 9
  if is_fetched; then return; fi
  echo "fetching $name $version (about $megabytes MB, once) into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv" >&2 || fail "python3 could not make a venv" "run \`tests/setup.sh test\`"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$list" >&2 9>&- ||
    fail "pip could not fetch $name $version" "this needs PyPI or an index like it (PIP_INDEX_URL); its reason is above"
  cp "$list" "$venv/"
  exec 9>&-
}
