#pragma once

#include <cerrno>
#include <cstdint>

#include "base/result.h"

/// Faults on purpose: numbered points in the product at which a test makes this process die, fail
/// or hang. Without the environment variable each costs a comparison.
namespace hob::migrate {

enum class Fault : uint8_t {
  none = 0,
  // source
  check = 1,      ///< before anything is stopped
  seized,         ///< all stopped
  captured,       ///< the image is complete, nothing sent
  image_sending,  ///< the image is announced
  image_sent,     ///< the target may commit from here on
  told_running,   ///< the target is the live copy, and the source knows
  push,           ///< all pages pushed, the end not yet told
  round,          ///< a round of pre-copy has been sent
  let_go,         ///< the target is the live copy and has asked for locks and addresses
  drafting,       ///< the draft is made, nothing of it sent; the guest runs
  cut,            ///< either end, in the midst of the pages: `error` here is a link that breaks
  // target
  connected = 20,  ///< the source is there
  prepared,        ///< the stubs are parked
  image_received,  ///< whole and decoded
  adopted,         ///< files are open
  space,           ///< address spaces are there
  threads,         ///< threads are there
  restored,        ///< everything is, and nothing runs
  committed,       ///< home has recorded it, nothing runs yet
  running,         ///< it runs; the source has not been told
  pull,            ///< the first pages have arrived
  kept,            ///< all pages are kept at the target, nothing runs
  taken_over,      ///< committed; locks and addresses are the target's
  drafted,         ///< what can be is built upon the draft
  // no step
  other_kernel = 60,  ///< this kernel's vdso counts as another than it is; stays armed
  last = other_kernel
};

namespace fault {

enum class Act : uint8_t { die = 0, error, stall, pause };

/// Arms one point for this process, once; tests call it after fork. Also read from the environment:
/// HOB_FAULT=NUMBER:die|error|stall|pause. To pause is to go on after 0.3 s.
void arm(Fault where, Act act);

Result<void> reached(Fault where);
extern Fault armed;

inline Result<void> point(Fault where) {
  if (where != armed) [[likely]]
    return {};
  return reached(where);
}

/// The same of a link: the Error is one of those after which a new link may be better (relink.h).
inline Result<void> link_point(Fault where) {
  if (point(where)) return {};
  return Error{"the link: made to break", ECONNRESET};
}

}  // namespace fault
}  // namespace hob::migrate
