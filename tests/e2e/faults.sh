#!/usr/bin/env bash
# Home's starter dies at chosen points of an eviction (migrate/fault.h), all before the commit: the guest stays
# frozen where it is, and a later attempt succeeds.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"

arm_starters

cat >job.sh <<'END'
: >ready
until [ -e go ]; do echo x >>count; sleep 0.02; done
echo end
exit 6
END
begin() {
  rm -f ready go count output errors
  soon 20 "h1 idle" is_idle h1
  start_on h0 remote run sh job.sh </dev/null >output 2>errors &
  shadow=$!
  soon 20 "the job runs" test -e ready
  is_away || fail "the job runs at '$(job host)'"
}
ends_well() {
  : >go
  ends_with 6 wait "$shadow"
  equal "its output" end "$(cat output)"
}

# The owner stays: a key every now and then, until the job is home.
owner_stays() { while sleep 0.2; do touch "$(cell path h1)/owner/input"; done; }
owner=
trap 'kill $owner 2>/dev/null || true' EXIT
# dies_at POINT
dies_at() {
  echo "$1:die" >fault-h0
  restart h0
  begin
  owner_stays &
  owner=$!
  cell touch h1
  soon 20 "an attempt has failed" grep -q 'could not be moved from h1 to h0' errors
  local size
  size=$(stat -c %s count)
  sleep 3 # another attempt
  equal "what it wrote on a host whose owner is back" "$size" "$(stat -c %s count)"
  rm fault-h0
  soon 30 "the job is home" is_at h0
  ends_well
  kill "$owner"
  wait "$owner" || true
}
dies_at 20 # the source has connected
dies_at 26 # everything is restored, and nothing runs
