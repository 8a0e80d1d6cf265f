#pragma once

#include "base/result.h"
#include "migrate/check.h"
#include "migrate/program.h"
#include "migrate/sandbox.h"
#include "wire/message.h"

/// Between the messages and the engine's own types. What comes from a message is checked here.
namespace hob::hostd {

/// Error: no arguments, a NUL byte in a string, an unknown resource limit, ...
Result<migrate::Program> program_of(const pb::Program& program, const pb::Identity& identity);
migrate::Credentials credentials_of(const pb::Identity& identity);

pb::Clocks clocks_now();
/// Notes when they came: a starter gets to them later, on a busy host much later.
void heard_now(pb::Clocks& clocks);
/// Home's clocks against this host's when they were heard.
migrate::ClockOffsets offsets_against(const pb::Clocks& home);

/// The answer to Check. Rows that a message has no room for are counted only.
pb::Envelope checked(const migrate::Findings& found, const std::string& host);

/// The arguments joined for people: at most 120 bytes, control characters shown as '?'.
std::string command_line(const pb::Program& program);

}  // namespace hob::hostd
