#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "migrate/control.h"
#include "seeds.h"

using namespace hob;
using namespace hob::migrate;

namespace {

/// A link whose two ends are here: records of a peer that holds the key and means harm.
struct Pair {
  Pair() {
    const LinkKey key{};
    auto listener = listen_on("127.0.0.1");
    CHECK(listener.ok());
    Result<Link> accepted = Error{"not yet"};
    std::thread accepting([&] { accepted = accept_link(listener->fd.get(), key, seconds(30)); });
    auto connected = connect_link("127.0.0.1", listener->port, key, seconds(30));
    accepting.join();
    CHECK(accepted.ok() && connected.ok());
    ours = std::make_unique<Link>(std::move(*accepted));
    theirs = std::make_unique<Link>(std::move(*connected));
  }
  std::unique_ptr<Link> ours, theirs;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  for (uint32_t word = 1; word <= 14; word++) {
    std::vector<std::byte> bytes(1 + sizeof word + 8, std::byte{'x'});
    bytes[0] = static_cast<std::byte>(word % 4);
    std::memcpy(bytes.data() + 1, &word, sizeof word);
    hob::test::write_seed(*argc, *argv, std::to_string(word), bytes);
  }
  return 0;
}

/// Hostile words on the control connection: an Error or a word; what goes to terminals holds
/// nothing that a terminal obeys.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Pair pair;
  if (size < 1 || size > 4096) return 0;
  CHECK(pair.theirs->control.send({{reinterpret_cast<const std::byte*>(data) + 1, size - 1}}).ok());
  Connection& control = pair.ours->control;
  std::string text;
  switch (data[0] % 4) {
    case 0:
      if (auto word = control::hear(control); !word) text = word.error().text;
      break;
    case 1:
      if (auto word = control::next_after_image(control); !word) text = word.error().text;
      break;
    case 2:
      if (auto word = control::expect(control, control::Word::ready); !word)
        text = word.error().text;
      break;
    default:
      if (auto told = control::receive_announcement(control); !told) text = told.error().text;
  }
  for (char c : text)
    if (c >= 0 && c < ' ') std::abort();
  return 0;
}
