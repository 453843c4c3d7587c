#!/usr/bin/env bash
# Builds the newest PgBouncer that Debian has the source of, into target/peers/pgbouncer. Prints its path.
# The machine's own package archive is asked for its newer suites' sources; nothing of the system changes
# but three development packages.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
out="$top/target/peers"
if [ -x "$out/pgbouncer" ]; then echo "$out/pgbouncer"; exit 0; fi
sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo
work="$top/target/peers-build"
mkdir -p "$out" "$work/lists/partial"
cd "$work"

archive=$(find /etc/apt \( -name '*.list' -o -name '*.sources' \) -exec grep -hoE '^URIs: .*|^deb [^ ]+' {} + \
  | sed -E 's/^(URIs:|deb) //' | grep -E '/debian/?$' | head -n 1)
options=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$work/lists" -o APT::Sandbox::User=root)
# A mirror may list what it does not keep: take the newest suite whose files really come.
for suite in sid forky trixie-backports trixie bookworm; do
  printf 'deb-src [trusted=yes] %s %s main\n' "${archive:?no Debian archive among the apt sources}" "$suite" > sources.list
  apt-get -qq "${options[@]}" update >&2 || continue
  if apt-get -qq "${options[@]}" source --download-only pgbouncer >&2; then break; fi
done
$sudo apt-get -qq install -y --no-install-recommends libevent-dev libssl-dev libc-ares-dev pkg-config >&2
tar xf pgbouncer_*.orig.tar.*
cd "$(find . -maxdepth 1 -type d -name 'pgbouncer-*' | head -n 1)"
./configure --quiet --without-ldap --without-pam --with-cares --disable-debug >&2
make --silent pgbouncer >&2
cp pgbouncer "$out/pgbouncer"
echo "$out/pgbouncer"
