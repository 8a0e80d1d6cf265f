#include "pmake/programs.h"

#include <algorithm>
#include <array>

#include "pmake/known_programs.h"

namespace hob::pmake {
namespace {

using namespace std::string_view_literals;

constexpr auto kShells =
    std::to_array<std::string_view>({"ash", "bash", "dash", "ksh", "sh", "zsh"});

template <class Table>
const typename Table::value_type* find(const Table& table, std::string_view name) {
  const auto it =
      std::lower_bound(table.begin(), table.end(), name,
                       [](const auto& entry, std::string_view n) { return entry.name < n; });
  return it != table.end() && it->name == name ? &*it : nullptr;
}

std::string_view base_of(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

/// How many words of `words` the program's name, its options and their values are.
size_t options_end(std::span<const Word> words, std::string_view values) {
  size_t i = 1;
  for (; i < words.size(); ++i) {
    const std::string_view w = words[i].text;
    if (w == "--") return i + 1;
    if (!w.starts_with('-') || w == "-") break;
    // "-n 5" has its value in the next word, "-n5" and "--adjustment=5" have not.
    if (w.size() == 2 && values.find(w[1]) != std::string_view::npos) ++i;
  }
  return std::min(i, words.size());
}

bool has_word(std::span<const Word> words, std::string_view text) {
  return std::any_of(words.begin(), words.end(), [&](const Word& w) { return w.text == text; });
}

/// The name of the program that the first word starts. "$MAKE" and "${MAKE}" are make's own
/// variable, which it exports to recipes.
std::string_view name_of(const Word& word) {
  if (word.text == "$MAKE") return "make";
  return word.opaque ? std::string_view{} : base_of(word.text);
}

/// For env and sudo quotes do not matter.
bool is_assignment(const Word& word) {
  return word.text.find('=') != std::string_view::npos;
}

void home(Program& program, std::string_view reason) {
  program.kind = Kind::home;
  program.reason = reason;
}

/// CMake's own tools, as its makefiles call them. True: `words` are now those of the command
/// inside.
bool read_cmake(Program& program) {
  const std::span<const Word> words = program.words;
  const std::string_view mode = words.size() > 1 ? words[1].text : std::string_view{};
  const std::string_view what = words.size() > 2 ? words[2].text : std::string_view{};
  if (mode == "--build") {
    program.kind = Kind::make;
  } else if (mode == "--install") {
    home(program, kInstalls);
  } else if (mode == "-P" || mode.starts_with("-D")) {
    // What `make clean` and the making of an archive begin with: it removes files.
    const std::string_view script = base_of(words.back().text);
    if (script.starts_with("cmake_clean")) program.kind = Kind::cheap;
    if (script == "cmake_install.cmake") home(program, kInstalls);
  } else if (mode != "-E") {
    home(program, kConfigures);
  } else if (what == "env" || what == "time" || what == "chdir") {
    size_t i = what == "chdir" ? 4 : 3;
    while (
        what == "env" && i < words.size() &&
        (words[i].text.starts_with("--unset=") || words[i].text == "--" || is_assignment(words[i])))
      ++i;
    program.words = words.subspan(std::min(i, words.size()));
    return true;
  } else if (what.starts_with("copy") || what == "compare_files" || what == "cat") {
    program.kind = what == "copy_directory" ? Kind::unknown : Kind::reads;
  } else {
    constexpr auto kCheap = std::to_array<std::string_view>({"cmake_echo_color",
                                                             "cmake_progress_report",
                                                             "cmake_progress_start",
                                                             "cmake_symlink_executable",
                                                             "cmake_symlink_library",
                                                             "cmake_unlink",
                                                             "create_hardlink",
                                                             "create_symlink",
                                                             "echo",
                                                             "echo_append",
                                                             "environment",
                                                             "false",
                                                             "make_directory",
                                                             "remove",
                                                             "remove_directory",
                                                             "rename",
                                                             "rm",
                                                             "touch",
                                                             "touch_nocreate",
                                                             "true"});
    if (std::find(kCheap.begin(), kCheap.end(), what) != kCheap.end()) program.kind = Kind::cheap;
  }
  return false;
}

/// `sh -c TEXT`, `sh SCRIPT ...`. A script's name says whether it installs or is a make; that it is
/// called like a cheap program says nothing.
void read_shell(Program& program) {
  const std::span<const Word> words = program.words;
  size_t i = 1;
  bool text = false;
  for (; i < words.size(); ++i) {
    const std::string_view w = words[i].text;
    if (w.size() < 2 || (w[0] != '-' && w[0] != '+')) break;
    if (w == "--") {
      ++i;
      break;
    }
    if (w[1] == '-') continue;
    text = text || (w[0] == '-' && w.find('c') != std::string_view::npos);
    if (w.ends_with('o')) ++i;  // "-o pipefail", "-eo pipefail"
  }
  if (i >= words.size()) return;
  if (text) {
    program.script = std::string(words[i].text);
    // A substitution cuts the text off; "$x" in it is read like any other.
    program.kind = words[i].opaque ? Kind::unknown : Kind::cheap;
    return;
  }
  const std::string_view script = name_of(words[i]);
  const Known* known = find(kKnown, script);
  if (known && (known->kind == Kind::home || known->kind == Kind::make)) {
    program.kind = known->kind;
    program.reason = known->reason;
    program.name = script;
  }
  if (script == "mkinstalldirs") program.kind = Kind::cheap;
  program.words = words.subspan(i);
}

/// Libtool's modes: it compiles and links as any compiler, and installs.
void read_libtool(Program& program) {
  for (const std::string_view mode : {"--mode=install"sv, "--mode=finish"sv, "--mode=uninstall"sv})
    if (has_word(program.words, mode)) return home(program, kInstalls);
}

void read_eval(Program& program) {
  std::string text;
  bool opaque = false;
  for (const Word& word : program.words.subspan(1)) {
    text.append(word.text) += ' ';
    opaque = opaque || word.opaque;
  }
  program.kind = opaque ? Kind::unknown : Kind::cheap;
  program.script = std::move(text);
}

}  // namespace

Program program_of(const Command& command) {
  Program program;
  program.words = command.words;
  for (bool inside = true; inside;) {
    inside = false;
    if (program.words.empty()) {
      // "x=1", "> file", `env` alone: nothing is run.
      program.kind = Kind::cheap;
      return program;
    }
    program.name = name_of(program.words[0]);
    if (const Prefix* prefix = find(kPrefixes, program.name)) {
      const size_t options = options_end(program.words, prefix->values);
      if (program.name == "command" && options > 1 && program.words[1].text != "-p") {
        program.kind = Kind::cheap;  // -v and -V: where is it?
        return program;
      }
      size_t i = std::min(options + prefix->operands, program.words.size());
      while (prefix->assignments && i < program.words.size() && is_assignment(program.words[i]))
        ++i;
      if (prefix->held && !program.held) program.held = true, program.reason = program.name;
      program.words = program.words.subspan(i);
      inside = true;
    } else if (program.name == "cmake") {
      inside = read_cmake(program);
    } else if (program.name == "remote" && program.words.size() > 1 &&
               program.words[1].text == "cc") {
      program.words = program.words.subspan(2);  // in a recipe it is the compiler itself
      inside = true;
    }
  }
  if (std::find(kShells.begin(), kShells.end(), program.name) != kShells.end())
    read_shell(program);
  else if (program.name == "eval")
    read_eval(program);
  else if (program.name == "remote")  // hob's own command line
    program.words.size() > 1 && program.words[1].text == "make" ? void(program.kind = Kind::make)
                                                                : home(program, "is hob itself");
  else if (const Known* known = find(kKnown, program.name))
    program.kind = known->kind, program.reason = known->reason;
  if (!program.words.empty() && base_of(program.words[0].text).ends_with("libtool"))
    read_libtool(program);
  return program;
}

std::optional<std::vector<Word>> files_read(const Program& program) {
  static constexpr Known kCMake{"cmake", Kind::reads, {}, 1};
  const Known* known = program.name == "cmake" ? &kCMake : find(kKnown, program.name);
  std::vector<Word> files;
  size_t skip = known ? known->skip : 0;
  bool options = true;
  for (size_t i = 1; i < program.words.size(); ++i) {
    const Word& word = program.words[i];
    if (options && word.text.starts_with('-') && word.text.size() > 1) {
      if (word.text == "--") options = false;
      if (word.text[1] == '-') {
        if (word.text == "--recursive" || word.text == "--archive") return std::nullopt;
        continue;
      }
      if (known && word.text.find_first_of(known->walks, 1) != std::string_view::npos)
        return std::nullopt;
      // sed's and grep's script is an option's value then, and no operand.
      const char last = word.text.back();
      if (known && known->skip == 1 && known->name != "ar" && (last == 'e' || last == 'f')) {
        skip = 0;
        ++i;
      } else if (known && word.text.size() == 2 &&
                 known->values.find(last) != std::string_view::npos) {
        ++i;
      }
      continue;
    }
    if (skip > 0) {
      --skip;
      continue;
    }
    files.push_back(word);
  }
  return files;
}

}  // namespace hob::pmake
