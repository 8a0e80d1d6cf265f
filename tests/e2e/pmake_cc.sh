#!/usr/bin/env bash
# remote cc: compilers of any build run on idle hosts, with the bytes of a local build; as a launcher, behind
# ccache, by a directory in PATH, under CMake with ninja, and under pmake itself.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 4 idle=500ms
cd "$WORK"
mkdir tree
for i in $(seq 12); do
  {
    echo '#include <stdio.h>'
    echo '#include <stdlib.h>'
    for f in $(seq 30); do echo "int g${i}_$f(int n) { int v[32]; for (int k = 0; k < 32; k++) v[k] = n * k % $((f + i)); return v[n % 32]; }"; done
  } >"tree/f$i.c"
done
echo 'int main(void) { return 0; }' >tree/main.c
printf 'O = $(patsubst %%.c,%%.o,$(wildcard *.c))\nprogram: $(O)\n\t$(CC) -o $@ $^\n%%.o: %%.c\n\t$(CC) -O2 -c -o $@ $<\n' >tree/Makefile
chmod -R a+rwX tree
fresh() { rm -rf "$1" && cp -r tree "$1" && chmod -R a+rwX "$1"; }
fresh local
on h0 make -s -C local CC=gcc >/dev/null </dev/null
same_build() { for file in program f7.o main.o; do same_file "$1" "local/$file" "$2/$file"; done; }

# Guests have the lowest priority on the same processors, so that home compiles more than its share here.
# Where compilers have run is asked of a wrapper: guests see their home's name, and the group tells the host.
cat >gcc-told <<'END'
#!/bin/sh
grep -o "hob-cell-[^/]*/h[0-9]" /proc/self/cgroup | head -n 1 >>"$TOLD"
exec gcc "$@"
END
chmod 755 gcc-told
export TOLD=$WORK/told
elsewhere() { grep -c '/h[1-9]$' "$TOLD"; }
begin() { : >"$TOLD"; chmod a+rw "$TOLD"; }

echo "- a launcher in front of the compiler"
fresh one && begin
on h0 env "TOLD=$TOLD" make -s -j8 -C one "CC=remote cc $WORK/gcc-told" </dev/null >out 2>err || { cat out err; fail "the build failed"; }
same_build launcher one
equal "nothing is said" "" "$(cat out err)"
(($(elsewhere) >= 4)) || fail "only $(elsewhere) of 14 compilers ran elsewhere"

echo "- the standing build ends, and gives back what it held"
has_ended() { on h0 sh -c 'test -d "$XDG_RUNTIME_DIR/remote-cc" && test ! -S "$XDG_RUNTIME_DIR/remote-cc/socket"'; }
soon 15 "the standing build has ended" has_ended

echo "- a compiler's failure is its own, and is told once"
echo 'int broken( {' >broken.c
chmod a+r broken.c
ends_with 1 on h0 remote cc gcc -c -o broken.o broken.c </dev/null >out 2>err
equal "errors" 1 "$(grep -c 'error:' err)"
test ! -e broken.o || fail "broken.o is there"
ends_with 127 on h0 remote cc no-such-compiler -c x.c </dev/null 2>err
matches "no compiler" 'no-such-compiler: not found' "$(cat err)"
soon 15 "the standing build has ended" has_ended
matches "a question is answered" 'gcc' "$(on h0 remote cc gcc --version </dev/null)"
has_ended || fail "a question began a standing build"
ends_with 2 on h0 remote cc </dev/null 2>err

echo "- the directory of compilers' names"
names=$(dirname "$(on h0 sh -c "command -v remote" </dev/null)")/compilers
fresh names_tree && begin
on h0 env "PATH=$names:$PATH" make -s -j8 -C names_tree CC=gcc </dev/null >out 2>err || { cat out err; fail "the build failed"; }
same_build "by name" names_tree

echo "- ccache in front: misses go out, hits cost nothing"
mkdir cache && chmod 777 cache
for turn in 1 2; do
  fresh cached && begin
  on h0 env "TOLD=$TOLD" "CCACHE_DIR=$WORK/cache" CCACHE_PREFIX=remote-cc make -s -j8 -C cached "CC=ccache $WORK/gcc-told" </dev/null >out 2>err || { cat out err; fail "the build failed"; }
  same_build "ccache, turn $turn" cached
  ((turn == 2)) || (($(elsewhere) >= 3)) || fail "only $(elsewhere) misses went out"
  # The link is no business of ccache's.
  ((turn == 1)) || equal "compilers in turn 2" 1 "$(wc -l <"$TOLD")"
done

echo "- ninja"
mkdir ninja && cp tree/*.c ninja && {
  printf 'rule cc\n  command = remote-cc %s -O2 -c -o $out $in\n' "$WORK/gcc-told"
  for i in $(seq 12); do echo "build f$i.o: cc f$i.c"; done
} >ninja/build.ninja
chmod -R a+rwX ninja && begin
on h0 env "TOLD=$TOLD" ninja -j8 -C ninja </dev/null >out 2>err || { cat out err; fail "ninja failed"; }
same_file ninja local/f7.o ninja/f7.o
(($(elsewhere) >= 3)) || fail "only $(elsewhere) of 12 compilers ran elsewhere"

echo "- under pmake the recipe has its place already"
fresh both && begin
soon 15 "the standing build has ended" has_ended
on h0 env "TOLD=$TOLD" pmake -s -C both "CC=remote cc $WORK/gcc-told" </dev/null >out 2>err || { cat out err; fail "the build failed"; }
same_build "under pmake" both
has_ended || fail "a standing build was begun"

echo "- without hostd the compiler runs here"
cell kill h0
fresh alone
on h0 make -s -j2 -C alone "CC=remote cc gcc" </dev/null >out 2>err || { cat out err; fail "the build failed without hostd"; }
same_build "without hostd" alone
