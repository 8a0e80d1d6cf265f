#pragma once

#include <string>
#include <variant>

namespace hob {

/// The command line that hob's daemons share.
struct DaemonOptions {
  std::string config;
  bool check_only = false;
};

/// `name`: the program's, which begins every line of its errors. What is no order to run (help, the
/// version, wrong usage) is printed, and the exit status returned: 0, or 2 for wrong usage.
std::variant<DaemonOptions, int> daemon_options(const std::string& name, const std::string& summary,
                                                const std::string& config, int count,
                                                const char* const* words);

}  // namespace hob
