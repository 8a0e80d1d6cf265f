# What the end-to-end tests share; each sources it first. A test ends at the first thing that is not as it
# should be. WORK is its directory, open to all users.
# shellcheck shell=bash
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

cell() { "$ROOT/scripts/cell" "$@"; }
on() { cell exec "$@"; }
# For use with `&`: becomes the command, so that $! is its process.
start_on() { exec "$ROOT/scripts/cell" exec "$@"; }
exec 9>&2 # where failures go, whatever a test does with its stderr
fail() {
  printf 'FAIL: %s\n' "$*" >&9
  exit 1
}
skip() {
  printf 'SKIP: needs %s\n' "$*"
  exit 77
}

# equal WHAT EXPECTED ACTUAL
equal() { [[ $2 == "$3" ]] || fail "$1: expected '$2', got '$3'"; }
# matches WHAT PATTERN ACTUAL: an extended regular expression.
matches() { [[ $3 =~ $2 ]] || fail "$1: '$3' does not match '$2'"; }
# same_file WHAT EXPECTED ACTUAL
same_file() { cmp "$2" "$3" || fail "$1: $2 and $3 differ"; }
# ends_with STATUS CMD...
ends_with() {
  local expected=$1 status=0
  shift
  "$@" || status=$?
  equal "exit status of: $*" "$expected" "$status"
}
# soon SECONDS WHAT CMD...: CMD becomes true.
soon() {
  local seconds=$1 what=$2
  shift 2
  wait_until "$seconds" "$@" || fail "not after $seconds s: $what"
}

# json PYTHON: an expression over `it`, the JSON document on stdin.
json() { python3 -c "import json, sys; it = json.load(sys.stdin); print($1)"; }
# Nothing while the coordinator is away.
state_of() {
  local hosts
  hosts=$(on h0 remote hosts --json </dev/null 2>/dev/null) || return 0
  json "next((h['state'] for h in it['hosts'] if h['name'] == '$1'), '')" <<<"$hosts"
}
is_idle() { [[ $(state_of "$1") == IDLE ]]; }

# up N [OPTION...]: a cell whose hosts, h0 excepted, are idle. h0's owner is there: jobs go elsewhere.
up() {
  local i
  cell up "$@" </dev/null
  for ((i = 1; i < $1; i++)); do soon 20 "h$i idle" is_idle "h$i"; done
}

# Of the job that was started on h0 last: its id, where it is, its state.
job() { on h0 remote ps --json </dev/null | json "it['jobs'][-1]['$1'] if it['jobs'] else ''"; }
is_at() { [[ $(job host) == "$1" && $(job state) == running ]]; }
is_away() { [[ -n $(job host) && $(job host) != h0 && $(job state) == running ]]; }
state_is() { [[ $(job state) == "$1" ]]; }

# traces HOST: what guests could leave there; the same before and after, if they leave nothing. Its owner
# is made present, because an idle host keeps starters ready for guests to come.
traces() {
  local group
  group=$(cell cgroup "$1")
  cell touch "$1"
  sleep 0.2
  echo "processes:" && find "$group" -name cgroup.procs -exec cat {} + | while read -r pid; do cat "/proc/$pid/comm" 2>/dev/null || true; done | sort
  echo "groups:" && find "$group" -mindepth 2 -type d | sort
  # shellcheck disable=SC2016  # awk expands it
  echo "mounts:" && on -r "$1" awk '{print $5, $9}' /proc/self/mountinfo | sort
  echo "files:" && on -r "$1" find /run/hob /etc/hob -not -name '*.sock' | sort
  echo "sockets:" && on -r "$1" ss -Hltnp | awk '{print $4}' | sort
}
leaves_nothing() { [[ $(traces "$1") == "$2" ]]; }

# hob-starters, which have no environment, get HOB_FAULT from the file fault-HOST in WORK, while it is there.
# Those that are kept ready do after restart HOST.
arm_starters() {
  local bin
  bin=$(dirname "$(cell path h0)")/bin
  mkdir "$bin/real"
  mv "$bin/hob-starter" "$bin/real/"
  cat >"$bin/hob-starter" <<END
#!/bin/sh
# CGROUP SOCKET HOST ADDRESS
[ ! -e "$WORK/fault-\$3" ] || export HOB_FAULT=\$(/bin/cat "$WORK/fault-\$3")
exec "$bin/real/hob-starter" "\$@"
END
  chmod 755 "$bin/hob-starter"
}
restart() {
  cell kill "$1" TERM
  cell start "$1" </dev/null
}
