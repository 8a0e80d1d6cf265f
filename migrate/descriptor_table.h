#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/types.h"

namespace hob::migrate {

/// The descriptors of one process, by ways that are opened once: /proc/PID/fd/N walked anew for
/// each question takes 5 us, and a program may have thousands while it stands still.
class DescriptorTable {
 public:
  static Result<DescriptorTable> of(Tid process);

  Tid process() const { return process_; }
  /// A descriptor of ours for the same open file.
  Result<Fd> take(int number) const;
  /// What /proc/PID/fd/N leads to, and the text of /proc/PID/fdinfo/N.
  Result<std::string> link(int number) const;
  Result<std::string> information(int number) const;

 private:
  DescriptorTable(Tid process, Fd pidfd, Fd links, Fd information)
      : process_(process),
        pidfd_(std::move(pidfd)),
        links_(std::move(links)),
        information_(std::move(information)) {}
  std::string name(const char* directory, int number) const;
  Tid process_;
  Fd pidfd_, links_, information_;
};

}  // namespace hob::migrate
