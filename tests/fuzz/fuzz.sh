#!/usr/bin/env bash
# Runs the fuzzers, one after another, so many seconds each, and says how many inputs each has tried.
#
#   tests/fuzz/fuzz.sh SECONDS [TARGET…]
#
# They begin with what is kept in corpus/ and with the model files of tests/conformance; what they find
# worth keeping stays in target/fuzz. An input that fails is written to tests/fuzz/artifacts: put it into
# the corpus of its target, where `cargo test` runs it from then on, and mend the fault.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  targets=(event request control manifest lightgbm xgboost catboost forest linear onnx labelled)
fi

if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "installing cargo-fuzz" >&2
  cargo install cargo-fuzz --locked --quiet
fi

# Longer inputs find nothing that shorter ones do not, and take their time.
bytes_max=65536
for target in "${targets[@]}"; do
  found=target/fuzz/$target/found seeds=target/fuzz/$target/seeds
  mkdir -p "$found" "$seeds"
  for model in tests/conformance/"$target"-*/model.* tests/conformance/malformed/"$target"-*/model.*; do
    [ -f "$model" ] && [ "$(wc -c <"$model")" -le "$bytes_max" ] || continue
    cp "$model" "$seeds/$(basename "$(dirname "$model")")"
  done
  # Without a sanitizer no nightly compiler is needed: there is no unsafe code in what is fuzzed.
  cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" \
    "$found" "$seeds" "tests/fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -max_len=$bytes_max -rss_limit_mb=1024 -timeout=10 \
    -print_final_stats=1 2>&1 | tee "target/fuzz/$target/log" |
    grep -E 'panicked|ERROR|SUMMARY|Test unit|number_of_executed_units|peak_rss' | sed "s/^/$target: /"
done
