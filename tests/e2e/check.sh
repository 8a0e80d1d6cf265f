#!/usr/bin/env bash
# `remote check`: of jobs at home and elsewhere, with and without what cannot be moved, and of processes that
# are no jobs. It stops nothing.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"

# start NAME OPTIONS...: a job with a file open, that on NAME.hold opens a netlink socket (which leads to its
# host's kernel) and on NAME.go ends.
cat >job.py <<'END'
import os, socket, sys, time
name = sys.argv[1]
kept = open(name + ".log", "w")
held = None
while not os.path.exists(name + ".go"):
    if held is None and os.path.exists(name + ".hold"):
        held = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    open(name + (".ready" if held is None else ".held"), "w").close()
    time.sleep(0.01)
print("went on")
END
start() {
  local name=$1
  shift
  start_on h0 remote run "$@" python3 job.py "$name" </dev/null >"$name.output" 2>"$name.errors" &
}
check() { on h0 remote check "$@" </dev/null; }

# name:host where it runs:options
for place in "away:h1:" "local:h0:--local"; do
  IFS=: read -r name host options <<<"$place"
  # shellcheck disable=SC2086  # an option or none
  start "$name" $options
  shadow=$!
  soon 30 "the job runs" test -e "$name.ready"
  id=$(job id)

  said=$(check "$id") || fail "check of a movable job ended with $?"
  equal "what it says of $name" "$id on $host: nothing stands in the way of a move" "$said"
  table=$(check -v "$id")
  matches "a file in the table" "fd 3 +file +rebound +$WORK/$name.log" "$table"
  matches "a stream in the table" "fd 1 +standard stream +at home" "$table"
  matches "memory in the table" "memory +moved +\[heap\]" "$table"
  equal "JSON" True "$(check --json "$id" | json "it['movable'] and it['obstacles'] == []")"
  equal "JSON rows" True "$(check --json -v "$id" | json "any(r['binding'] == 'at home' for r in it['resources'])")"

  : >"$name.hold"
  soon 10 "it holds a netlink socket" test -e "$name.held"
  ends_with 1 check "$id" >said
  matches "the obstacle" "$id on $host: cannot be moved.fd [0-9]+ of process 2 \(python3\): a netlink socket; cannot be moved yet" "$(tr '\n' . <said)"
  ends_with 1 check -v "$id" >said
  matches "the obstacle in the table" "fd [0-9]+ +- +refused +socket:" "$(cat said)"
  [[ $(job state) == running ]] || fail "to be looked at has stopped the job"
  : >"$name.go"
  ends_with 0 wait "$shadow"
  equal "its output" "went on" "$(cat "$name.output")"
done

# refused STATUS PATTERN HOST WORDS...
refused() {
  local status=$1 pattern=$2 host=$3
  shift 3
  ends_with "$status" on "$host" remote check "$@" </dev/null 2>errors
  matches "remote check $*" "$pattern" "$(cat errors)"
  equal "lines said by remote check $*" 1 "$(wc -l <errors)"
}
refused 4 "no such job" h0 "$id"
refused 4 "no such job" h0 ''
refused 4 "No such process" h0 999999999
refused 5 "another user's" h0 1

# A process that nobody has given to hob, and one with a socket. What a test's shell has open is not theirs.
cat >stranger.py <<'END'
import os, socket, sys, time
os.closerange(3, 1024)
held = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) if sys.argv[1] == "connected" else None
open(sys.argv[1] + ".ready", "w").close()
time.sleep(1000)
END
start_on h0 python3 stranger.py alone </dev/null &
alone=$!
start_on h0 python3 stranger.py connected </dev/null &
connected=$!
soon 10 "the one runs" test -e alone.ready
soon 10 "the other runs" test -e connected.ready
ends_with 0 check "$alone" >said
matches "of a process" "$alone on h0: nothing stands in the way" "$(cat said)"
ends_with 1 check "$connected" >said
matches "of a process with a socket" "fd 3 of process $connected \(python3\): a netlink socket" "$(cat said)"
kill "$alone" "$connected"
