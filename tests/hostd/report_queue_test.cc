#include "hostd/report_queue.h"

#include <fmt/format.h>

#include <set>

#include "wire/job_name.h"

#include <catch2/catch.hpp>

using namespace hob;
using hostd::live_jobs_messages;
using hostd::ReportQueue;

namespace {

pb::Envelope report_of(const std::string& job) {
  pb::Envelope envelope;
  envelope.mutable_job_report()->set_job(job);
  return envelope;
}

pb::Envelope reports_of(int count) {
  pb::Envelope envelope;
  for (int i = 0; i < count; ++i)
    envelope.mutable_job_reports()->add_reports()->set_job(fmt::format("h0.{}", i));
  return envelope;
}

/// The jobs of all that leaves now.
std::vector<std::string> leave(ReportQueue& queue) {
  std::vector<std::string> jobs;
  while (const pb::Envelope* next = queue.next()) {
    jobs.push_back(next->job_report().job());
    queue.sent();
  }
  return jobs;
}

using Jobs = std::vector<std::string>;

}  // namespace

TEST_CASE("a report leaves once, and is kept until it is written") {
  ReportQueue queue;
  CHECK(queue.all_sent());
  queue.add(report_of("a"));
  queue.add(report_of("b"));
  CHECK_FALSE(queue.all_sent());
  CHECK(leave(queue) == Jobs{"a", "b"});
  CHECK(queue.all_sent());
  CHECK(leave(queue).empty());
  CHECK(queue.size() == 2);
  queue.written(ReportQueue::kFirst + 1);
  CHECK(queue.size() == 0);
}

TEST_CASE("on a new connection all that is not written leaves again, in its order") {
  ReportQueue queue;
  for (const char* job : {"a", "b", "c"}) queue.add(report_of(job));
  leave(queue);
  queue.written(ReportQueue::kFirst);
  queue.add(report_of("d"));
  queue.send_again();
  CHECK_FALSE(queue.all_sent());
  CHECK(leave(queue) == Jobs{"b", "c", "d"});
}

TEST_CASE("numbers go up from one connection to the next") {
  ReportQueue queue;
  queue.add(report_of("a"));
  const uint64_t first = queue.next()->request();
  queue.sent();
  queue.send_again();
  CHECK(queue.next()->request() == first);
  queue.sent();
  queue.written(first);
  queue.add(report_of("b"));
  CHECK(queue.next()->request() == first + 1);
}

TEST_CASE("what has not left on this connection is not written, whoever says so") {
  ReportQueue queue;
  queue.add(report_of("a"));
  queue.written(UINT64_MAX);
  CHECK(leave(queue) == Jobs{"a"});
}

TEST_CASE("a window of messages leaves before the first is written") {
  ReportQueue queue;
  for (size_t i = 0; i < ReportQueue::kWindow + 2; ++i) queue.add(report_of(std::to_string(i)));
  CHECK(leave(queue).size() == ReportQueue::kWindow);
  CHECK_FALSE(queue.all_sent());
  queue.written(ReportQueue::kFirst);
  CHECK(leave(queue).size() == 1);
  queue.written(ReportQueue::kFirst + 1);
  CHECK(leave(queue).size() == 1);
  CHECK(queue.all_sent());
}

TEST_CASE("beyond the bound the oldest are dropped, and it is known") {
  ReportQueue queue(10);
  queue.add(reports_of(4));
  queue.add(reports_of(4));
  leave(queue);
  CHECK_FALSE(queue.dropped());
  queue.add(reports_of(4));
  CHECK(queue.dropped());
  CHECK(queue.size() == 8);
  queue.tell_dropped();
  CHECK_FALSE(queue.dropped());
  // The first has left, and been dropped since: its answer is of nothing that is kept.
  queue.written(ReportQueue::kFirst);
  CHECK(queue.size() == 8);
  queue.written(ReportQueue::kFirst + 1);
  CHECK(queue.size() == 4);
  CHECK(queue.next()->request() == ReportQueue::kFirst + 2);
}

TEST_CASE("live jobs: none is said as well") {
  const auto messages = live_jobs_messages({}, "why");
  REQUIRE(messages.size() == 1);
  CHECK(messages[0].after().empty());
  CHECK(messages[0].up_to().empty());
  CHECK(messages[0].jobs_size() == 0);
  CHECK(messages[0].why() == "why");
}

TEST_CASE("live jobs: as many messages as may travel, each with the range it is true of") {
  std::set<std::string> all;
  for (int i = 0; i < 20'000; ++i)
    all.insert(fmt::format("{:h>{}}.{}", "", wire::kLongestJobName - 8, 1'000'000 + i));
  const Jobs jobs(all.begin(), all.end());
  const auto messages = live_jobs_messages(jobs, "why");
  REQUIRE(messages.size() > 1);
  std::string after;
  Jobs told;
  for (const pb::LiveJobs& message : messages) {
    CHECK(message.after() == after);
    CHECK(wire::check_size(message.ByteSizeLong() + 100, 0).ok());
    for (const std::string& job : message.jobs()) {
      if (job <= after) FAIL(job << " is not of its range");
      told.push_back(job);
    }
    after = message.up_to();
    if (!after.empty()) CHECK(message.jobs(message.jobs_size() - 1) == after);
  }
  CHECK(after.empty());
  CHECK(told == jobs);
}
