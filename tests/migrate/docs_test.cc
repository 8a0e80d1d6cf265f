// What docs/ says of the engine is so.
#include <algorithm>
#include <filesystem>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
//
#include <catch2/catch.hpp>

using namespace hob;

namespace {

std::string source(const std::string& path) {
  return read_file(HOB_SOURCE_DIR "/" + path).value();
}

std::vector<std::string> matches(const std::string& text, const std::string& pattern) {
  const std::regex expression(pattern);
  std::vector<std::string> all;
  for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at)
    all.push_back((*at)[1]);
  return all;
}

/// The cells of a line of a table; empty if it is none.
std::vector<std::string> cells(const std::string& line) {
  return line.starts_with("| ") ? matches(line, R"(\| ([^|]*?) ?(?=\|))")
                                : std::vector<std::string>{};
}

std::set<std::string> victims_there() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(HOB_SOURCE_DIR "/tests/victims"))
    if (entry.path().extension() == ".c") names.insert(entry.path().stem());
  return names;
}

}  // namespace

TEST_CASE("every victim that docs/STATE.md names exists, and every victim is named there") {
  const std::set<std::string> there = victims_there();
  REQUIRE(there.size() > 15);
  std::set<std::string> named{"refused"};  // in the text: what it holds is not carried
  const std::string text = source("docs/STATE.md");
  CHECK(text.find("The program refused holds") != std::string::npos);
  size_t carried = 0;
  for (const std::string& line : matches(text, R"(([^\n]*)\n)")) {
    const auto row = cells(line);
    if (row.size() != 3 || row[1] != "carried") continue;
    carried++;
    if (row[2] == "every victim") continue;
    const auto victims = matches(row[2] + ",", R"((\w+), ?)");
    INFO(line);
    CHECK_FALSE(victims.empty());
    for (const std::string& victim : victims) {
      INFO("victim " << victim);
      CHECK(there.contains(victim));
      named.insert(victim);
    }
  }
  CHECK(carried > 20);
  for (const std::string& victim : there) {
    INFO("victim " << victim);
    CHECK(named.contains(victim));
  }
}

TEST_CASE("every row of docs/STATE.md says what is so in one of five ways") {
  const std::set<std::string> ways{"carried", "refused", "untested", "hidden", "not yet"};
  for (const std::string& line : matches(source("docs/STATE.md"), R"(([^\n]*)\n)")) {
    const auto row = cells(line);
    if (row.empty() || row[0] == "state" || row[0] == "---") continue;
    INFO(line);
    REQUIRE(row.size() == 3);
    CHECK(ways.contains(row[1]));
    const bool needs_more = row[1] != "hidden" && row[1] != "untested";
    CHECK((!needs_more || !row[2].empty()));
  }
}

TEST_CASE("docs/IMAGE.md has every field of the format, in its order, and its version") {
  const std::string codec = source("migrate/image_codec.cc"), text = source("docs/IMAGE.md");
  const auto version = matches(codec, R"(kVersion = (\d+);)");
  REQUIRE(version.size() == 1);
  CHECK(text.find("**Version " + version[0] + ".**") != std::string::npos);
  size_t structures = 0;
  const std::string start = "void fields(A& a, ";
  for (size_t at = codec.find(start); at != std::string::npos; at = codec.find(start, at + 1)) {
    std::string name = codec.substr(at + start.size());
    const std::string body = name.substr(0, name.find("\n}\n"));
    name = name.substr(0, name.find('&'));
    if (name.starts_with("kernel::")) name.erase(0, 8);
    if (name == "Header") continue;
    structures++;
    INFO("structure " << name);
    const size_t heading = text.find("\n## " + name + "\n");
    REQUIRE(heading != std::string::npos);
    const std::string section = text.substr(heading + 1, text.find("\n## ", heading + 1) - heading);
    std::vector<std::string> said;
    if (section.find("\n| field |") != std::string::npos)
      said = matches(section, R"(\n\| `([\w.]+)` \|)");
    else
      said = matches(section.substr(section.rfind(": ")), R"(`(\w+)`)");
    CHECK(said == matches(body, R"(\bx\.([\w.]+))"));
  }
  CHECK(structures > 20);
}
