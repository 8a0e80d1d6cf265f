#include "pmake/recipe_text.h"

#include <catch2/catch.hpp>

namespace hob::pmake {
namespace {

TEST_CASE("$(SHELL) in a recipe is the makefile's own") {
  CHECK(with_own_shell("/lib/sh -c x; echo '#!/lib/sh'", "/lib/sh", "/bin/bash -e") ==
        "/bin/bash -e -c x; echo '#!/bin/bash -e'");
  CHECK(with_own_shell("/lib/sh", "/lib/sh", "") == "/bin/sh");
  CHECK(with_own_shell("/lib/sh", "/lib/sh", "/lib/sh") == "/lib/sh");
  CHECK(with_own_shell("nothing", "/lib/sh", "/bin/bash") == "nothing");
  CHECK(with_own_shell("sh sh", "sh", "/bin/bash") == "sh sh");  // called by a name alone
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
