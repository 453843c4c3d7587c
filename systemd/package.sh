#!/bin/bash
# Makes the .deb: package.sh [PROFILE]. Programs of that profile (dist) are built, manual pages and completions made by the
# programs themselves, and cargo-deb puts them together by what admin/Cargo.toml says. Prints the package's path.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-dist}
target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --profile "$profile" --workspace --bins
share=target/package
rm -rf "$share"
mkdir -p "$share/man" "$share/completions"
"$target/$profile/weir-admin" manual "$share"
for program in weir-policy weir-dataplane weir-recorder; do
	help2man --no-info --no-discard-stderr "$target/$profile/$program" > "$share/man/$program.1"
done
gzip -9n "$share"/man/*
target/tools/bin/cargo-deb --quiet --package weir-admin --no-build --strip --profile "$profile" --output "$target/debian/"
ls -t "$target"/debian/weir_*.deb | head -1
