#!/usr/bin/env bash
# Memory strategies as users ask for them: for a job, for one move, in the configuration. Whatever the
# strategy, the bytes a job writes are the same, and an owner who comes back is rid of all of it at once.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"
cat >job.py <<'END'
import hashlib, os, random
memory = bytearray(random.Random(7).randbytes(24 << 20))  # nothing that could be packed
open("ready", "w").close()
n = 0
while not os.path.exists("go"):
    n = (n + 1) % len(memory)
    memory[n * 4099 % len(memory)] ^= n & 255
    memory[n * 4099 % len(memory)] ^= n & 255
print(hashlib.sha256(memory).hexdigest())
END
expected=$(touch go && python3 job.py)
before=$(traces h1)

for strategy in swap-out flush freeze-copy pre-copy demand; do
  # By its owner's return for the first two, as asked for the others.
  rm -f ready go
  soon 20 "h1 idle" is_idle h1
  start_on h0 remote run --memory $strategy python3 job.py </dev/null >output 2>errors &
  shadow=$!
  soon 20 "the job runs" test -e ready
  case $strategy in
    swap-out | flush) cell touch h1 ;;
    *) on h0 remote migrate "$(job id)" </dev/null ;;
  esac
  soon 20 "the job is home ($strategy)" is_at h0
  if [[ $strategy == demand ]]; then
    # What nobody has touched stays, until the owner comes back.
    cell touch h1
  fi
  soon 20 "h1 is clean ($strategy)" leaves_nothing h1 "$before"
  : >go
  wait $shadow || fail "$strategy: the job ended with $?: $(cat errors)"
  equal "what it has computed ($strategy)" "$expected" "$(cat output)"
done

# One that is on its way while its owner is away, and he comes back: at once, whatever was asked for.
rm -f ready go
soon 20 "h1 idle" is_idle h1
start_on h0 remote run --memory demand python3 job.py </dev/null >output 2>errors &
shadow=$!
soon 20 "the job runs" test -e ready
cell touch h1
soon 20 "the job is home" is_at h0
soon 20 "h1 is clean" leaves_nothing h1 "$before"
: >go
wait $shadow || fail "the job ended with $?"
equal "what it has computed" "$expected" "$(cat output)"

# He comes back while it is being copied: it stops at once, and goes home all the same.
rm -f ready go
soon 20 "h1 idle" is_idle h1
start_on h0 remote run --memory pre-copy python3 job.py </dev/null >output 2>errors &
shadow=$!
soon 20 "the job runs" test -e ready
start_on h0 remote migrate "$(job id)" </dev/null 2>said &
mover=$!
sleep 0.1
cell touch h1
soon 20 "the job is home" is_at h0
wait $mover || true # it has asked for what the owner's return asked for, too
soon 20 "h1 is clean" leaves_nothing h1 "$before"
: >go
wait $shadow || fail "the job ended with $?"
equal "what it has computed" "$expected" "$(cat output)"

# One that is on its way to a host whose owner comes back just then stays where it is, and says why.
rm -f ready go
start_on h0 remote run --local --memory freeze-copy python3 job.py </dev/null >output 2>errors &
shadow=$!
soon 20 "the job runs" test -e ready
soon 20 "h1 idle" is_idle h1
on -r h0 tc qdisc replace dev eth0 root tbf rate 50mbit burst 256kb latency 50ms
start_on h0 remote migrate "$(job id)" h1 </dev/null 2>said &
mover=$!
soon 20 "the job moves" state_is moving
cell touch h1
ends_with 1 wait $mover
matches "why it stays" "h1 took it no more: the owner is back" "$(cat said)"
matches "why it stays, for who waits for it" "could not be moved from h0 to h1: h1 took it no more: the owner is back" "$(cat errors)"
on -r h0 tc qdisc del dev eth0 root
soon 20 "the job is home" is_at h0
: >go
wait $shadow || fail "the job ended with $?"
equal "what it has computed" "$expected" "$(cat output)"
soon 20 "h1 is clean" leaves_nothing h1 "$before"

ends_with 125 on h0 remote run --memory swap true </dev/null 2>errors
matches "a wrong strategy" "swap-out.*demand" "$(cat errors)"
