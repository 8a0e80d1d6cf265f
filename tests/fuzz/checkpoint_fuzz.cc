#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "migrate/image.h"
#include "seeds.h"
#include "tests/migrate/image_sample.h"

using namespace hob::migrate;

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  Bytes pages;
  const Image image = hob::test::sample_image(pages);
  CheckpointIndex index;
  index.announcement.tree = image.tree;
  index.image = encode_whole(image);
  index.owners.push_back(
      {2, {{0x10000, 0x14000}, {0x20000, 0x21000}}, {{0x10000, 0x2000, 0x1000}}});
  hob::test::write_seed(*argc, *argv, "index", encode(index));
  return 0;
}

/// The index of a hostile checkpoint (its digest finds damage, not malice): an Error, or a value
/// that is encoded to the same bytes again, with ranges as image.h promises them.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  auto index = decode_checkpoint_index(bytes);
  if (!index) return 0;
  const Bytes again = encode(*index);
  if (again.size() != size || !std::equal(again.begin(), again.end(), bytes.begin())) std::abort();
  for (const CheckpointIndex::Owner& owner : index->owners) {
    uint64_t end = 0;
    for (const Range& r : owner.populated) {
      if (r.start % kPage || r.end % kPage || r.empty() || r.start < end) std::abort();
      end = r.end;
    }
  }
  return 0;
}
