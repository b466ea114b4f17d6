#!/usr/bin/env bash
# Installs what is missing, with apt, and says what.
#
#   tests/setup.sh demo    what a build needs: a C and C++ compiler, make, OpenSSL, zlib
#   tests/setup.sh test    and a Java and Maven, for the real Kafka of the tests and benches, and pip and venv,
#                          for the library that ONNX models are run by, an S3 server, a client of the Open Inference Protocol
#                          and a training in Python
#   tests/setup.sh peers   and Python's venv and Valgrind, for the bench beside other engines
#
# Where all is there it does nothing, needs no network and takes a few hundredths of a second. It
# looks for the things themselves, not for packages: other ways of installing them count as well.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mode=${1:-}
case $mode in
demo | test | peers) ;;
*) echo "usage: tests/setup.sh demo|test|peers" >&2 && exit 64 ;;
esac

has() { command -v "$1" >/dev/null; }
fail() {
  printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

has cargo || fail "cargo is not on the path" \
  "install Rust 1.95 or newer from https://rustup.rs, then open a new shell (distributions' cargo is often older)"

packages=()
# librdkafka is built from source: C, its C++ wrapper, make.
if ! has cc || ! has c++ || ! has make; then packages+=(build-essential); fi
if has pkg-config; then
  pkg-config --exists openssl || packages+=(libssl-dev)
  pkg-config --exists zlib || packages+=(zlib1g-dev)
else
  packages+=(pkg-config libssl-dev zlib1g-dev)
fi
java=
if [ "$mode" = test ]; then
  "$here/broker/broker.sh" java >/dev/null 2>&1 || java=missing
  has mvn || packages+=(maven)
  has flock || packages+=(util-linux)
  "$here/onnxruntime.sh" path >/dev/null || python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
  # Debian's python3 has venv without what it needs to put a pip there.
  { "$here/moto.sh" path && "$here/triton.sh" path && "$here/retrain.sh" path; } >/dev/null || python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3 python3-venv)
fi
if [ "$mode" = peers ]; then
  # Debian's python3 has venv without what it needs to put a pip there.
  python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3 python3-venv)
  has valgrind || packages+=(valgrind)
fi
[ ${#packages[@]} -gt 0 ] || [ -n "$java" ] || exit 0

has apt-get || fail "missing here, and there is no apt-get to install it: ${packages[*]}${java:+ java 17 or newer}" \
  "those are the names of Debian's packages; install what your system calls them"

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  has sudo || fail "missing here: ${packages[*]}${java:+ openjdk-17-jre-headless}" "install them as root with apt-get"
  as_root=(sudo)
fi

"${as_root[@]}" apt-get update -qq >&2
if [ -n "$java" ]; then
  # Which ones exist depends on the release: Debian 12 has 17, Debian 13 has 21, Ubuntu both.
  for version in 21 17 25; do
    # Without -q: grep would leave early, and apt-cache fail of it.
    if apt-cache policy "openjdk-$version-jre-headless" | grep 'Candidate: [0-9]' >/dev/null; then
      packages=("openjdk-$version-jre-headless" "${packages[@]}")
      java=
      break
    fi
  done
  [ -z "$java" ] || fail "apt knows no java 17 or newer" "install one by hand and set JAVA_HOME"
fi

echo "installing: ${packages[*]}" >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2 </dev/null ||
  fail "apt-get could not install: ${packages[*]}" "its reason is above"
