#!/usr/bin/env bash
# A server that speaks S3, on this machine: moto, from PyPI.
#
#   tests/moto.sh fetch                     get it, once; needs Python's venv and the network then
#   tests/moto.sh path                      print its folder, or fail where it is not
#   tests/moto.sh start DIR OWNER           start one that ends with process OWNER; prints its URL. DIR has its log
#   tests/moto.sh put URL BUCKET KEY DIR    copy a folder's files to BUCKET, below KEY; makes the bucket
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's/^moto==//p' "$here/moto.txt")
venv=${FORETELL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/foretell}/moto-$version
start_timeout_s=60

fail() {
  printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

is_fetched() { cmp -s "$here/moto.txt" "$venv/moto.txt"; }

# A venv cannot be moved, so it is made in its place, under a lock; the list inside says that it is whole.
fetch() {
  if is_fetched; then return; fi
  mkdir -p "$(dirname "$venv")"
  exec 9>"$venv.lock"
  flock 9
  if is_fetched; then return; fi
  echo "fetching moto $version (about 25 MB, once) into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv" >&2 || fail "python3 could not make a venv" "run \`tests/setup.sh test\`"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$here/moto.txt" >&2 9>&- ||
    fail "pip could not fetch moto $version" "this needs PyPI or an index like it (PIP_INDEX_URL); its reason is above"
  cp "$here/moto.txt" "$venv/moto.txt"
  exec 9>&-
}

# The system draws the port, and the log names it.
start() {
  local log=$1/moto.log owner=$2 server url
  mkdir -p "$1"
  setsid "$venv/bin/python" -u -m moto.server -H 127.0.0.1 -p 0 </dev/null >"$log" 2>&1 &
  server=$!
  # A test runner has no better moment to clean up: statics never drop.
  setsid bash -c 'tail --pid="$0" -f /dev/null; kill "$1" 2>/dev/null' "$owner" "$server" </dev/null >/dev/null 2>&1 &
  for ((tries = 0; tries < start_timeout_s * 10; tries++)); do
    url=$(sed -n 's/.*Running on \(http:[^ ]*\).*/\1/p' "$log" | head -n 1)
    if [ -n "$url" ]; then
      echo "$url"
      return
    fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  fail "moto did not start; its output is in $log" "\`tests/moto.sh fetch\` makes it anew once $venv is deleted"
}

# By Amazon's own client.
put() {
  AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test "$venv/bin/python" - "$@" <<'PYTHON'
import pathlib, sys
import boto3

url, bucket, key, folder = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
s3.create_bucket(Bucket=bucket)
for path in pathlib.Path(folder).iterdir():
    s3.put_object(Bucket=bucket, Key=f"{key}/{path.name}", Body=path.read_bytes())
PYTHON
}

case ${1:-}-$# in
fetch-1) fetch ;;
path-1) is_fetched && echo "$venv" ;;
start-3) fetch && start "$2" "$3" ;;
put-5) put "${@:2}" ;;
*) echo "usage: tests/moto.sh fetch | path | start DIR OWNER | put URL BUCKET KEY DIR" >&2 && exit 64 ;;
esac
