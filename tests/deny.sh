#!/usr/bin/env bash
# Checks what is linked against .cargo/deny.toml, with cargo-deny, which is installed into the cache
# the first time (a few minutes).
set -euo pipefail

version=0.20.2
tools=${FORETELL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/foretell}/cargo-deny-$version
export PATH=$tools/bin:$PATH

[ -x "$tools/bin/cargo-deny" ] || cargo install --quiet --locked "cargo-deny@$version" --root "$tools"
cargo deny --locked check bans licenses sources
# The database is a git repository, which not every machine can reach: what is not checked is said.
if cargo deny --locked fetch db; then
  cargo deny --locked --offline check advisories
else
  echo "advisories: not checked, their database cannot be fetched from here" >&2
fi
