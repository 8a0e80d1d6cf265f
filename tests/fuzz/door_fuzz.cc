// What anybody with the user's rights may write to pmake's door, in any pieces: a DoorDecoder takes
// it or refuses it, and what it takes is what it says it is.
//
// The input is a list of pieces: one byte of length, then so many bytes.
#include <algorithm>

#include "pmake/door.h"

using namespace hob::pmake;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  DoorDecoder decoder;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  bool asked = false;
  while (!input.empty()) {
    const auto length =
        std::min<size_t>(static_cast<unsigned char>(input.front()), input.size() - 1);
    decoder.feed(input.substr(1, length));
    input.remove_prefix(1 + length);
    if (!asked) {
      auto request = decoder.request();
      if (!request.ok()) {
        CHECK(!request.error().text.empty());
        return 0;
      }
      if (!request->has_value()) continue;
      asked = true;
      CHECK(!(*request)->arguments.empty());
      CHECK((*request)->directory.front() == '/');
      CHECK((*request)->limits.size() == hob::pmake::door::kLimits);
      for (const std::string& entry : (*request)->environment)
        CHECK(entry.find('\0') == std::string::npos);
    }
    while (const auto signal = decoder.signal()) CHECK(*signal > 0 && *signal < 65);
  }
  return 0;
}
