#include <catch2/catch.hpp>
#include <map>
#include <set>
#include <sstream>

#include "pmake/launcher.h"

using namespace hob::pmake;

namespace {

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> result;
  for (std::string word; stream >> word;) result.push_back(word);
  return result;
}

}  // namespace

TEST_CASE("what a compiler writes is read from its words") {
  const std::map<std::string, std::string> outputs = {
      {"-c x.c", "x.o"},
      {"-O2 -c dir/x.y.cc -o build/x.o", "build/x.o"},
      {"-c -obuild/x.o x.c", "build/x.o"},
      {"-c dir/x.c", "x.o"},
      {"-o prog a.o b.o -lm", "prog"},
      {"a.o b.o", ""},
      {"-MD -MF x.d -MT x.o -c x.c", "x.o"},
      {"-I dir -D A=1 -include all.h -c x.c", "x.o"},
      {"-dumpbase x.c -c x.i", "x.o"},
      {"-c @files", ""},
      {"-fobjc-arc -c x.m", "x.o"},
  };
  for (const auto& [text, output] : outputs) {
    INFO(text);
    const CompileLine line = read_compile_line(words(text));
    CHECK(line.compiles);
    CHECK(line.output == output);
  }
}

TEST_CASE("questions, preprocessing and standard input are no compilation") {
  for (const char* text :
       {"--version", "-v", "-dumpmachine", "-print-search-dirs", "--print-file-name=x", "-E x.c",
        "-M x.c", "-MM x.c", "-x c -", "-c -o x.o -", "", "-### -c x.c", "--help=optimizers"}) {
    INFO(text);
    CHECK_FALSE(read_compile_line(words(text)).compiles);
  }
}

TEST_CASE("the compiler is the first of its name that is not the launcher") {
  const std::set<std::string> there = {"/usr/bin/gcc", "/opt/gcc", "./cc"};
  const auto is_other = [&](const std::string& place) { return there.contains(place); };
  CHECK(find_compiler("gcc", "/usr/lib/hob/cc:/usr/bin:/opt", is_other) == "/usr/bin/gcc");
  CHECK(find_compiler("gcc", "/opt:/usr/bin", is_other) == "/opt/gcc");
  CHECK(find_compiler("cc", "/usr/bin:", is_other) == "./cc");
  CHECK(find_compiler("clang", "/usr/bin:/opt", is_other) == std::nullopt);
  CHECK(find_compiler("/any/gcc", "/usr/bin", is_other) == "/any/gcc");
}
