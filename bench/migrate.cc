#include <fcntl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>

#include "base/fd.h"
#include "base/log.h"
#include "bench/migrate_results.h"
#include "bench/mover.h"
#include "bench/samples.h"
#include "bench/tcp_copy.h"
#include "bench/tick_file.h"
#include "bench/warm_memory.h"

/// `scripts/bench migrate`: for how long a program stands still while it moves, by its own clock,
/// beside CRIU in the same run. Usage: bench_migrate [--criu PATH] [--rounds N] [--stages]
/// [CASE...]
namespace hob::bench {
namespace {

constexpr char kDirectory[] = "/run/hob-bench";

struct Options {
  std::string criu;
  int rounds = 10;
  std::vector<std::string> only;  ///< cases; empty: all
  bool wants(const std::string& name) const {
    return only.empty() || std::find(only.begin(), only.end(), name) != only.end();
  }
};

/// Issue 3, "What it must show".
struct Case {
  const char* name;
  std::vector<std::string> arguments;  ///< of the ticker, behind its file
  unsigned processes;
  double target_ms, times_better;
};
const Case kCases[] = {
    {"small", {"small"}, 1, 2, 5},           {"1GiB", {"memory", "1024"}, 1, 3, 25},
    {"4GiB", {"memory", "4096"}, 1, 4, 50},  {"maps1000", {"maps", "1000"}, 1, 5, 6},
    {"files200", {"files", "200"}, 1, 3, 6}, {"threads64", {"threads", "64"}, 1, 8, 5},
    {"tree20", {"tree", "20"}, 20, 20, 4},   {"python100", {"100"}, 1, 6, 8},
};
const Case kWrites = {"writes", {"writes", "1024", "80000"}, 1, 0, 0};

struct Measured {
  Samples downtime, all_in, faults;
  Samples of_move;  ///< the gap in which it was moved, which need not be the longest
  std::optional<double> stream_gbps, tcp_gbps;
  /// Longest gaps, not moved: while a bare copy of it goes over TCP, and while nothing happens.
  Samples beside_copy, at_rest;
};

std::string program_of(const Case& c) {
  return c.name == std::string("python100") ? HOB_TICKER_PY : HOB_TICKER;
}

/// Moves one program `rounds` times. `after` is called at the end, while it still runs.
Result<Measured> measure(const Case& c, Mover& mover, int rounds,
                         const std::function<Result<void>(Measured&, TickFile&)>& after = {}) {
  TickFile ticks = TRY(TickFile::create(std::string(kDirectory) + "/ticks", c.processes));
  std::vector<std::string> command = {program_of(c), ticks.path()};
  if (program_of(c) == HOB_TICKER_PY) command.insert(command.begin(), "/usr/bin/python3");
  command.insert(command.end(), c.arguments.begin(), c.arguments.end());
  TRY(mover.start(command));
  TRY(ticks.wait_ready(seconds(60)));
  Measured m;
  for (int i = 0; i < rounds; i++) {
    ::usleep(100'000);
    TRY(ticks.begin_anew());
    const uint64_t complete = TRY(mover.move());
    const std::vector<Duration> faults = ticks.faults();
    TRY(ticks.wait_ticking());
    const TickFile::Gap gap = ticks.worst();
    m.downtime.add(gap.length);
    const auto push = static_cast<uint64_t>(mover.push().count());
    // What began before the resume.
    const Duration moved = ticks.worst_before(complete - push);
    if (moved > Duration(0)) m.of_move.add(moved);
    log::debug("longest gap {} us, that of the move {} us", gap.length / microseconds(1),
               moved / microseconds(1));
    // Its longest gap need not be the freeze, where pages come behind it.
    m.all_in.add(mover.push() > Duration(0)
                     ? gap.length + mover.push()
                     : Duration(static_cast<int64_t>(complete - gap.began_ns)));
    for (Duration fault : faults)
      if (fault < gap.length) m.faults.add(fault);  // one of them may be the freeze itself
  }
  if (after) TRY(after(m, ticks));
  return m;
}

/// Held open while CRIU is measured: its parasite sets hardware breakpoints, and with no perf event
/// of a task anywhere the kernel patches itself at the first and the last one, 10 to 20 ms each.
Fd hold_perf_event() {
  perf_event_attr attributes = {};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_TASK_CLOCK;
  return Fd(static_cast<int>(
      ::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC)));
}

/// A mount namespace of our own with a tmpfs at /run: images and what CRIU remembers lie there.
Result<void> furnish() {
  if (::unshare(CLONE_NEWNS) < 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0 ||
      ::mount("tmpfs", "/run", "tmpfs", 0, "mode=755") < 0)
    return Error::sys("mount", "/run", errno, "run it as root");
  rlimit files = {};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;  // CRIU's lazy pages wait in a few thousand pipes
  ::setrlimit(RLIMIT_NOFILE, &files);
  TRY(make_directories(kDirectory));
  // Hob's programs run as an ordinary user.
  if (::chmod(kDirectory, 0777) < 0) return Error::sys("open up", kDirectory);
  return {};
}

/// Tells of a failure; nothing is then known of the figure.
std::optional<Measured> told(const Case& c, const char* who, Result<Measured> measured) {
  if (measured) return std::move(*measured);
  std::printf("%s: %s: %s\n", c.name, who, measured.error().text.c_str());
  return std::nullopt;
}

class Benchmark {
 public:
  explicit Benchmark(const Options& options) : options_(options) {}

  void run() {
    find_criu();
    for (const Case& c : kCases)
      if (options_.wants(c.name)) run_case(c);
    if (options_.wants(kWrites.name)) run_writes();
    print_table(results_, others_);
    print_json(results_, others_);
  }

 private:
  std::optional<Measured> by_criu(const Case& c, CriuWay way) {
    if (!criu_works_) return std::nullopt;
    auto mover = make_criu(options_.criu, way, std::string(kDirectory) + "/images");
    return told(c, way == CriuWay::lazy_pages ? "criu lazy" : "criu",
                measure(c, *mover, options_.rounds));
  }

  void find_criu() {
    if (options_.criu.empty()) {
      std::printf(
          "No CRIU to compare with: name a binary that works here with --criu PATH\n"
          "(Debian 12's 3.17 refuses kernels from 6.13 on; 4.2 works).\n");
      return;
    }
    auto mover =
        make_criu(options_.criu, CriuWay::dump_restore, std::string(kDirectory) + "/images");
    auto tried = measure(kCases[0], *mover, 1);
    criu_works_ = tried.ok();
    if (!tried)
      std::printf("No CRIU to compare with: %s does not work here: %s\n", options_.criu.c_str(),
                  tried.error().text.c_str());
  }

  void run_case(const Case& c) {
    std::printf("%s ...\n", c.name);
    std::fflush(stdout);
    CaseResult& result = results_.emplace_back();
    result.name = c.name;
    result.target_ms = c.target_ms;
    result.times_better = c.times_better;
    const bool largest = c.name == std::string("4GiB");
    auto hob = make_hob();
    auto copy = [&](Measured& m, TickFile& ticks) -> Result<void> {
      Samples tcp, stream;  // seconds for a GB
      for (int i = 0; i < options_.rounds; i++) {
        TRY(ticks.begin_anew());
        tcp.add(Duration(static_cast<int64_t>(1e9 / TRY(bare_tcp_copy({hob->pid()})))));
        m.beside_copy.add(ticks.worst().length);
        TRY(ticks.begin_anew());
        ::usleep(static_cast<useconds_t>(1e3 * m.all_in.median_ms()));
        m.at_rest.add(ticks.worst().length);
        stream.add(Duration(static_cast<int64_t>(1e9 / TRY(hob->stream()))));
      }
      m.tcp_gbps = 1e3 / tcp.median_ms();
      m.stream_gbps = 1e3 / stream.median_ms();
      return {};
    };
    if (auto m =
            told(c, "hob",
                 measure(c, *hob, options_.rounds,
                         largest ? copy : std::function<Result<void>(Measured&, TickFile&)>()))) {
      result.hob_ms = m->downtime.median_ms();
      result.hob_best_ms = m->downtime.percentile_ms(1);
      if (m->of_move.count() > 0) result.of_move_ms = m->of_move.median_ms();
      if (largest) note_push(*m);
    }
    hob.reset();
    if (auto m = by_criu(c, CriuWay::dump_restore)) result.criu_ms = m->downtime.median_ms();
    if (auto m = by_criu(c, CriuWay::lazy_pages)) {
      result.criu_lazy_ms = m->downtime.median_ms();
      if (largest) others_.all_in_criu_lazy_s = m->all_in.median_ms() / 1e3;
    }
  }

  void note_push(Measured& m) {
    others_.all_in_hob_s = m.all_in.median_ms() / 1e3;
    others_.beside_copy_ms = m.beside_copy.median_ms();
    others_.at_rest_ms = m.at_rest.median_ms();
    others_.stream_hob_gbps = m.stream_gbps;
    others_.stream_tcp_gbps = m.tcp_gbps;
    if (m.faults.count() == 0) return;
    others_.fault_p50_us = m.faults.percentile_ms(50) * 1e3;
    others_.fault_p99_us = m.faults.percentile_ms(99) * 1e3;
  }

  void run_writes() {
    std::printf("1 GiB under 80,000 random page writes/s ...\n");
    std::fflush(stdout);
    auto hob = make_hob();
    if (auto m = told(kWrites, "hob", measure(kWrites, *hob, options_.rounds)))
      others_.writes_hob_s = m->all_in.median_ms() / 1e3;
    hob.reset();
    if (auto m = by_criu(kWrites, CriuWay::lazy_pages))
      others_.writes_criu_lazy_s = m->all_in.median_ms() / 1e3;
  }

  const Options& options_;
  bool criu_works_ = false;
  std::vector<CaseResult> results_;
  Others others_;
};

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i++) {
    const std::string word = argv[i];
    if (word == "--criu" && i + 1 < argc)
      options.criu = std::filesystem::absolute(argv[++i]);
    else if (word == "--rounds" && i + 1 < argc)
      options.rounds = std::max(1, std::atoi(argv[++i]));
    else if (word == "--stages")
      log::set_level(log::Level::debug);
    else if (word[0] != '-')
      options.only.push_back(word);
    else
      return std::fprintf(stderr,
                          "usage: bench_migrate [--criu PATH] [--rounds N] [--stages] [CASE...]\n"),
             2;
  }
  if (auto furnished = furnish(); !furnished)
    return std::fprintf(stderr, "%s\n", furnished.error().text.c_str()), 1;
  // Program, image and copy of the largest case.
  const WarmMemory warm(options.wants("4GiB") ? 14ull << 30 : 4ull << 30);
  const Fd held = hold_perf_event();
  Benchmark(options).run();
  return 0;
}

}  // namespace
}  // namespace hob::bench

int main(int argc, char** argv) {
  return hob::bench::main(argc, argv);
}
