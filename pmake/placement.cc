#include "pmake/placement.h"

#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <utility>

#include "pmake/programs.h"
#include "pmake/shell_line.h"

namespace hob::pmake {
namespace {

using namespace std::string_view_literals;

/// `sh -c` inside `sh -c`; each level has its own quotes, so no one writes more.
constexpr size_t kDeepestScript = 4;

struct Step {
  const Command* command;
  Program program;
};

/// All commands of a recipe line, also those that it gives to other shells.
class Recipe {
 public:
  explicit Recipe(std::string_view text) { read(text, 0); }
  const std::vector<Step>& steps() const { return steps_; }
  bool beyond() const { return beyond_; }
  bool left_behind() const { return left_behind_; }

 private:
  void read(std::string_view text, size_t depth);

  std::deque<ShellLine> lines_;      // what steps_ points into stays where it is
  std::deque<std::string> scripts_;  // and what lines_ points into
  std::vector<Step> steps_;
  bool beyond_ = false, left_behind_ = false;
};

void Recipe::read(std::string_view text, size_t depth) {
  const ShellLine& line = lines_.emplace_back(text);
  beyond_ = beyond_ || line.beyond();
  bool waits = false;
  for (const Command& command : line.commands()) {
    Program program = program_of(command);
    waits = waits || program.name == "wait";
    std::optional<std::string> script = std::exchange(program.script, std::nullopt);
    steps_.push_back({&command, std::move(program)});
    if (!script) continue;
    if (depth < kDeepestScript)
      read(scripts_.emplace_back(std::move(*script)), depth + 1);
    else
      beyond_ = true;
  }
  left_behind_ = left_behind_ || (line.background() && !waits);
}

// --- The user's patterns

std::string join(std::span<const Word> words) {
  std::string text;
  for (const Word& word : words) {
    if (!text.empty()) text += ' ';
    text += word.text;
  }
  return text;
}

/// Patterns match a command as it is written, and as the program that it runs in the end: "gcc %"
/// is also `nice /usr/bin/gcc -c x.c`.
bool matches_one(const std::vector<std::string>& patterns, const Step& step) {
  const std::span<const Word> written = step.command->words, run = step.program.words;
  if (written.empty()) return false;
  // The forms of the command that differ, by the name alone and whole; link lines are long.
  std::vector<std::string_view> names = {written[0].text};
  std::vector<std::string> wholes;
  const bool wrapped = run.data() != written.data();
  if (wrapped && !run.empty()) names.push_back(run[0].text);
  if (step.program.name != names.back()) names.push_back(step.program.name);
  for (const std::string& pattern : patterns) {
    const auto fits = [&](std::string_view form) { return matches(pattern, form); };
    if (pattern.find(' ') == std::string::npos) {
      if (std::any_of(names.begin(), names.end(), fits)) return true;
      continue;
    }
    if (wholes.empty()) {
      wholes.push_back(join(written));
      if (wrapped) wholes.push_back(join(run));
      if (!run.empty() && step.program.name != run[0].text)
        wholes.push_back(std::string(step.program.name) + wholes.back().substr(run[0].text.size()));
    }
    if (std::any_of(wholes.begin(), wholes.end(), fits)) return true;
  }
  return false;
}

const Step* first_match(const std::vector<std::string>& patterns, const Recipe& recipe) {
  for (const Step& step : recipe.steps())
    if (matches_one(patterns, step)) return &step;
  return nullptr;
}

// --- What the files of a line say

/// The directory whose contents each host has of its own, if `path` is in one; else "".
std::string_view own_directory(std::string_view path) {
  for (const std::string_view own : {"/tmp"sv, "/var/tmp"sv, "/dev/shm"sv, "/run"sv, "/var/run"sv})
    if (path.starts_with(own) && (path.size() == own.size() || path[own.size()] == '/')) return own;
  return {};
}

/// "/tmp/tree" for "/tmp/tree/a/b".
std::string_view first_below(std::string_view directory, std::string_view path) {
  if (path.size() <= directory.size() + 1) return path;
  return path.substr(0, path.find('/', directory.size() + 1));
}

/// The part of a word that may be a path: of "--output=/tmp/x" and "-I/tmp/x" what comes behind.
std::string_view path_in(const Word& word) {
  std::string_view text = word.text;
  if (text.starts_with("--")) return text.substr(std::min(text.find('='), text.size() - 1) + 1);
  if (text.starts_with('-')) return text.substr(std::min<size_t>(2, text.size()));
  return text;
}

/// The first file of this host's own that the line names.
std::optional<std::string_view> own_file(const Recipe& recipe, std::string_view directory) {
  const std::string_view around = own_directory(directory);
  const std::string_view tree =
      around.empty() || around == directory ? std::string_view{} : first_below(around, directory);
  const auto own = [&](std::string_view path) {
    const std::string_view of = own_directory(path);
    return !of.empty() && (tree.empty() || first_below(of, path) != tree);
  };
  for (const Step& step : recipe.steps()) {
    for (const Word& word : step.command->words)
      if (own(path_in(word))) return path_in(word);
    for (const Redirection& redirection : step.command->redirections)
      if (own(redirection.target.text)) return redirection.target.text;
    for (const Word& word : step.command->assignments) {
      const size_t equals = word.text.find('=');
      const std::string_view name = word.text.substr(0, equals);
      // Where a program puts its temporary files is no file.
      if (name == "TMPDIR" || name == "TMP" || name == "TEMP") continue;
      if (own(word.text.substr(equals + 1))) return word.text.substr(equals + 1);
    }
  }
  return std::nullopt;
}

/// The word that asks a compiler for code of the processor that it runs on; empty: none.
std::string_view native_code(const Recipe& recipe) {
  for (const Step& step : recipe.steps())
    for (const Word& word : step.command->words)
      for (const std::string_view native : {"-march=native"sv, "-mcpu=native"sv, "-mtune=native"sv})
        if (word.text == native) return native;
  return {};
}

/// Adds up what the line's commands read. Follows cd, in the shell that it is called in.
class Reading {
 public:
  explicit Reading(const SizeOf& size_of) : size_of_(size_of) {}
  /// False: more than kSmall, or not known.
  bool add(const Step& step);

 private:
  bool add_file(const Word& file, uint32_t group);
  void change_directory(const Step& step);

  const SizeOf& size_of_;
  std::string directory_;  // with a '/' at its end; empty: the recipe's
  uint32_t group_ = 0;     // where directory_ holds
  bool known_ = true;      // directory_ is
  uint64_t sum_ = 0;
};

bool Reading::add(const Step& step) {
  if (step.program.name == "cd") return change_directory(step), true;
  if (step.program.kind != Kind::reads) return true;
  const std::optional<std::vector<Word>> files = files_read(step.program);
  if (!files) return false;
  for (const Word& file : *files)
    if (!add_file(file, step.command->group)) return false;
  for (const Redirection& redirection : step.command->redirections)
    if (redirection.input && !add_file(redirection.target, step.command->group)) return false;
  return true;
}

bool Reading::add_file(const Word& file, uint32_t group) {
  if (file.text == "-" && !file.opaque) return true;
  if (file.opaque || !size_of_) return false;
  const bool absolute = file.text.starts_with('/');
  const bool moved = !directory_.empty() || !known_;
  if (!absolute && moved && (!known_ || group != group_)) return false;
  sum_ += std::min(kSmall + 1, size_of_(absolute ? std::string(file.text)
                                                 : directory_ + std::string(file.text)));
  return sum_ <= kSmall;
}

void Reading::change_directory(const Step& step) {
  const std::span<const Word> words = step.program.words;
  const bool first = directory_.empty() && known_;
  known_ = known_ && words.size() == 2 && !words[1].opaque && !words[1].text.starts_with('-') &&
           (first || group_ == step.command->group);
  group_ = step.command->group;
  if (!known_ || words[1].text.empty()) return;
  if (words[1].text.starts_with('/')) directory_.clear();
  directory_.append(words[1].text) += '/';
}

/// Whether the line is done at once. Sizes are asked for when all else speaks for it.
bool is_cheap(const Recipe& recipe, const SizeOf& size_of) {
  if (recipe.beyond()) return false;
  for (const Step& step : recipe.steps())
    if (step.program.kind != Kind::cheap && step.program.kind != Kind::reads) return false;
  Reading reading(size_of);
  return std::all_of(recipe.steps().begin(), recipe.steps().end(),
                     [&](const Step& step) { return reading.add(step); });
}

/// automake's, CMake's and the kernel's names. "install.o" and "installer" are files like others.
bool is_install_target(std::string_view target) {
  if (target.find_first_of("./") != std::string_view::npos) return false;
  if (target.starts_with("un")) target.remove_prefix(2);
  return target == "install" || target.starts_with("install-") || target.starts_with("install_") ||
         target.starts_with("install/") || target.ends_with("_install");
}

}  // namespace

Verdict place_of(const RecipeLine& line, const Rules& rules, const SizeOf& size_of) {
  if (line.jobserver) return {Place::recursive, "a make"};
  const Recipe recipe(line.command);
  const std::vector<Step>& steps = recipe.steps();
  const auto find = [&](auto wanted) {
    const auto it = std::find_if(steps.begin(), steps.end(), wanted);
    return it == steps.end() ? nullptr : &*it;
  };
  if (find([](const Step& s) { return s.program.kind == Kind::make; }))
    return {Place::recursive, "a make"};

  for (const std::string& pattern : rules.home_targets)
    if (!line.target.empty() && matches(pattern, line.target))
      return {Place::home, ".remote.toml keeps " + std::string(line.target) + " at home"};
  if (const Step* step = first_match(rules.home_commands, recipe))
    return {Place::home, ".remote.toml keeps " + std::string(step->program.name) + " at home"};
  if (first_match(rules.out_commands, recipe)) return {};

  if (const Step* step =
          find([](const Step& s) { return s.program.kind == Kind::home || s.program.held; })) {
    const Program& program = step->program;
    if (program.held) return {Place::home, std::string(program.reason) + " is for this host"};
    return {Place::home, std::string(program.name) + " " + std::string(program.reason)};
  }
  if (recipe.left_behind()) return {Place::home, "leaves something in the background"};
  if (is_cheap(recipe, size_of)) return {Place::cheap, "done at once"};
  if (is_install_target(line.target))
    return {Place::home, std::string(line.target) + " installs on this host"};
  if (const std::optional<std::string_view> file = own_file(recipe, line.directory))
    return {Place::home, std::string(*file) + " is a file of this host's own"};
  if (const std::string_view native = native_code(recipe); !native.empty())
    return {Place::home, std::string(native) + " means this host's processor"};
  return {};
}

bool matches(std::string_view pattern, std::string_view text) {
  // Greedy, with one way back: to the last '%', which takes one character more.
  size_t p = 0, t = 0, last = std::string_view::npos, taken = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '%') {
      last = p++;
      taken = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p, ++t;
    } else if (last != std::string_view::npos) {
      p = last + 1;
      t = ++taken;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '%') ++p;
  return p == pattern.size();
}

}  // namespace hob::pmake
