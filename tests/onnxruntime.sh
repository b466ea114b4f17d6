#!/usr/bin/env bash
# ONNX Runtime's library, out of its wheel on PyPI: what a program that serves ONNX models opens.
#
#   tests/onnxruntime.sh fetch [DIR]   get DIR/libonnxruntime.so, once; needs pip and the network then
#   tests/onnxruntime.sh path  [DIR]   print its path, or fail where it is not
#
# Without DIR it goes into the user's cache, where `foretell` looks when nothing names another.
# pip asks the index that it is set up with, and compares the wheel with the hashes in
# onnxruntime.txt (the wheels of x86_64 and aarch64; which Python they are for does not matter).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's/^onnxruntime==\([0-9.]*\).*/\1/p' "$here/onnxruntime.txt")
dir=${2:-${FORETELL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/foretell}/onnxruntime-$version}
library=$dir/libonnxruntime.so

fail() {
  printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

case ${1:-} in
path)
  [ -e "$library" ] || exit 1
  echo "$library"
  ;;
fetch)
  [ ! -e "$library" ] || exit 0
  echo "fetching onnxruntime $version (about 28 MB, once) into $dir" >&2
  mkdir -p "$dir"
  # Beside its place, so that it is put there whole: two may fetch at the same time.
  making=$(mktemp -d "$dir/making.XXXXXX")
  trap 'rm -rf "$making"' EXIT
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --only-binary=:all: --implementation cp --python-version 3.12 --abi cp312 \
    --platform "manylinux_2_28_$(uname -m)" --dest "$making" -r "$here/onnxruntime.txt" >&2 ||
    fail "pip could not fetch onnxruntime $version" \
      "this needs PyPI or an index like it (PIP_INDEX_URL), on Linux with glibc 2.28 or newer; its reason is above"
  python3 -m zipfile -e "$making"/*.whl "$making"
  chmod 755 "$making/onnxruntime/capi/libonnxruntime.so.$version"
  mv "$making/onnxruntime/capi/libonnxruntime.so.$version" "$library"
  ;;
*) echo "usage: tests/onnxruntime.sh fetch|path [DIR]" >&2 && exit 64 ;;
esac
