#pragma once

#include <string_view>

namespace hob::wire {

/// Whether `job` is a name that `home` may give to its jobs: "h0.17" is one of h0, and of nobody
/// else. What keeps a host from speaking of another's jobs. A job's name is a file name too, and
/// goes into the ledger: at most kLongestJobName bytes, which every number of a host with a name of
/// 63 bytes fits.
bool is_job_of(std::string_view home, std::string_view job);
inline constexpr size_t kLongestJobName = 100;

}  // namespace hob::wire
