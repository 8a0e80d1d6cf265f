#include "wire/grant_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include "base/check.h"

namespace hob::wire {

std::string grant_token(const std::string& grant_key, uint64_t lease, const std::string& home,
                        uint64_t expires_wall_ns) {
  // Numbers have no '\n', so the home's name, last, cannot be mistaken for anything else.
  const std::string text =
      "hob-grant\n" + std::to_string(lease) + "\n" + std::to_string(expires_wall_ns) + "\n" + home;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  CHECK(HMAC(EVP_sha256(), grant_key.data(), static_cast<int>(grant_key.size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest,
             &size) != nullptr);
  return std::string(reinterpret_cast<char*>(digest), size);
}

bool grant_token_valid(const std::string& grant_key, uint64_t lease, const std::string& home,
                       uint64_t expires_wall_ns, const std::string& token) {
  const std::string expected = grant_token(grant_key, lease, home, expires_wall_ns);
  return !grant_key.empty() && token.size() == expected.size() &&
         CRYPTO_memcmp(token.data(), expected.data(), expected.size()) == 0;
}

std::string random_bytes(size_t count) {
  std::string bytes(count, '\0');
  CHECK(count <= 256 && ::getrandom(bytes.data(), count, 0) == static_cast<ssize_t>(count));
  return bytes;
}

}  // namespace hob::wire
