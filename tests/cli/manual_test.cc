// The manual says all that the grammar has.
#include "base/fd.h"
#include "cli/grammar.h"
//
#include <catch2/catch.hpp>

using namespace hob;

TEST_CASE("every verb and every option is in the manual") {
  const std::string manual = read_file(HOB_SOURCE_DIR "/docs/remote.1.scd").value();
  const auto verbs = cli::describe_grammar();
  REQUIRE(verbs.size() > 10);
  for (const cli::VerbDescription& verb : verbs) {
    INFO("verb " << verb.name);
    const std::string heading = "\n*remote " + verb.name + "*";
    const size_t at = manual.rfind(heading);
    REQUIRE(at != std::string::npos);
    // Up to the next verb; what hosts, ps and history share stands once, before ORDERING.
    const bool looks = verb.name == "hosts" || verb.name == "ps" || verb.name == "history";
    const size_t end = looks ? manual.find("# ORDERING") : manual.find("\n*remote ", at + 1);
    const std::string section = manual.substr(at, end - at);
    for (const cli::OptionDescription& option : verb.options)
      for (const std::string& name : option.names) {
        if (!name.starts_with('-') || name == "-h" || name == "--help") continue;
        INFO("option " << name);
        CHECK(section.find("*" + name + "*") != std::string::npos);
      }
  }
}
