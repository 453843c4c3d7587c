#!/usr/bin/env bash
# The tour: stock psql and curl through Weir, each step shown with what came back and checked.
#
# Needs the environment file that `weir-admin dev up` writes (or runs as its --tour). Ends with 1 if one step is not as
# claimed.
set -u -o pipefail

: "${WEIR_DIR:?source the environment file first}"
work=$(mktemp -d)
trap 'rm -rf "$work"; [ -z "${held:-}" ] || kill "$held" 2>/dev/null' EXIT
admin=$WEIR_BIN/weir-admin
failures=0
steps=0

if [ -t 1 ]; then bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; else bold='' green='' red='' plain=''; fi

step() {
    steps=$((steps + 1))
    printf '\n%s%d. %s%s\n' "$bold" "$steps" "$1" "$plain"
}

show() { printf '   $ %s\n' "$1"; }

# Prints what came back, at most twelve lines of it.
came_back() {
    sed -n '1,12s/^/     /p' "$1"
    local lines
    lines=$(wc -l <"$1")
    if [ "$lines" -gt 12 ]; then printf '     (%d more lines)\n' $((lines - 12)); fi
}

# check WHAT COMMAND...: the claim, and the command that proves it.
check() {
    local what=$1
    shift
    if "$@" >/dev/null 2>&1; then
        printf '   %sok%s  %s\n' "$green" "$plain" "$what"
    else
        printf '   %sNOT AS CLAIMED%s  %s\n' "$red" "$plain" "$what"
        failures=$((failures + 1))
    fi
}

# through ROLE [psql arguments]: psql as one of the sample's identities. The token is the password.
through() {
    local role=$1 token_file=WEIR_TOKEN_${1^^}
    shift
    PGPASSWORD=$(<"${!token_file}") PGSSLMODE=verify-full PGSSLROOTCERT=$WEIR_CA \
        psql -X -h "$WEIR_PG_HOST" -p "$WEIR_PG_PORT" -d "$WEIR_PG_DATABASE" -U "$role" "$@"
}

# call ROLE METHOD PATH: curl through the HTTP listener; prints the body, then the status.
call() {
    local token_file=WEIR_TOKEN_${1^^}
    curl -sS --cacert "$WEIR_CA" -X "$2" -H "weir-role: $1" -H "Authorization: Bearer $(<"${!token_file}")" \
        -w '\nstatus %{http_code}\n' "$WEIR_HTTP_URL$3"
}

# straight SQL: to the sample server itself, past the gateway.
straight() { psql -X -A -t -q "$WEIR_PG_UPSTREAM" -c "$1"; }

until_true() {
    local deadline=$((SECONDS + 20))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}

query='SELECT id, name, ssn, email FROM patients WHERE id IN (1, 2) ORDER BY id'
raw_ssn=$(straight 'SELECT ssn FROM patients WHERE id = 1')
raw_email=$(straight 'SELECT email FROM patients WHERE id = 1')

step 'One query, three identities'
for role in job analyst privileged; do
    show "psql as $role: $query"
    through "$role" -c "$query" >"$work/$role" 2>&1
    came_back "$work/$role"
done
check 'the job gets rows'                 grep -q '(2 rows)' "$work/job"
check 'the job sees no social security number' bash -c "! grep -q '$raw_ssn' '$work/job'"
check 'the job sees no e-mail address'    bash -c "! grep -q '$raw_email' '$work/job'"
check 'the analyst sees e-mail addresses' grep -q "$raw_email" "$work/analyst"
check 'but no social security number'     bash -c "! grep -q '$raw_ssn' '$work/analyst'"
check 'the privileged identity sees both' bash -c "grep -q '$raw_ssn' '$work/privileged' && grep -q '$raw_email' '$work/privileged'"

step 'A command that is blocked, on a connection that stays usable'
show 'psql as job: DROP TABLE patients; then SELECT count(*)'
through job -c 'DROP TABLE patients' -c 'SELECT count(*) FROM patients' >"$work/drop" 2>&1
came_back "$work/drop"
check 'the error names the rule'       grep -q 'no-drop' "$work/drop"
check 'the next statement works'       grep -q '10000' "$work/drop"
check 'the table is still there'       straight 'SELECT 1 FROM patients LIMIT 1'

step 'A command that waits for a human'
before=$(straight 'SELECT count(*) FROM visits')
show 'psql as job: DELETE FROM visits   (waits)'
through job -c 'DELETE FROM visits' >"$work/held" 2>&1 &
held=$!
approver() { WEIR_ADMIN_TOKEN_FILE=$WEIR_APPROVER_TOKEN_FILE "$admin" approvals "$@"; }
waiting() { approver list --json | grep -q 'DELETE FROM visits'; }
check 'it appears in the approver'"'"'s inbox' until_true waiting
show 'weir-admin approvals list   (as olivia, a privacy officer)'
approver list >"$work/inbox" 2>&1
came_back "$work/inbox"
check 'nothing has reached the database' test "$(straight 'SELECT count(*) FROM visits')" = "$before"
hold=$(awk 'NR == 2 { print $1 }' "$work/inbox")
# The requester's own token, even with the approvers' group, must not do.
"$admin" dev token --dir "$WEIR_DEV_ISSUER" --sub nightly-report --group privacy-officers >"$work/own"
show "weir-admin approvals approve $hold   (as the job itself)"
WEIR_ADMIN_TOKEN_FILE=$work/own "$admin" approvals approve "$hold" >"$work/own-answer" 2>&1
own=$?
came_back "$work/own-answer"
check 'nobody approves their own command' test "$own" = 1
show "weir-admin approvals approve $hold --reason 'ticket 812'   (as olivia)"
approver approve "$hold" --reason 'ticket 812' >"$work/approved" 2>&1
came_back "$work/approved"
wait "$held"
held=''
show 'what psql says now'
came_back "$work/held"
check 'the client was told why it waits' grep -q 'unfiltered-write' "$work/held"
check 'the command ran once approved'    grep -q "DELETE $before" "$work/held"
check 'the rows are gone'                test "$(straight 'SELECT count(*) FROM visits')" = 0

step 'The same rules over HTTP'
show 'curl as job: GET /v1/patients/1'
call job GET /v1/patients/1 >"$work/get" 2>&1
came_back "$work/get"
check 'the call is allowed'                   grep -q '^status 200' "$work/get"
check 'the social security number is masked'  bash -c "! grep -q '\"ssn\":\"$(printf '%03d-%02d-%04d' 8 2 14)\"' '$work/get'"
show 'curl as job: DELETE /v1/patients/1'
call job DELETE /v1/patients/1 >"$work/delete" 2>&1
came_back "$work/delete"
check 'the call is blocked'                   grep -q '^status 403' "$work/delete"
check 'the answer names the rule'             grep -q 'api-no-delete' "$work/delete"

step 'Everything was recorded: who, what, and what came back'
show 'weir-admin sessions list --subject nightly-report'
recorded() { "$admin" sessions list --subject nightly-report >"$work/list" 2>&1 && grep -q 'clinic-api' "$work/list"; }
until_true recorded
came_back "$work/list"
"$admin" sessions search 'DELETE FROM visits' --json >"$work/search" 2>/dev/null
session=$(sed -n 's/.*"session": "\([^"]*\)".*/\1/p' "$work/search" | head -n 1)
check 'the held command is found by its words' test -n "$session"
show "weir-admin sessions replay $session"
replayed() { "$admin" sessions replay "$session" >"$work/replay" 2>&1 && grep -q 'session closed' "$work/replay"; }
until_true replayed
came_back "$work/replay"
check 'the replay shows who approved'     grep -q 'olivia' "$work/replay"
check 'the replay shows what came back'   grep -q "DELETE $before" "$work/replay"
masked=$("$admin" sessions search "$query" --json 2>/dev/null | sed -n 's/.*"session": "\([^"]*\)".*/\1/p' | head -n 1)
"$admin" sessions replay "$masked" >"$work/masked" 2>&1
check 'the job'"'"'s replay shows its rows as it saw them' grep -q '(2 rows)\|SELECT 2' "$work/masked"
check 'no raw number was stored for the job' bash -c "! grep -q '$raw_ssn' '$work/masked'"

step 'And it can be proved'
show 'weir-admin sessions verify'
"$admin" sessions verify --key "$WEIR_VERIFY_KEY" >"$work/verify" 2>&1
sound=$?
came_back "$work/verify"
check 'every segment is complete, in order, unaltered' test "$sound" = 0
env -u WEIR_AUDITOR_KEY "$admin" sessions verify --key "$WEIR_VERIFY_KEY" >"$work/publicly" 2>&1
publicly=$?
check 'who may not read it can check that too' test "$publicly" = 0
env -u WEIR_AUDITOR_KEY "$admin" sessions replay "$session" >"$work/unread" 2>&1
unread=$?
check 'and nobody reads it without the auditor'"'"'s key' test "$unread" = 1
check 'not in the files either' bash -c "! grep -aqr 'DELETE FROM visits' '$WEIR_SEGMENTS'"
cp -r "$WEIR_SEGMENTS" "$work/copy"
victim=$(ls -S "$work"/copy/*.seg | head -n 1)
# One bit of one byte, somewhere in what was recorded first.
at=5000
byte=$(od -An -tu1 -j "$at" -N 1 "$victim")
printf "\\x$(printf %02x $((byte ^ 1)))" | dd of="$victim" bs=1 seek="$at" conv=notrunc status=none
show "weir-admin sessions verify --segments COPY   (one bit flipped at byte $at of $(basename "$victim"))"
"$admin" sessions verify --segments "$work/copy" --key "$WEIR_VERIFY_KEY" >"$work/altered" 2>&1
altered=$?
came_back "$work/altered"
check 'verify finds it'          test "$altered" = 1
check 'and names the place'      grep -q 'at byte' "$work/altered"

echo
if [ "$failures" = 0 ]; then
    printf '%sAll as claimed.%s\n' "$green" "$plain"
else
    printf '%s%d checks were not as claimed.%s Logs: %s\n' "$red" "$failures" "$plain" "$WEIR_LOGS"
    exit 1
fi
