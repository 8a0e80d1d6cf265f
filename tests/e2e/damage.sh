#!/usr/bin/env bash
# A damaged config, a missing key, a full disk below the ledger: a clear error, and nothing is lost.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"

# refuses PATTERN LINES...: hostd does not start with these lines in its config, and says why, with file and line.
refuses() {
  local pattern=$1
  shift
  on -r h1 sh -c 'cp /etc/hob/hostd.toml bad.toml && printf "%s\n" "$@" >>bad.toml' sh "$@" </dev/null
  ends_with 1 on -r h1 hob-hostd --check-config --config bad.toml </dev/null >errors 2>&1
  matches "the error" "bad.toml:[0-9]+.*$pattern" "$(cat errors)"
  ends_with 1 timeout 10 "$ROOT/scripts/cell" exec -r h1 hob-hostd --config bad.toml </dev/null 2>errors
  matches "the error at the start" "bad.toml:[0-9]+.*$pattern" "$(cat errors)"
}
refuses "idel" '[idel]' 'input = "3s"'
refuses "" '[idle' 
refuses "owner" '[owner]' 'min_uid = "many"'

ends_with 1 timeout 10 "$ROOT/scripts/cell" exec -r h1 hob-hostd --config /nowhere.toml </dev/null 2>errors
matches "no config" "/nowhere.toml" "$(cat errors)"

# The disk below the ledger is full: the coordinator says so, jobs still run, and afterwards it writes again.
on -r coordinator mount -o remount,size=8m /var/lib/hob </dev/null
on -r coordinator sh -c 'cat /dev/zero >/var/lib/hob/filler' </dev/null 2>/dev/null || true
for i in 1 2 3; do ends_with 0 on h0 remote run sh -c "exit 0; full $i" </dev/null; done
cell pid coordinator >/dev/null || fail "the coordinator died of a full disk"
matches "what the coordinator says" "full" "$(cell logs coordinator)"
on -r coordinator rm /var/lib/hob/filler </dev/null
ends_with 0 on h0 remote run sh -c 'exit 0; space' </dev/null
recorded() { on h0 remote ps --all --ended </dev/null | grep -q space; }
soon 10 "the ledger is written again" recorded
