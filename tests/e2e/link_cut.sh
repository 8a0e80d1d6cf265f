#!/usr/bin/env bash
# The link between home and the executing host is cut while jobs read and write: nothing is lost, nothing
# comes twice, nothing hangs. 3 s: the connections outlive it. 9 s: ZeroMQ gives them up, with what was on the way.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"
head -c 6000000 /dev/urandom >input
# feed: half of it at once, the rest when `go` is there: a full window is on the way, both ways, during the cut.
feed() {
  head -c 3000000 input
  until [[ -e go ]]; do sleep 0.02; done
  tail -c +3000001 input
}
one_line() {
  echo one
  until [[ -e go ]]; do sleep 0.02; done
}
begin() {
  rm -f go output lines
  start_on h0 remote run -q cat < <(feed) >output &
  bytes=$!
  # Of this one only the end of stdin is on the way.
  start_on h0 remote run -q sh -c 'cat; echo "end of input"' < <(one_line) >lines &
  end=$!
  soon 20 "bytes come back" test -s output
  soon 20 "the line comes back" test -s lines
}

for length in 3 9; do
  begin
  cell link h1 down
  : >go
  sleep "$length"
  cell link h1 up
  ends_with 0 wait "$bytes"
  ends_with 0 wait "$end"
  same_file "stdin to stdout, cut for $length s" input output
  equal "the other's output, cut for $length s" $'one\nend of input' "$(cat lines)"
done
