// pmake/arguments.h and gnu_make.h.
#include "pmake/arguments.h"

#include "pmake/gnu_make.h"

#include <catch2/catch.hpp>

namespace hob::pmake {
namespace {

using Words = std::vector<std::string>;

Options parsed(const Words& words, Tool tool = Tool::make) {
  auto options = parse_arguments(tool, words);
  INFO((options.ok() ? "" : options.error().text));
  REQUIRE(options.ok());
  return std::move(options).value();
}

TEST_CASE("what is pmake's own is taken, the rest goes to make as it is") {
  CHECK(parsed({"all", "CC=gcc -j9"}).passed_on == Words{"all", "CC=gcc -j9"});
  const Options options =
      parsed({"-j8", "-k", "-L", "2", "--trace", "t.json", "--report=r.html", "all"});
  CHECK(options.most == 8);
  CHECK(options.local == 2);
  CHECK(options.local_given);
  CHECK(options.trace == "t.json");
  CHECK(options.report == "r.html");
  CHECK(options.passed_on == Words{"-k", "all"});
}

TEST_CASE("the number of recipes in all the forms that make knows") {
  CHECK(parsed({"-j", "4"}).most == 4);
  CHECK(parsed({"-knj4"}).most == 4);
  CHECK(parsed({"-knj4"}).passed_on == Words{"-kn"});
  CHECK(parsed({"--jobs=5"}).most == 5);
  CHECK(parsed({"--jobs", "5", "all"}).most == 5);
  CHECK(parsed({"-j", "all"}).most == 0);
  CHECK(parsed({"-j", "all"}).passed_on == Words{"all"});
  for (const char* wrong : {"-j0", "-jx", "-j4x", "-j100000"})
    CHECK_FALSE(parse_arguments(Tool::make, {wrong}).ok());
  CHECK_FALSE(parse_arguments(Tool::make, {"-j", "100000"}).ok());
  CHECK_FALSE(parse_arguments(Tool::make, {"--jobs=many"}).ok());
}

TEST_CASE("values of make's options are not read as ours") {
  CHECK(parsed({"-C", "-j4"}).passed_on == Words{"-C", "-j4"});
  CHECK(parsed({"-fX.mk", "-IL"}).passed_on == Words{"-fX.mk", "-IL"});
  CHECK(parsed({"-kC", "dir", "-X"}).passed_on == Words{"-kC", "dir"});
  CHECK_FALSE(parsed({"-X"}).export_ok);
  CHECK(parsed({"-Xx"}).export_ok);
  CHECK(parsed({"--", "-j4", "-X"}).passed_on == Words{"--", "-j4", "-X"});
  CHECK(parsed({"-Oline"}).output_sync_given);
  CHECK(parsed({"-Oline"}).passed_on == Words{"-Oline"});
  CHECK(parsed({"-D", "X", "-Vx", "-j3"}, Tool::bmake).passed_on == Words{"-D", "X", "-Vx"});
  CHECK(parsed({"-d", "explain", "-j3"}, Tool::ninja).passed_on == Words{"-d", "explain"});
}

TEST_CASE("MAKEFLAGS keeps what was in it but for another jobserver") {
  CHECK(make_flags("", "5,6", true) == " -j -Otarget --jobserver-auth=5,6");
  CHECK(make_flags("ks", "5,6", false) == "ks -j --jobserver-auth=5,6");
  CHECK(make_flags("k -j4 --jobserver-auth=3,4 -- CC=gcc -j9", "5,6", true) ==
        "k -j -Otarget --jobserver-auth=5,6 -- CC=gcc -j9");
  CHECK(make_flags(" -Oline", "5,6", true) == " -Oline -j --jobserver-auth=5,6");
}

}  // namespace
}  // namespace hob::pmake
