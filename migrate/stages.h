#pragma once

#include <string>

/// Where the time of a migration goes: a table that each end keeps of its own stages and writes to
/// the debug log as one line ("stages at the source, us: freeze 84, seize 31, ...").
///
/// One table per thread. A mark costs one reading of the clock, some 30 ns, so they are always
/// made.
namespace hob::migrate::stages {

/// Begins a new table; the time until the first mark counts for that.
void begin();
/// The time since the last mark was spent on `stage`, a text that lives for ever. Marks of the same
/// text add up.
void mark(const char* stage);
/// The table as text, in the order of the first marks.
std::string table();
/// Writes it to the debug log.
void tell(const char* where);

}  // namespace hob::migrate::stages
