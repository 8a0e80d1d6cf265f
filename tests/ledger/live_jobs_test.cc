#include "tests/ledger/kit.h"

using namespace hob;
using namespace hob::coordinator;
using namespace hob::coordinator::test;

namespace {

struct Home {
  Scratch scratch;
  Ledger ledger = get(Ledger::open(scratch / "ledger", at(0)));
  HostId id = get(ledger.add_host(host_row("h0"), std::nullopt, at(0)));

  void runs(const std::string& job) { runs_of(id, job); }
  void runs_of(HostId home, const std::string& job) {
    JobRow row = job_row(job, home, 1);
    row.state = JobState::running;
    row.started = at(1);
    get(ledger.record(row));
  }
  void ends(const std::string& job, int status, int64_t when) {
    JobRow row = job_row(job, id, when);
    row.state = JobState::done;
    row.exit_status = status;
    row.ended = at(when);
    get(ledger.record(row));
  }
  void live(std::set<std::string> jobs, const std::string& after = "",
            const std::string& up_to = "") {
    get(ledger.record(LiveJobs{id, after, up_to, std::move(jobs), "home was restarted", at(9)}));
  }
  JobRow job(const std::string& name) {
    get(ledger.commit());
    return get(ledger.job(name)).value();
  }
  JobState state(const std::string& name) { return job(name).state; }
};

}  // namespace

TEST_CASE("a job that its home has no longer is lost, with the time and the reason") {
  Home home;
  home.runs("h0.1");
  home.runs("h0.2");
  home.live({"h0.2"});
  const JobRow lost = home.job("h0.1");
  CHECK(lost.state == JobState::lost);
  CHECK(lost.text == "home was restarted");
  CHECK(lost.ended == at(9));
  CHECK(lost.started == at(1));
  CHECK_FALSE(lost.exit_status);
  CHECK(home.state("h0.2") == JobState::running);
  CHECK(get(home.ledger.jobs(false)).size() == 1);
}

TEST_CASE("jobs of other homes, and those that have ended, stay as they are") {
  Home home;
  const HostId other = get(home.ledger.add_host(host_row("h1"), std::nullopt, at(0)));
  home.runs_of(other, "h1.1");
  home.runs("h0.1");
  home.ends("h0.1", 0x0300, 5);
  home.live({});
  CHECK(home.state("h1.1") == JobState::running);
  CHECK(home.job("h0.1").exit_status == 0x0300);
  CHECK(home.job("h0.1").ended == at(5));
}

TEST_CASE("live jobs speak of what was recorded before them alone") {
  Home home;
  home.runs("h0.1");
  home.live({});
  home.runs("h0.2");  // began later
  CHECK(home.state("h0.1") == JobState::lost);
  CHECK(home.state("h0.2") == JobState::running);
}

TEST_CASE("live jobs speak of their range alone") {
  Home home;
  for (const char* job : {"h0.1", "h0.2", "h0.3", "h0.4", "h0.5"}) home.runs(job);
  home.live({"h0.2"}, "", "h0.2");
  CHECK(home.state("h0.1") == JobState::lost);
  CHECK(home.state("h0.2") == JobState::running);
  CHECK(home.state("h0.3") == JobState::running);
  home.live({"h0.4"}, "h0.2", "h0.4");
  CHECK(home.state("h0.3") == JobState::lost);
  CHECK(home.state("h0.5") == JobState::running);
  home.live({}, "h0.4");
  CHECK(home.state("h0.2") == JobState::running);
  CHECK(home.state("h0.4") == JobState::running);
  CHECK(home.state("h0.5") == JobState::lost);
}

TEST_CASE("what is told again changes nothing") {
  Home home;
  home.runs("h0.1");
  home.ends("h0.1", 0, 5);
  const JobRow once = home.job("h0.1");
  home.runs("h0.1");
  CHECK(home.job("h0.1") == once);
  home.ends("h0.1", 0, 5);
  CHECK(home.job("h0.1") == once);
}

TEST_CASE("how a job ended still counts when it was held for lost") {
  Home home;
  home.runs("h0.1");
  home.live({});
  REQUIRE(home.state("h0.1") == JobState::lost);
  home.runs("h0.1");
  CHECK(home.state("h0.1") == JobState::lost);
  home.ends("h0.1", 0x0100, 5);
  const JobRow ended = home.job("h0.1");
  CHECK(ended.state == JobState::done);
  CHECK(ended.exit_status == 0x0100);
  CHECK(ended.text.empty());
  CHECK(ended.ended == at(5));
}

TEST_CASE("a move that is told twice is recorded once") {
  Home home;
  MoveRow move;
  move.job = "h0.1";
  move.from = move.to = home.id;
  move.reason = "owner returned";
  move.at = at(10);
  get(home.ledger.record(move));
  get(home.ledger.commit());
  get(home.ledger.record(move));
  move.at = at(11);
  get(home.ledger.record(move));
  get(home.ledger.commit());
  CHECK(get(home.ledger.moves("h0.1")).size() == 2);
}

TEST_CASE("a ledger of an earlier coordinator is set right as well") {
  Home home;
  home.runs("h0.1");
  get(home.ledger.commit());
  home.ledger = get(Ledger::open(home.scratch / "ledger", at(8)));
  home.live({});
  CHECK(home.state("h0.1") == JobState::lost);
}
