#!/usr/bin/env bash
# A job ends by itself while a host makes ready to take it: that host has its slot free again.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 3 idle=500ms
cd "$WORK"

start_on h0 remote run --host h1 sh -c ': >ready; until [ -e end ]; do sleep 0.05; done; exit 7' &
shadow=$!
soon 20 "the job runs" test -e ready
id=$(job id)

# h2's hostd is asked to make ready, and reads that when the job is no more.
cell kill h2 STOP
start_on h0 remote migrate "$id" h2 </dev/null >move 2>&1 &
move=$!
soon 10 "it is on the move" state_is moving
: >end
ends_with 7 wait "$shadow"
ends_with 4 wait "$move"
matches "what is said of the move" "ended" "$(cat move)"
cell kill h2 CONT

guests_of() { on h0 remote hosts --json </dev/null | json "next(h['guests'] for h in it['hosts'] if h['name'] == '$1')"; }
idle_again() { is_idle h2 && [[ $(guests_of h2) == 0 ]]; }
# Long before a starter gives up by itself that nobody sends anything to.
sleep 1
soon 4 "h2 has no guest" idle_again
