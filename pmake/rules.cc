#include "pmake/rules.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/fd.h"
#include "config/keys.h"
#include "config/toml_reader.h"

namespace hob::pmake {
namespace {

Result<std::vector<std::string>> to_patterns(const TomlEntry& entry) {
  std::vector<std::string> patterns = TRY(keys::to_texts(entry));
  if (std::find(patterns.begin(), patterns.end(), "") != patterns.end())
    return Error{"an empty pattern matches nothing; \"%\" matches everything"};
  return patterns;
}

const std::vector<keys::Key<Rules>>& rule_keys() {
  static const std::vector<keys::Key<Rules>> table = {
      keys::key("make.home_targets", &Rules::home_targets, to_patterns),
      keys::key("make.home_commands", &Rules::home_commands, to_patterns),
      keys::key("make.out_commands", &Rules::out_commands, to_patterns),
  };
  return table;
}

}  // namespace

Result<Rules> parse_rules(std::string_view text, const std::string& name) {
  Rules rules;
  const std::vector<TomlEntry> entries = TRY(parse_toml(text, name));
  TRY(keys::apply<Rules>(entries, rule_keys(), rules,
                         "the keys are make.home_targets, make.home_commands, make.out_commands"));
  return rules;
}

Result<Rules> load_rules(const std::string& directory) {
  for (std::filesystem::path at = directory;; at = at.parent_path()) {
    const std::string file = at / ".remote.toml";
    const Result<std::string> text = read_file(file, kMostBytes);
    if (text.ok()) return parse_rules(*text, file);
    if (text.error().code != ENOENT && text.error().code != ENOTDIR) return text.error();
    if (!at.has_relative_path()) return Rules{};
  }
}

}  // namespace hob::pmake
