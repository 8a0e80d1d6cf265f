#pragma once

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "base/result.h"
#include "migrate/link.h"
#include "migrate/packing.h"
#include "migrate/page_origin.h"
#include "migrate/page_stream.h"
#include "migrate/relink.h"
#include "migrate/thread_priority.h"

/// The sending end of the page stream: serves what the target's programs wait for, and pushes the
/// rest.
namespace hob::migrate {

/// Answers the target's demands, on a thread of its own, until the connection ends.
class DemandServer {
 public:
  /// Both arguments must outlive it.
  DemandServer(const PageOrigin& origin, Connection& link);
  ~DemandServer() { stop(); }
  void stop();
  uint64_t served() const { return served_; }
  /// Waits until nothing has been asked for during a millisecond, 5 ms at the most. A program that
  /// goes on elsewhere first asks for what it works with, page by page, and each of its turns at a
  /// processor is worth more than the start of the push.
  void await_calm() const;

 private:
  void run();
  bool serve_one();
  const PageOrigin& origin_;
  Connection& link_;
  std::atomic<uint64_t> served_{0};
  std::thread thread_;
};

/// Sends pages on `bulk`. Pages that are all zero do not travel. One thread.
class Pusher {
 public:
  Pusher(const PageOrigin& origin, Connection& link);

  /// Tells every populated range of every process, and of the objects.
  Result<void> tell_populated();
  /// tell_populated() and all of it, what is likeliest to be needed first, but not what the other
  /// side has `received` already (relink.h).
  Result<void> push_all(const PagesByProcess& received = {});
  /// Everything has been sent.
  Result<void> end();

  /// Part of what a process has. What was `sent` before and is all zero now is told so.
  Result<void> push(uint32_t process, const Ranges& ranges, const Ranges& sent = {});
  Result<void> tell(stream::Kind kind, uint32_t process, const Ranges& ranges);
  Result<void> tell_mapped(uint32_t process);

  /// The work is to let others go first.
  void pause_with(BulkPriority& priority) { priority_ = &priority; }

  /// Called with each page before it is sent; false: it need not be.
  using Wanted = std::function<bool(uint32_t process, uint64_t address, const std::byte* page)>;
  void only(Wanted wanted) { wanted_ = std::move(wanted); }

  uint64_t pages() const { return pages_; }

 private:
  Result<void> push_range(uint32_t process, Range range, const Ranges& sent);
  Result<void> send_pages(uint32_t process, uint64_t address, std::span<const std::byte> pages);

  const PageOrigin& origin_;
  Connection& link_;
  BulkPriority* priority_ = nullptr;
  Wanted wanted_;
  Bytes buffer_, packed_;
  Packing packing_;
  std::vector<std::pair<uint32_t, Ranges>> maps_;  // as told
  uint64_t pages_ = 0;
};

}  // namespace hob::migrate
