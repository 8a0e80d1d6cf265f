#pragma once

#include "base/result.h"
#include "migrate/image.h"

/// What decode() promises of an image beyond its form as bytes: ranges and references hold. Pure.
namespace hob::migrate {

Result<void> check_form(const Tree& tree);
Result<void> check_form(const Image& image);
Result<void> check_form(const std::vector<CheckpointIndex::Owner>& owners);

/// "read the image: WHAT; it is damaged or hostile", EBADMSG.
Error invalid(const char* what);

}  // namespace hob::migrate
