#pragma once

#include <cstdint>

#include "base/time.h"

namespace hob::migrate {

/// Are pages to be packed before they are sent? Only where the link is what everything waits for:
/// it carries less than kSlowLink, and with packing more pages got through in the same time.
///
/// Measures both ways in stretches of kStretch, and looks at the other one again every now and then
/// (a link may become slower, pages less alike). Pure: time is what the caller measured.
class Packing {
 public:
  static constexpr uint64_t kStretch = 8u << 20;  ///< longer than what socket buffers swallow
  static constexpr double kSlowLink = 400e6;      ///< bytes per second; LZ4 itself does 500 MB/s
  static constexpr uint32_t kStretchesBeforeLook = 8;  ///< until the other way is tried again

  bool pack_next() const { return packing_; }
  /// Pages of `bytes` bytes were sent as pack_next() said, packing included, in `took`.
  void sent(uint64_t bytes, Duration took);

 private:
  void choose();
  bool packing_ = false;
  uint64_t bytes_ = 0;  // of this stretch
  Duration took_{0};
  double plain_rate_ = 0, packed_rate_ = 0;  // bytes per second; 0: not known
  uint32_t stretches_ = 0;                   // since the other way was tried
};

}  // namespace hob::migrate
