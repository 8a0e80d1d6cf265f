#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/options.h"

/// The command line: verbs, options, help. The one file that knows CLI11 (grammar.cc), because it
/// compiles slowly and because its habits end there: it never sees the words of a user's command
/// (it would split "[a,b]" and swallow "-H foo" out of them).
namespace hob::cli {

/// `words`: argv without the program's name, byte for byte.
Command parse(std::span<const char* const> words);

struct OptionDescription {
  std::vector<std::string> names;  // "-H", "--host"
  bool takes_value = false;
  std::string help;
  std::vector<std::string> choices;  // values that completion can offer
};
struct VerbDescription {
  std::string name;  // "run", "cell init"
  std::string summary;
  std::vector<OptionDescription> options;
};
/// Every verb with its options: what completion and the manual's test are made from.
std::vector<VerbDescription> describe_grammar();

}  // namespace hob::cli
