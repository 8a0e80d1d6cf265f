#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "migrate/image.h"

/// Hostile images and announcements: an Error, or a value that is encoded to the same bytes again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hob::migrate;
  std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  if (auto image = decode_image(bytes)) {
    const Bytes again = encode_whole(*image);
    if (again.size() != size || !std::equal(again.begin(), again.end(), bytes.begin()))
      std::abort();
  }
  if (auto announcement = decode_announcement(bytes)) {
    const Bytes again = encode(*announcement);
    if (again.size() != size || !std::equal(again.begin(), again.end(), bytes.begin()))
      std::abort();
  }
  return 0;
}
