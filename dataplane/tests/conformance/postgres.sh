#!/usr/bin/env bash
# PostgreSQL's own regression suite and libpq_pipeline, direct and through Weir as an identity that no rule is about, on a
# fresh server each; outputs of the former are compared file by file, of the latter which of its tests passed. Ends with 0
# if there is no difference.
set -euo pipefail
cd "$(dirname "$0")/../../.."
programs=$PWD/target/release
version=$(dpkg-query -W -f '${Version}' postgresql-15)
server=/usr/lib/postgresql/15/bin
# The server's user must reach the tests' files.
work=$(mktemp -d "${TMPDIR:-/tmp}/weir-conformance-XXXXXX")
chmod 755 "$work"
as_server=$([ "$(id -u)" = 0 ] && echo "setpriv --reuid postgres --regid postgres --clear-groups" || true)
supervisor=

finish() {
	[ -z "$supervisor" ] || kill "$supervisor" 2>/dev/null || true
	for data in "$work"/*/data; do
		[ ! -f "$data/postmaster.pid" ] || $as_server $server/pg_ctl -D "$data" -m immediate stop >/dev/null || true
	done
	wait
	rm -rf "$work"
}
trap finish EXIT

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

# A server of its own for the run $1, on a port that is free.
start_server() {
	local dir=$work/$1
	port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	mkdir -p "$dir/results"
	chmod -R 777 "$dir"
	$as_server $server/initdb -D "$dir/data" -A trust -U postgres --no-locale -E UTF8 >/dev/null
	printf "port=%s\nunix_socket_directories='%s'\nfsync=off\nmax_prepared_transactions=10\n" "$port" "$dir" >> "$dir/data/postgresql.conf"
	$as_server $server/pg_ctl -D "$dir/data" -l "$dir/server.log" -w start >/dev/null
	psql -X -q -h "$dir" -p "$port" -U postgres -c "create database regression template template0" \
		-c "alter database regression set timezone_abbreviations to 'Default'"
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

# Weir in front of the server of the run `gateway`.
start_weir() {
	"$programs/weir-admin" dev up --dir "$work/appliance" > "$work/appliance.log" 2>&1 &
	supervisor=$!
	until grep -qs ready "$work/appliance.log"; do kill -0 "$supervisor"; sleep 0.2; done
	. "$work/appliance/env"
	cat > "$work/appliance/access/regression.toml" <<-T
		[[connection]]
		name = "regression"
		protocol = "postgres"
		upstream = "unix:$work/gateway/.s.PGSQL.$port"
		tls = "off"
		database = "regression"
		record = "fast"
		[[role]]
		connection = "regression"
		name = "postgres"
		user = "postgres"
		trust = true
		[[grant]]
		connection = "regression"
		role = "postgres"
		groups = ["privileged"]
	T
	"$programs/weir-admin" apply --config "$work/appliance/weir.toml" >/dev/null
	export PGSSLMODE=verify-full PGSSLROOTCERT=$WEIR_CA
	PGPASSWORD=$(cat "$WEIR_TOKEN_PRIVILEGED") && export PGPASSWORD
	until psql -X -q -h "$WEIR_PG_HOST" -p "$WEIR_PG_PORT" -U postgres -c "select 1" regression >/dev/null 2>&1; do
		kill -0 "$supervisor"; sleep 0.2
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
