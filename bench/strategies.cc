// The five memory strategies side by side: one program, which writes to its memory all the time,
// moved by each. What scripts/bench strategies runs.
#include <fmt/core.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "bench/samples.h"
#include "bench/tick_file.h"
#include "tests/migrate/rig.h"

using namespace hob;
using hob::test::Collector;
using hob::test::Host;
using migrate::Strategy;

namespace {

constexpr const char* kMib = "256";
constexpr const char* kWrites = "20000";  // random pages per second
/// How long `demand` is left alone before the owner of the source comes back.
constexpr unsigned kAlone = 2;

struct Costs {
  bench::Samples downtime, total, residual;
  uint64_t wire = 0, rounds = 0;
};

const char* lost_with_the_source(Strategy strategy) {
  return migrate::plan_of(strategy).before_commit ? "nothing"
                                                  : "what has not followed, and the job";
}

Result<void> move_once(Strategy strategy, Costs& costs) {
  test::Home::get().reset();
  Collector collector;
  auto ticks = TRY(bench::TickFile::create(fmt::format("/tmp/hob-ticks-{}", ::getpid()), 1));
  Host source(collector.write_end()), target(collector.write_end());
  TRY(source.start({HOB_TICKER, ticks.path(), "writes", kMib, kWrites}));
  TRY(ticks.wait_ready(seconds(60)));
  TRY(ticks.begin_anew());
  const uint16_t port = TRY(target.listen());
  const Time begun = Clock::now();
  source.begin_send(port, target, {.strategy = strategy});
  TRY(target.received());
  const Time runs = Clock::now();
  if (strategy == Strategy::demand) {
    ::sleep(kAlone);
    source.freeze();
  }
  const Host::Outcome outcome = source.end_send();
  const Time done = Clock::now();
  if (!outcome.moved) return Error{outcome.text};
  TRY(ticks.wait_ticking());
  costs.downtime.add(ticks.worst().length);
  costs.total.add(done - begun);
  costs.residual.add(done - runs);
  costs.wire = outcome.wire_bytes;
  costs.rounds = outcome.rounds;
  return {};
}

}  // namespace

int main(int count, char** arguments) {
  const int rounds = count > 1 ? std::atoi(arguments[1]) : 5;
  fmt::print(
      "{} MiB, {} random pages written per second; medians of {} moves over loopback, sealed\n\n",
      kMib, kWrites, rounds);
  fmt::print("{:<12} {:>12} {:>9} {:>12} {:>12}   {}\n", "strategy", "downtime, ms", "total, s",
             "on wire, MiB", "residual, s", "lost if the source dies at the worst moment");
  std::string json;
  for (int i = 0; i <= static_cast<int>(Strategy::last); i++) {
    const auto strategy = static_cast<Strategy>(i);
    Costs costs;
    for (int round = 0; round < rounds; round++)
      if (auto moved = move_once(strategy, costs); !moved) {
        fmt::print(stderr, "{}: {}\n", name_of(strategy), moved.error().text);
        return 1;
      }
    const double wire = static_cast<double>(costs.wire) / (1 << 20);
    fmt::print("{:<12} {:>12.1f} {:>9.2f} {:>12.0f} {:>12.2f}   {}\n", name_of(strategy),
               costs.downtime.median_ms(), costs.total.median_ms() / 1000, wire,
               costs.residual.median_ms() / 1000, lost_with_the_source(strategy));
    json += fmt::format(
        "{}{{\"strategy\":\"{}\",\"downtime_ms\":{:.2f},\"total_s\":{:.3f},\"wire_mib\":{:.1f},"
        "\"residual_s\":{:.3f},\"rounds\":{}}}",
        json.empty() ? "" : ",", name_of(strategy), costs.downtime.median_ms(),
        costs.total.median_ms() / 1000, wire, costs.residual.median_ms() / 1000, costs.rounds);
  }
  fmt::print(
      "\nresidual: how long the source was still needed after the program ran at the target; of "
      "demand\n"
      "that is {} s of its own choice, then its owner comes back.\n{{\"strategies\":[{}]}}\n",
      kAlone, json);
  return 0;
}
