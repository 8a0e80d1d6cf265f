#include "migrate/relink.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/log.h"
#include "migrate/page_stream.h"

namespace hob::migrate {
namespace {

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

Result<void> tell(Connection& bulk, const PagesByProcess& received) {
  constexpr size_t kPerRecord = 8192;
  for (const auto& [process, ranges] : received)
    for (size_t at = 0; at < ranges.size(); at += kPerRecord) {
      const auto some = std::span(ranges).subspan(at, std::min(kPerRecord, ranges.size() - at));
      TRY(bulk.send(
          {bytes_of(stream::Head{stream::Kind::received, process, 0}), std::as_bytes(some)}));
    }
  return bulk.send({bytes_of(stream::Head{stream::Kind::end, 0, 0})});
}

Result<PagesByProcess> hear(Connection& bulk) {
  PagesByProcess received;
  for (;;) {
    const auto record = TRY(stream::decode_record(TRY(bulk.receive()), {}));
    if (record.kind == stream::Kind::end) break;
    if (record.kind != stream::Kind::received)
      return Error{"the page stream: a record that has no place here", EBADMSG};
    for (size_t i = 0; i < record.range_count(); i++)
      received[record.process].push_back(record.range(i));
  }
  for (auto& [process, ranges] : received) ranges = joined(std::move(ranges));
  return received;
}

}  // namespace

LinkKey link_key(const LinkKey& of_migration, uint32_t number) {
  if (number == 0) return of_migration;
  const std::string text = "hob link again " + std::to_string(number);
  LinkKey key;
  unsigned size = static_cast<unsigned>(key.size());
  CHECK(HMAC(EVP_sha256(), of_migration.data(), static_cast<int>(of_migration.size()),
             reinterpret_cast<const uint8_t*>(text.data()), text.size(), key.data(), &size) &&
        size == key.size());
  return key;
}

bool may_relink(const Error& error) {
  switch (error.code) {
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case EPROTO:  // a record that is not authentic
      return true;
    default:
      return false;
  }
}

Result<Relinked> relink(const std::string& address, uint16_t port, const LinkKey& of_migration,
                        uint32_t number, Duration limit) {
  Link link = TRY(connect_link(address, port, link_key(of_migration, number), limit));
  link.bulk.set_patience(limit);
  PagesByProcess received = TRY(hear(link.bulk));
  return Relinked{std::move(link), std::move(received)};
}

Readmission::Readmission(Fd listener, const LinkKey& of_migration, Events events)
    : listener_(std::move(listener)),
      key_(of_migration),
      events_(std::move(events)),
      thread_([this] { run(); }) {}

Readmission::~Readmission() {
  ::shutdown(listener_.get(), SHUT_RDWR);
  thread_.join();
}

void Readmission::run() {
  for (uint32_t number = 1;; number++) {
    // A source that does not come back is somebody else's concern.
    auto link = accept_link(listener_.get(), link_key(key_, number), kForEver);
    if (!link) return;  // shut down
    link->bulk.set_patience(kRelinkLimit);
    log::warning("the link to the source had broken and has been made again");
    // If it does not get there the source tries again, with the next number.
    if (auto told = tell(link->bulk, events_.received()); !told) {
      log::warning("{}", told.error().text);
      continue;
    }
    events_.admitted(std::move(*link));
  }
}

}  // namespace hob::migrate
