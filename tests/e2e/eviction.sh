#!/usr/bin/env bash
# The owner comes back in the middle of a job: it moves home, goes on there, and its result is that of a run
# which never moved; on the host it left nothing remains.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 3 idle=500ms
cd "$WORK"

# Programs that put much of what a process has into use, then say "ready", wait for "go", and answer from it.
cat >program.py <<'END'
import os, random, signal, sys, threading, time
where = sys.argv[1]
random.seed(7)
table = {i: random.random() for i in range(200000)}
block = bytearray(random.randbytes(20 << 20))
log = open(where + "/log", "w")
log.write("before\n"); log.flush()
source = open("/usr/bin/python3", "rb"); source.seek(4321)
hits = []
signal.signal(signal.SIGUSR1, lambda *_: hits.append(1))
results = []
go = threading.Event()
def work(n):
    total = sum(table[i] for i in range(n, 200000, 4))
    go.wait()
    results.append((n, total, sum(block[n::4])))
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for t in threads: t.start()
line = sys.stdin.readline()
pid, host = os.getpid(), os.uname().nodename
print("first", line.strip(), flush=True)
open(where + "/ready", "w").close()
begin = time.monotonic()
while not os.path.exists(where + "/go"): time.sleep(0.02)
assert time.monotonic() >= begin
go.set()
for t in threads: t.join()
os.kill(os.getpid(), signal.SIGUSR1)
log.write("after\n"); log.close()
print("same process", (pid, host) == (os.getpid(), os.uname().nodename), host)
print("second", sys.stdin.readline().strip(), hash(source.read(100)) == hash(open("/usr/bin/python3", "rb").read()[4321:4421]))
print(sorted(results), hits, open(where + "/log").read().split())
sys.stderr.write("error stream\n")
END
cat >program.pl <<'END'
use strict; $| = 1;
my $where = $ARGV[0];
my %h; my $x = 1;
for my $i (1 .. 200000) { $x = ($x * 1103515245 + 12345) % 2147483648; $h{$i} = $x }
my $line = <STDIN>;
print "first $line";
open(my $r, ">", "$where/ready"); close $r;
until (-e "$where/go") { select(undef, undef, undef, 0.02) }
my $sum = 0; $sum = ($sum * 31 + $h{$_}) % 1000000007 for sort { $a <=> $b } keys %h;
print "second ", scalar(<STDIN>), "$sum\n";
print STDERR "error stream\n";
END
cat >program.sh <<'END'
where=$1 i=0 sum=0
read -r line; echo "first $line"
while [ $i -lt 20000 ]; do i=$((i + 1)); sum=$(((sum * 31 + i) % 1000003)); done
exec 5>"$where/log"; echo before >&5
trap 'echo trapped' USR1
: >"$where/ready"
until [ -e "$where/go" ]; do sleep 0.05; done
kill -USR1 $$
echo after >&5; exec 5>&-
read -r line; echo "second $line $sum $(cat "$where/log" | tr '\n' ' ')"
echo "error stream" >&2
exit 3
END

# moved_home NAME STATUS CMD...: run here, and remotely with the owner's return between "ready" and "go".
moved_home() {
  local name=$1 status=$2 host before id
  shift 2
  mkdir -m 777 "$name-local" "$name"
  : >"$name-local/go"
  ends_with "$status" on h0 "$@" "$name-local" <<<$'one\ntwo' >"$name-local.out" 2>"$name-local.err"

  before=$(traces h1; traces h2)
  mkfifo "$name.in"
  start_on h0 remote run -q "$@" "$name" <"$name.in" >"$name.out" 2>"$name.err" &
  local shadow=$!
  exec 4>"$name.in"
  echo one >&4
  soon 30 "$name is ready" test -e "$name/ready"
  is_away || fail "$name runs at '$(job host)', not on another host"
  host=$(job host)
  id=$(job id)
  cell touch "$host"
  soon 30 "$name is home" is_at h0
  : >"$name/go"
  echo two >&4
  exec 4>&-
  ends_with "$status" wait "$shadow"
  same_file "$name: stdout" "$name-local.out" "$name.out"
  same_file "$name: stderr" "$name-local.err" "$name.err"
  soon 10 "$host is clean" both_leave_nothing "$before"
  matches "$name: ledger" "$host.*h0" "$(on h0 remote history "$id" --no-headers </dev/null | tr '\n' ' ')"
  soon 20 "$host idle again" is_idle "$host"
}
both_leave_nothing() { [[ $(traces h1; traces h2) == "$1" ]]; }

moved_home python 0 python3 program.py
moved_home perl 0 perl program.pl
moved_home shell 3 sh program.sh

# One that knows nothing of us: time alone decides where the move hits it, so it must be long enough.
on h0 head -c 12000000 "$(g++ -print-prog-name=cc1)" >input.cc1
on h0 cp input.cc1 input </dev/null
cp input local-input
xz -9e -k local-input &
start_on h0 remote run -q xz -9e -k input </dev/null &
shadow=$!
soon 10 "xz runs elsewhere" is_away
soon 20 "xz writes" test -s input.xz
host=$(job host)
cell touch "$host"
soon 30 "xz is home" is_at h0
ends_with 0 wait "$shadow"
wait
same_file "xz" local-input.xz input.xz
