#include <vector>

#include "placement_kit.h"

using namespace hob;
using namespace hob::pmake;

namespace {

struct Row {
  Place place;
  const char* command;
  const char* target = "";
};

constexpr Place out = Place::out, home = Place::home, cheap = Place::cheap,
                recursive = Place::recursive;

/// Recipe lines as make hands them to its shell.
const std::vector<Row> kAutomake = {
    {out,
     R"(gcc -DHAVE_CONFIG_H -I. -I..  -g -O2 -MT foo.o -MD -MP -MF .deps/foo.Tpo -c -o foo.o foo.c &&\
mv -f .deps/foo.Tpo .deps/foo.Po)"},
    {out, R"(depbase=`echo src/a.o | sed 's|[^/]*$|.deps/&|;s|\.o$||'`;\
gcc -DHAVE_CONFIG_H -I.    -g -O2 -MT src/a.o -MD -MP -MF $depbase.Tpo -c -o src/a.o src/a.c &&\
mv -f $depbase.Tpo $depbase.Po)"},
    {home, "gcc -O2 -march=native -c -o foo.o foo.c"},
    {out, R"(gcc -I. -c -o foo-bar.o `test -f 'bar.c' || echo './'`bar.c)"},
    {out,
     R"(source='x.c' object='x.o' libtool=no DEPDIR=.deps depmode=gcc3 /bin/bash ./depcomp gcc -c x.c)"},
    {cheap, "rm -f libutil.a"},
    {cheap, "test -z \"foo bar\" || rm -f foo bar"},
    {cheap, "rm -f *.o core *.core"},
    {cheap, "test . = \".\" || test -z \"\" || rm -f "},
    {cheap, "if test -f doc.info; then :; else exit 1; fi"},
    {cheap, "cd . && rm -f stamp-h1", "stamp-h1"},
    {cheap, "for_stamp=`pwd`; echo timestamp > stamp-h1 2> /dev/null"},
    {cheap, R"(echo '  CC      ' foo.o;)"},
    {cheap, "/bin/mkdir -p 'src/.deps'"},
    {cheap, "test -f config.h || rm -f stamp-h1"},
    {recursive, "test -f config.h || make  stamp-h1"},
    {recursive, R"(fail=; \
if (target_option=k; case ${target_option-} in ?) ;; *) echo "am__make_running_with_option" >&2; exit 1;; esac; has_opt=no); then \
  failcom='fail=yes'; else failcom='exit 1'; fi; \
dot_seen=no; target=`echo all-recursive | sed s/-recursive//`; \
list='lib src'; for subdir in $list; do \
  echo "Making $target in $subdir"; \
  (CDPATH="${ZSH_VERSION+.}:" && cd $subdir && make  "$local_target") || eval $failcom; \
done)"},
    {out, "cd . && /bin/bash ./config.status src/Makefile depfiles"},
    {out, "(CDPATH=\"${ZSH_VERSION+.}:\" && cd . && /bin/bash /src/missing autoconf)"},
    {out, "bison -y -d -o parse.c parse.y"},
    {out, R"(/bin/bash ../ylwrap lex.l lex.yy.c lex.c -- flex)"},
    {out, "makeinfo --force -o doc.info doc.texi"},
    {home, " /bin/mkdir -p '/usr/local/bin'; /usr/bin/install -c prog '/usr/local/bin'",
     "install-binPROGRAMS"},
    {home, "/bin/bash ./install-sh -c -m 644 a b"},
    {cheap, " /bin/mkdir -p '/usr/local/share/man'", "install-man"},
    {out,
     R"(sed -e 's|@prefix[@]|/usr|g' big.in > big.tmp && perl fix.pl big.tmp && mv big.tmp big)"},
    {cheap,
     R"(sed -e 's|@prefix[@]|/usr/local|g' -e 's,@VERSION@,1.2,' tool.in >tool-t && chmod +x tool-t && mv tool-t tool)"},
    {cheap, R"({ echo '/* generated */'; cat a.h b.h; } > c.h-t && mv -f c.h-t c.h)"},
    {out, R"(for p in a b c; do gcc -c $p.c; done)"},
    {out, "list='a b'; for p in $list; do rm -f $p; done"},
    {out, R"(am__check_pre='...' ; ./test-driver --test-name t1 --log-file t1.log -- ./t1)"},
};

const std::vector<Row> kLibtool = {
    {out, "/bin/bash ./libtool  --tag=CC   --mode=compile gcc -DHAVE_CONFIG_H -I. -c -o a.lo a.c"},
    {out,
     "/bin/bash ./libtool  --tag=CC   --mode=link gcc -g -O2 -version-info 1:0:0 -o liba.la -rpath "
     "/usr/local/lib a.lo b.lo -lm"},
    {out, "./libtool --quiet --mode=compile cc -c x.c"},
    {home, "/bin/bash ./libtool   --mode=install /usr/bin/install -c liba.la '/usr/local/lib'"},
    {home, "/bin/bash ./libtool   --mode=install cp liba.la /opt/lib"},
    {home, "/bin/bash ./libtool  --mode=finish /usr/local/lib"},
    {cheap, R"(test -z "liba.la" || rm -f liba.la)"},
    {cheap,
     R"(list='liba.la'; locs=`echo liba.la | sed 's,/[^/]*$,,' | sort -u`; rm -f so_locations)"},
};

const std::vector<Row> kCMake = {
    {out,
     "cd /src/build/lib && /usr/bin/cc -DX=\\\"1\\\" -I/src/include -O2 -MD -MT lib/a.c.o -MF "
     "CMakeFiles/a.dir/a.c.o.d -o CMakeFiles/a.dir/a.c.o -c /src/lib/a.c"},
    {out,
     "cd /src/build/lib && /usr/bin/c++ -fPIC -std=gnu++17 -o CMakeFiles/b.dir/b.cpp.o -c "
     "/src/lib/b.cpp"},
    {out,
     "cd /src/build/lib && /usr/bin/cmake -E cmake_link_script CMakeFiles/a.dir/link.txt "
     "--verbose=1"},
    {out,
     "cd /src/build && /usr/bin/cmake -E cmake_depends \"Unix Makefiles\" /src /src/lib /src/build "
     "/src/build/lib /src/build/lib/CMakeFiles/a.dir/DependInfo.cmake --color="},
    {cheap, "true"},
    {cheap,
     "/usr/bin/cmake -E cmake_echo_color --switch= --green --progress-dir=/src/build/CMakeFiles "
     "--progress-num=1 \"Building C object lib/CMakeFiles/a.dir/a.c.o\""},
    {cheap, "/usr/bin/cmake -E cmake_progress_start /src/build/CMakeFiles 0"},
    {cheap, "cd /src/build && /usr/bin/cmake -E touch stamp"},
    {cheap, "/usr/bin/cmake -E touch_nocreate generated.h"},
    {cheap, "cd /src/build/lib && /usr/bin/cmake -P CMakeFiles/a.dir/cmake_clean_target.cmake"},
    {cheap, "/usr/bin/cmake -E make_directory /src/build/include"},
    {cheap, "/usr/bin/cmake -E copy_if_different /src/a.h /src/build/a.h"},
    {cheap, "cd /src/build && /usr/bin/cmake -E create_symlink liba.so.1 liba.so"},
    {cheap,
     "cd /src/build/bin && /usr/bin/cmake -E cmake_symlink_library liba.so.1.2 liba.so.1 liba.so"},
    {out, "/usr/bin/cmake -E copy_directory /src/data /src/build/data"},
    {out, "cd /src && /usr/bin/cmake -E env PYTHONPATH=/src/py /usr/bin/python3 gen.py out.h"},
    {out, "/usr/bin/cmake -E time /usr/bin/ld a.o"},
    {out, "/usr/bin/cmake -DIN=a -DOUT=b -P /src/cmake/generate.cmake"},
    {home, "/usr/bin/cmake -S/src -B/src/build --check-build-system CMakeFiles/Makefile.cmake 0"},
    {home, "/usr/bin/cmake -P cmake_install.cmake", "install"},
    {recursive, "/usr/bin/make  -f CMakeFiles/Makefile2 all"},
    {recursive, "/usr/bin/make  -f lib/CMakeFiles/a.dir/build.make lib/CMakeFiles/a.dir/depend"},
    {recursive, "/usr/bin/cmake --build . --target check"},
    {out, "/usr/bin/ar qc liba.a CMakeFiles/a.dir/a.c.o CMakeFiles/a.dir/huge.o"},
    {cheap, "/usr/bin/ranlib liba.a"},
    {out, "/usr/bin/ctest --force-new-ctest-process"},
};

const std::vector<Row> kKbuild = {
    {out,
     R"(set -e;  echo '  CC      kernel/fork.o';   gcc -Wp,-MMD,kernel/.fork.o.d -nostdinc -I./arch/x86/include -D__KERNEL__ -D"KBUILD_STR(s)=\#s" -DKBUILD_MODNAME='"fork"' -c -o kernel/fork.o kernel/fork.c   && ./tools/objtool/objtool --hacks=jump_label kernel/fork.o; scripts/basic/fixdep kernel/.fork.o.d kernel/fork.o 'gcc -c make sudo' > kernel/.fork.o.cmd; rm -f kernel/.fork.o.d)"},
    {out,
     R"(set -e;  echo '  CC      mm/slub.o'; trap 'rm -f mm/slub.o; trap - HUP; kill -s HUP $$' HUP; trap 'rm -f mm/slub.o; trap - INT; kill -s INT $$' INT;  gcc -c -o mm/slub.o mm/slub.c)"},
    {out,
     R"(set -e; echo '  AR      built-in.a'; rm -f built-in.a;  printf "./%s " a.o b.o | xargs gcc-ar cDPrST built-in.a; printf '%s\n' 'savedcmd_built-in.a := ar' > .built-in.a.cmd)"},
    {cheap,
     R"(set -e; mkdir -p include/generated/; trap "rm -f include/generated/.tmp_utsrelease.h" EXIT; { echo \#define UTS_RELEASE \""6.1.0"\"; } > include/generated/.tmp_utsrelease.h; if [ ! -r include/generated/utsrelease.h ] || ! cmp -s include/generated/utsrelease.h include/generated/.tmp_utsrelease.h; then echo '  UPD     include/generated/utsrelease.h'; mv -f include/generated/.tmp_utsrelease.h include/generated/utsrelease.h; fi)"},
    {out, "set -e; mkdir -p include/generated/; gcc -E -dM - < /dev/null > x; :"},
    {recursive,
     "set -e; make -f ./scripts/Makefile.build obj=kernel need-builtin=1 need-modorder=1"},
    {recursive, R"(if test -f x; then make -f ./Makefile syncconfig; fi)"},
    {out, "sh ./scripts/mkcompile_h x86 include/generated/compile.h"},
    {out,
     R"(set -e; /bin/sh scripts/link-vmlinux.sh "ld" "-m elf_x86_64" "-z max-page-size=0x200000")"},
    {out, R"(awk -f lib/raid6/unroll.awk -vN=1 < lib/raid6/int.uc > lib/raid6/int1.c)"},
    {home, "sh ./arch/x86/boot/install.sh 6.1.0 arch/x86/boot/bzImage System.map \"/boot\"",
     "vdso_install"},
    {cheap, "ln -fsn ../../x86/boot/bzImage ./arch/x86_64/boot/bzImage"},
    {cheap, "touch .scmversion"},
    {cheap, "cat kernel/modules.order lib/modules.order > modules.order"},
    {out, "if [ -n \"$CONFIG_X\" ]; then objcopy -O binary a b; fi"},
};

const std::vector<Row> kTclSqlite = {
    {out,
     "gcc -c -O2 -pipe -DPACKAGE_NAME=\\\"tcl\\\" -DTCL_LIBRARY=\\\"/usr/local/lib/tcl8.6\\\" "
     "-I\".\" -I/src/tcl8.6/generic /src/tcl8.6/generic/tclBasic.c"},
    {out,
     "gcc -shared -O2 -Wl,--export-dynamic -o libtcl8.6.so regcomp.o tclAlloc.o -ldl -lz -lpthread "
     "-lm"},
    {out,
     "rm -f libtclstub8.6.a && ar cr libtclstub8.6.a tclStubLib.o huge.o ; ranlib libtclstub8.6.a"},
    {cheap, "rm -f libtclstub8.6.a && ar cr libtclstub8.6.a tclStubLib.o ; ranlib libtclstub8.6.a"},
    {out,
     "TCL_LIBRARY=\"/src/tcl8.6/library\"; export TCL_LIBRARY; "
     "LD_LIBRARY_PATH=\".:${LD_LIBRARY_PATH}\"; export LD_LIBRARY_PATH; ./tclsh "
     "/src/tcl8.6/tests/all.tcl"},
    {home, "for i in /usr/local/lib; do if [ ! -d $i ] ; then /src/install-sh -d $i; fi; done",
     "install-binaries"},
    {out, "cp -r ../ext/fts5 tsrc"},
    {out, "tclsh ../tool/mksqlite3c.tcl"},
    {out, "cat ../src/parse.y >parse.y && rm -f parse.h && ./lemon -S parse.y"},
    {out, "tclsh ../tool/mksqlite3h.tcl .. >sqlite3.h"},
    {cheap, "cp ../tool/lempar.c ."},
    {out, "cp huge.o ./sqlite3.o"},
    {cheap, "cat parse.h ../src/vdbe.c | sed -n 1,20p >opcodes.tmp"},
    {out, "gcc -g -o lemon ../tool/lemon.c"},
    {out, "./mkkeywordhash >keywordhash.h"},
};

const std::vector<Row> kPlain = {
    {cheap, ""},
    {cheap, ":"},
    {cheap, "# nothing to do; make sure that it stays so"},
    {cheap, "mkdir -p obj/"},
    {cheap, "echo make all clean"},
    {cheap, "> stamp"},
    {cheap, "x=1"},
    {cheap, "[ -d obj ] || mkdir obj"},
    {cheap, "printf '%s\\n' a b >list"},
    {cheap, "command -v make >/dev/null"},
    {cheap, "grep -q pattern small.txt"},
    {out, "grep -rq pattern ."},
    {out, "cat *.txt > all"},
    {out, "sort huge.o > sorted"},
    {out, "sort < huge.o > sorted"},
    {out, "while read l; do echo $l; done < list"},
    {out, "cat > x <<EOF\n$(make)\nEOF\n"},
    {out, "$CC -c x.c"},
    {out, "sleep 1"},
    {out, "unbalanced 'quote"},
    {out, "nice -n 10 gcc -c x.c"},
    {out, "env LANG=C time -p gcc -c x.c"},
    {out, "sh -c 'gcc -c x.c'"},
    {cheap, "sh -c 'mkdir -p x; touch x/y'"},
    {out, "python3 setup.py build"},
    {out, "TMPDIR=/tmp gcc -c x.c"},
    {out, "gcc -DSOCKET='\"/tmp/x\"' -c x.c"},
    {home, "gcc -c x.c -o /tmp/x.o"},
    {home, "gcc -I/var/tmp/include -c x.c"},
    {home, "./gen > /dev/shm/x"},
    {home, "./gen --output=/run/x"},
    {out, "./gen > /tmpfiles/x"},
    {cheap, "rm -rf /tmp/x"},
    {home, "sudo cp x /etc"},
    {home, "test -w /etc || sudo cp x /etc"},
    {home, "if true; then sudo -u root gcc x.c; fi"},
    {home, "docker build -t x ."},
    {home, "kill `cat server.pid`"},
    {home, "echo $(git describe) > version"},
    {home, "ssh host true"},
    {home, "gdb --batch ./a.out"},
    {home, "./server &"},
    {home, "./server >log 2>&1 & echo $! > pid"},
    {out, "./a & ./b & wait"},
    {out, "gcc -c x.c >log 2>&1"},
    {out, "gcc -c x.c &> log"},
    {home, "flock lock ./gen"},
    {home, "remote run gcc -c x.c"},
    {out, "remote cc gcc -c x.c"},
    {home, "remote cc gcc -march=native -c x.c"},
    {out, "remote-cc gcc -c x.c"},
    {home, "remote-cc gcc -march=native -c x.c"},
    {recursive, "make"},
    {recursive, "cd sub && make all"},
    {recursive, "cd sub; $MAKE"},
    {recursive, "\"${MAKE}\" -C sub"},
    {recursive, "/usr/bin/gmake -C sub"},
    {recursive, "env -u MAKEFLAGS -i PATH=/bin make"},
    {recursive, "sudo make install"},
    {recursive, "gcc -c x.c && make rest"},
    {recursive, "x=`make -s print`; echo $x"},
    {recursive, "echo \"$(make -s print)\""},
    {recursive, "echo ${x:-$(make -s print)}"},
    {recursive, "bash -ec 'cd sub && make'"},
    {recursive, "eval make all"},
    {recursive, "case $x in a|b) echo;; *) make;; esac"},
    {recursive, "f() { make; }; f"},
    {recursive, "while make; do :; done"},
    {recursive, "! make"},
    {recursive, ">log make"},
    {recursive, "ls | xargs -n 1 make -C"},
    {recursive, "ninja -C build"},
    {recursive, "remote make -C sub"},
    {cheap, "case $x in make) echo;; esac"},
    {out, "for x in make; do echo $x; done"},
};

void check(const std::vector<Row>& rows) {
  const test::Files files = {
      {"huge.o", 5 << 20}, {"CMakeFiles/a.dir/huge.o", 5 << 20}, {"big.in", 5 << 20}};
  for (const Row& row : rows) {
    INFO(row.target << ": " << row.command);
    const Verdict verdict =
        test::verdict_of({.command = row.command, .target = row.target}, {}, files);
    CHECK(verdict.place == row.place);
    CHECK(verdict.why.empty() == (verdict.place == Place::out));
  }
}

}  // namespace

TEST_CASE("where automake's recipes go") {
  check(kAutomake);
}
TEST_CASE("where libtool's recipes go") {
  check(kLibtool);
}
TEST_CASE("where CMake's recipes go") {
  check(kCMake);
}
TEST_CASE("where the kernel's recipes go") {
  check(kKbuild);
}
TEST_CASE("where the recipes of Tcl and SQLite go") {
  check(kTclSqlite);
}
TEST_CASE("where the recipes of plain makefiles go") {
  check(kPlain);
}
