#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hob::pmake {

/// A file that a build writes at its end, --trace's or --report's. It begins with `beginning`.
struct ResultFile {
  std::string path;  ///< empty: none is wanted
  std::string_view what, beginning;

  /// Before the build: that it can be written, and that it is not something else that would be lost
  /// (make's own --trace is followed by a target).
  Result<void> check() const;
  /// Replaces the file, or what the link leads to; a device, /dev/stdout or a pipe is written into.
  Result<void> write(const std::string& text) const;
};

ResultFile trace_file(const std::string& path);
ResultFile report_file(const std::string& path);

}  // namespace hob::pmake
