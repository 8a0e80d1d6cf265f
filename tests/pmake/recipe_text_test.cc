#include "pmake/recipe_text.h"

#include <catch2/catch.hpp>

namespace hob::pmake {
namespace {

TEST_CASE("$(SHELL) in a recipe is the makefile's own") {
  const std::string ours = "/lib/recipe/sh", any = "/lib/recipe/any";
  CHECK(with_own_shell(ours + " -c x; echo '#!" + ours + "'", ours, "/bin/bash -e") ==
        "/bin/bash -e -c x; echo '#!/bin/bash -e'");
  CHECK(with_own_shell(any, any, "/usr/bin/perl") == "/usr/bin/perl");
  CHECK(with_own_shell(ours, ours, "") == "/bin/sh");
  CHECK(with_own_shell(ours, ours, ours) == ours);
  CHECK(with_own_shell("nothing", ours, "/bin/bash") == "nothing");
  // As ninja calls us.
  CHECK(with_own_shell("/usr/bin/sha256sum", "/bin/sh", "/bin/bash") == "/usr/bin/sha256sum");
}

TEST_CASE("the text of a recipe follows its -c") {
  CHECK(text_of({"-c", "a b"}) == "a b");
  CHECK(text_of({"-e", "-c", "a"}) == "a");
  CHECK(text_of({"-ec", "a"}) == "a");
  CHECK(text_of({"script"}).empty());
  CHECK(text_of({"script", "argument"}).empty());
  CHECK(text_of({}).empty());
}

TEST_CASE("a shell may have several words, or none") {
  CHECK(shell_words("/bin/bash  -e") == std::vector<std::string>{"/bin/bash", "-e"});
  CHECK(shell_words("") == std::vector<std::string>{"/bin/sh"});
}

}  // namespace
}  // namespace hob::pmake
