#!/usr/bin/env bash
# Real programs, evicted again and again (bench/soak): right results, and nothing is left on any host: processes,
# mounts, control groups, memory, descriptors, sockets, connections, files, IPC. EVICTIONS (20) says how often;
# `scripts/bench soak` is the form with 1,000.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 4 idle=300ms
cell exec -r h0 python3 "$ROOT/bench/soak/soak.py" --evictions "${EVICTIONS:-20}" --cell "$(dirname "$(cell path h0)")" \
  --groups "$(dirname "$(cell cgroup h0)")" --work "$WORK" --uid 65534 --gid 65534 </dev/null || fail "see above"
