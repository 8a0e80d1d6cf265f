#include "migrate/control.h"

#include <algorithm>
#include <cstring>

#include "migrate/stages.h"

namespace hob::migrate::control {
namespace {

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

struct Message {
  Word word;
  std::span<const std::byte> rest;
};

Result<Message> next(Connection& link) {
  auto record = TRY(link.receive());
  Message message{};
  if (record.size() < sizeof message.word) return Error{"the link: a word is too short", EBADMSG};
  std::memcpy(&message.word, record.data(), sizeof message.word);
  message.rest = record.subspan(sizeof message.word);
  return message;
}

Result<Message> next(Connection& link, std::initializer_list<Word> expected) {
  Message message = TRY(next(link));
  for (Word word : expected)
    if (message.word == word) return message;
  if (message.word == Word::refused || message.word == Word::failed) {
    std::string text(reinterpret_cast<const char*>(message.rest.data()), message.rest.size());
    // It goes to logs and terminals.
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c >= 0 && c < ' '; }, '?');
    return Error{"the target: " + text, kRefused};
  }
  return Error{"the link: the peer said something unexpected", EBADMSG};
}

}  // namespace

Result<void> say(Connection& link, Word word, std::string_view text) {
  return link.send({bytes_of(word), std::as_bytes(std::span(text.substr(0, 4096)))});
}

Result<void> expect(Connection& link, Word expected) {
  TRY(next(link, {expected}));
  return {};
}

Result<bool> expect_ready(Connection& link) {
  const Message message = TRY(next(link, {Word::ready}));
  return std::string_view(reinterpret_cast<const char*>(message.rest.data()),
                          message.rest.size()) == kOtherKernel;
}

Result<Word> hear(Connection& link) {
  return TRY(next(link)).word;
}

Result<Word> next_after_image(Connection& link) {
  return TRY(next(link, {Word::running, Word::saved, Word::weaken, Word::let_go})).word;
}

Result<void> send_announcement(Connection& link, const Announcement& announcement) {
  const Bytes bytes = encode(announcement);
  if (bytes.size() > kMaxRecord / 2) return Error{"announce the tree: too many processes", E2BIG};
  const Word word = Word::announcement;
  return link.send({bytes_of(word), bytes});
}

Result<Announcement> receive_announcement(Connection& link) {
  return decode_announcement(TRY(next(link, {Word::announcement})).rest);
}

Result<uint64_t> send_image(Connection& link, const Image& image, Word word) {
  Bytes storage;
  storage.reserve(256u << 10);
  const auto pieces = encode(image, storage);
  uint64_t size = 0;
  for (auto piece : pieces) size += piece.size();
  TRY(link.send({bytes_of(word), bytes_of(size)}));
  // As few records as possible: each costs a wake-up at the other end.
  std::vector<std::span<const std::byte>> record;
  size_t room = kMaxRecord;
  for (auto piece : pieces)
    while (!piece.empty()) {
      const size_t n = std::min(piece.size(), room);
      record.push_back(piece.first(n));
      piece = piece.subspan(n);
      room -= n;
      if (room > 0) continue;
      TRY(link.send(record));
      record.clear();
      room = kMaxRecord;
    }
  if (!record.empty()) TRY(link.send(record));
  return size;
}

Result<Received> receive_image(Connection& link, std::span<std::byte> memory) {
  Message head = TRY(next(link, {Word::image, Word::draft}));
  stages::begin();
  uint64_t size = 0;
  if (head.rest.size() != sizeof size) return Error{"the link: an image without a size", EBADMSG};
  std::memcpy(&size, head.rest.data(), sizeof size);
  if (size > memory.size())
    return Error{"receive the image: it is larger than " + std::to_string(memory.size()) + " bytes",
                 E2BIG};
  for (size_t have = 0; have < size;) {
    const size_t got = TRY(link.receive_into(memory.subspan(have, size - have)));
    if (got == 0) return Error{"the link: an empty piece of an image", EBADMSG};
    have += got;
  }
  return Received{head.word == Word::draft, static_cast<size_t>(size)};
}

}  // namespace hob::migrate::control
