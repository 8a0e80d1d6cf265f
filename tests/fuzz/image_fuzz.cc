#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "migrate/image.h"
#include "migrate/print.h"
#include "seeds.h"
#include "tests/migrate/image_sample.h"

using namespace hob::migrate;

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  Bytes pages;
  const Image image = hob::test::sample_image(pages);
  hob::test::write_seed(*argc, *argv, "image", encode_whole(image));
  Announcement announcement;
  announcement.tree = image.tree;
  announcement.platform.state = {832, {{2, 576, 256}}};
  announcement.platform.features = "avx avx2";
  hob::test::write_seed(*argc, *argv, "announcement", encode(announcement));
  return 0;
}

/// Text for terminals holds nothing that a terminal obeys.
static void check_lines(const std::vector<std::string>& lines) {
  for (const std::string& line : lines)
    for (char c : line)
      if (static_cast<unsigned char>(c) < 0x20) std::abort();
}

/// Hostile images and announcements: an Error, or a value that is encoded to the same bytes again
/// and can be shown.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  if (auto image = decode_image(bytes)) {
    const Bytes again = encode_whole(*image);
    if (again.size() != size || !std::equal(again.begin(), again.end(), bytes.begin()))
      std::abort();
    check_lines(print(*image, Detail::all));
    check_lines(print(*image, Detail::summary));
  }
  if (auto announcement = decode_announcement(bytes)) {
    const Bytes again = encode(*announcement);
    if (again.size() != size || !std::equal(again.begin(), again.end(), bytes.begin()))
      std::abort();
    check_lines(print(*announcement, Detail::all));
  }
  return 0;
}
