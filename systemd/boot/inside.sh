#!/bin/bash
# What an operator does on a fresh Debian, as root, with the installed package alone. First boot: install, set up, first masked
# query, kill each program, upgrade over itself. Second boot: it came back by itself; remove and purge. `run.sh` starts it.
set -euo pipefail
cd /try
step() { echo "== $*"; }
fail() { echo "FAILED: $*"; journalctl --no-pager --lines=60 -u "weir-*"; exit 1; }
trap 'echo "FAILED in line $LINENO"; journalctl --no-pager -u "weir-*" | tail -60' ERR

token() { weir-admin dev token --dir /try/issuer --sub nightly --group "$1" --aud weir; }
ask() { PGPASSWORD=$(token jobs) PGCONNECT_TIMEOUT=5 psql -XAtq "host=localhost port=6432 dbname=clinic user=job sslmode=verify-full sslrootcert=/etc/weir/tls/ca.pem" -c "$1"; }
until_answer() { for _ in $(seq 100); do [[ $(ask "$1" 2>&1) == "$2" ]] && return; sleep 0.1; done; fail "$1 is $(ask "$1" 2>&1), not $2"; }
since() { echo "   $(( $(date +%s%N) / 1000000 - $1 )) ms"; }
now() { echo $(( $(date +%s%N) / 1000000 )); }

ip link set lo up
if [[ ! -e booted.1 ]]; then
	step "a database with a patient, and an issuer"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout /etc/postgresql/server.key \
		-out upstream.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE 2> /dev/null
	cp upstream.pem /etc/postgresql/server.pem
	chown postgres /etc/postgresql/server.*
	printf "ssl_cert_file = '/etc/postgresql/server.pem'\nssl_key_file = '/etc/postgresql/server.key'\n" >> /etc/postgresql/15/main/postgresql.conf
	systemctl restart postgresql
	su postgres -c psql > /dev/null <<-SQL
		CREATE ROLE app LOGIN PASSWORD 'a secret of the server';
		CREATE DATABASE clinic OWNER app;
	SQL
	su postgres -c 'psql -d clinic' > /dev/null <<-SQL
		CREATE TABLE patients (id int, name text, ssn text);
		INSERT INTO patients VALUES (7, 'Hana Hale', '219-09-9999');
		GRANT SELECT ON patients TO app;
	SQL
	cat > /etc/systemd/system/issuer.service <<-UNIT
		[Service]
		ExecStart=/usr/bin/weir-admin dev issuer --dir /try/issuer --listen 127.0.0.1:9400
		[Install]
		WantedBy=multi-user.target
	UNIT

	step "install"
	begun=$(now)
	apt-get -qq install -y --no-install-recommends ./weir_*.deb < /dev/null > /try/apt.log 2>&1 || { cat /try/apt.log; fail "apt"; }
	weir-admin --version
	[[ $(man -w weir-admin 2> /dev/null || ls /usr/share/man/man1/weir-admin.1.gz) ]]
	systemd-analyze verify /lib/systemd/system/weir-*.service 2>&1 | tee verify
	[[ ! -s verify ]] || fail "systemd-analyze verify is not silent"
	systemctl -q enable --now issuer

	step "init"
	echo 'a secret of the server' > app.pw
	for _ in $(seq 50); do token jobs > /dev/null 2>&1 && break; sleep 0.1; done
	weir-admin init --host localhost --listen 127.0.0.1:6432 --issuer http://127.0.0.1:9400 --template hipaa --template secrets \
		--connection clinic --upstream localhost:5432 --upstream-roots upstream.pem --database clinic --user app \
		--password-file app.pw --group jobs
	systemctl -q enable --now weir.target
	until_answer 'SELECT id FROM patients' 7
	echo "   from package to first answer:"; since "$begun"

	step "masked, and recorded"
	[[ $(ask 'SELECT name FROM patients') == 'Hana Hale' ]] || fail "name"
	ssn=$(ask 'SELECT ssn FROM patients')
	[[ $ssn == tok_* ]] || fail "the SSN is $ssn"
	[[ $(ask "SELECT 'ssn ' || ssn FROM patients") != *219* ]] || fail "an expression shows it"
	said=$(ask 'DROP TABLE patients' 2>&1 || true)
	[[ $said == *'refused by rule hipaa-no-drop'* ]] || fail "DROP: $said"
	! grep -rqs 'a secret of the server' /var/lib/weir /etc/weir/access /etc/weir/weir.toml || fail "the password lies open"

	step "each program: its own user, no capability, exposure at most 1.5"
	for unit in weir-admin weir-dataplane weir-recorder; do
		pid=$(systemctl show -P MainPID $unit)
		[[ $(stat -c %U /proc/$pid) == "$unit" ]] || fail "$unit runs as $(stat -c %U /proc/$pid)"
		grep -q '^CapEff:.*0000000000000000$' /proc/$pid/status || fail "$unit has capabilities"
		systemd-analyze security --no-pager --threshold=15 $unit.service > exposure || { tail -1 exposure; fail "$unit"; }
		tail -1 exposure
	done

	step "SIGKILL of each program"
	for unit in weir-recorder weir-admin weir-dataplane; do
		begun=$(now)
		systemctl kill -s KILL $unit
		until_answer 'SELECT id FROM patients' 7
		echo "   $unit"; since "$begun"
	done

	step "the package again, over itself"
	dpkg -i weir_*.deb > dpkg.log 2>&1 || { cat dpkg.log; fail "dpkg"; }
	until_answer 'SELECT id FROM patients' 7
	touch booted.1
elif [[ ! -e booted.2 ]]; then
	step "after a reboot"
	systemctl start postgresql
	until_answer 'SELECT id FROM patients' 7
	systemctl stop weir-recorder weir-dataplane
	weir-admin sessions verify --key /etc/weir/keys/segment.key.pub --segments /var/lib/weir/segments
	weir-admin sessions search --segments /var/lib/weir/segments --auditor-key /etc/weir/keys/auditor.key --verdict deny | grep -q 'hipaa-no-drop' || fail "search"

	step "remove and purge"
	apt-get -qq remove -y weir > /dev/null 2>&1
	[[ -e /etc/weir/weir.toml ]] || fail "removing took the configuration"
	apt-get -qq purge -y weir > purge.log 2>&1
	grep -q 'recordings stay' purge.log || fail "$(cat purge.log)"
	[[ ! -e /etc/weir && -n $(ls /var/lib/weir/segments) ]] || fail "purge"
	touch booted.2 passed
fi
