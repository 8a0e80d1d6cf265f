#pragma once

#include <sys/stat.h>

#include <string>

#include "base/result.h"

namespace hob::pmake {

/// A file that a command writes, as it was before the command began.
class OutputFile {
 public:
  /// Empty: there is none.
  explicit OutputFile(std::string path = {});
  /// Half-written output of what hob has lost must not pass for whole (.DELETE_ON_ERROR). What was
  /// there before and is as it was stays: it is not the command's own.
  Result<void> remove_if_changed() const;

 private:
  std::string path_;
  struct stat before_ {};
  bool was_ = false;
};

}  // namespace hob::pmake
