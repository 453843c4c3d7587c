#!/usr/bin/env bash
# psycopg2's own test suite, direct and through Weir as an identity that no rule is about, on a fresh server each. Which of its
# tests passed is compared; ends with 0 if there is no difference but those in `psycopg-differences.txt`. (psycopg 3 publishes
# its tests in no package.)
set -euo pipefail
cd "$(dirname "$0")/../../.."
. dataplane/tests/conformance/appliance.sh
release=2.9.11

fetch() {
	python3 -m venv "$work/venv"
	"$work/venv/bin/pip" -q install "psycopg2-binary==$release"
	# The source distribution has the tests; only its metadata is built, which asks a pg_config for its version.
	mkdir "$work/fake"
	printf '#!/bin/sh\ncase "$1" in --version) echo PostgreSQL 15.0;; *) echo /nowhere;; esac\n' > "$work/fake/pg_config"
	chmod +x "$work/fake/pg_config"
	(cd "$work" && PATH=$work/fake:$PATH "$work/venv/bin/pip" -q download --no-deps --no-binary psycopg2 "psycopg2==$release")
	tar xzf "$work/psycopg2-$release.tar.gz" -C "$work"
}

# Runs the suite as $1 against host $2 and port $3; one line a test, sorted, without the time it took.
run() {
	(cd "$work/psycopg2-$release" && PSYCOPG2_TESTDB=regression PSYCOPG2_TESTDB_HOST=$2 PSYCOPG2_TESTDB_PORT=$3 \
		PSYCOPG2_TESTDB_USER=postgres timeout 900 "$work/venv/bin/python" -c \
		"import unittest, tests; unittest.main(defaultTest='tests.test_suite', argv=['tests', '-v'])" > "$work/$1.log" 2>&1) || true
	grep -E " \.\.\. (ok|FAIL|ERROR|skipped)|^(ok|FAIL|ERROR)$" "$work/$1.log" | sed -E 's/ \.\.\. skipped.*/ ... skipped/' | sort > "$work/$1.results" || true
	grep -E "^Ran |^OK|^FAILED" "$work/$1.log" | sed "s/^/$1: /" || { cat "$work/$1.log"; exit 1; }
}

fetch
start_server direct
run direct 127.0.0.1 "$port"
start_server gateway
start_weir
run gateway "$WEIR_PG_HOST" "$WEIR_PG_PORT"
"$programs/weir-admin" sessions verify | tail -1
if [ "$(grep -c ' ok$' "$work/direct.results")" -lt 500 ]; then
	echo "the suite did not run" >&2
	exit 1
fi
diff "$work/direct.results" "$work/gateway.results" > "$work/differences" || true
known=dataplane/tests/conformance/psycopg-differences.txt
if grep '^>' "$work/differences" | grep -v " ok$" | grep -vFf <(grep -v '^#' "$known" | grep . || echo nothing-is-known); then
	echo "the above pass direct and not through Weir" >&2
	[ -z "${WEIR_KEEP_LOGS:-}" ] || cp "$work/gateway.log" "$work/direct.log" "$work/differences" "$WEIR_KEEP_LOGS"
	exit 1
fi
echo "$(grep -c ' ok$' "$work/gateway.results") of psycopg2's tests pass through Weir, $(grep -c ' ok$' "$work/direct.results") direct"
