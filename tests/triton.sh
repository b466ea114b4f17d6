#!/usr/bin/env bash
# A client of the Open Inference Protocol that is not ours: tritonclient, from PyPI.
#
#   tests/triton.sh fetch                       get it, once; needs Python's venv and the network then
#   tests/triton.sh path                        print its folder, or fail where it is not
#   tests/triton.sh check ADDRESS TOKEN VERSION have it talk to an instance that serves this version of the
#                                               tests' model (tests/triton.py)
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
venv_of tritonclient 40

case ${1:-}-$# in
fetch-1) fetch ;;
path-1) is_fetched && echo "$venv" ;;
check-4) fetch && "$venv/bin/python" "$here/triton.py" "${@:2}" ;;
*) echo "usage: tests/triton.sh fetch | path | check ADDRESS TOKEN VERSION" >&2 && exit 64 ;;
esac
