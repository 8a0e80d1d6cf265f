#include "migrate/inet_image.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

namespace hob::migrate {

bool Endpoint::is_v4() const {
  return std::equal(kMappedV4.begin(), kMappedV4.end(), address.begin());
}
bool Endpoint::is_any() const {
  return std::all_of(address.begin() + (is_v4() ? 12 : 0), address.end(),
                     [](uint8_t byte) { return byte == 0; });
}
bool Endpoint::is_loopback() const {
  if (is_v4()) return address[12] == 127;
  return address[15] == 1 &&
         std::all_of(address.begin(), address.end() - 1, [](uint8_t byte) { return byte == 0; });
}
std::string Endpoint::text() const {
  char buffer[INET6_ADDRSTRLEN];
  const std::string at = ":" + std::to_string(port);
  if (is_v4()) return ::inet_ntop(AF_INET, &address[12], buffer, sizeof buffer) + at;
  return std::string("[") + ::inet_ntop(AF_INET6, address.data(), buffer, sizeof buffer) + "]" + at;
}

}  // namespace hob::migrate
