#!/usr/bin/env bash
# An owner comes back in the midst of a move that was asked for: while the target prepares, while the engine
# stops the guest, captures it, or has just let it go. A guest runs on until the engine stops it, so that
# hostd's freeze and the engine's stop meet at any moment; the guest is home soon all the same, and whole. One
# that is a single thread is stopped without the freezer, several processes with it.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=300ms
cd "$WORK"
arm_starters
before=$(traces h1)
cat >single.py <<'END'
import os
n = m = 0
open("ready", "w").close()
while not os.path.exists("go"):
    n += 1
    m -= 1
print("whole" if n > 0 and n + m == 0 else "damaged")
END
cat >several.sh <<'END'
(: >ready; until [ -e go ]; do echo x; sleep 0.001; done) | (while read -r x; do [ "$x" = x ] || echo damaged; done; echo whole)
END

# meanwhile SECONDS: the job goes to h1, and so long after it has been called home the owner is there.
meanwhile() {
  soon 20 "h1 idle" is_idle h1
  on h0 remote migrate "$id" h1 </dev/null
  soon 20 "the job is away" is_at h1
  start_on h0 remote migrate "$id" h0 </dev/null 2>said &
  local mover=$!
  sleep "$1"
  cell touch h1
  wait $mover || true # it may have asked for what the owner's return has asked for, too
  soon 5 "the job is home (after $1 s)" is_at h0
}

for program in "python3 single.py" "sh several.sh"; do
  rm -f ready go
  # shellcheck disable=SC2086  # words
  start_on h0 remote run --local -q $program </dev/null >output 2>errors &
  shadow=$!
  soon 20 "the job runs" test -e ready
  id=$(job id)
  # 10 ms: until the command has been understood.
  for after in 0.010 0.011 0.012 0.013 0.014 0.016 0.018 0.020 0.025 0.030; do meanwhile $after; done
  # While all of it is stopped, and nothing has been captured.
  echo 2:pause >fault-h1
  restart h1
  meanwhile 0.15
  rm fault-h1
  restart h1
  soon 20 "h1 is clean" leaves_nothing h1 "$before"
  : >go
  wait $shadow || fail "$program: ended with $?: $(cat errors)"
  equal "what it says of itself" whole "$(cat output)"
done
