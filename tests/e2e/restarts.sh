#!/usr/bin/env bash
# A daemon dies and comes back in the middle of a job: nothing is lost.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 3 idle=500ms
cd "$WORK"
cat >job.sh <<'END'
: >ready
until [ -e go ]; do echo tick; sleep 0.05; done
echo end
exit 5
END

# survives WHAT CMD...: a job is running while CMD happens.
survives() {
  local what=$1
  shift
  rm -f ready go
  start_on h0 remote run -q sh job.sh </dev/null >output &
  local shadow=$!
  soon 20 "the job runs" test -e ready
  host=$(job host)
  "$@"
  # Output still comes, and the end.
  local size
  size=$(stat -c %s output)
  soon 30 "output after: $what" grows output "$size"
  : >go
  ends_with 5 wait "$shadow"
  equal "last line after: $what" end "$(tail -n 1 output)"
  equal "nothing else in the output after: $what" "" "$(grep -v -x -E 'tick|end' output || true)"
}
grows() { (($(stat -c %s "$1") > $2)); }
restart() {
  cell kill "$1" KILL
  cell start "$1"
}
restart_host_of_job() { restart "$host"; }

survives "the coordinator was killed and started again" restart coordinator
survives "the executing host's hostd was killed and started again" restart_host_of_job
survives "home's hostd was killed and started again" restart h0

# Home's hostd is away when the job ends: its last output and its status wait on the host where it ran.
cat >last.sh <<'END'
: >ready
until [ -e go ]; do sleep 0.05; done
head -c 500000 /dev/zero | tr '\0' x
echo
echo last words >&2
: >ended
exit 9
END
rm -f ready go
start_on h0 remote run -q sh last.sh </dev/null >output 2>errors &
shadow=$!
soon 20 "the job runs" test -e ready
is_away || fail "the job runs at '$(job host)'"
cell kill h0 KILL
: >go
# It has written more than is taken from it while nobody acknowledges, or has ended.
sleep 1
cell start h0 </dev/null
ends_with 9 wait "$shadow"
[[ -e ended ]] || fail "the job did not come to its end"
equal "bytes of its output" 500001 "$(stat -c %s output)"
equal "its errors" "last words" "$(cat errors)"

# A new job after all that, with the coordinator away in between.
soon 20 "a host is idle" is_idle h1
ends_with 0 on h0 remote run true </dev/null
cell kill coordinator
ends_with 0 on h0 remote run --or-local true </dev/null
cell start coordinator
soon 20 "the coordinator knows the hosts again" is_idle h2
ends_with 0 on h0 remote run true </dev/null
# The ledger outlived it.
matches "the ledger" "job.sh" "$(on h0 remote ps --all --ended </dev/null)"

# The ledger hears how each job ended, whoever was away when it did.
# shellcheck disable=SC2086  # options
listed() { on h0 remote ps --all --json ${2:-} </dev/null | json "[j['id'] for j in it['jobs'] if j['state'] == '$1']"; }
none_alive() { [[ $(on h0 remote ps --all --json </dev/null | json "len(it['jobs'])") == 0 ]]; }
soon 20 "hosts are idle" is_idle h1
cat >short.mk <<'END'
all: $(patsubst %,r%,$(shell seq 30))
r%: ; @sleep 0.5
END
start_on h0 pmake -s -f short.mk </dev/null &
build=$!
sleep 1
cell kill coordinator KILL
sleep 0.5
cell start coordinator
ends_with 0 wait "$build"
soon 10 "the ledger knows the ends of the recipes" none_alive
equal "jobs whose end was not told" "[]" "$(listed lost --ended)"

# What home itself does not know any more (it has booted afresh) is not held for running.
rm -f ready go
start_on h0 remote run -q sh job.sh </dev/null >output 2>errors &
shadow=$!
soon 20 "the job runs" test -e ready
id=$(job id)
is_known() { on h0 remote ps --all -o name </dev/null | grep -q -x -F "$id"; }
soon 5 "the ledger knows it" is_known
cell kill h0 KILL
on -r h0 sh -c 'rm /run/hob/jobs/*' </dev/null
cell start h0 </dev/null
soon 10 "the ledger has set it right" none_alive
matches "its history" 'lost.*its home was restarted before it said how it ended' \
  "$(on h0 remote history "$id" </dev/null | tr '\n' ' ')"
: >go
wait "$shadow" || true
