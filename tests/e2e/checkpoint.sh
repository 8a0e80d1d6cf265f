#!/usr/bin/env bash
# Checkpoints: the job goes on, the file restarts it as often as one likes; a job that is saved now and
# then goes on at home when its host is lost, and its output is what it would have been.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"
cat >job.py <<'END'
import os, time
open("ready", "w").close()
for i in range(300):
    print(i, flush=True)
    time.sleep(0.01)
    if i == 100:
        while not os.path.exists("go"): time.sleep(0.01)
END
seq 0 299 >expected
has_lines() { [[ $(wc -l <"$1") -ge $2 ]]; }

rm -f ready go
: >output
start_on h0 remote run python3 job.py </dev/null >output 2>errors &
shadow=$!
soon 20 "100 lines" has_lines output 101
on h0 remote checkpoint "$(job id)" saved </dev/null
[[ -s saved && ! -e saved.part ]] || fail "there is no checkpoint"
equal "whose it is" nobody "$(stat -c %U saved)"
on h0 remote inspect saved </dev/null >listing
matches "what is in it" "python3" "$(cat listing)"
: >go
wait $shadow || fail "the job ended with $?: $(cat errors)"
same_file "its output" expected output
for i in 1 2; do
  on h0 remote restart saved </dev/null >output 2>errors || fail "restart $i: $? $(cat errors)"
  same_file "output from the checkpoint on" <(seq 101 299) output
done

# Its host is lost, in the way that is quickest here: what holds it there is killed.
starters() { find "$(cell cgroup h1)" -name cgroup.procs -exec cat {} + | while read -r pid; do
  [[ $(cat "/proc/$pid/comm" 2>/dev/null) != hob-starter ]] || echo "$pid"
done; }
is_saved() { on -r h0 sh -c 'ls /var/lib/hob/checkpoints/*/* 2>/dev/null' </dev/null | grep -qv part; }
rm -f ready go
soon 20 "h1 idle" is_idle h1
: >output
start_on h0 remote run --checkpoint-every 500ms python3 job.py </dev/null >output 2>errors &
shadow=$!
soon 20 "100 lines" has_lines output 101
soon 20 "a checkpoint" is_saved
sleep 1
starters | xargs kill -KILL
soon 20 "the job is home" is_at h0
: >go
wait $shadow || fail "the job ended with $?: $(cat errors)"
same_file "its output" expected output
matches "what its user is told" "goes on at home from its checkpoint" "$(cat errors)"
is_saved && fail "its checkpoint is left behind"

# What cannot be done is said.
ends_with 4 on h0 remote checkpoint h0.99 saved </dev/null 2>errors
ends_with 126 on h0 remote restart /etc/passwd </dev/null 2>errors
matches "no checkpoint" "it is no checkpoint" "$(cat errors)"
ends_with 126 on h0 remote restart nothing </dev/null 2>errors
matches "no file" "No such file" "$(cat errors)"
