#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "migrate/link.h"

namespace hob::migrate {

inline constexpr size_t kSalt = 32;
using Salt = std::array<uint8_t, kSalt>;

/// Seals the records of one direction of one connection, or opens them (link.h says with what).
/// Both ends make one of the same arguments and use it for the same records in the same order. One
/// thread.
class Sealer {
 public:
  static constexpr size_t kTag = 16;
  Sealer(const LinkKey& key, const Salt& source, const Salt& target, Channel channel,
         bool to_target);

  /// For each record: begin(), update() for each piece of it, then seal() or verify(). `header` is
  /// authenticated, not encrypted.
  void begin(std::span<const uint8_t> header, bool seals);
  /// `to` and `from` may be the same bytes.
  void update(uint8_t* to, const uint8_t* from, size_t size);
  void seal(uint8_t* tag);
  /// False: it was changed on its way; what update() has given out must not be used.
  bool verify(const uint8_t* tag);

 private:
  std::unique_ptr<EVP_CIPHER_CTX, void (*)(EVP_CIPHER_CTX*)> context_;
  uint64_t counter_ = 0;
};

}  // namespace hob::migrate
