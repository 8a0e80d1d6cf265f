#!/usr/bin/env bash
# Home cannot be reached when the owner returns: the guest stays, frozen, and moves when the link is back.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"
cat >job.sh <<'END'
: >ready
until [ -e go ]; do echo x >>count; sleep 0.02; done
echo end
END
start_on h0 remote run -q sh job.sh </dev/null >output &
shadow=$!
soon 20 "the job runs" test -e ready
is_away || fail "the job runs at '$(job host)'"

frozen() { grep -q -x 'frozen 1' "$(dirname "$(find "$(cell cgroup h1)/guests" -name cgroup.procs -exec grep -l . {} + | head -n 1)")/cgroup.events"; }
# The owner stays: a key every now and then, until the test ends.
(while sleep 0.2; do touch "$(cell path h1)/owner/input"; done) &
owner=$!
trap 'kill $owner' EXIT

cell link h0 down
cell touch h1
soon 5 "the guest is frozen" frozen
size=$(stat -c %s count)
# Two of hostd's attempts later it is still there, and has not run.
sleep 6
frozen || fail "the guest runs on a host whose owner is back"
equal "what it wrote while frozen" "$size" "$(stat -c %s count)"
cell link h0 up
soon 60 "the job is home" is_at h0
: >go
ends_with 0 wait "$shadow"
equal "its output" end "$(cat output)"
