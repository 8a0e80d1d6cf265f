#include <fmt/format.h>
#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "coordinator/pool.h"

/// What the host pool costs: state changes and select + release pairs per second on one core, and
/// memory per host, with 10,000 and with 100,000 hosts. One host in 100 is a home with its owner
/// present; the others have one to four slots and one of four sets of processor features. Medians
/// of several rounds; the last line is JSON for the larger cell.
///
/// `bench_pool changes|pairs HOSTS`: only counted_operations of them, in the function `counted`,
/// for callgrind to count its instructions: time also tells how much of the books fits into the
/// caches.
namespace hob::coordinator {
namespace {

constexpr int rounds = 7;
constexpr size_t operations = 200'000;  // per round
constexpr size_t counted_operations = 50'000;

struct Figures {
  uint32_t hosts = 0;
  double state_changes_per_s = 0;
  double pairs_per_s = 0;
  double busy_pairs_per_s = 0;
  double bytes_per_host = 0;
  double bytes_per_host_granted = 0;
};

size_t heap_bytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

/// Processor time of this thread: what one core can do, also on a machine with other work.
Duration processor_time() {
  struct timespec t {};
  CHECK(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
  return seconds(t.tv_sec) + nanoseconds(t.tv_nsec);
}

template <class Run>
double per_second(Run run) {
  std::vector<double> rates;
  for (int i = 0; i < rounds; ++i) {
    const Duration start = processor_time();
    run();
    rates.push_back(static_cast<double>(operations) / to_seconds(processor_time() - start));
  }
  std::nth_element(rates.begin(), rates.begin() + rounds / 2, rates.end());
  return rates[rounds / 2];
}

class Bench {
 public:
  explicit Bench(uint32_t hosts) : hosts_(hosts) {}

  void enter_hosts() {
    for (uint32_t n = 0; n < hosts_; ++n) pool_.update(facts(n), now_);
  }

  Figures run() {
    Figures figures;
    figures.hosts = hosts_;
    const size_t before = heap_bytes();
    enter_hosts();
    figures.bytes_per_host = static_cast<double>(heap_bytes() - before) / hosts_;
    figures.state_changes_per_s = per_second([this] { change_states(operations); });
    figures.pairs_per_s = per_second([this] { pairs(operations); });
    fill();
    figures.bytes_per_host_granted = static_cast<double>(heap_bytes() - before) / hosts_;
    figures.busy_pairs_per_s = per_second([this] { busy_pairs(); });
    return figures;
  }

  /// Owners come and go on hosts at random.
  void change_states(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      tick();
      const HostId id{static_cast<uint32_t>(random_()) % hosts_};
      if (is_home(static_cast<uint32_t>(id))) continue;
      const bool idle = pool_.host(id)->state == HostState::idle;
      pool_.set_state(id, idle ? HostState::active : HostState::idle, now_, now_);
    }
  }

  /// One grant and its return, by clients of random homes.
  void pairs(size_t count) {
    Request request;
    for (size_t i = 0; i < count; ++i) {
      tick();
      request.client = {HostId{random_home()}, UserId{static_cast<uint32_t>(i % 1000)}, i};
      const auto asked = pool_.ask(request, now_);
      CHECK(asked.decisions.size() == 1);
      pool_.release(std::get<Granted>(asked.decisions[0]).lease.id, now_);
    }
  }

 private:
  static bool is_home(uint32_t n) { return n % 100 == 0; }
  uint32_t random_home() { return static_cast<uint32_t>(random_()) % hosts_ / 100 * 100; }

  HostFacts facts(uint32_t n) {
    HostFacts f;
    f.id = HostId{n};
    f.state = is_home(n) ? HostState::active : HostState::idle;
    f.idle_since = now_ - milliseconds(random_() % 10'000'000);
    f.slots = 1 + n % 4;
    f.features.bits[0] = is_home(n) ? 0xf : (uint64_t{1} << (n / 4 % 4)) | 1;
    return f;
  }

  void tick() { now_ += microseconds(1); }

  /// Every slot is granted, each home with a client of its own, and a request of each waits.
  void fill() {
    for (uint32_t n = 0; n < hosts_; ++n) {
      if (!is_home(n)) pool_.set_state(HostId{n}, HostState::idle, now_, now_);
    }
    Request request;
    for (bool full = false; !full;) {
      for (uint32_t home = 0; home < hosts_ && !full; home += 100) {
        request.client = {HostId{home}, UserId{home}, 0};
        request.wait = false;
        for (const Decision& d : pool_.ask(request, now_).decisions) {
          if (const auto* granted = std::get_if<Granted>(&d)) held_.push_back(granted->lease.id);
          full = full || std::holds_alternative<Refused>(d);
        }
      }
    }
    request.wait = true;
    request.wanted = 60'000;
    for (uint32_t home = 0; home < hosts_; home += 100) {
      request.client = {HostId{home}, UserId{home}, 0};
      pool_.ask(request, now_);
    }
  }

  /// With all in use: a grant comes back and goes to the first who waits.
  void busy_pairs() {
    for (size_t i = 0; i < operations; ++i) {
      tick();
      LeaseId& lease = held_[random_() % held_.size()];
      for (const Decision& d : pool_.release(lease, now_)) {
        if (const auto* granted = std::get_if<Granted>(&d)) lease = granted->lease.id;
      }
    }
  }

  const uint32_t hosts_;
  std::mt19937_64 random_{1};
  Time now_ = Time{} + hours(1000);
  Pool pool_{PoolConfig{.lease = hours(1000)}};
  std::vector<LeaseId> held_;
};

/// Whose instructions callgrind counts.
__attribute__((noinline)) void counted(Bench& bench, bool changes) {
  changes ? bench.change_states(counted_operations) : bench.pairs(counted_operations);
}

/// The caches and the shape of the sets as after a while, and then the operations to count.
void count(bool changes, uint32_t hosts) {
  Bench bench(hosts);
  bench.enter_hosts();
  bench.change_states(hosts);
  counted(bench, changes);
  fmt::print("{}\n", counted_operations);
}

std::string json(const Figures& f) {
  return fmt::format(
      "\"hosts\": {}, \"state_changes_per_s\": {:.0f}, \"pairs_per_s\": {:.0f}, "
      "\"busy_pairs_per_s\": {:.0f}, \"bytes_per_host\": {:.0f}, "
      "\"bytes_per_host_granted\": {:.0f}",
      f.hosts, f.state_changes_per_s, f.pairs_per_s, f.busy_pairs_per_s, f.bytes_per_host,
      f.bytes_per_host_granted);
}

}  // namespace
}  // namespace hob::coordinator

int main(int argc, char** argv) {
  using namespace hob::coordinator;
  if (argc == 3) {
    count(argv[1] == std::string_view("changes"), static_cast<uint32_t>(std::stoul(argv[2])));
    return 0;
  }
  fmt::print("{:>8} {:>16} {:>12} {:>14} {:>12} {:>18}\n", "hosts", "state changes/s", "pairs/s",
             "busy pairs/s", "bytes/host", "... all granted");
  Figures figures[2];
  const uint32_t sizes[2] = {10'000, 100'000};
  for (int i = 0; i < 2; ++i) {
    const Figures& f = figures[i] = Bench(sizes[i]).run();
    fmt::print("{:>8} {:>16.0f} {:>12.0f} {:>14.0f} {:>12.0f} {:>18.0f}\n", f.hosts,
               f.state_changes_per_s, f.pairs_per_s, f.busy_pairs_per_s, f.bytes_per_host,
               f.bytes_per_host_granted);
    std::fflush(stdout);
  }
  fmt::print("{{{}, \"small\": {{{}}}}}\n", json(figures[1]), json(figures[0]));
  return 0;
}
