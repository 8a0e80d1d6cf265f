#include "config/daemon_options.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "base/fd.h"
//
#include <catch2/catch.hpp>

using namespace hob;

namespace {

struct Said {
  int status;
  std::string out, err;
};

/// What a daemon would print and exit with; 0 and the config file's name if it would run.
Said daemon(std::vector<const char*> words) {
  Pipe out = make_pipe().value(), err = make_pipe().value();
  words.insert(words.begin(), "/usr/sbin/hob-test");
  std::cout.flush();  // or the child prints again what Catch has not written yet
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    ::dup2(out.write_end.get(), 1);
    ::dup2(err.write_end.get(), 2);
    const auto options = daemon_options("hob-test", "Tests.", "/etc/hob/test.toml",
                                        static_cast<int>(words.size()), words.data());
    if (const int* status = std::get_if<int>(&options)) std::exit(*status);
    const DaemonOptions& run = std::get<DaemonOptions>(options);
    std::printf("%s %d", run.config.c_str(), run.check_only);
    std::exit(0);
  }
  out.write_end.reset();
  err.write_end.reset();
  Said said{};
  const auto all = [](const Fd& fd) {
    return read_file("/proc/self/fd/" + std::to_string(fd.get())).value();
  };
  said.out = all(out.read_end);
  said.err = all(err.read_end);
  REQUIRE(::waitpid(pid, &said.status, 0) == pid);
  said.status = WEXITSTATUS(said.status);
  return said;
}

}  // namespace

TEST_CASE("daemons' options") {
  CHECK(daemon({}).out == "/etc/hob/test.toml 0");
  CHECK(daemon({"--config", "/x", "--check-config"}).out == "/x 1");
  CHECK(daemon({"--version"}).out == "hob-test " HOB_VERSION "\n");
  const Said help = daemon({"--help"});
  CHECK(help.status == 0);
  CHECK(help.out.find("Usage: hob-test ") != std::string::npos);
}

TEST_CASE(
    "wrong options of daemons are one line that begins with the daemon's name, and status 2") {
  const std::pair<std::vector<const char*>, std::string> cases[] = {
      {{"--nonsense"}, "hob-test: '--nonsense' is no option of hob-test; see `hob-test --help`\n"},
      {{"extra"}, "hob-test: 'extra' is no option of hob-test; see `hob-test --help`\n"},
      {{"--config"}, "hob-test: --config needs a value; see `hob-test --help`\n"},
  };
  for (const auto& [words, line] : cases) {
    const Said said = daemon(words);
    CHECK(said.status == 2);
    CHECK(said.err == line);
    CHECK(said.out.empty());
  }
}
