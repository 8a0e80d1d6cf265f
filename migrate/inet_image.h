#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// What an image says of a TCP or UDP socket; see inet.h.
namespace hob::migrate {

/// `ended`: a connection that both sides have ended, or one has broken; it cannot be used again.
enum class InetState : uint8_t { fresh = 0, listening, connected, ended, last = ended };

/// What IPv4 addresses begin with in their form in IPv6 (RFC 4291, 2.5.5.2).
inline constexpr std::array<uint8_t, 12> kMappedV4 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/// An address and a port. Addresses of IPv4 are in their form in IPv6 (::ffff:127.0.0.1).
struct Endpoint {
  std::array<uint8_t, 16> address = {};
  uint16_t port = 0;  ///< 0: none yet
  bool operator==(const Endpoint&) const = default;

  bool is_v4() const;
  bool is_any() const;       ///< 0.0.0.0 or ::
  bool is_loopback() const;  ///< 127.0.0.0/8 or ::1
  std::string text() const;  ///< "127.0.0.1:80" or "[::1]:80"
};

struct InetImage {
  InetState state = InetState::fresh;
  uint8_t family = 0;  ///< AF_INET or AF_INET6
  uint8_t type = 0;    ///< SOCK_STREAM: TCP; SOCK_DGRAM: UDP
  Endpoint local, remote;
  uint32_t backlog = 0;    ///< listening
  uint32_t process = 0;    ///< index into Image::processes: one that has it
  int32_t descriptor = 0;  ///< there
  int32_t peer = -1;       ///< TCP: index into Image::inet_sockets; -1: closed, or never was
  uint8_t shutdown = 0;    ///< 1: no more is read, 2: no more is written
  uint8_t broken = 0;      ///< ended: the guest has not been told yet (ECONNRESET)
  uint32_t send_buffer = 0, receive_buffer = 0;  ///< as getsockopt(2) tells
  uint8_t buffer_locks = 0;                      ///< SO_BUF_LOCK: which of them the guest has set
  /// By the table of inet_options.cc; empty: not one of this kind of socket.
  std::vector<std::vector<std::byte>> options;
  std::vector<std::byte> queue;  ///< what waits to be read, or is on its way there
};

}  // namespace hob::migrate
