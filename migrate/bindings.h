#pragma once

#include <string_view>

#include "migrate/image.h"

/// How the resources of a process follow it to another host, as a table.
///
/// The kinds are those that capture itself gives to descriptors and mappings (files.h,
/// part_memory.cc), so the table cannot disagree with the engine, and a kind without a row does not
/// compile. The four ways are those in which mobile code keeps its bindings (Fuggetta, Picco,
/// Vigna: Understanding Code Mobility, IEEE TSE 24(5), 1998, section 3.3).
namespace hob::migrate {

enum class Binding : uint8_t {
  moved,    ///< it is the job's alone, and goes with it
  copied,   ///< its content goes with the job; who else has it keeps the original
  rebound,  ///< the like resource there takes its place
  at_home,  ///< it stays at home, and the job reaches it there
  refused,  ///< none of these: it keeps the job where it is
};

/// One row. `reason` is a clause for people, without a full stop.
struct Rule {
  std::string_view kind;  ///< "pipe", "private file mapping"
  Binding binding;
  std::string_view reason;
};

/// Pure.
Rule rule_for(DescriptionKind kind);
/// `shared`: MAP_SHARED, as maps tells it.
Rule rule_for(MappingKind kind, bool shared);

/// "moved", "at home", ...
std::string_view word_of(Binding binding);

}  // namespace hob::migrate
