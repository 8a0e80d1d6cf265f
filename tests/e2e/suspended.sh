#!/usr/bin/env bash
# A guest that cannot be moved: its user is told while it runs; when the owner returns it waits, frozen, and
# goes on when he is away again.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=1s
cd "$WORK"
cat >job.py <<'END'
import os, socket, time
socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
print("listened with", socket.fileno())
END
start_on h0 remote run python3 job.py </dev/null >output 2>errors &
shadow=$!
soon 30 "the job runs" test -e ready
soon 30 "its user is told" grep -q "netlink" errors
matches "what he is told" "fd 3 of process .* \(python3\): a netlink .*when the owner of h1 returns, the job waits there" "$(cat errors)"
cell touch h1
suspended() { [[ $(job state) == suspended ]]; }
soon 20 "it is suspended" suspended
matches "what he is told then" "could not be moved from h1 to h0: .*netlink.*; it waits there, suspended, until the owner is away again" "$(cat errors)"
runs() { [[ $(job state) == running && $(job host) == h1 ]]; }
soon 30 "it goes on" runs
# Who sends it home is told why it stays; it goes on.
ends_with 1 on h1 remote evict "$(job id)" </dev/null 2>said
matches "what the owner is told" "evict: $(job id) stays: fd 3 of process .*netlink" "$(cat said)"
soon 10 "it still runs" runs
: >go
ends_with 0 wait "$shadow"
equal "its output" "listened with 3" "$(cat output)"
