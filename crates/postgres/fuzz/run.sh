#!/bin/bash
# Coverage-guided fuzzing of every target on the stable compiler: run.sh RUNS [TARGET...]. Each starts from its kept corpus;
# what it adds goes to target/fuzz/found, and stays out of the tree until somebody keeps it.
set -euo pipefail
cd "$(dirname "$0")/../../.."
runs=${1:-100000}
shift || true
out=$PWD/target/fuzz
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# The parser is C: clang counts its branches for the same fuzzer.
export CC=clang CXX=clang++ CFLAGS="-fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp"
for crate in http postgres sql ssh; do
	for target in crates/$crate/fuzz/fuzz_targets/*.rs; do
		name=$(basename "$target" .rs)
		if [[ $# -gt 0 && " $* " != *" $name "* ]]; then continue; fi
		(cd crates/$crate/fuzz && RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" CARGO_TARGET_DIR="$out/$crate" \
			cargo build --quiet --release --target x86_64-unknown-linux-gnu --bin "$name")
		mkdir -p "$out/found/$name"
		echo "$crate/$name: $runs executions"
		"$out/$crate/x86_64-unknown-linux-gnu/release/$name" -runs="$runs" -max_len=4096 -rss_limit_mb=4096 -timeout=60 \
			-artifact_prefix="$out/$name-" -print_final_stats=1 "$out/found/$name" "crates/$crate/fuzz/corpus/$name" \
			> "$out/$name.log" 2>&1 || { tail -40 "$out/$name.log"; exit 1; }
		grep "number_of_executed_units\|^Done" "$out/$name.log"
	done
done
