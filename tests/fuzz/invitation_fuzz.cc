// The text of an invitation comes from a clipboard: refused, or it is the one text of what it
// holds.
#include "wire/invitation.h"

using namespace hob;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto invitation = wire::invitation_from_text(text);
  if (invitation.ok()) CHECK(text.find(wire::to_text(*invitation)) != std::string::npos);
  return 0;
}
