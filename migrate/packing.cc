#include "migrate/packing.h"

namespace hob::migrate {

void Packing::sent(uint64_t bytes, Duration took) {
  bytes_ += bytes;
  took_ += took;
  if (bytes_ < kStretch) return;
  const double rate = static_cast<double>(bytes_) / std::max(to_seconds(took_), 1e-9);
  (packing_ ? packed_rate_ : plain_rate_) = rate;
  bytes_ = 0;
  took_ = Duration{0};
  choose();
}

void Packing::choose() {
  if (!packing_ && plain_rate_ >= kSlowLink) {
    packed_rate_ = 0;
    return;
  }
  const bool other_unknown = (packing_ ? plain_rate_ : packed_rate_) == 0;
  if (other_unknown || ++stretches_ >= kStretchesBeforeLook) {
    stretches_ = 0;
    packing_ = !packing_;
    return;
  }
  packing_ = packed_rate_ > plain_rate_;
}

}  // namespace hob::migrate
