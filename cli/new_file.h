#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hob::cli {

/// A file that must not exist yet and appears whole or not at all.
///
/// create() writes it under another name beside its own; commit() gives it its name, and fails if
/// somebody else has taken that meanwhile. Without commit() it goes with this object.
class NewFile {
 public:
  /// Error EEXIST if there is a file of that name.
  static Result<NewFile> create(const std::string& path, std::string_view content, unsigned mode);
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  Result<void> commit();
  /// Removes the file again, after commit() too.
  void take_back();

 private:
  explicit NewFile(std::string path) : path_(std::move(path)), temporary_(path_ + ".new") {}
  std::string path_, temporary_;
  bool committed_ = false;
};

}  // namespace hob::cli
