#pragma once

#include <string>
#include <variant>

#include "cli/client.h"

/// What needs the engine, of which `remote` carries nothing: hob-look, beside it, looks at
/// processes and images. It runs as the user and with no more rights, so that the kernel decides
/// what he may see.
namespace hob::cli {

/// PATH of one of hob's programs in the directory of this one.
Result<std::string> program_beside(const std::string& name);

/// A process of this machine: Checked, or why not.
std::variant<pb::Envelope, Refusal> look_at_process(const std::string& pid, Duration limit);

/// Prints an image: becomes hob-look. Returns only if that failed.
Refusal become_inspector(const InspectOptions& options);

}  // namespace hob::cli
