#!/usr/bin/env bash
# PostgreSQL's own regression suite and libpq_pipeline, direct and through Weir as an identity that no rule is about, on a
# fresh server each; outputs of the former are compared file by file, of the latter which of its tests passed. Ends with 0
# if there is no difference.
set -euo pipefail
cd "$(dirname "$0")/../../.."
version=$(dpkg-query -W -f '${Version}' postgresql-15)
. dataplane/tests/conformance/appliance.sh

# Debian's archive has the tests of exactly the server that is installed.
fetch() {
	mkdir -p "$work/apt/parts" "$work/apt/lists/partial" "$work/dev"
	for list in $(grep -ls debian /etc/apt/sources.list /etc/apt/sources.list.d/* || true); do
		sed -e 's/^Types: deb$/Types: deb-src/' -e 's/^deb /deb-src /' "$list" > "$work/apt/parts/$(basename "$list")"
	done
	cd "$work"
	local options="-qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$work/apt/parts -o Dir::State::lists=$work/apt/lists"
	apt-get $options update
	apt-get $options source --download-only "postgresql-15=$version"
	tar xf postgresql-15_*.orig.tar.*
	apt-get -qq download "postgresql-server-dev-15=$version" "libpq-dev=$version"
	for package in ./*.deb; do dpkg -x "$package" dev; done
	source=$(echo "$work"/postgresql-15.*/src/test)
}

build() {
	local include="-I$work/dev/usr/include/postgresql/15/server -I$work/dev/usr/include/postgresql"
	cd "$source/regress"
	gcc -O1 -fPIC -shared $include -o regress.so regress.c
	cp /usr/lib/postgresql/15/lib/{autoinc,refint}.so .
	gcc -O1 $include -o "$work/libpq_pipeline" "$source/modules/libpq_pipeline/libpq_pipeline.c" \
		-L"$work/dev/usr/lib/postgresql/15/lib" -lpgfeutils -lpgcommon -lpgport -l:libpq.so.5
	chmod -R a+rX "$work"
}

# Runs everything as $1 against host $2 and port $3.
run() {
	local out=$work/$1
	(cd "$source/regress" && /usr/lib/postgresql/15/lib/pgxs/src/test/regress/pg_regress --use-existing --dbname=regression \
		--host="$2" --port="$3" --user=postgres --bindir=$server --dlpath="$PWD" --inputdir="$PWD" --outputdir="$out" \
		--max-connections=10 --schedule="$PWD/parallel_schedule" > "$out/log" 2>&1) || true # A failed test is compared, not fatal.
	grep -E "tests (passed|failed)" "$out/log" | sed "s/^/$1: /" || { cat "$out/log"; exit 1; }
	for test in $("$work/libpq_pipeline" tests); do
		timeout 120 "$work/libpq_pipeline" -r 700 "$test" "host=$2 port=$3 user=postgres dbname=regression" >> "$out/pipeline.log" 2>&1 \
			&& echo "$test ok" >> "$out/results/pipeline.out" || echo "$test failed" >> "$out/results/pipeline.out"
	done
}

fetch
build
start_server direct
run direct 127.0.0.1 "$port"
start_server gateway
start_weir
run gateway "$WEIR_PG_HOST" "$WEIR_PG_PORT"
"$programs/weir-admin" sessions verify | tail -1
if diff -r "$work/direct/results" "$work/gateway/results"; then
	echo "$(ls "$work/gateway/results" | wc -l) output files, all the same"
else
	echo "outputs differ" >&2
	exit 1
fi
