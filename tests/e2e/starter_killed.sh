#!/usr/bin/env bash
# The starter that holds a guest is killed: before a move the job is lost, and the shadow says so in one
# sentence; killed while a move is under way, either the job goes on at home or the same is said. Never
# silence, never two copies.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"
cat >job.sh <<'END'
: >ready
until [ -e go ]; do sleep 0.05; done
echo end
END
starters() { find "$(cell cgroup h1)" -name cgroup.procs -exec cat {} + | while read -r pid; do
  [[ $(cat "/proc/$pid/comm" 2>/dev/null) != hob-starter ]] || echo "$pid"
done; }
before=$(traces h1)

begin() {
  rm -f ready go
  soon 20 "h1 idle" is_idle h1
  start_on h0 remote run sh job.sh </dev/null >output 2>errors &
  shadow=$!
  soon 20 "the job runs" test -e ready
}

begin
starters | xargs kill -KILL
ends_with 125 wait "$shadow"
matches "what the shadow says" "^remote: .*lost" "$(cat errors)"
soon 10 "h1 is clean" leaves_nothing h1 "$before"

begin
cell touch h1
# Those whose guest has left, and spares, end by themselves meanwhile.
starters | xargs -r kill -KILL || true
: >go
status=0
wait "$shadow" || status=$?
case $status in
  0) equal "output of the job that got home in time" end "$(cat output)" ;;
  125) matches "what the shadow says" "^remote: .*lost" "$(cat errors)" ;;
  *) fail "the shadow ended with $status" ;;
esac
soon 10 "h1 is clean" leaves_nothing h1 "$before"
