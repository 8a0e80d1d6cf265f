#pragma once

#include "base/result.h"
#include "migrate/image.h"

/// What decode() promises of an image beyond its form as bytes: ranges and references hold. Pure.
namespace hob::migrate {

Result<void> check_form(const Tree& tree);
Result<void> check_form(const Image& image);
Result<void> check_form(const std::vector<CheckpointIndex::Owner>& owners);

/// Its TCP and UDP sockets (inet_check.cc).
Result<void> check_inet(const Image& image);
/// Which open file that is; null: none.
const Description* find_description(const Image& image, uint32_t process, int32_t descriptor);

/// "read the image: WHAT; it is damaged or hostile", EBADMSG.
Error invalid(const char* what);

}  // namespace hob::migrate
