#include "pmake/recipe_text.h"

#include <algorithm>

#include "pmake/door_format.h"
#include "pmake/launcher.h"
#include "pmake/shell_line.h"

namespace hob::pmake {
namespace {

constexpr std::string_view kDefaultShell = "/bin/sh";

}  // namespace

std::string_view text_of(const std::vector<std::string>& words) {
  if (words.size() < 2) return {};
  for (size_t i = 0; i + 1 < words.size(); ++i)
    if (words[i].size() > 1 && words[i][0] == '-' && words[i][1] != '-' &&
        words[i].find('c') != std::string::npos)
      return words.back();
  return {};
}

std::vector<std::string> shell_words(std::string_view shell) {
  std::vector<std::string> words;
  for (size_t at = 0; at < shell.size();) {
    const size_t end = std::min(shell.find(' ', at), shell.size());
    if (end > at) words.emplace_back(shell.substr(at, end - at));
    at = end + 1;
  }
  if (words.empty()) words.emplace_back(kDefaultShell);
  return words;
}

std::string with_own_shell(std::string text, std::string_view ours, std::string_view own) {
  if (std::ranges::none_of(door::kShellPaths, [&](const char* end) { return ours.ends_with(end); }))
    return text;
  if (own.empty()) own = kDefaultShell;
  for (size_t at = 0; (at = text.find(ours, at)) != std::string::npos; at += own.size())
    text.replace(at, ours.size(), own);
  return text;
}

std::string output_of(std::string_view text) {
  const ShellLine line(text);
  for (const Command& command : line.commands()) {
    std::vector<std::string> words;
    for (const Word& word : command.words) words.emplace_back(word.opaque ? "" : word.text);
    if (std::string output = read_compile_line(words).output; !output.empty()) return output;
  }
  return "";
}

}  // namespace hob::pmake
