#!/usr/bin/env bash
# pmake: a build over the cell gives the bytes of a local one, also while owners come and go, and fails as make
# does; what stays at home does; what hob loses runs once more at home.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 4 idle=500ms
cd "$WORK"

# A tree with what makefiles do: a makefile's own shell, $(shell), below it another make, a library, a link.
mkdir -p tree/sub
cat >tree/Makefile <<'END'
SHELL := /bin/bash
SOURCES := $(sort $(wildcard *.c))
NAME := $(shell echo program)
all: $(NAME) sub/out where
$(NAME): $(SOURCES:.c=.o)
	gcc -o $@ $^
%.o: %.c
	@[[ $@ == *.o ]] && gcc -O2 -c -o $@ $<
where: ; echo $$(sleep 0.3) "$$(hostname)" >$@
sub/out: FORCE
	$(MAKE) -C sub
FORCE:
.PHONY: all FORCE
END
cat >tree/sub/Makefile <<'END'
out: one two
	cat one two >out
one: ; sleep 0.2; echo one >one
two: ; @sleep 0.2; echo two >two; echo built two
END
for i in $(seq 24); do
  cat >"tree/f$i.c" <<END
#include <stdio.h>
#include <stdlib.h>
static int cmp(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
int f$i(int n) { int v[64]; for (int k = 0; k < 64; k++) v[k] = (n * $i + k * 7919) % 101; qsort(v, 64, 4, cmp); return v[$i]; }
END
done
{
  for i in $(seq 24); do echo "int f$i(int);"; done
  echo '#include <stdio.h>'
  echo 'int main(void) { int s = 0;'
  for i in $(seq 24); do echo "s += f$i(s);"; done
  echo 'printf("%d\n", s); return 0; }'
} >tree/main.c
chmod -R a+rwX tree
cp -r tree local && chmod -R a+rwX local
on h0 make -s -C local >/dev/null 2>&1 </dev/null
expected=$(./local/program)

build() { # build DIR ARGUMENT...: on h0; stdout to out, stderr to err
  local dir=$1
  shift
  rm -rf "$dir" && cp -r tree "$dir" && chmod -R a+rwX "$dir"
  on h0 pmake -C "$dir" "$@" >out 2>err </dev/null
}
same_build() {
  local file
  for file in program sub/out main.o f7.o; do same_file "$1" "local/$file" "$2/$file"; done
  equal "$1: what the program prints" "$expected" "$("./$2/program")"
}

echo "- a build: same bytes, recipes elsewhere, one line at the end"
build one --trace trace.json --report report.html || { cat out err; fail "the build failed"; }
same_build "a build" one
matches "summary" 'pmake: .* recipes on [1-3] hosts' "$(tail -n 1 err)"
matches "output of a recipe" 'built two' "$(cat out)"
equal "a job sees its home's name" h0 "$(tr -d ' ' <one/where)"
hosts=$(json "len({e['args']['name'] for e in (it['traceEvents'] if isinstance(it, dict) else it) if e['name'] == 'process_name'})" <trace.json)
((hosts >= 3)) || fail "the trace knows $hosts hosts"
grep -q '<html' report.html || fail "no report"
equal "nothing to do: no recipe, no summary" "" "$(on h0 pmake -C one program 2>&1 >/dev/null </dev/null)"

echo "- a recipe's failure is make's to report, and is not repeated"
cat >fails.mk <<'END'
all: good bad
good: ; gcc --version >/dev/null
bad: ; echo tried >>tried; sleep 0.1; exit 3
END
mkdir failing && chmod 777 failing
ends_with 2 on h0 pmake -k -C failing -f ../fails.mk all >out 2>err </dev/null
matches "make's words" '\*\*\* .*bad.* Error 3' "$(cat err)"
equal "tried" 1 "$(wc -l <failing/tried)"

echo "- what is to stay at home does"
cat >stay.mk <<'END'
all: a b c d
a: ; @sleep 0.01; grep -q "hob-cell-$$HOB_CELL/h0/" /proc/self/cgroup && echo a home || echo a away
b: ; @sleep 0.01; grep -q "hob-cell-$$HOB_CELL/h0/" /proc/self/cgroup && echo b home || echo b away
c: ; @echo c home
d: ; @cp /proc/self/comm /dev/null; test -e /proc/self/cgroup && echo d home
.PHONY: a b c d
END
mkdir stay && printf '[make]\nhome_targets = ["b"]\n' >stay/.remote.toml && chmod -R a+rwX stay
on h0 pmake -C stay -f ../stay.mk >out 2>err </dev/null
matches "places" 'a away' "$(cat out)"
matches "places" 'b home' "$(cat out)"
cat >own.mk <<'END'
all: ; @$(MAKE) --no-print-directory -j2 -f ../own.mk e f
e: ; @sleep 0.01; grep -q "hob-cell-$$HOB_CELL/h0/" /proc/self/cgroup && echo e home || echo e away
f: ; +@sleep 0.01; grep -q "hob-cell-$$HOB_CELL/h0/" /proc/self/cgroup && echo f home || echo f away
END
on h0 pmake -C stay -f ../own.mk >out 2>err </dev/null
matches "places below a make with a jobserver of its own" 'e away' "$(cat out)"
matches "places below a make with a jobserver of its own" 'f home' "$(cat out)"
matches "places with -X" 'a home' "$(on h0 pmake -X -C stay -f ../stay.mk 2>/dev/null </dev/null)"
echo 'x = 1' >stay/.remote.toml
ends_with 2 on h0 pmake -C stay -f ../stay.mk 2>err </dev/null
matches "a wrong .remote.toml" '.remote.toml' "$(cat err)"

echo "- what make says of its makefiles and its shell is the user's"
cat >shell.mk <<'END'
SHELL = /bin/bash
export SHELL
all: script list exported
script: ; @printf '#!$(SHELL)\na=(1 2 3); echo $${a[2]}\n' >script; chmod +x script; sleep 0.01; ./script; head -n 1 script
list: ; @echo first $(firstword $(MAKEFILE_LIST))
exported: ; @sleep 0.01; echo "exported $$SHELL"
END
cat >one.mk <<'END'
SHELL = /usr/bin/python3
.ONESHELL:
all:
	@for i in range(2):
	    print("indented", i)
END
mkdir shell && chmod a+rwX shell
for file in shell one; do
  on h0 make -j4 --no-print-directory -C shell -f ../$file.mk </dev/null 2>&1 | sort >expected
  rm -f shell/script
  on h0 pmake --no-print-directory -C shell -f ../$file.mk </dev/null 2>err | sort >out
  same_file "output of $file.mk" expected out
done

echo "- signals for it alone, and for all that the terminal has before it"
is_interrupted() {
  local status=0
  wait $build_pid || status=$?
  [[ $status == 130 ]] || fail "an interrupted build ended with $status: $(cat err)"
}
cat >slow.mk <<'END'
all: x y
x y: ; echo half >$@; sleep 1; echo whole >>$@
END
mkdir slow && chmod a+rwX slow
start_on h0 env --default-signal=INT pmake -s -C slow -f ../slow.mk >out 2>err </dev/null &
build_pid=$!
soon 10 "the recipes run" test -e slow/x -a -e slow/y
kill -INT $build_pid
is_interrupted
[[ ! -e slow/x && ! -e slow/y ]] || fail "half-written files were left"
cat >waiting.mk <<'END'
all: a b c
a b c: ; @echo "$@ begins" >>begun; cp /proc/self/comm /tmp/hob-$@.$$$$; sleep 1; rm -f /tmp/hob-$@.$$$$
END
mkdir waiting && chmod a+rwX waiting
start_on h0 env --default-signal=INT pmake -s -L 1 -C waiting -f ../waiting.mk >out 2>err </dev/null &
build_pid=$!
soon 10 "a recipe runs at home" test -e waiting/begun
kill -INT $build_pid
is_interrupted
equal "recipes that began: not those that waited for the first" 1 "$(wc -l <waiting/begun)"
set -m # a process group that can be continued
start_on h0 pmake -s -C slow -f ../slow.mk >out 2>err </dev/null &
build_pid=$!
set +m
soon 10 "the recipes run" test -e slow/x -a -e slow/y
kill -TSTP -- -$build_pid
soon 5 "what is away is stopped" state_is stopped
sleep 1.2
equal "a file that is written away" "half" "$(sort -u slow/x slow/y)"
matches "what is stopped here" "^(T[^ ]* *)+$" "$(ps -eo pgid=,stat= | awk -v g=$build_pid '$1 == g {print $2}' | tr '\n' ' ')"
kill -CONT -- -$build_pid
ends_with 0 wait $build_pid

echo "- owners come and go: same bytes, and recipes have moved"
cat >long.mk <<'END'
all: $(patsubst %,r%,$(shell seq 9))
r%: ; @i=0; while [ $$i -lt 12 ]; do i=$$((i + 1)); sleep 0.4; done; echo $$i $* >$@
END
mkdir moving && chmod 777 moving
start_on h0 pmake -C moving -f ../long.mk >out 2>err </dev/null &
build_pid=$!
while kill -0 "$build_pid" 2>/dev/null; do
  for i in 1 2 3; do
    cell touch "h$i"
    sleep 0.7
  done
done
wait "$build_pid" || { cat out err; fail "the build failed under evictions"; }
for i in $(seq 9); do equal "r$i" "12 $i" "$(cat "moving/r$i")"; done
matches "moved" '[1-9][0-9]* moved' "$(tail -n 1 err)"
for i in 1 2 3; do soon 20 "h$i idle" is_idle "h$i"; done

echo "- a host that dies: its recipe runs once more at home, its half-written file is gone before"
cat >lost.mk <<'END'
out: ; @echo begun >$@; echo x >>tries; if [ -e done ]; then test ! -s half; else touch started; sleep 60; fi; echo whole >$@
END
mkdir lost && chmod 777 lost
start_on h0 pmake -L 0 -C lost -f ../lost.mk >out 2>err </dev/null &
build_pid=$!
soon 20 "the recipe runs" test -e lost/started
host=$(job host)
touch lost/done
cell kill "$host" KILL
group=$(cell cgroup "$host")
echo 1 >"$group/cgroup.kill"
wait "$build_pid" || { cat out err; fail "the build failed"; }
equal "the file" whole "$(cat lost/out)"
equal "tries" 2 "$(wc -l <lost/tries)"
matches "one line says so" 'out: .*running it again at home' "$(cat err)"

echo "- ninja: its commands leave as well, and it knows nothing of it"
mkdir ninja && cat >ninja/build.ninja <<'END'
rule where
  command = sleep 0.3; grep -o "hob-cell-[^/]*/h[0-9]" /proc/self/cgroup | head -n 1 > $out; echo "$$LD_PRELOAD" >> $out
build a: where
build b: where
build c: where
END
chmod -R a+rwX ninja
on h0 remote ninja -L 0 -C ninja >out 2>err </dev/null || { cat out err; fail "remote ninja failed"; }
for i in a b c; do
  matches "where $i ran" "/h[1-9]\$" "$(head -n 1 "ninja/$i")"
  equal "what $i was given to load" "" "$(tail -n 1 "ninja/$i")"
done

echo "- bmake: a target is a script, and leaves as a whole"
mkdir bsd && cat >bsd/Makefile <<'END'
NAME != echo name
all: one two ${NAME} sub
one two:
	-false
	sleep 0.3
	grep -o "hob-cell-[^/]*/h[0-9]" /proc/self/cgroup | head -n 1 >${.TARGET}
${NAME}:
	@mkdir -p made && touch ${.TARGET}
sub:
	${MAKE} -f sub.mk
END
printf 'all: three\nthree:\n\tsleep 0.3; grep -o "hob-cell-[^/]*/h[0-9]" /proc/self/cgroup | head -n 1 >three\nbad:\n\tsleep 0.1; exit 3\n' >bsd/sub.mk
chmod -R a+rwX bsd
on h0 remote bmake -L 0 -C bsd >out 2>err </dev/null || { cat out err; fail "remote bmake failed"; }
for i in one two three; do matches "where $i ran" "/h[1-9]\$" "$(cat "bsd/$i")"; done
test -e bsd/name -a -d bsd/made || fail "what is cheap was not made"
matches "recipes" '; 3 recipes on' "$(tail -n 1 err)"
ends_with 2 on h0 remote bmake -C bsd -f sub.mk bad >out 2>err </dev/null
matches "bmake's words" 'Error code 3' "$(cat out err)"

echo "- without hostd it is make"
cell kill h0
build alone || { cat out err; fail "the build failed without hostd"; }
same_build "without hostd" alone
matches "one line says so" 'hob-hostd' "$(cat err)"
