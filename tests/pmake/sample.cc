#include "sample.h"

#include <fmt/core.h>

#include <queue>
#include <random>

namespace hob::pmake {
namespace {

constexpr const char* kFolders[] = {"generic", "unix", "libtommath", "compat/zlib", "generic/io"};
constexpr uint32_t kSlots = 2;

/// Runs the build recipe by recipe, with a clock of its own.
class Play {
 public:
  Play(uint32_t recipes, uint32_t hosts, uint64_t seed)
      : recipes_(recipes), hosts_(hosts), random_(seed), sample_{Timeline("ws1"), {}} {}

  Sample run() {
    for (uint32_t host = 0; host <= hosts_; ++host)
      for (uint32_t slot = 0; slot < (host == 0 ? 1 : kSlots); ++slot) start(host);
    while (!queue_.empty()) {
      const Event event = queue_.top();
      queue_.pop();
      now_ = event.at;
      if (event.moves)
        leave(event);
      else
        finish(event);
    }
    begin(0, "tclsh", "gcc -O2 -o tclsh tclAppInit.o -L. -ltcl8.6 -lz -lm",
          "the link needs its libraries");
    now_ += milliseconds(900);
    sample_.timeline.end(number_, now_);
    for (uint32_t i = 0; i < recipes_ / 4; ++i) sample_.timeline.count_cheap();
    sample_.wall = now_ + milliseconds(120);
    return std::move(sample_);
  }

 private:
  struct Event {
    Duration at;
    uint64_t number;
    uint32_t host;
    bool moves;
    Duration rest;
    bool operator<(const Event& other) const { return at > other.at; }
  };

  double chance() { return std::uniform_real_distribution<double>(0, 1)(random_); }
  static std::string name(uint32_t host) { return fmt::format("ws{}", host + 1); }

  void begin(uint32_t host, const std::string& target, const std::string& command,
             const std::string& why_home) {
    sample_.timeline.begin(++number_, target, command, name(host), why_home, now_);
  }

  void start(uint32_t host) {
    if (started_ == recipes_) return;
    ++started_;
    const std::string stem =
        fmt::format("{}/tcl{:04}", kFolders[random_() % std::size(kFolders)], started_);
    begin(host, stem + ".o",
          fmt::format(
              "gcc -pipe -O2 -fPIC -DTCL_THREADS=1 -DHAVE_ZLIB -I. -Igeneric -c ../{}.c -o {}.o",
              stem, stem),
          host == 0 ? "a local slot was free" : "");
    const auto length = std::chrono::duration_cast<Duration>(
        std::chrono::duration<double>(std::lognormal_distribution<double>(-0.2, 0.7)(random_)));
    const bool moves = host != 0 && chance() < 0.04;
    const Duration stays = moves ? length / 2 : length;
    queue_.push({now_ + stays, number_, host, moves, length - stays});
  }

  void finish(const Event& event) {
    sample_.timeline.end(event.number, now_);
    start(event.host);
  }

  void leave(const Event& event) {
    const double what = chance();
    uint32_t to = 0;
    Duration rest = event.rest;
    if (what < 0.15) {
      sample_.timeline.lose(event.number, name(event.host) + " does not answer", now_);
      rest *= 2;
    } else {
      if (what > 0.7) to = 1 + static_cast<uint32_t>(random_() % hosts_);
      if (to == event.host) to = 0;
      sample_.timeline.move(event.number, name(to), "its owner is back", now_);
    }
    queue_.push({now_ + rest, event.number, event.host, false, Duration{0}});
  }

  uint32_t recipes_, hosts_, started_ = 0;
  uint64_t number_ = 0;
  Duration now_{milliseconds(80)};
  std::mt19937_64 random_;
  std::priority_queue<Event> queue_;
  Sample sample_;
};

}  // namespace

Sample sample_build(uint32_t recipes, uint32_t hosts, uint64_t seed) {
  return Play(recipes, hosts, seed).run();
}

}  // namespace hob::pmake
