#!/usr/bin/env bash
# hostd is told to end (an upgrade, a shutdown) while it has guests: they go home and finish there, and hostd
# ends by itself within its limit. Afterwards the host takes guests as before.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"
cat >job.sh <<'END'
: >"ready$1"
read -r first
until [ -e go ]; do sleep 0.05; done
read -r second
echo "$first $second $1"
exit "$1"
END
shadows=()
for i in 3 4; do
  mkfifo "in$i"
  start_on h0 remote run -q sh job.sh "$i" <"in$i" >"output$i" 2>"errors$i" &
  shadows[i]=$!
done
exec 4>in3 5>in4
echo one >&4
echo one >&5
for i in 3 4; do soon 20 "job $i runs" test -e "ready$i"; done
places() { on h0 remote ps --json </dev/null | json "','.join(j['host'] + ' ' + j['state'] for j in it['jobs'])"; }
equal "where they run" "h1 running,h1 running" "$(places)"

# `cell kill` fails if hostd is still there after 10 s.
cell kill h1 TERM
both_home() { [[ $(places) == "h0 running,h0 running" ]]; }
soon 10 "the jobs are home" both_home
# Only what is kept ready for guests may be left of them.
equal "their processes on h1" "" "$(find "$(cell cgroup h1)/guests" -name cgroup.procs -exec cat {} +)"
: >go
echo two >&4
echo two >&5
exec 4>&- 5>&-
for i in 3 4; do
  ends_with "$i" wait "${shadows[i]}"
  equal "output of job $i" "one two $i" "$(cat "output$i")"
  equal "errors of job $i" "" "$(cat "errors$i")"
done

cell start h1 </dev/null
soon 20 "h1 idle again" is_idle h1
ends_with 0 on h0 remote run true </dev/null
