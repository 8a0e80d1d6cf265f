#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "migrate/page_stream.h"
#include "seeds.h"

using namespace hob::migrate;

namespace {

std::vector<std::byte> record(stream::Kind kind, uint64_t address,
                              std::span<const std::byte> rest) {
  const stream::Head head = {kind, 2, address};
  std::vector<std::byte> bytes(sizeof head + rest.size());
  std::memcpy(bytes.data(), &head, sizeof head);
  if (!rest.empty()) std::memcpy(bytes.data() + sizeof head, rest.data(), rest.size());
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  const Range ranges[] = {{0x10000, 0x20000}, {0x30000, 0x31000}};
  const std::vector<std::byte> pages(2 * kPage, std::byte{7});
  std::vector<std::byte> packed(kPage);
  packed.resize(stream::pack(pages, packed));
  const auto seed = [&](const char* name, const std::vector<std::byte>& bytes) {
    hob::test::write_seed(*argc, *argv, name, bytes);
  };
  seed("populated", record(stream::Kind::populated, 0, std::as_bytes(std::span(ranges))));
  seed("cleared", record(stream::Kind::cleared, 0, std::as_bytes(std::span(ranges))));
  seed("received", record(stream::Kind::received, 0, std::as_bytes(std::span(ranges))));
  seed("mapped", record(stream::Kind::mapped, 0, {}));
  seed("pages", record(stream::Kind::pages, 0x10000, pages));
  seed("packed", record(stream::Kind::packed, 0x10000, packed));
  seed("end", record(stream::Kind::end, 0, {}));
  return 0;
}

/// Hostile records of the page stream: an Error, or what page_stream.h promises.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static std::vector<std::byte> scratch(stream::kBatchBytes);
  auto decoded = stream::decode_record({reinterpret_cast<const std::byte*>(data), size}, scratch);
  if (!decoded) return 0;
  for (size_t i = 0; i < decoded->range_count(); i++)
    if (!stream::valid(decoded->process, decoded->range(i))) std::abort();
  if (decoded->kind == stream::Kind::packed) std::abort();
  if (decoded->kind == stream::Kind::pages) {
    const auto bytes = decoded->pages;
    if (bytes.empty() || bytes.size() % kPage || bytes.size() > stream::kBatchBytes ||
        !stream::valid(decoded->process, {decoded->address, decoded->address + bytes.size()}))
      std::abort();
    uint64_t sum = 0;
    for (std::byte b : bytes) sum += static_cast<uint64_t>(b);  // all of it is there
    if (sum > bytes.size() * 255) std::abort();
  }
  return 0;
}
