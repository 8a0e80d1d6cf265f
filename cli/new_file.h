#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/fd.h"
#include "base/result.h"

namespace hob::cli {

/// A file that must not exist yet and appears whole or not at all.
///
/// create() writes it without a name (O_TMPFILE, open(2)), so that nothing is left of it however
/// this process ends; commit() gives it its name, and fails if somebody else has taken that
/// meanwhile. On file systems that have no such files it stands beside its name as PATH.new, and
/// goes with this object.
class NewFile {
 public:
  /// `path` is absolute. Error EEXIST if there is a file of that name.
  static Result<NewFile> create(const std::string& path, std::string_view content, unsigned mode);
  NewFile(NewFile&& other) noexcept
      : path_(std::move(other.path_)),
        temporary_(std::exchange(other.temporary_, {})),
        fd_(std::move(other.fd_)),
        committed_(other.committed_) {}
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  Result<void> commit();
  /// Removes the file again, after commit() too.
  void take_back();

 private:
  explicit NewFile(std::string path) : path_(std::move(path)) {}
  std::string path_;
  std::string temporary_;  // its name till now; empty if it has none
  Fd fd_;
  bool committed_ = false;
};

}  // namespace hob::cli
