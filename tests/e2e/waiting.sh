#!/usr/bin/env bash
# Without an idle host a job waits and says why, or does what its options say.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"
cell touch h0
on h1 remote pause </dev/null
paused() { [[ $(state_of h1) == REFUSES ]]; }
soon 5 "h1 refuses" paused
# h0 may fall idle meanwhile; a job of its own never goes to it as a guest.

ends_with 125 on h0 remote run --no-wait true </dev/null 2>errors
matches "--no-wait" "no idle host" "$(cat errors)"

equal "--or-local" h0 "$(on h0 remote run --or-local hostname </dev/null)"
equal "--local" here "$(on h0 remote run --local echo here </dev/null)"

start_on h0 remote run sh -c 'echo ran' </dev/null >output 2>errors &
waiting=$!
soon 10 "it says why it waits" grep -q "no idle host" errors
[[ ! -s output ]] || fail "it ran on a host that refuses"
on h1 remote resume </dev/null
ends_with 0 wait "$waiting"
equal "the output of the job that waited" ran "$(cat output)"

# A job that waits can be given up.
on h1 remote pause </dev/null
soon 5 "h1 refuses" paused
start_on h0 remote run true </dev/null 2>errors &
waiting=$!
soon 10 "it waits" grep -q "no idle host" errors
kill -TERM "$waiting"
ends_with 143 wait "$waiting"

# One that wants this host alone is told about this host.
ends_with 125 on h0 remote run --no-wait --host h1 true </dev/null 2>errors
matches "a host that refuses" "host h1 is not free: paused by the owner" "$(cat errors)"
on h1 remote resume </dev/null
cell touch h1
ends_with 125 on h0 remote run --no-wait --host h1 true </dev/null 2>errors
matches "a host whose owner is there" "host h1 is not free: its owner is present" "$(cat errors)"

ends_with 125 on h0 remote run --host nobody true </dev/null 2>errors
matches "an unknown host" "nobody" "$(cat errors)"
