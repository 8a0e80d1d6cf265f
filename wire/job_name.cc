#include "wire/job_name.h"

namespace hob::wire {

bool is_job_of(std::string_view home, std::string_view job) {
  if (home.empty() || job.size() > kLongestJobName || !job.starts_with(home)) return false;
  const std::string_view rest = job.substr(home.size());
  return rest.size() > 1 && rest[0] == '.' &&
         rest.find_first_not_of("0123456789", 1) == std::string_view::npos;
}

}  // namespace hob::wire
