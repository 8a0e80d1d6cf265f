#!/usr/bin/env bash
# A job with a terminal moves home in mid-work: what is typed reaches it as before, once, also what is typed
# while it moves; its window, its foreground group and ^C are as before; its exit status is that of the job.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v script >/dev/null || skip "script(1), of bsdutils"
up 2 idle=500ms
cd "$WORK"
cat >job.sh <<'END'
group=$(ps -o tpgid= -p $$)
trap 'echo interrupted' INT
stty rows 33 columns 77
echo "ready $$"
while read -r line; do
  case $line in
    again) echo "group $group is $(ps -o tpgid= -p $$)" ;;
    size) echo "size $(stty size)" ;;
    name) echo "on $(tty)" ;;
    end) exit 7 ;;
    *) echo "got $line" ;;
  esac
done
END
mkfifo keys
start_on h0 script -qefc 'remote run -t bash job.sh' /dev/null <keys >screen 2>&1 &
terminal=$!
exec 4>keys
shows() { tr -d '\r' <screen | grep -q -x -- "$1"; }
# types TEXT LINE: LINE is then on the screen.
types() {
  printf '%b' "$1" >&4
  soon 20 "'$2' on the screen" shows "$2"
}
soon 20 "the job is ready" shows 'ready [0-9]*'
is_away || fail "the job runs at '$(job host)'"
types 'away\n' 'got away'
types 'size\n' 'size 33 77'
types 'name\n' 'on /dev/pts/0'

# What is typed while it moves is not lost.
cell touch h1
printf 'moving\n' >&4
soon 30 "the job is home" is_at h0
soon 20 "what was typed during the move" shows 'got moving'
types 'home\n' 'got home'
printf 'name\n' >&4
soon 20 'its terminal has its name' eval '[ "$(tr -d "\r" <screen | grep -c -x "on /dev/pts/0")" = 2 ]'
types 'again\n' 'group \(.*\) is \1'
types '\x03' '.*interrupted'
types 'after\n' 'got after'
printf 'end\n' >&4
ends_with 7 wait "$terminal"
exec 4>&-
for word in away moving home after; do
  equal "how often 'got $word' is on the screen" 1 "$(tr -d '\r' <screen | grep -c -x "got $word")"
done
