# What the conformance runs share: a fresh server, and Weir in front of one. Sourced, in the tree's top folder.
programs=$PWD/target/release
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
