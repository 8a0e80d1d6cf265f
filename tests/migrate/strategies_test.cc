// Memory strategies and checkpoints, as a whole: two starters, a program, faults at each step.
#include "rig.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "migrate/checkpoint.h"

using namespace hob;
using namespace hob::test;
using migrate::Fault;
using migrate::SendOptions;
using migrate::Strategy;
using migrate::fault::Act;

namespace {

struct File {
  File() : path("/tmp/hob-checkpoint-test-" + std::to_string(::getpid())) {}
  ~File() { ::unlink(path.c_str()); }
  std::string path;
};

struct Job {
  Collector collector;
  std::unique_ptr<Host> host = std::make_unique<Host>(collector.write_end());
  explicit Job(const std::vector<std::string>& arguments) {
    Home::get().reset();
    REQUIRE(host->start(arguments).ok());
    REQUIRE(collector.wait_for("ready"));
  }
  void ends_well(Host& where) {
    where.write_input("go\n");
    CHECK(where.wait_exit(30000) == 0);
    CHECK(collector.wait_for("ok\n"));
  }
};

/// Checkpoints the job; it goes on.
void save(Job& job, const std::string& path, Strategy strategy) {
  Host recorder(job.collector.write_end());
  const auto port = recorder.record(path);
  REQUIRE(port.ok());
  const auto outcome = job.host->send(*port, recorder, {strategy, true, false});
  CHECK(outcome.text == "saved");
  const auto recorded = recorder.recorded();
  INFO((recorded ? "" : recorded.error().text));
  REQUIRE(recorded.ok());
}

}  // namespace

TEST_CASE("pre-copy compares pages where the kernel cannot tell which were written") {
  Plan plan;
  plan.options = {Strategy::pre_copy, false, true};
  for (const char* name : {"memory", "postcopy", "objects"}) {
    const Verdict v = run_and_move({victim(name)}, plan);
    INFO(v.output);
    CHECK(v.problem == "");
    CHECK(v.status == 0);
  }
}

TEST_CASE("a checkpoint leaves the job where it is, and can be restarted") {
  for (Strategy strategy : {Strategy::freeze_copy, Strategy::pre_copy}) {
    for (const char* name : {"memory", "threads", "tree", "objects", "timers"}) {
      INFO(name << " by " << name_of(strategy));
      File file;
      {
        Job job({victim(name)});
        save(job, file.path, strategy);
        job.ends_well(*job.host);
      }
      // As if its host had been lost: it goes on from the file, twice if need be.
      for (int i = 0; i < 2; i++) {
        Home::get().reset();
        Collector collector;
        Host host(collector.write_end());
        const auto restarted = host.restart(file.path);
        INFO((restarted ? "" : restarted.error().text));
        REQUIRE(restarted.ok());
        host.write_input("go\n");
        CHECK(host.wait_exit(30000) == 0);
        CHECK(collector.wait_for("ok\n"));
        INFO(collector.text());
      }
    }
  }
}

TEST_CASE("damaged checkpoints are refused in words") {
  File file;
  Job job({victim("memory"), "4"});
  save(job, file.path, Strategy::freeze_copy);
  job.ends_well(*job.host);
  const std::string whole = read_file(file.path).value();
  const auto refused = [&](std::string bytes) {
    REQUIRE(replace_file(file.path, bytes).ok());
    const auto read = migrate::CheckpointFile::read(open_file(file.path, O_RDONLY).value());
    return read.ok() ? "" : read.error().text;
  };
  CHECK(refused(whole) == "");
  CHECK(refused("") == "it is no checkpoint");
  CHECK(refused(std::string(8192, 'x')) == "it is no checkpoint, or one that was not finished");
  CHECK(refused(std::string(4096, 0) + whole.substr(4096)).find("not finished") !=
        std::string::npos);
  CHECK(refused(whole.substr(0, whole.size() - 1)) == "read the checkpoint: it ends too early");
  std::string damaged = whole;
  damaged[whole.size() - 10] = static_cast<char>(damaged[whole.size() - 10] ^ 1);
  CHECK(refused(damaged) == "read the checkpoint: it is damaged");
}

TEST_CASE("a checkpoint with a damaged page is not restarted") {
  File file;
  Job job({victim("memory"), "4"});
  save(job, file.path, Strategy::freeze_copy);
  job.ends_well(*job.host);
  const std::string whole = read_file(file.path).value();
  for (const size_t at : {size_t{4096}, size_t{1} << 20}) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    REQUIRE(replace_file(file.path, damaged).ok());
    Home::get().reset();
    Collector collector;
    Host host(collector.write_end());
    const auto restarted = host.restart(file.path);
    REQUIRE_FALSE(restarted.ok());
    CHECK(restarted.error().text.find("its pages are damaged") != std::string::npos);
    CHECK(host.guests().empty());
  }
}

namespace {

/// One end fails or dies at one step. Then at most one copy lives, and where none does somebody has
/// said so; where the job has stayed, the next attempt succeeds.
void check_step(Strategy strategy, bool at_source, Fault where, Act act) {
  INFO(name_of(strategy) << (at_source ? " source " : " target ") << static_cast<int>(where)
                         << " act " << static_cast<int>(act));
  Job job({victim("memory"), "16"});
  auto target = std::make_unique<Host>(job.collector.write_end());
  (at_source ? *job.host : *target).arm(where, act);
  const auto port = target->listen();
  REQUIRE(port.ok());
  job.host->begin_send(*port, *target, {strategy, false, false});
  const auto received = target->received();
  // Its owner is back: what demand has left behind is pushed.
  if (strategy == Strategy::demand && received.ok() && job.host->alive()) job.host->freeze();
  const auto outcome = job.host->end_send();
  INFO("source: " << outcome.text);
  INFO("target: " << (received ? "received" : received.error().text));
  const auto guests_of = [](Host& host) { return host.alive() ? host.guests().size() : 0; };
  // A target that has lost its source notices, and ends its copy.
  if (!outcome.moved || !received.ok())
    for (int i = 0; i < 100 && guests_of(*target) > 0; i++) ::usleep(10000);
  const size_t here = guests_of(*job.host), there = guests_of(*target);
  CHECK(here + there <= 1);
  if (there == 1) {
    job.ends_well(*target);
  } else if (here == 1) {
    CHECK_FALSE(outcome.moved);
    CHECK(!outcome.text.empty());
    if (strategy == Strategy::demand) job.host->thaw();
    auto next = std::make_unique<Host>(job.collector.write_end());
    const auto again = next->listen();
    REQUIRE(again.ok());
    const auto second = job.host->send(
        *again, *next,
        {strategy == Strategy::demand ? Strategy::swap_out : strategy, false, false});
    INFO(second.text);
    REQUIRE(second.moved);
    REQUIRE(next->received().ok());
    job.ends_well(*next);
  } else {
    // The one that died has taken its copy along, or pages that were owed.
    const bool died = !job.host->alive() || !target->alive();
    const bool said = !outcome.text.empty() || !received.ok();
    CHECK((died || said));
    CHECK_FALSE((outcome.moved && received.ok() && target->alive()));
  }
}

void check_steps(Strategy strategy) {
  for (Act act : {Act::error, Act::die}) {
    for (Fault f : {Fault::check, Fault::round, Fault::seized, Fault::captured,
                    Fault::image_sending, Fault::image_sent, Fault::told_running, Fault::push})
      check_step(strategy, true, f, act);
    for (Fault f : {Fault::connected, Fault::prepared, Fault::image_received, Fault::adopted,
                    Fault::space, Fault::threads, Fault::kept, Fault::restored, Fault::committed,
                    Fault::taken_over, Fault::running})
      check_step(strategy, false, f, act);
    // Where pages are kept, this is the live copy's own end, some time after the move.
    if (migrate::plan_of(strategy).keep == migrate::Keep::nowhere)
      check_step(strategy, false, Fault::pull, act);
  }
}

}  // namespace

TEST_CASE("whatever fails at whichever step of swap-out, at most one copy lives") {
  check_steps(Strategy::swap_out);
}
TEST_CASE("whatever fails at whichever step of flush, at most one copy lives") {
  check_steps(Strategy::flush);
}
TEST_CASE("whatever fails at whichever step of freeze-copy, at most one copy lives") {
  check_steps(Strategy::freeze_copy);
}
TEST_CASE("whatever fails at whichever step of pre-copy, at most one copy lives") {
  check_steps(Strategy::pre_copy);
}
TEST_CASE("whatever fails at whichever step of demand, at most one copy lives") {
  check_steps(Strategy::demand);
}

TEST_CASE("where all pages travel before the commit, the source may die right after it") {
  for (Strategy s : {Strategy::flush, Strategy::freeze_copy, Strategy::pre_copy}) {
    INFO(name_of(s));
    Job job({victim("memory"), "64"});
    auto target = std::make_unique<Host>(job.collector.write_end());
    const auto port = target->listen();
    REQUIRE(port.ok());
    job.host->begin_send(*port, *target, {s, false, false});
    REQUIRE(target->received().ok());
    job.host->kill();
    job.ends_well(*target);
  }
}

TEST_CASE("under demand the owner's return pushes what is left") {
  Job job({victim("memory"), "32"});
  auto target = std::make_unique<Host>(job.collector.write_end());
  const auto port = target->listen();
  REQUIRE(port.ok());
  job.host->begin_send(*port, *target, {Strategy::demand, false, false});
  REQUIRE(target->received().ok());
  ::usleep(300000);
  CHECK(job.host->alive());
  job.host->freeze();  // as hostd does
  const auto outcome = job.host->end_send();
  INFO(outcome.text);
  CHECK(outcome.moved);
  job.host->kill();
  job.ends_well(*target);
}
