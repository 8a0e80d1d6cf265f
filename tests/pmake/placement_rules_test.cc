#include "placement_kit.h"

using namespace hob;
using namespace hob::pmake;
using test::place;
using test::verdict_of;

TEST_CASE("what make leaves its jobserver open for stays, whatever it is") {
  CHECK(verdict_of({.command = "gcc -c x.c", .jobserver = true}).place == Place::recursive);
}

TEST_CASE("a target that the user keeps at home stays, its sub-makes are free") {
  const Rules rules{.home_targets = {"check", "doc/%"}};
  CHECK(verdict_of({.command = "./t", .target = "check"}, rules).place == Place::home);
  CHECK(verdict_of({.command = "./t", .target = "doc/a.html"}, rules).place == Place::home);
  CHECK(verdict_of({.command = "./t", .target = "checks"}, rules).place == Place::out);
  CHECK(verdict_of({.command = "./t"}, rules).place == Place::out);
  CHECK(verdict_of({.command = "make", .target = "check"}, rules).place == Place::recursive);
  // Without a target nothing matches, not even everything.
  CHECK(verdict_of({.command = "./t"}, {.home_targets = {"%"}}).place == Place::out);
}

TEST_CASE("a pattern without a blank is a program's name") {
  const Rules rules{.home_commands = {"doxygen", "./tool%"}};
  for (const char* command :
       {"doxygen", "doxygen Doxyfile", "cd doc && /usr/bin/doxygen", "nice doxygen -q", "'doxy'gen",
        "sh -c 'doxygen'", "./tools/x", "if x; then doxygen; fi"}) {
    INFO(command);
    CHECK(verdict_of({.command = command}, rules).place == Place::home);
  }
  for (const char* command : {"doxygen2", "./gen doxygen", "gcc -o doxygen x.c"}) {
    INFO(command);
    CHECK(verdict_of({.command = command}, rules).place == Place::out);
  }
}

TEST_CASE("a pattern with blanks is a whole command") {
  const Rules rules{.home_commands = {"gcc % -flto%"}};
  for (const char* command :
       {"gcc -c x.c -flto", "/usr/bin/gcc  -c   'x.c' -flto=4", "env A=b gcc -O2 -flto x.o"}) {
    INFO(command);
    CHECK(verdict_of({.command = command}, rules).place == Place::home);
  }
  CHECK(verdict_of({.command = "gcc -c x.c"}, rules).place == Place::out);
  CHECK(verdict_of({.command = "gcc -c x.c; ./run -flto"}, rules).place == Place::out);
}

TEST_CASE("what the user sends out goes, unless the user keeps it") {
  const Rules out{.out_commands = {"true", "mkdir %", "sudo"}};
  CHECK(verdict_of({.command = "true"}, out).place == Place::out);
  CHECK(verdict_of({.command = "mkdir -p x"}, out).place == Place::out);
  CHECK(verdict_of({.command = "sudo x"}, out).place == Place::out);
  CHECK(verdict_of({.command = "rm x"}, out).place == Place::cheap);
  CHECK(verdict_of({.command = "make; true"}, out).place == Place::recursive);
  const Rules both{.home_commands = {"tru%"}, .out_commands = {"true"}};
  CHECK(verdict_of({.command = "true"}, both).place == Place::home);
}

TEST_CASE("targets that install stay, files that are called like them do not") {
  for (const char* target :
       {"install", "uninstall", "install-strip", "install_sw", "modules_install", "uninstall-am"}) {
    INFO(target);
    CHECK(verdict_of({.command = "./copy-it", .target = target}).place == Place::home);
  }
  for (const char* target :
       {"install.o", "installer", "src/install-helper", "install-sh.o", "all"}) {
    INFO(target);
    CHECK(verdict_of({.command = "./copy-it", .target = target}).place == Place::out);
  }
}

TEST_CASE("in a tree below /tmp the tree's own files are no reason to stay") {
  const auto in = [](std::string_view directory, std::string_view command) {
    return verdict_of({.command = command, .directory = directory}).place;
  };
  constexpr auto compile = "cd /tmp/tree/build && cc -I/tmp/tree -o a.o -c /tmp/tree/a.c";
  CHECK(in("", compile) == Place::home);
  CHECK(in("/home/u", compile) == Place::home);
  CHECK(in("/tmp/other", compile) == Place::home);
  CHECK(in("/tmp/tree2", compile) == Place::home);
  CHECK(in("/tmp", compile) == Place::home);
  CHECK(in("/tmp/tree", compile) == Place::out);
  CHECK(in("/tmp/tree/build/lib", compile) == Place::out);
  CHECK(in("/tmp/tree", "cc -o /tmp/a.o -c a.c") == Place::home);
  CHECK(in("/tmp/tree", "cc -o /dev/shm/tree/a.o -c a.c") == Place::home);
}

TEST_CASE("sizes decide by their sum, and follow cd") {
  const test::Files files = {{"half", kSmall / 2},
                             {"more", kSmall / 2 + 1},
                             {"d/big", kSmall + 1},
                             {"/abs/big", kSmall + 1}};
  CHECK(place("cat half half", files) == Place::cheap);
  CHECK(place("cat half more", files) == Place::out);
  CHECK(place("cat half; cat more", files) == Place::out);
  CHECK(place("cat d/big", files) == Place::out);
  CHECK(place("cat /abs/big", files) == Place::out);
  CHECK(place("cd d && cat big", files) == Place::out);
  CHECK(place("cd d && cat half", files) == Place::cheap);
  CHECK(place("cd /abs; sed s/a/b/ big", files) == Place::out);
  CHECK(place("cd a; cd /abs; sed s/a/b/ big", files) == Place::out);
  CHECK(place("cd $d && cat half", files) == Place::out);  // which half?
  CHECK(place("(cd d; cat half); cat half", files) == Place::out);
  CHECK(place("(cd d; cat half)", files) == Place::cheap);
  CHECK(place("cat $x", files) == Place::out);
  CHECK(place("cat - <half", files) == Place::cheap);
}

TEST_CASE("a script of sed or grep is no file") {
  const test::Files files = {{"s", kSmall + 1}};
  CHECK(place("sed s x", files) == Place::cheap);
  CHECK(place("sed -n s x", files) == Place::cheap);
  CHECK(place("sed -e s x", files) == Place::cheap);
  CHECK(place("sed -e s s", files) == Place::out);
  CHECK(place("sed -ne s -- s", files) == Place::out);
  CHECK(place("sed -f prog s", files) == Place::out);
  CHECK(place("grep -q s x", files) == Place::cheap);
  CHECK(place("grep -m 1 s x", files) == Place::cheap);
  CHECK(place("ar s x", files) == Place::cheap);
  CHECK(place("ar rf s", files) == Place::out);
}

TEST_CASE("sizes are asked when nothing else decides") {
  const auto asked = [](std::string_view command, const Rules& rules = {}) {
    std::vector<std::string> paths;
    (void)place_of({.command = command}, rules, [&](const std::string& path) {
      paths.push_back(path);
      return path == "big" ? kSmall + 1 : 1;
    });
    return paths;
  };
  using Paths = std::vector<std::string>;
  CHECK(asked("cat a b") == Paths{"a", "b"});
  CHECK(asked("cat big b") == Paths{"big"});
  CHECK(asked("cat a && gcc -c x.c").empty());
  CHECK(asked("cat a && sudo x").empty());
  CHECK(asked("cat a && make").empty());
  CHECK(asked("cat a", {.out_commands = {"cat"}}).empty());
  CHECK(asked("cp a b; mkdir c") == Paths{"a", "b"});
  CHECK(place_of({.command = "cat a"}, {}, {}).place == Place::out);
}

TEST_CASE("why a recipe stays reads as a few words") {
  CHECK(verdict_of({.command = "docker run x"}).why == "docker talks to a daemon of this host");
  CHECK(verdict_of({.command = "sudo gcc"}).why == "sudo is for this host");
  CHECK(verdict_of({.command = "gcc -o /tmp/x"}).why == "/tmp/x is a file of this host's own");
  CHECK(verdict_of({.command = "./x", .target = "check"}, {.home_targets = {"check"}}).why ==
        ".remote.toml keeps check at home");
}

TEST_CASE("patterns are make's own, with as many % as one likes") {
  CHECK(matches("%", ""));
  CHECK(matches("", ""));
  CHECK(matches("a%c", "abc"));
  CHECK(matches("a%c", "ac"));
  CHECK(matches("%a%b%", "xxaxxbxx"));
  CHECK(matches("%ab", "aab"));
  CHECK_FALSE(matches("", "a"));
  CHECK_FALSE(matches("a%c", "abcd"));
  CHECK_FALSE(matches("a*c", "abc"));
  CHECK_FALSE(matches("%a%b%", "xxbxxaxx"));
}
