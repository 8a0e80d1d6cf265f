#!/usr/bin/env bash
# The host where a job runs does not answer any more: its user is told, and is not kept waiting.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"

# begin: a job on h1, whose hostd dies under it. Sets shadow.
begin() {
  rm -f ready errors
  # Without job control bash lets the processes it starts with `&` ignore SIGINT; env gives it back.
  start_on h0 env --default-signal=INT remote run -n sh -c ': >ready; exec sleep 1000' >output 2>errors &
  shadow=$!
  soon 20 "the job runs" test -e ready
  cell kill h1 KILL
}
said() { grep -q "h1, where it runs, does not answer; $1" errors; }
# over: the job has gone from h1 when its hostd is back.
over() {
  cell start h1
  soon 20 "no guest on h1" no_guest
  soon 20 "h1 idle" is_idle h1
}
no_guest() { [[ $(on h1 remote ps --json </dev/null | json "len(it['jobs'])") == 0 ]]; }

begin
kill -TERM "$shadow"
ends_with 143 wait "$shadow"
said "not waiting" || fail "SIGTERM: $(cat errors)"
over

begin
kill -INT "$shadow"
soon 20 "Ctrl-C is explained" said "Ctrl-C again"
kill -INT "$shadow"
ends_with 130 wait "$shadow"
over
equal "processes of the jobs" "" "$(pgrep -f '^sleep 1000$' || true)"
