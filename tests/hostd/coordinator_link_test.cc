#include "hostd/coordinator_link.h"

#include <catch2/catch.hpp>

#include "tests/wire/zmq_rig.h"

using namespace hob;
using hostd::CoordinatorLink;

namespace {

/// A coordinator that takes reports from who has said Hello, and a home's link to it.
struct Rig {
  wire::ZmqRig zmq;
  bool knows_home = false, writes = true;
  std::vector<std::string> heard;  ///< in its order: jobs of reports, "live: JOB ..."
  std::vector<std::string> jobs;   ///< of home, that live
  std::vector<uint64_t> released;
  std::function<void()> on_welcome = [] {};
  std::unique_ptr<CoordinatorLink> link;
  std::unique_ptr<wire::Server> coordinator;

  Rig() {
    const wire::KeyPair home = zmq.register_host("h0");
    coordinator =
        wire::Server::listen(*zmq.context, "tcp://127.0.0.1:*", zmq.server_keys.secret_key,
                             [this](const std::string&, const wire::Server::Connection& c,
                                    const wire::Message& m) { on_message(c, m.envelope); })
            .value();
    link = CoordinatorLink::create(
               *zmq.loop, *zmq.context, coordinator->endpoint(), zmq.server_keys.public_key, home,
               {[] { return pb::Hello(); }, [this](const pb::Welcome&) { on_welcome(); },
                [](const pb::Directory&) {}, [](const pb::Revoked&) {}, [] {},
                [this] { return jobs; }})
               .value();
  }

  void on_message(const wire::Server::Connection& c, const pb::Envelope& envelope) {
    if (envelope.has_hello()) {
      knows_home = true;
      pb::Envelope welcome;
      welcome.mutable_welcome();
      return coordinator->answer(c, envelope, welcome);
    }
    if (!knows_home)
      return coordinator->answer(c, envelope, wire::failure(pb::Failure::STALE, "Hello first"));
    if (envelope.has_release()) released.push_back(envelope.release().lease());
    if (envelope.has_live_jobs()) {
      std::string line = "live:";
      for (const std::string& job : envelope.live_jobs().jobs()) line += " " + job;
      heard.push_back(line);
    }
    if (!envelope.has_job_report()) return;
    heard.push_back(envelope.job_report().job());
    pb::Envelope written;
    written.mutable_written();
    if (writes) coordinator->answer(c, envelope, written);
  }

  void tell(const std::string& job) {
    pb::Envelope envelope;
    envelope.mutable_job_report()->set_job(job);
    link->tell(std::move(envelope));
  }
  void restart_coordinator() { knows_home = false, heard.clear(); }
  bool hears(const std::vector<std::string>& lines) {
    return run_until(*zmq.loop, [&] { return heard.size() >= lines.size(); }) && heard == lines;
  }
};

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("after each Hello home tells which of its jobs live, after all it had to report") {
  Rig rig;
  rig.jobs = {"h0.2", "h0.3"};
  rig.tell("h0.1");  // before it is connected
  CHECK(rig.hears({"h0.1", "live: h0.2 h0.3"}));
}

TEST_CASE("a restarted coordinator is told at once what it has not written, in its order") {
  Rig rig;
  REQUIRE(rig.hears({"live:"}));
  rig.writes = false;
  rig.tell("h0.1");
  rig.tell("h0.2");
  REQUIRE(rig.hears({"live:", "h0.1", "h0.2"}));
  rig.restart_coordinator();
  rig.writes = true;
  rig.tell("h0.3");  // with which home learns of the restart
  CHECK(rig.hears({"h0.1", "h0.2", "h0.3", "live:"}));
}

TEST_CASE("what is told while the link comes back does not overtake what is repeated") {
  Rig rig;
  rig.writes = false;
  rig.tell("h0.1");
  REQUIRE(rig.hears({"h0.1", "live:"}));
  rig.restart_coordinator();
  rig.on_welcome = [&] { rig.tell("h0.3"); };
  rig.tell("h0.2");
  REQUIRE(run_until(*rig.zmq.loop, [&] { return rig.heard.size() >= 4; }));
  CHECK(Lines(rig.heard.begin(), rig.heard.begin() + 3) == Lines{"h0.1", "h0.2", "h0.3"});
}

TEST_CASE("a restarted coordinator is not told again what was written") {
  Rig rig;
  rig.tell("h0.1");
  REQUIRE(rig.hears({"h0.1", "live:"}));
  bool answered = false;  // and with it, on the same connection, the Written before
  rig.link->ask(wire::ZmqRig::question().envelope, milliseconds(200),
                [&](const wire::Message&) { answered = true; });
  REQUIRE(run_until(*rig.zmq.loop, [&] { return answered; }));
  rig.restart_coordinator();
  rig.tell("h0.2");
  CHECK(rig.hears({"h0.2", "live:"}));
}

TEST_CASE("a grant given back while the Hello is under way is given back after it") {
  Rig rig;
  hostd::Grant grant = rig.link->adopt(7, "h1", "ann");
  rig.zmq.loop->run_once(milliseconds(0));  // says Hello
  grant.reset();
  REQUIRE(run_until(*rig.zmq.loop, [&] { return !rig.released.empty(); }));
  CHECK(rig.released == std::vector<uint64_t>{7});
}
