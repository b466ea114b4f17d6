#!/usr/bin/env bash
# A server that speaks S3, on this machine: moto, from PyPI.
#
#   tests/moto.sh fetch                     get it, once; needs Python's venv and the network then
#   tests/moto.sh path                      print its folder, or fail where it is not
#   tests/moto.sh start DIR OWNER           start one that ends with process OWNER; prints its URL. DIR has its log
#   tests/moto.sh put URL BUCKET KEY DIR    copy a folder's files to BUCKET, below KEY; makes the bucket
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
venv_of moto 25
start_timeout_s=60

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
