#pragma once

#include <deque>
#include <string>
#include <vector>

#include "wire/message.h"

namespace hob::hostd {

/// What home has to tell the ledger, until the ledger has it. Pure.
///
/// Messages are numbered upwards (Envelope.request) and leave in this order, a window of them at a
/// time, so that the connection never has to drop one. They are kept until the coordinator has
/// written them, and leave again on a new connection. While nobody takes them `most` reports are
/// kept; beyond that the oldest are dropped, and dropped() says so: how those jobs ended the ledger
/// does not learn any more, but LiveJobs says that they did.
class ReportQueue {
 public:
  /// About 6 MB; at 400 jobs a second, the coordinator may be away for 25 seconds.
  static constexpr size_t kMost = 10'000;
  /// Messages under way, not yet written: far fewer than ZeroMQ holds for a peer (wire/zmq.cc).
  static constexpr size_t kWindow = 64;
  /// Apart from the numbers that wire::Client gives to its requests.
  static constexpr uint64_t kFirst = 1ull << 61;

  explicit ReportQueue(size_t most = kMost) : most_(most) {}

  /// JobReport, JobReports or MoveReport.
  void add(pb::Envelope envelope);
  /// What is to leave now; null: nothing, or the window is full. sent() says that it has left.
  const pb::Envelope* next() const;
  void sent();
  /// Whether everything has left, on this connection.
  bool all_sent() const { return sent_ == messages_.size(); }
  /// All up to that number are in the ledger.
  void written(uint64_t number);
  /// A new connection: who is at its other end has been sent nothing.
  void send_again() { sent_ = 0; }

  /// Reports kept.
  size_t size() const { return size_; }
  /// Whether some were dropped since tell_dropped().
  bool dropped() const { return dropped_; }
  void tell_dropped() { dropped_ = false; }

 private:
  void drop_first();

  size_t most_;
  std::deque<pb::Envelope> messages_;
  size_t sent_ = 0;  // of messages_, the first
  size_t size_ = 0;
  uint64_t next_number_ = kFirst;
  bool dropped_ = false;
};

/// The messages that say that of home's jobs these, sorted, have not ended; none is larger than may
/// travel. `why` is of the other jobs, for people.
std::vector<pb::LiveJobs> live_jobs_messages(const std::vector<std::string>& jobs,
                                             const std::string& why);

}  // namespace hob::hostd
