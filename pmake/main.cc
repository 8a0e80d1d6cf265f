// pmake: make over the idle hosts of the cell. Also what `remote make`,
// `remote ninja` and `remote bmake` start.
#include <fmt/core.h>
#include <limits.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "cli/options.h"
#include "cli/say.h"
#include "cli/shadow.h"
#include "pmake/build.h"
#include "pmake/result_file.h"
#include "pmake/rules.h"

namespace {

using namespace hob;
using namespace hob::pmake;

int usage(const std::string& text) {
  cli::say(text + "; see `pmake --help`");
  return cli::kUsage;
}

/// The shell lies in a directory of its own, for it must be called `sh`: beside this program where
/// that has not been installed, else in lib/hob.
Result<std::string> shell_path() {
  const std::string self = TRY(read_link("/proc/self/exe"));
  const std::string directory = self.substr(0, self.rfind('/'));
  for (const std::string& place : {directory + "/recipe/sh", directory + "/../lib/hob/recipe/sh"})
    if (::access(place.c_str(), X_OK) == 0) return place;
  return Error{
      fmt::format("find the recipes' shell: neither {0}/recipe/sh nor "
                  "{0}/../lib/hob/recipe/sh is there; is hob installed whole?",
                  directory)};
}

std::string directory_of(const Options& options) {
  std::string directory = ".";
  for (size_t i = 0; i < options.passed_on.size(); ++i) {
    const std::string& word = options.passed_on[i];
    if (word == "-C" && i + 1 < options.passed_on.size())
      directory = options.passed_on[i + 1];
    else if (word.starts_with("-C"))
      directory = word.substr(2);
    else if (word.starts_with("--directory="))
      directory = word.substr(12);
  }
  char path[PATH_MAX];
  return ::realpath(directory.c_str(), path) == nullptr ? directory : path;
}

void write_result(const ResultFile& file, const std::string& text) {
  if (auto written = file.write(text); !written.ok()) cli::say(written.error().text);
}

int build(Tool tool, Options options) {
  auto shell = shell_path();
  if (!shell.ok()) return cli::say(shell.error().text), cli::kFailed;
  auto rules = tool == Tool::launcher ? Result<Rules>(Rules()) : load_rules(directory_of(options));
  if (!rules.ok()) return usage(rules.error().text);
  const ResultFile trace = trace_file(options.trace), report = report_file(options.report);
  for (const ResultFile& file : {trace, report})
    if (auto checked = file.check(); !checked.ok()) return usage(checked.error().text);
  auto loop = EventLoop::create();
  if (!loop.ok()) return cli::say(loop.error().text), cli::kFailed;
  auto build = Build::create(**loop, tool, options, std::move(rules).value(), *shell);
  if (!build.ok()) return cli::say(build.error().text), cli::kFailed;
  auto status = (*build)->run();
  if (!status.ok()) return cli::say(status.error().text), cli::kFailed;
  const Timeline& timeline = (*build)->timeline();
  const Summary summary = summarise(timeline, (*build)->wall());
  if (summary.out + summary.home > 0) cli::say(to_string(summary));
  write_result(trace, chrome_trace(timeline, (*build)->wall()));
  write_result(report, html_report(timeline, (*build)->wall(), "pmake"));
  const int code = *status;
  build.value().reset();
  if (WIFSIGNALED(code)) cli::die_of(WTERMSIG(code));
  return WEXITSTATUS(code);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + (argc > 0), argv + argc);
  Tool tool = Tool::make;
  // As `remote` starts it: "remote make ...".
  if (argc > 1 && std::string_view(argv[0]) == "remote") {
    for (const Tool other : {Tool::ninja, Tool::bmake})
      if (words[0] == name_of(other)) tool = other;
    words.erase(words.begin());
  }
  if (argc == 2 && std::string_view(argv[0]) == "remote" && words[0] == "cc") {
    cli::say_as("remote cc");
    return build(Tool::launcher, {});
  }
  cli::say_as("pmake");
  auto options = parse_arguments(tool, words);
  if (!options.ok()) return usage(options.error().text);
  if (options->help) return std::fputs(help(tool).c_str(), stdout) < 0 ? cli::kFailed : cli::kDone;
  return build(tool, *options);
}
