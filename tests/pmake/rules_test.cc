#include "pmake/rules.h"

#include <rapidcheck.h>
#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "pmake/packed_rules.h"

using namespace hob;
using namespace hob::pmake;

namespace {

/// A folder for the length of a test.
struct Folder {
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "hob-rules-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string path;
};

std::string error_of(std::string_view text) {
  const Result<Rules> rules = parse_rules(text, "x.toml");
  return rules.ok() ? "" : rules.error().text;
}

}  // namespace

TEST_CASE("the rules of a tree are read from its .remote.toml") {
  const Result<Rules> rules = parse_rules(
      "[make]\n"
      "home_targets = [\"check\", \"doc/%\"]\n"
      "home_commands = [\"doxygen %\"]\n"
      "out_commands = [\"mkdir %\"]\n",
      "x.toml");
  REQUIRE(rules.ok());
  CHECK(*rules == Rules{{"check", "doc/%"}, {"doxygen %"}, {"mkdir %"}});
  CHECK(*parse_rules("", "x.toml") == Rules{});
}

TEST_CASE("what is wrong in it is said with its line") {
  CHECK(error_of("[make]\nhome_target = []\n") ==
        "x.toml:2: unknown key 'make.home_target'; did you mean 'make.home_targets'?");
  CHECK(error_of("[zzz]\nqqqqqqqqqq = 1\n") ==
        "x.toml:2: unknown key 'zzz.qqqqqqqqqq'; the keys are make.home_targets, "
        "make.home_commands, make.out_commands");
  CHECK(error_of("[make]\n\nhome_targets = \"check\"\n") ==
        "x.toml:3: make.home_targets: expected a list of texts, as in [\"a\", \"b\"]");
  CHECK(error_of("[make]\nout_commands = [\"\"]\n") ==
        "x.toml:2: make.out_commands: an empty pattern matches nothing; \"%\" matches everything");
  CHECK(error_of("[make]\nout_commands = [\"a\\u0000\"]\n") ==
        "x.toml:2: make.out_commands: a text must not hold a null byte");
  CHECK(error_of("[make\n").starts_with("x.toml:1: not TOML: "));
}

TEST_CASE("the nearest .remote.toml counts") {
  const Folder folder;
  const std::string deep = folder.path + "/a/b/c";
  std::filesystem::create_directories(deep);
  CHECK(*load_rules(deep) == Rules{});
  std::ofstream(folder.path + "/.remote.toml") << "make.home_targets = ['top']\n";
  CHECK(load_rules(deep)->home_targets == std::vector<std::string>{"top"});
  std::ofstream(folder.path + "/a/b/.remote.toml") << "make.home_targets = ['b']\n";
  CHECK(load_rules(deep)->home_targets == std::vector<std::string>{"b"});
  CHECK(load_rules(folder.path + "/a")->home_targets == std::vector<std::string>{"top"});
  CHECK(load_rules(deep + "/not/there")->home_targets == std::vector<std::string>{"b"});
  std::ofstream(deep + "/.remote.toml") << "wrong\n";
  CHECK(load_rules(deep).error().text.starts_with(deep + "/.remote.toml:1: "));
  std::filesystem::remove(deep + "/.remote.toml");
  std::filesystem::create_directory(deep + "/.remote.toml");
  CHECK(load_rules(deep).error().code == EISDIR);
  std::filesystem::remove(deep + "/.remote.toml");
  std::ofstream(deep + "/.remote.toml") << std::string(kMostBytes + 1, '#');
  CHECK(load_rules(deep).error().code == EFBIG);
}

TEST_CASE("packed rules look as they are described") {
  CHECK(pack({{"check"}, {"doxygen %"}, {"mkdir %"}}) == "t5:check,h9:doxygen %,o7:mkdir %,");
  CHECK(pack({}).empty());
  CHECK(unpack("") == Rules{});
  for (const char* wrong :
       {"t5:check", "t6:check,", "x1:a,", "h1:a,t1:a,", "t01:a,", "t1:a,x", "t:a,", "t-1:a,",
        "t99999999999999999999:a,", "t18446744073709551615:a,"}) {
    INFO(wrong);
    CHECK(unpack(wrong) == Rules{});
  }
}

TEST_CASE("rules come back from their packed form") {
  rc::prop("unpack(pack(rules)) is rules",
           [](const std::vector<std::string>& targets, const std::vector<std::string>& home,
              const std::vector<std::string>& out) {
             const Rules rules{targets, home, out};
             RC_ASSERT(unpack(pack(rules)) == rules);
           });
  rc::prop("any bytes are rules that pack to the same bytes, or none", [] {
    const std::string packed =
        *rc::gen::container<std::string>(rc::gen::elementOf(std::string("tho0123:,ab")));
    const Rules rules = unpack(packed);
    RC_ASSERT(rules == Rules{} || pack(rules) == packed);
  });
  rc::prop("a file of the greatest size fits into a variable", [] {
    // One letter per pattern costs most: "a", in the file, t1:a, packed.
    const size_t count = kMostBytes / 4;
    RC_ASSERT(pack({std::vector<std::string>(count, "a"), {}, {}}).size() < (128u << 10));
  });
}
