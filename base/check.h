#pragma once

/// CHECK(condition): a broken invariant ends the program, in release builds too.
///
/// It is for what the program itself promises, never for what a peer, a user or the kernel may do:
/// those are Errors (base/result.h). Prints file, line and the condition to stderr, then aborts.
#define CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::hob::check_failed(__FILE__, __LINE__, #condition))

namespace hob {
[[noreturn]] void check_failed(const char* file, int line, const char* condition);
}  // namespace hob
