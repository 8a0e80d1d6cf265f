#include "migrate/sealer.h"

#include <openssl/kdf.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/check.h"

namespace hob::migrate {

Sealer::Sealer(const LinkKey& key, const Salt& source, const Salt& target, Channel channel,
               bool to_target)
    : context_(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free) {
  char info[32];
  int n =
      std::snprintf(info, sizeof info, "hob link 1 %d %d", static_cast<int>(channel), to_target);
  uint8_t salt[2 * kSalt];
  std::copy(source.begin(), source.end(), salt);
  std::copy(target.begin(), target.end(), salt + kSalt);
  std::unique_ptr<EVP_PKEY_CTX, void (*)(EVP_PKEY_CTX*)> kdf(
      EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nullptr), EVP_PKEY_CTX_free);
  uint8_t derived[16];
  size_t size = sizeof derived;
  CHECK(kdf && EVP_PKEY_derive_init(kdf.get()) > 0 &&
        EVP_PKEY_CTX_set_hkdf_md(kdf.get(), EVP_sha256()) > 0 &&
        EVP_PKEY_CTX_set1_hkdf_salt(kdf.get(), salt, sizeof salt) > 0 &&
        EVP_PKEY_CTX_set1_hkdf_key(kdf.get(), key.data(), static_cast<int>(key.size())) > 0 &&
        EVP_PKEY_CTX_add1_hkdf_info(kdf.get(), reinterpret_cast<uint8_t*>(info), n) > 0 &&
        EVP_PKEY_derive(kdf.get(), derived, &size) > 0);
  CHECK(context_ &&
        EVP_CipherInit_ex(context_.get(), EVP_aes_128_gcm(), nullptr, derived, nullptr, 1) > 0);
}

void Sealer::begin(std::span<const uint8_t> header, bool seals) {
  uint8_t nonce[12] = {};
  std::memcpy(nonce + 4, &counter_, sizeof counter_);
  counter_++;
  int n = 0;
  CHECK(EVP_CipherInit_ex(context_.get(), nullptr, nullptr, nullptr, nonce, seals ? 1 : 0) > 0);
  CHECK(EVP_CipherUpdate(context_.get(), nullptr, &n, header.data(),
                         static_cast<int>(header.size())) > 0);
}

void Sealer::update(uint8_t* to, const uint8_t* from, size_t size) {
  int n = 0;
  CHECK(EVP_CipherUpdate(context_.get(), to, &n, from, static_cast<int>(size)) > 0);
}

void Sealer::seal(uint8_t* tag) {
  int n = 0;
  uint8_t none[16];
  CHECK(EVP_CipherFinal_ex(context_.get(), none, &n) > 0);
  CHECK(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_GCM_GET_TAG, kTag, tag) > 0);
}

bool Sealer::verify(const uint8_t* tag) {
  int n = 0;
  uint8_t none[16], copy[kTag];
  std::memcpy(copy, tag, kTag);
  return EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_GCM_SET_TAG, kTag, copy) > 0 &&
         EVP_CipherFinal_ex(context_.get(), none, &n) > 0;
}

}  // namespace hob::migrate
