#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"
#include "migrate/migrate.h"

/// The link between the two ends of one migration: three TCP connections, so that a page that is
/// waited for never queues behind the stream.
///
/// Each connection is opened by the source with a hello that proves knowledge of the key; a peer
/// that cannot is closed without an answer. After that every record is sealed with AES-128-GCM
/// under keys of its connection and direction (HKDF-SHA256 over the key and one random salt of each
/// end), so that records cannot be read, forged, replayed, reordered or moved to another
/// connection.
///
/// Bytes. Hello, source to target: "HOBLINK1", channel u8, salt[32], HMAC-SHA256[32] over the 41
/// bytes before it. Answer: salt[32] and an empty record; then an empty record of the source.
/// Record: length u32 little-endian (of the plain text, authenticated), cipher text, tag[16]; the
/// nonce is the record's number.
namespace hob::migrate {

enum class Channel : uint8_t { control = 0, demand = 1, bulk = 2 };

/// No record is longer; what is longer is cut into several.
inline constexpr size_t kMaxRecord = 1u << 20;
/// What a new connection has.
inline constexpr Duration kUsualPatience = seconds(30);
/// After the commit pages lie at the source and nowhere else: a cable that is pulled for a while
/// must not lose them. A switch takes a minute or two to restart.
inline constexpr Duration kPagePatience = minutes(5);
/// For what need not come: longer than any job. Of a peer that has died the kernel tells.
inline constexpr Duration kForEver = hours(24 * 365);

class Connection {
 public:
  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;
  ~Connection();

  /// How long one call of send() or receive() may wait for the peer; kUsualPatience at first.
  void set_patience(Duration limit);

  /// Sends the pieces as one record. One thread at a time; another may receive meanwhile.
  Result<void> send(std::initializer_list<std::span<const std::byte>> pieces);
  Result<void> send(std::span<const std::span<const std::byte>> pieces);
  /// The next record; valid until the next call. An Error with code EPIPE: the peer has closed;
  /// EPROTO: somebody has tampered with it.
  Result<std::span<const std::byte>> receive();
  /// The next record, decrypted to where it shall be; its size must be at most `to`'s.
  Result<size_t> receive_into(std::span<std::byte> to);

  /// Ends all waiting on this connection, now and later; from any thread.
  void shut();
  /// When this object goes, the peer shall see a broken connection and not one that was hung up.
  void break_off();
  int fd() const;
  /// On the wire, so far.
  uint64_t sent_bytes() const;

 private:
  friend class Handshake;
  friend Result<std::pair<Connection, Connection>> connect_threads();
  struct State;
  explicit Connection(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// A connection between two threads of this process: the same records, not sealed.
Result<std::pair<Connection, Connection>> connect_threads();

struct Link {
  Connection control, demand, bulk;
};

/// The source's side: all three connections or an Error.
Result<Link> connect_link(const std::string& address, uint16_t port, const LinkKey& key,
                          Duration limit);

/// The target's side: waits for the three connections of one source; strangers are closed and do
/// not hold up anybody. ECANCELED: the listener was shut down by another thread.
Result<Link> accept_link(int listener, const LinkKey& key, Duration limit);

/// A listening socket on address:0 and its port.
struct ListenSocket {
  Fd fd;
  uint16_t port = 0;
};
Result<ListenSocket> listen_on(const std::string& address);

}  // namespace hob::migrate
