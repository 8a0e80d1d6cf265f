#include "bench/migrate_results.h"

#include <algorithm>
#include <cstdio>

namespace hob::bench {
namespace {

using Figure = std::optional<double>;

std::string text(Figure figure, const char* format = "%.2f") {
  if (!figure) return "-";
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, format, *figure);
  return buffer;
}

std::string json(Figure figure) {
  return figure ? text(figure, "%.4g") : "null";
}

Figure better(Figure a, Figure b) {
  if (!a || !b) return a ? a : b;
  return std::min(*a, *b);
}

Figure ratio(Figure above, Figure below) {
  if (!above || !below || *below <= 0) return std::nullopt;
  return *above / *below;
}

const char* verdict(Figure figure, bool met) {
  return !figure ? "not measured" : met ? "met" : "MISSED";
}

// Downtime must not grow with memory.
Figure growth(const std::vector<CaseResult>& cases, Figure CaseResult::*of) {
  Figure small, large;
  for (const CaseResult& c : cases) {
    if (c.name == "small") small = c.*of;
    if (c.name == "4GiB") large = c.*of;
  }
  return ratio(large, small);
}

void line(const char* what, Figure figure, const char* unit, const char* wanted, bool met) {
  std::printf("%-58s %9s %-4s %-10s %s\n", what, text(figure).c_str(), unit, wanted,
              verdict(figure, met));
}
/// One that has no target.
void line(const char* what, Figure figure, const char* unit) {
  std::printf("%-58s %9s %-4s %s\n", what, text(figure).c_str(), unit,
              figure ? "" : "           not measured");
}

}  // namespace

void print_table(const std::vector<CaseResult>& cases, const Others& o) {
  std::printf("\nDowntime as the program itself sees it, ms (medians):\n");
  std::printf("%-10s %8s %8s %10s %9s %8s %-12s %8s %6s\n", "case", "hob", "best", "criu",
              "criu lazy", "target", "", "x better", "wanted");
  for (const CaseResult& c : cases) {
    const Figure times = ratio(better(c.criu_ms, c.criu_lazy_ms), c.hob_ms);
    std::printf("%-10s %8s %8s %10s %9s %8s %-12s %8s %6.0f %s\n", c.name.c_str(),
                text(c.hob_ms).c_str(), text(c.hob_best_ms).c_str(),
                text(c.criu_ms, "%.1f").c_str(), text(c.criu_lazy_ms, "%.1f").c_str(),
                text(c.target_ms, "%.0f").c_str(), verdict(c.hob_ms, c.hob_ms <= c.target_ms),
                text(times, "%.1f").c_str(), c.times_better,
                verdict(times, times >= c.times_better));
  }
  std::printf("\n");
  const Figure grown = growth(cases, &CaseResult::hob_ms);
  const Figure moved = growth(cases, &CaseResult::of_move_ms);
  const Figure stream = ratio(o.stream_hob_gbps, o.stream_tcp_gbps);
  const Figure all = ratio(o.all_in_criu_lazy_s, o.all_in_hob_s);
  const Figure writes = ratio(o.writes_criu_lazy_s, o.writes_hob_s);
  line("downtime at 4 GiB against that at 0", grown, "x", "<= 2", grown <= 2);
  line("  the gap of the move alone, without those behind it", moved, "x");
  line("  4 GiB that stay, beside a bare TCP copy of them", o.beside_copy_ms, "ms");
  line("  4 GiB that stay, nothing beside them", o.at_rest_ms, "ms");
  line("fault while the push runs, median", o.fault_p50_us, "us", "<= 150", o.fault_p50_us <= 150);
  line("fault while the push runs, p99", o.fault_p99_us, "us", "<= 1000", o.fault_p99_us <= 1000);
  line("all of 4 GiB at the target, from the freeze", o.all_in_hob_s, "s");
  line("  CRIU's lazy pages take", all, "x", ">= 1.5", all >= 1.5);
  line("1 GiB under 80,000 page writes/s, from the freeze", o.writes_hob_s, "s");
  line("  CRIU's lazy pages take", writes, "x", ">= 5", writes >= 5);
  line("encrypted page stream, 4 GiB", o.stream_hob_gbps, "GB/s");
  line("bare TCP copy of the same pages", o.stream_tcp_gbps, "GB/s");
  line("  the stream is", stream, "x", ">= 0.7", stream >= 0.7);
  std::printf("\n");
}

void print_json(const std::vector<CaseResult>& cases, const Others& o) {
  std::printf("{\"cases\":[");
  for (size_t i = 0; i < cases.size(); i++)
    std::printf(
        "%s{\"case\":\"%s\",\"hob_ms\":%s,\"criu_ms\":%s,\"criu_lazy_ms\":%s,\"hob_move_ms\":%s}",
        i ? "," : "", cases[i].name.c_str(), json(cases[i].hob_ms).c_str(),
        json(cases[i].criu_ms).c_str(), json(cases[i].criu_lazy_ms).c_str(),
        json(cases[i].of_move_ms).c_str());
  std::printf("],\"downtime_ratio\":%s,\"move_ratio\":%s,",
              json(growth(cases, &CaseResult::hob_ms)).c_str(),
              json(growth(cases, &CaseResult::of_move_ms)).c_str());
  std::printf("\"not_moved_ms\":{\"beside_copy\":%s,\"at_rest\":%s},",
              json(o.beside_copy_ms).c_str(), json(o.at_rest_ms).c_str());
  std::printf("\"faults_us\":{\"p50\":%s,\"p99\":%s},", json(o.fault_p50_us).c_str(),
              json(o.fault_p99_us).c_str());
  std::printf("\"all_in_s\":{\"hob\":%s,\"criu_lazy\":%s},", json(o.all_in_hob_s).c_str(),
              json(o.all_in_criu_lazy_s).c_str());
  std::printf("\"writes_s\":{\"hob\":%s,\"criu_lazy\":%s},", json(o.writes_hob_s).c_str(),
              json(o.writes_criu_lazy_s).c_str());
  std::printf("\"stream\":{\"hob_GBps\":%s,\"tcp_GBps\":%s,\"ratio\":%s}}\n",
              json(o.stream_hob_gbps).c_str(), json(o.stream_tcp_gbps).c_str(),
              json(ratio(o.stream_hob_gbps, o.stream_tcp_gbps)).c_str());
}

}  // namespace hob::bench
