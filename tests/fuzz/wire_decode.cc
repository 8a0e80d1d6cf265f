// What any local user may write to hostd's socket, in any pieces: a StreamDecoder takes it or
// refuses it, keeps no more than came, and what it takes it can write again.
//
// The input is a list of pieces: one byte of length, then so many bytes.
#include <algorithm>

#include "wire/stream.h"

using hob::wire::Message;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hob::wire::StreamDecoder decoder;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  while (!input.empty()) {
    const auto length =
        std::min<size_t>(static_cast<unsigned char>(input.front()), input.size() - 1);
    decoder.feed(input.substr(1, length));
    input.remove_prefix(1 + length);
    for (;;) {
      auto message = decoder.next();
      if (!message.ok()) {
        CHECK(!message.error().text.empty());
        CHECK(!decoder.next().ok());
        return 0;
      }
      if (!message->has_value()) break;
      hob::wire::StreamDecoder again;
      again.feed(hob::wire::encode_for_stream(**message));
      auto same = again.next();
      CHECK(same.ok() && same->has_value());
      CHECK((*same)->bulk == (*message)->bulk);
      CHECK((*same)->envelope.body_case() == (*message)->envelope.body_case());
    }
  }
  return 0;
}
