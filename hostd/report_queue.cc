#include "hostd/report_queue.h"

#include <algorithm>

#include "wire/job_name.h"

namespace hob::hostd {
namespace {

/// A fifth of what a message may have: a name has a few bytes around it.
constexpr size_t kJobsInMessage = wire::kMaxEnvelope / 5 / wire::kLongestJobName;

size_t reports_in(const pb::Envelope& envelope) {
  return envelope.has_job_reports() ? static_cast<size_t>(envelope.job_reports().reports_size())
                                    : 1;
}

}  // namespace

void ReportQueue::add(pb::Envelope envelope) {
  envelope.set_request(next_number_++);
  size_ += reports_in(envelope);
  messages_.push_back(std::move(envelope));
  while (size_ > most_ && messages_.size() > 1) {
    drop_first();
    dropped_ = true;
  }
}

const pb::Envelope* ReportQueue::next() const {
  return all_sent() || sent_ >= kWindow ? nullptr : &messages_[sent_];
}

void ReportQueue::sent() {
  ++sent_;
}

void ReportQueue::written(uint64_t number) {
  while (sent_ > 0 && messages_.front().request() <= number) drop_first();
}

void ReportQueue::drop_first() {
  size_ -= reports_in(messages_.front());
  messages_.pop_front();
  if (sent_ > 0) --sent_;
}

std::vector<pb::LiveJobs> live_jobs_messages(const std::vector<std::string>& jobs,
                                             const std::string& why) {
  std::vector<pb::LiveJobs> messages(1);
  for (const std::string& job : jobs) {
    if (messages.back().jobs_size() == static_cast<int>(kJobsInMessage)) {
      const std::string last = messages.back().jobs(kJobsInMessage - 1);
      messages.back().set_up_to(last);
      messages.emplace_back().set_after(last);
    }
    messages.back().add_jobs(job);
  }
  for (pb::LiveJobs& message : messages) message.set_why(why);
  return messages;
}

}  // namespace hob::hostd
