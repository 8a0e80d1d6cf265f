// What one guest costs this host before and after it computes: the steps of a sandbox's life around
// /bin/true, and the processor time of all of them. As root: sandbox_ms [RUNS].
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "migrate/program.h"
#include "migrate/sandbox.h"

using namespace hob;
using namespace hob::migrate;

namespace {

constexpr std::array<const char*, 5> kSteps = {"create", "furnish", "start", "wait", "destroy"};

struct Run {
  std::array<Duration, kSteps.size()> steps{};
};

Fd null_device() {
  return Fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
}

Result<Run> run_once(const std::string& path, const Program& program) {
  Run run;
  size_t step = 0;
  Time last = Clock::now();
  const auto lap = [&] {
    const Time now = Clock::now();
    run.steps[step++] = now - last;
    last = now;
  };
  Sandbox sandbox = TRY(Sandbox::create(path));
  lap();
  TRY(sandbox.furnish("home", {seconds(1), seconds(1)}));
  lap();
  const pid_t pid = TRY(start(sandbox, program, {null_device(), null_device(), null_device()}));
  lap();
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid || status != 0)
    return Error{"/bin/true ended with status " + std::to_string(status), 0};
  lap();
  TRY(sandbox.destroy());
  lap();
  return run;
}

double milliseconds_of(const timeval& t) {
  return 1e3 * static_cast<double>(t.tv_sec) + 1e-3 * static_cast<double>(t.tv_usec);
}

double cpu_ms(int who) {
  rusage usage{};
  ::getrusage(who, &usage);
  return milliseconds_of(usage.ru_utime) + milliseconds_of(usage.ru_stime);
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

}  // namespace

int main(int argc, char** argv) {
  const int runs = argc > 1 ? std::atoi(argv[1]) : 300;
  if (runs < 1) return std::fprintf(stderr, "usage: sandbox_ms [RUNS]\n"), 2;
  Program program;
  program.arguments = {"/bin/true"};
  program.environment = {"PATH=/usr/bin:/bin"};
  program.directory = "/";
  program.user = {23456, 23456, {}};

  const std::string parent = "/hob-bench-" + std::to_string(::getpid());
  std::array<std::vector<double>, kSteps.size() + 1> columns;
  const double own_before = cpu_ms(RUSAGE_SELF), children_before = cpu_ms(RUSAGE_CHILDREN);
  const Time begin = Clock::now();
  for (int i = 0; i < runs; ++i) {
    auto run = run_once(parent + "/guest", program);
    if (!run) return std::fprintf(stderr, "sandbox_ms: %s\n", run.error().text.c_str()), 1;
    double sum = 0;
    for (size_t s = 0; s < kSteps.size(); ++s) {
      columns[s].push_back(to_milliseconds(run->steps[s]));
      sum += columns[s].back();
    }
    columns.back().push_back(sum);
  }
  const double wall = to_seconds(Clock::now() - begin);
  const double own = (cpu_ms(RUSAGE_SELF) - own_before) / runs;
  const double children = (cpu_ms(RUSAGE_CHILDREN) - children_before) / runs;
  ::rmdir((*Cgroup::root() + parent).c_str());

  std::printf("%-10s %10s %10s   ms, %d runs\n", "step", "median", "p99", runs);
  for (size_t s = 0; s <= kSteps.size(); ++s)
    std::printf("%-10s %10.3f %10.3f\n", s < kSteps.size() ? kSteps[s] : "sum",
                quantile(columns[s], 0.5), quantile(columns[s], 0.99));
  std::printf("%-10s %10.3f own, %.3f init and guest\n", "processor", own, children);
  std::printf(
      "{\"sandbox_ms\": %.3f, \"start_ms\": %.3f, \"cpu_ms_per_job\": %.3f, "
      "\"jobs_per_s\": %.0f}\n",
      quantile(columns.back(), 0.5), quantile(columns[1], 0.5) + quantile(columns[2], 0.5),
      own + children, runs / wall);
  return 0;
}
