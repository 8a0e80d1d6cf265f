// The samples are documentation that must not lie: every key, at its default, with a word why.

#include "base/fd.h"
#include "config/config.h"
#include "config/toml_reader.h"

#include <catch2/catch.hpp>
#include <cctype>
#include <set>
#include <sstream>

using namespace hob;

namespace {

struct Sample {
  std::string text;              // with its keys uncommented
  std::set<std::string> keys;    // dotted
  std::set<std::string> silent;  // keys without a comment above them
};

Sample read_sample(const std::string& name) {
  std::istringstream lines(read_file(std::string(SAMPLE_DIR) + "/" + name).value());
  Sample sample;
  std::string section;
  bool explained = false;
  for (std::string line; std::getline(lines, line);) {
    const bool key = line.size() > 1 && line[0] == '#' && std::islower(line[1]);
    if (line.starts_with('[')) section = line.substr(1, line.find(']') - 1) + ".";
    if (key) {
      const std::string dotted = section + line.substr(1, line.find(' ') - 1);
      sample.keys.insert(dotted);
      if (!explained) sample.silent.insert(dotted);
      line.erase(0, 1);
    } else {
      explained = line.starts_with("# ");
    }
    sample.text += line + "\n";
  }
  return sample;
}

template <class C>
void check_sample(const std::string& name, const C& defaults) {
  const Sample sample = read_sample(name);
  const std::map<std::string, std::string> shown = show_config(defaults);
  std::set<std::string> known;
  for (const auto& [key, value] : shown) known.insert(key);
  CHECK(sample.keys == known);
  CHECK(sample.silent == std::set<std::string>{});
  // Line by line, since a required key's empty default would be refused as a value.
  const Result<std::vector<TomlEntry>> entries = parse_toml(sample.text, name);
  REQUIRE(entries.ok());
  std::string expected;
  for (const auto& [key, value] : shown) expected += key + " = " + value + "\n";
  const Result<std::vector<TomlEntry>> wanted = parse_toml(expected, "defaults");
  REQUIRE(wanted.ok());
  std::map<std::string, TomlEntry::Value> in_sample, in_code;
  for (const TomlEntry& entry : *entries) in_sample.emplace(entry.key, entry.value);
  for (const TomlEntry& entry : *wanted) in_code.emplace(entry.key, entry.value);
  CHECK(in_sample.size() == known.size());
  for (const auto& [key, value] : in_code) {
    INFO(key);
    CHECK(in_sample.count(key) == 1);
    CHECK(in_sample[key] == value);
  }
}

}  // namespace

TEST_CASE("hostd.toml.sample lists every key at its default, with a reason") {
  check_sample("hostd.toml.sample", HostdConfig{});
}

TEST_CASE("coordinator.toml.sample lists every key at its default, with a reason") {
  check_sample("coordinator.toml.sample", CoordinatorConfig{});
}

TEST_CASE("the coordinator's sample is a config as it stands") {
  const Result<CoordinatorConfig> config =
      parse_coordinator_config(read_sample("coordinator.toml.sample").text, "sample");
  REQUIRE(config.ok());
  CHECK(show_config(*config) == show_config(CoordinatorConfig{}));
}
