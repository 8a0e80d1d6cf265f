#include "wire/invitation.h"

#include <algorithm>
#include <optional>

namespace hob::wire {
namespace {

constexpr std::string_view kPrefix = "hob1:";
constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";  // RFC 4648 section 5
constexpr size_t kKeys = 64;
constexpr size_t kSum = 4;

std::string encode_base64url(std::string_view bytes) {
  std::string out;
  uint32_t held = 0;
  unsigned bits = 0;
  for (char c : bytes) {
    held = held << 8 | static_cast<unsigned char>(c);
    for (bits += 8; bits >= 6; bits -= 6) out += kAlphabet[held >> (bits - 6) & 63];
  }
  if (bits > 0) out += kAlphabet[held << (6 - bits) & 63];
  return out;
}

/// Nothing if a character does not belong, or if the last one carries bits that no encoder writes.
std::optional<std::string> decode_base64url(std::string_view text) {
  std::string out;
  uint32_t held = 0;
  unsigned bits = 0;
  for (char c : text) {
    const size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) return std::nullopt;
    held = (held << 6 | static_cast<uint32_t>(value)) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    out += static_cast<char>(held >> bits & 0xff);
  }
  if (bits >= 6 || (held & ((1u << bits) - 1)) != 0) return std::nullopt;
  return out;
}

uint32_t crc32(std::string_view bytes) {  // IEEE 802.3, reflected
  uint32_t sum = ~0u;
  for (char c : bytes) {
    sum ^= static_cast<unsigned char>(c);
    for (int i = 0; i < 8; ++i) sum = sum >> 1 ^ (0xedb88320u & -(sum & 1));
  }
  return ~sum;
}

std::string sum_of(std::string_view keys, std::string_view endpoint) {
  const uint32_t sum = crc32(std::string(keys).append(endpoint));
  std::string out;
  for (unsigned shift = 0; shift < 32; shift += 8) out += static_cast<char>(sum >> shift & 0xff);
  return out;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

bool plain(std::string_view endpoint) {
  return std::all_of(endpoint.begin(), endpoint.end(),
                     [](char c) { return c > ' ' && c < '\x7f'; });
}

}  // namespace

std::string to_text(const Invitation& invitation) {
  std::string keys(invitation.coordinator_key.begin(), invitation.coordinator_key.end());
  keys.append(invitation.secret_key.begin(), invitation.secret_key.end());
  return std::string(kPrefix) +
         encode_base64url(keys + sum_of(keys, invitation.endpoint) + invitation.endpoint);
}

Result<Invitation> invitation_from_text(std::string_view text) {
  text = trimmed(text);
  if (!text.starts_with("hob"))
    return Error{
        "read the invitation: it does not begin with \"hob1:\"; paste the whole line that "
        "`remote cell invite` printed"};
  if (!text.starts_with(kPrefix))
    return Error{
        "read the invitation: made by another version of hob; update hob on this machine or "
        "on the coordinator's"};
  const Error damaged{
      "read the invitation: damaged; paste the whole line that `remote cell invite` "
      "printed"};
  text.remove_prefix(kPrefix.size());
  if (text.size() > (kKeys + kSum + kMaxInvitationEndpoint) * 4 / 3 + 1) return damaged;
  const std::optional<std::string> bytes = decode_base64url(text);
  if (!bytes || bytes->size() <= kKeys + kSum) return damaged;
  const std::string_view all = *bytes;
  const std::string_view keys = all.substr(0, kKeys), endpoint = all.substr(kKeys + kSum);
  if (all.substr(kKeys, kSum) != sum_of(keys, endpoint)) return damaged;
  if (!endpoint.starts_with("tcp://") || !plain(endpoint)) return damaged;
  Invitation invitation{std::string(endpoint), {}, {}};
  std::copy_n(keys.begin(), 32, invitation.coordinator_key.begin());
  std::copy_n(keys.begin() + 32, 32, invitation.secret_key.begin());
  return invitation;
}

}  // namespace hob::wire
