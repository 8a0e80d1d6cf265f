#include <algorithm>
#include <array>

#include "pmake/launcher.h"

namespace hob::pmake {
namespace {

using namespace std::string_view_literals;

/// Options of gcc and clang whose value may be the next word, which is then no input.
constexpr std::array kTakeNext = {
    "-o"sv,       "-x"sv,        "-I"sv,         "-D"sv,       "-U"sv,          "-L"sv,
    "-l"sv,       "-T"sv,        "-u"sv,         "-z"sv,       "-include"sv,    "-imacros"sv,
    "-isystem"sv, "-iquote"sv,   "-idirafter"sv, "-iprefix"sv, "-isysroot"sv,   "-iwithprefix"sv,
    "-MF"sv,      "-MT"sv,       "-MQ"sv,        "-Xlinker"sv, "-Xassembler"sv, "-Xpreprocessor"sv,
    "-Xclang"sv,  "-arch"sv,     "-target"sv,    "--param"sv,  "-aux-info"sv,   "-wrapper"sv,
    "-mllvm"sv,   "--sysroot"sv, "-B"sv,         "-A"sv,       "-dumpbase"sv,   "-dumpdir"sv,
};

/// Says what it would do, or does but the first step.
bool only_asks(std::string_view word) {
  return word == "-E" || word == "-M" || word == "-MM" || word == "-v" || word == "-###" ||
         word == "--version" || word == "--help" || word.starts_with("--help=") ||
         word.starts_with("-dump") || word.starts_with("-print-") || word.starts_with("--print-");
}

/// "y.o" for "x/y.c": what -c makes in the directory it runs in.
std::string object_of(std::string_view source) {
  source.remove_prefix(source.rfind('/') + 1);
  return std::string(source.substr(0, source.rfind('.'))) + ".o";
}

}  // namespace

CompileLine read_compile_line(const std::vector<std::string>& arguments) {
  CompileLine line;
  std::string_view input;
  bool object = false, input_seen = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view word = arguments[i];
    if (word == "-") return {};
    if (word == "-dumpbase" || word == "-dumpdir") {
      ++i;  // no question, in spite of its name
    } else if (only_asks(word)) {
      return {};
    } else if (word == "-c") {
      object = true;
    } else if (word == "-o") {
      if (i + 1 < arguments.size()) line.output = arguments[++i];
    } else if (word.starts_with("-o") && word.size() > 2 && !word.starts_with("-objc")) {
      line.output = word.substr(2);
    } else if (std::find(kTakeNext.begin(), kTakeNext.end(), word) != kTakeNext.end()) {
      ++i;
    } else if (!word.empty() && !word.starts_with('-')) {
      input = word;
      input_seen = true;
    }
  }
  line.compiles = input_seen;
  if (object && line.output.empty() && input_seen && !input.starts_with('@'))
    line.output = object_of(input);
  return line;
}

std::optional<std::string> find_compiler(std::string_view name, std::string_view path,
                                         const std::function<bool(const std::string&)>& is_other) {
  if (name.find('/') != std::string_view::npos) return std::string(name);
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find(':', at), path.size());
    const std::string_view directory = path.substr(at, end - at);
    at = end + 1;
    const std::string place =
        std::string(directory.empty() ? "." : directory).append("/").append(name);
    if (is_other(place)) return place;
  }
  return std::nullopt;
}

}  // namespace hob::pmake
