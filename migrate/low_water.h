#pragma once

#include <sys/socket.h>

#include <cstddef>

namespace hob::migrate {

/// Wakes a reader of a TCP socket when much has come, rather than for each segment: where it is as
/// fast as the sender it would sleep and be woken some 16 times per MiB, and to wake it costs the
/// sender's processor too (SO_RCVLOWAT). While it lives.
class LowWater {
 public:
  explicit LowWater(int socket) : socket_(socket) {}
  ~LowWater() { mark(1); }
  LowWater(const LowWater&) = delete;
  LowWater& operator=(const LowWater&) = delete;

  /// Before poll(2), by who wants `missing` bytes and nothing less.
  void expect(size_t missing) { mark(missing < size_t{kMuch} ? 1 : kMuch); }

 private:
  static constexpr int kMuch = 128 << 10;  // half a record of pages: the rest comes meanwhile
  void mark(int bytes) {
    if (bytes != now_ && ::setsockopt(socket_, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes) == 0)
      now_ = bytes;
  }
  const int socket_;
  int now_ = 1;
};

}  // namespace hob::migrate
