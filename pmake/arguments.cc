#include "pmake/arguments.h"

#include <fmt/core.h>

#include <charconv>
#include <optional>
#include <string_view>

namespace hob::pmake {
namespace {

/// Single-letter options of the tool that take the rest of the word or the next one as their value
/// (make(1), ninja --help); in `optional` those whose value can only be in the same word.
struct Letters {
  std::string_view with_value, optional;
};
Letters letters_of(Tool tool) {
  switch (tool) {
    case Tool::make:
      return {"CfIoWE", "lO"};
    case Tool::ninja:
      return {"Cflkdtw", ""};
    case Tool::bmake:
      return {"CDdfIJmTVv", ""};
    case Tool::launcher:
      break;
  }
  return {};
}

/// Recipes at once; each is a process, and a token in a pipe.
constexpr uint32_t kMost = 65536;

std::optional<uint32_t> number(std::string_view text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > kMost) return {};
  return value;
}

/// A number, small or too great.
bool is_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

class Reader {
 public:
  Reader(Tool tool, const std::vector<std::string>& words) : tool_(tool), words_(words) {}

  Result<Options> read() {
    for (; at_ < words_.size(); ++at_) {
      const std::string& word = words_[at_];
      if (word == "--") {
        options_.passed_on.insert(options_.passed_on.end(),
                                  words_.begin() + static_cast<ptrdiff_t>(at_), words_.end());
        break;
      }
      if (word.starts_with("--")) {
        TRY(long_option(word));
      } else if (word.size() > 1 && word[0] == '-') {
        TRY(cluster(word));
      } else {
        options_.passed_on.push_back(word);
      }
    }
    return std::move(options_);
  }

 private:
  Result<void> long_option(const std::string& word) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const auto value = [&]() -> Result<std::string> {
      if (equals != std::string::npos) return word.substr(equals + 1);
      if (at_ + 1 >= words_.size()) return Error{fmt::format("{} wants a value", name)};
      return words_[++at_];
    };
    if (name == "--help") return options_.help = true, Result<void>();
    if (name == "--watch") return options_.watch = true, Result<void>();
    if (name == "--trace") return options_.trace = TRY(value()), Result<void>();
    if (name == "--report") return options_.report = TRY(value()), Result<void>();
    if (name == "--local") return set_local(TRY(value()));
    if (name == "--jobs") {
      // As make has it: without a number there is no limit.
      if (equals == std::string::npos) {
        if (at_ + 1 < words_.size() && is_digits(words_[at_ + 1])) return set_most(words_[++at_]);
        return Result<void>();
      }
      return set_most(TRY(value()));
    }
    if (name == "--output-sync") options_.output_sync_given = true;
    options_.passed_on.push_back(word);
    return {};
  }

  Result<void> cluster(const std::string& word) {
    const Letters letters = letters_of(tool_);
    std::string kept = "-";
    for (size_t i = 1; i < word.size(); ++i) {
      const char c = word[i];
      const std::string rest = word.substr(i + 1);
      if (c == 'j') {
        if (!rest.empty()) {
          TRY(set_most(rest));
          break;
        }
        if (at_ + 1 < words_.size() && is_digits(words_[at_ + 1])) {
          TRY(set_most(words_[++at_]));
        }
      } else if (c == 'L') {
        if (rest.empty() && at_ + 1 >= words_.size()) return Error{"-L wants a number"};
        TRY(set_local(rest.empty() ? words_[++at_] : rest));
        break;
      } else if (c == 'X') {
        options_.export_ok = false;
      } else if (c == 'x') {
        options_.export_ok = true;
      } else if (letters.with_value.find(c) != std::string_view::npos) {
        kept += word.substr(i);
        options_.passed_on.push_back(std::move(kept));
        if (rest.empty() && at_ + 1 < words_.size()) options_.passed_on.push_back(words_[++at_]);
        return {};
      } else if (letters.optional.find(c) != std::string_view::npos) {
        if (c == 'O') options_.output_sync_given = true;
        kept += word.substr(i);
        break;
      } else {
        kept += c;
      }
    }
    if (kept.size() > 1) options_.passed_on.push_back(std::move(kept));
    return {};
  }

  Result<void> set_most(const std::string& text) {
    const auto n = number(text);
    if (!n || *n == 0)
      return Error{fmt::format("-j: '{}' is no number of recipes, 1 to {}", text, kMost)};
    options_.most = *n;
    return {};
  }
  Result<void> set_local(const std::string& text) {
    const auto n = number(text);
    if (!n) return Error{fmt::format("-L: '{}' is no number of recipes, 0 to {}", text, kMost)};
    options_.local = *n;
    options_.local_given = true;
    return {};
  }

  Tool tool_;
  const std::vector<std::string>& words_;
  size_t at_ = 0;
  Options options_;
};

}  // namespace

std::string_view name_of(Tool tool) {
  switch (tool) {
    case Tool::make:
      return "make";
    case Tool::ninja:
      return "ninja";
    case Tool::bmake:
      return "bmake";
    case Tool::launcher:
      break;
  }
  return "cc";
}

Result<Options> parse_arguments(Tool tool, const std::vector<std::string>& words) {
  return Reader(tool, words).read();
}

std::string help(Tool tool) {
  const std::string_view name = name_of(tool);
  const std::string command = tool == Tool::make ? "pmake" : fmt::format("remote {}", name);
  return fmt::format(R"(Usage: {0} [OPTION]... [{1}'s own arguments]
Runs {1} with its recipes spread over the idle hosts of the cell.

  -j N           at most N recipes at once (default: as many as the cell gives)
  -L N           at most N of them at home (default: its processors less one, at least one)
  -X             nothing leaves home
  -x             what may leave does (the default; after -X)
      --watch        a live line: which host runs what
      --trace FILE   writes a trace for chrome://tracing or ui.perfetto.dev
      --report FILE  writes a page with the same timeline
      --help         this text; `{1} --help` tells {1}'s own options

A source tree's .remote.toml says what stays at home; see remote(1).
)",
                     command, name);
}

}  // namespace hob::pmake
