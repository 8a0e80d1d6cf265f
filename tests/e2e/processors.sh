#!/usr/bin/env bash
# Hosts with unlike processors: jobs start with what all of them have, as far as glibc goes; a job does not move to
# a processor that lacks what it may have used, is told so by name, and still goes home when the owner comes.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
for feature in avx2 bmi2; do
  grep -qw "$feature" /proc/cpuinfo || skip "a processor with $feature"
done
up 3 idle=500ms
cd "$WORK"

# h2 is to be an older one (HOB_CPU_WITHOUT: migrate/cpu_features.h). Starters have no environment.
bin=$(dirname "$(cell path h0)")/bin
mkdir -p "$bin/real/real"
mv "$bin/hob-hostd" "$bin/real/"
mv "$bin/hob-starter" "$bin/real/real/"
older() { # PROGRAM, where it really is
  cat >"$1" <<END
#!/bin/sh
# In a starter's own name space hostname(1) would do as well, but it has no PATH.
[ "\$(/bin/uname -n)" != h2 ] || export HOB_CPU_WITHOUT="avx2 bmi2"
exec "$2" "\$@"
END
  chmod 755 "$1"
}
older "$bin/hob-hostd" "$bin/real/hob-hostd"
older "$bin/real/hob-starter" "$bin/real/real/hob-starter"
for host in h0 h1 h2; do
  cell kill "$host" TERM
  cell start "$host" </dev/null
done
for host in h1 h2; do soon 20 "$host idle" is_idle "$host"; done

# shellcheck disable=SC2016  # the job expands it
tunables() { on h0 "$@" sh -c 'echo "$GLIBC_TUNABLES"' </dev/null; }
equal "what glibc does without, where there is more" "glibc.cpu.hwcaps=-AVX2,-BMI2" "$(tunables remote run --host h1)"
equal "where there is no more" "" "$(tunables remote run --host h2)"
equal "beside the user's own" "glibc.malloc.check=0:glibc.cpu.hwcaps=-ERMS,-AVX2,-BMI2" \
  "$(tunables env GLIBC_TUNABLES=glibc.malloc.check=0:glibc.cpu.hwcaps=-ERMS remote run --host h1)"

cat >job.sh <<'END'
: >ready
until [ -e go ]; do sleep 0.02; done
echo end
END
start_on h0 remote run --host h1 sh job.sh </dev/null >output 2>errors &
shadow=$!
soon 20 "the job runs" test -e ready
ends_with 1 on h0 remote migrate "$(job id)" h2 </dev/null 2>refused
matches "why it does not move" "processor lacks what programs may have used on the source's: avx2 bmi2;" "$(cat refused)"
is_at h1 || fail "the job is '$(job state)' at '$(job host)' after the refusal"
cell touch h1
soon 30 "the job is home" is_at h0
ends_with 1 on h0 remote migrate "$(job id)" h2 </dev/null 2>refused
is_at h0 || fail "the job is '$(job state)' at '$(job host)' after the second refusal"
: >go
ends_with 0 wait "$shadow"
equal "its output" end "$(cat output)"
