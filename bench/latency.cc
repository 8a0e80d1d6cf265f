// The stop-watches of `scripts/bench latency`, which says where each runs and makes a table of what
// they print: lines "NAME VALUE".
//
//   bench_latency commands ROUNDS NAME CMD... [-- NAME CMD...]...
//       Runs each command once per round, one after another, so that a disturbance of the machine
//       hits all of them: NAME and the median of posix_spawn to the end, in ms; NAME_p95 too.
//   bench_latency throughput NAME JOBS AT_ONCE CMD...
//       NAME and jobs per second.
//   bench_latency freeze NAME SAMPLES (INPUT CGROUP)...
//       INPUT is the file: source of an owner, CGROUP a cgroup-v2 directory in which guests run.
//       Presses a key (touches the file), reads the guest's cgroup.events until it says "frozen 1",
//       waits until the guest runs again, takes the next pair: NAME_p50_ms and NAME_p99_ms.
//   bench_latency guest THREADS sleep|busy
//       A guest for `freeze`.
//
// cgroup.events is read again and again: the kernel holds its notifications back for 10 ms and
// more.
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"
#include "bench/samples.h"

extern char** environ;

namespace hob::bench {
namespace {

using Words = std::vector<std::string>;

Result<size_t> to_count(const std::string& word) {
  size_t count = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), count);
  if (error != std::errc() || end != word.data() + word.size() || count == 0) {
    return Error{"'" + word + "' is no count"};
  }
  return count;
}

/// A command that reads and writes /dev/null; its errors are ours.
class Command {
 public:
  explicit Command(Words words) : words_(std::move(words)) {
    for (std::string& word : words_) pointers_.push_back(word.data());
    pointers_.push_back(nullptr);
    CHECK(::posix_spawn_file_actions_init(&actions_) == 0);
    for (const int fd : {0, 1}) {
      CHECK(::posix_spawn_file_actions_addopen(&actions_, fd, "/dev/null",
                                               fd == 0 ? O_RDONLY : O_WRONLY, 0) == 0);
    }
  }
  ~Command() { ::posix_spawn_file_actions_destroy(&actions_); }
  Command(const Command&) = delete;

  Result<pid_t> start() {
    pid_t pid = 0;
    const int error =
        ::posix_spawnp(&pid, pointers_[0], &actions_, nullptr, pointers_.data(), environ);
    if (error != 0) return Error::sys("posix_spawn", words_[0], error);
    return pid;
  }

  /// A figure of a command that fails would be a figure of something else.
  static Result<void> check(int status, const std::string& name) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return Error{name + ": ended with wait status " + std::to_string(status) + "; run it by hand"};
  }

  Result<Duration> run() {
    const Time start_time = Clock::now();
    const pid_t pid = TRY(start());
    int status = 0;
    if (::waitpid(pid, &status, 0) != pid) return Error::sys("waitpid", words_[0]);
    const Duration taken = Clock::now() - start_time;
    TRY(check(status, words_[0]));
    return taken;
  }

 private:
  Words words_;
  std::vector<char*> pointers_;
  posix_spawn_file_actions_t actions_;
};

Result<void> measure_commands(const Words& words) {
  struct Subject {
    std::string name;
    std::unique_ptr<Command> command;
    Samples samples;
  };
  const size_t rounds = TRY(to_count(words.at(0)));
  std::vector<Subject> subjects;
  for (auto next = words.begin() + 1; next < words.end();) {
    const auto end = std::find(next, words.end(), "--");
    if (end - next < 2) return Error{"commands: a NAME and a command, please"};
    subjects.push_back({*next, std::make_unique<Command>(Words(next + 1, end)), {}});
    next = end == words.end() ? end : end + 1;
  }
  const size_t warm_up = 5;
  for (size_t round = 0; round < warm_up + rounds; ++round) {
    for (Subject& subject : subjects) {
      const Duration taken = TRY(subject.command->run());
      if (round >= warm_up) subject.samples.add(taken);
    }
  }
  for (Subject& subject : subjects) {
    std::printf("%s %.3f\n%s_p95 %.3f\n", subject.name.c_str(), subject.samples.median_ms(),
                subject.name.c_str(), subject.samples.percentile_ms(95));
  }
  return {};
}

Result<void> measure_throughput(const Words& words) {
  if (words.size() < 4) return Error{"throughput: NAME JOBS AT_ONCE CMD..."};
  const size_t jobs = TRY(to_count(words[1]));
  const size_t at_once = TRY(to_count(words[2]));
  Command command(Words(words.begin() + 3, words.end()));
  const Time start = Clock::now();
  size_t started = 0;
  size_t running = 0;
  while (started < jobs || running > 0) {
    if (started < jobs && running < at_once) {
      TRY(command.start());
      ++started;
      ++running;
      continue;
    }
    int status = 0;
    if (::waitpid(-1, &status, 0) < 0) return Error::sys("waitpid", words[3]);
    TRY(Command::check(status, words[3]));
    --running;
  }
  std::printf("%s %.1f\n", words[0].c_str(),
              static_cast<double>(jobs) / to_seconds(Clock::now() - start));
  return {};
}

/// Whether a cgroup with processes of its own is frozen.
Result<bool> is_frozen(int events) {
  char text[256];
  const ssize_t size = ::pread(events, text, sizeof text, 0);
  if (size < 0) return Error::sys("read", "cgroup.events");
  return std::string_view(text, static_cast<size_t>(size)).find("frozen 1") !=
         std::string_view::npos;
}

/// cgroup.events of the one group below `directory` in which bench_latency itself runs as a guest.
Result<std::optional<Fd>> find_guest(const std::string& directory) {
  std::error_code gone;  // groups come and go while we look
  for (std::filesystem::recursive_directory_iterator it(directory, gone), end; it != end;
       it.increment(gone)) {
    if (gone) break;
    if (!it->is_directory(gone)) continue;
    const auto processes = read_file(it->path().string() + "/cgroup.procs");
    if (!processes.ok()) continue;
    size_t at = 0;
    while (at < processes.value().size()) {
      const size_t line_end = processes.value().find('\n', at);
      const std::string pid = processes.value().substr(at, line_end - at);
      const auto name = read_file("/proc/" + pid + "/comm");
      if (name.ok() && name.value() == "bench_latency\n") {
        return std::optional(TRY(open_file(it->path().string() + "/cgroup.events", O_RDONLY)));
      }
      if (line_end == std::string::npos) break;
      at = line_end + 1;
    }
  }
  return std::optional<Fd>();
}

/// Waits until a guest runs below `directory`, and a little longer.
Result<Fd> running_guest(const std::string& directory) {
  static std::minstd_rand random;
  const Time limit = Clock::now() + seconds(30);
  while (Clock::now() < limit) {
    std::optional<Fd> events = TRY(find_guest(directory));
    if (events && !TRY(is_frozen(events->get()))) {
      // Not in step with anything: no timer of the guest's or of hostd's.
      std::this_thread::sleep_for(milliseconds(20) + microseconds(random() % 10'000));
      if (!TRY(is_frozen(events->get()))) return std::move(*events);
    }
    std::this_thread::sleep_for(milliseconds(2));
  }
  return Error{"no guest runs in " + directory + " after 30 s; see `scripts/cell logs`"};
}

Result<void> measure_freeze(const Words& words) {
  if (words.size() < 4 || words.size() % 2 != 0)
    return Error{"freeze: NAME SAMPLES (INPUT CGROUP)..."};
  const size_t count = TRY(to_count(words[1]));
  // The stop-watch looks every 20 us and sleeps in between: spinning, it would take a processor
  // from what it measures. It looks on time whatever else runs.
  ::prctl(PR_SET_TIMERSLACK, 1);
  const sched_param first{1};
  if (::sched_setscheduler(0, SCHED_FIFO, &first) < 0)
    return Error::sys("raise the priority of", "the stop-watch", errno, "needs root");
  Samples samples;
  for (size_t pair = 2; samples.count() < count; pair = pair + 2 < words.size() ? pair + 2 : 2) {
    const Fd guest = TRY(running_guest(words[pair + 1]));
    const Fd input = TRY(open_file(words[pair], O_WRONLY));
    const Time pressed = Clock::now();
    if (::futimens(input.get(), nullptr) != 0) return Error::sys("touch", words[pair]);
    while (!TRY(is_frozen(guest.get()))) {
      if (Clock::now() - pressed > seconds(5))
        return Error{"the guest in " + words[pair + 1] + " was not frozen 5 s after the key"};
      std::this_thread::sleep_for(microseconds(20));
    }
    samples.add(Clock::now() - pressed);
  }
  std::printf("%s_p50_ms %.3f\n%s_p99_ms %.3f\n", words[0].c_str(), samples.percentile_ms(50),
              words[0].c_str(), samples.percentile_ms(99));
  return {};
}

Result<void> be_guest(const Words& words) {
  if (words.size() != 2) return Error{"guest: THREADS sleep|busy"};
  const size_t count = TRY(to_count(words[0]));
  const bool busy = words[1] == "busy";
  const auto live = [busy] {
    for (std::atomic<uint64_t> turns = 0;; ++turns) {
      if (!busy) std::this_thread::sleep_for(milliseconds(100));
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < count; ++i) threads.emplace_back(live);
  live();
  return {};
}

Result<void> run(const Words& words) {
  if (words.size() < 2) return Error{"what shall be measured? See the head of bench/latency.cc"};
  const Words rest(words.begin() + 1, words.end());
  if (words[0] == "commands") return measure_commands(rest);
  if (words[0] == "throughput") return measure_throughput(rest);
  if (words[0] == "freeze") return measure_freeze(rest);
  if (words[0] == "guest") return be_guest(rest);
  return Error{"'" + words[0] + "' is nothing to measure; see the head of bench/latency.cc"};
}

}  // namespace
}  // namespace hob::bench

int main(int argc, char** argv) {
  const auto done = hob::bench::run({argv + 1, argv + argc});
  if (done.ok()) return 0;
  std::fprintf(stderr, "bench_latency: %s\n", done.error().text.c_str());
  return 1;
}
