#pragma once

#include <optional>
#include <string>
#include <vector>

/// What `scripts/bench migrate` shows: a table for people, and one line of JSON.
namespace hob::bench {

/// One row: milliseconds as the program saw them, medians. Empty: not measured.
struct CaseResult {
  std::string name;
  std::optional<double> hob_ms, hob_best_ms, criu_ms, criu_lazy_ms;
  std::optional<double> of_move_ms;  ///< hob: the gap in which it was moved
  double target_ms = 0;
  double times_better = 0;  ///< than the better figure of CRIU's, wanted
};

/// What else is asked for. Empty: not measured.
struct Others {
  std::optional<double> fault_p50_us, fault_p99_us;
  std::optional<double> all_in_hob_s, all_in_criu_lazy_s;  ///< 4 GiB, freeze to last page
  std::optional<double> writes_hob_s, writes_criu_lazy_s;  ///< 1 GiB under writes, the same
  /// Longest gaps of 4 GiB that are not moved, in as much time: copied over TCP, and at rest.
  std::optional<double> beside_copy_ms, at_rest_ms;
  std::optional<double> stream_hob_gbps, stream_tcp_gbps;
};

void print_table(const std::vector<CaseResult>& cases, const Others& others);
void print_json(const std::vector<CaseResult>& cases, const Others& others);

}  // namespace hob::bench
