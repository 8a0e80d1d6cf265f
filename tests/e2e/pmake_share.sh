#!/usr/bin/env bash
# Two builds of two users at two workstations share the cell: the one that came first gives up slots, one at a time,
# until both have about as many; none of their recipes fails or runs twice.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 5 idle=500ms
cd "$WORK"

cat >many.mk <<'END'
all: $(patsubst %,r%,$(shell seq 40))
r%: ; @sleep 0.7; echo $* >>ran
END
mkdir first second
chmod 777 first second
# The second user has no name; to hob he is another one, and that counts.
start_as() { exec "$ROOT/scripts/cell" exec -r "$1" setpriv --reuid "$2" --regid 65534 --clear-groups --inh-caps=-all "${@:3}"; }

# jobs UID: how many of his recipes run on other hosts.
jobs() { on h2 remote ps --all --json </dev/null 2>/dev/null | json "sum(j['uid'] == $1 and j['state'] == 'running' and j['host'] not in ('', 'h0', 'h1') for j in it['jobs'])"; }
has_most() { (($(jobs 64001) >= 4)); }
alike() {
  local one two
  one=$(jobs 64001) two=$(jobs 64002)
  ((one >= 2 && two >= 2 && one - two <= 2 && two - one <= 2))
}

cell touch h0
cell touch h1
start_as h0 64001 pmake -L 0 -C first -f ../many.mk >out1 2>err1 </dev/null &
first=$!
soon 20 "the first build has the cell" has_most
start_as h1 64002 pmake -L 0 -C second -f ../many.mk >out2 2>err2 </dev/null &
second=$!
shared=
for _ in $(seq 60); do
  cell touch h0
  cell touch h1
  if alike; then
    shared=yes
    break
  fi
  sleep 0.2
done
[[ -n $shared ]] || fail "the builds do not share: $(jobs 64001) and $(jobs 64002) recipes"
wait "$first" || { cat out1 err1; fail "the first build failed"; }
wait "$second" || { cat out2 err2; fail "the second build failed"; }
for i in first second; do equal "recipes of the $i" "$(seq 40 | sort)" "$(sort "$i/ran")"; done
