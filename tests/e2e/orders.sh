#!/usr/bin/env bash
# Jobs are looked at, stopped, named and killed by their ids alone; from inside a job nothing is ordered.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"

start_on h0 env --default-signal=TSTP remote run -n sh -c ': >ready; exec sleep 1000' &
shadow=$!
soon 20 "the job runs" test -e ready
id=$(job id)
number=${id#h0.}

# refused STATUS PATTERN HOST WORDS...: `remote WORDS` there ends so and says so.
refused() {
  local status=$1 pattern=$2 host=$3
  shift 3
  ends_with "$status" on "$host" remote "$@" </dev/null 2>errors
  matches "remote $*" "$pattern" "$(cat errors)"
  equal "lines said by remote $*" 1 "$(wc -l <errors)"
}
refused 4 "kill 'h0': that is a host" h0 kill h0
refused 4 "no such job" h0 kill h0.
refused 4 "no such job" h0 kill ''
refused 4 "no such job" h0 kill "${id}0"
refused 4 "its home is h0" h1 kill "$id"
refused 4 "its home is h0" h1 migrate "$id"
refused 4 "no such job" h0 migrate "${id}0"
refused 4 "no such guest on h1" h1 evict h0.12345
is_at h1 || fail "an order that was refused did something: $(on h0 remote ps </dev/null)"

# Ctrl-Z and fg.
kill -TSTP "$shadow"
soon 10 "it is shown as stopped" state_is stopped
kill -CONT "$shadow"
soon 10 "it is shown as running" state_is running

# The number alone is short for a job of this host.
ends_with 0 on h0 remote kill "$number" </dev/null
ends_with 137 wait "$shadow"

# What has ended is in the list when asked for, of this host's jobs.
ended() { on "$1" remote ps --ended -o name </dev/null | grep -c -x -F "$id" || true; }
soon 10 "it is among the ended" test 1 = "$(ended h0)"
equal "among the ended of another host" 0 "$(ended h1)"
equal "among the jobs that run" "" "$(on h0 remote ps -o name </dev/null)"

# A job cannot start or order jobs, wherever it runs, and is told why.
for options in "" --local; do
  # shellcheck disable=SC2086  # an option or none
  ends_with 125 on h0 remote run $options remote run true </dev/null 2>errors
  matches "remote run in a job" "not inside a job" "$(cat errors)"
  # shellcheck disable=SC2086
  ends_with 5 on h0 remote run $options remote pause </dev/null 2>errors
  matches "remote pause in a job" "not inside a job" "$(cat errors)"
done
