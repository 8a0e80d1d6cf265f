#!/usr/bin/env bash
# Evictions over a slow network. The link is cut for some seconds, at the key and while the pages follow the program
# home: the move takes longer, and that is all. Then the host's hostd dies while the program runs at home and its pages still arrive: the job goes on, and home
# gives back the grant of a host that will never say that it is clean.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms rate=100
cd "$WORK"
on -r h0 sh -c 'printf "[home]\nlost_after = \"10s\"\n" >/etc/hob/hostd.conf.d/lost.toml' </dev/null
cell kill h0 TERM
cell start h0 </dev/null
cat >job.py <<'END'
import hashlib, os, random
random.seed(5)
size = 24 << 20  # 2 s of the link
block = bytearray(random.randbytes(size))
open("ready", "w").close()
at = 0
while not os.path.exists("go"):  # pages are read and written all the time, and end as they were
    at = (at + 4096) % size
    block[at] ^= 255
    block[at] ^= 255
print(hashlib.sha256(block).hexdigest())
END
: >go
on h0 python3 job.py </dev/null >expected

pressed() { true; }
runs_at_home() { [[ $(job host) == h0 ]]; }
# evicted WHEN DISTURB...: DISTURB as soon as WHEN is true.
evicted() {
  local when=$1
  shift
  rm -f go ready output
  soon 20 "h1 idle" is_idle h1
  start_on h0 remote run -q python3 job.py </dev/null >output &
  shadow=$!
  soon 30 "the job runs" test -e ready
  is_away || fail "the job runs at '$(job host)'"
  cell touch h1
  soon 20 "$when" "$when"
  "$@"
  soon 60 "the job is home" is_at h0
}
ends_well() {
  : >go
  ends_with 0 wait "$shadow"
  same_file "its result" expected output
}
cut_link() {
  cell link h1 down
  sleep 3
  cell link h1 up
}
evicted pressed cut_link
ends_well
evicted runs_at_home cut_link
ends_well

evicted runs_at_home cell kill h1 KILL
given_back() { [[ $(cell logs h0) == *"its grant on h1 is given back"* ]]; }
soon 30 "home gives the grant back" given_back
ends_well
cell start h1 </dev/null
soon 20 "h1 idle" is_idle h1
ends_with 0 on h0 remote run true </dev/null
