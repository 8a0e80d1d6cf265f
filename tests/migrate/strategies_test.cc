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

TEST_CASE(
    "whatever fails under a strategy, at most one copy lives, and the next attempt succeeds") {
  struct Case {
    Strategy strategy;
    bool at_source;
    Fault where;
  };
  std::vector<Case> cases;
  for (Strategy s : {Strategy::flush, Strategy::freeze_copy, Strategy::pre_copy}) {
    for (Fault f :
         {Fault::seized, Fault::captured, Fault::image_sending, Fault::image_sent, Fault::push})
      cases.push_back({s, true, f});
    for (Fault f :
         {Fault::prepared, Fault::image_received, Fault::space, Fault::kept, Fault::restored})
      cases.push_back({s, false, f});
  }
  cases.push_back({Strategy::pre_copy, true, Fault::round});
  cases.push_back({Strategy::freeze_copy, false, Fault::pull});  // elsewhere after the resume
  for (const Case& c : cases) {
    for (Act act : {Act::error, Act::die}) {
      INFO(name_of(c.strategy) << (c.at_source ? " source " : " target ")
                               << static_cast<int>(c.where) << " act " << static_cast<int>(act));
      Job job({victim("memory"), "16"});
      auto target = std::make_unique<Host>(job.collector.write_end());
      (c.at_source ? *job.host : *target).arm(c.where, act);
      const auto port = target->listen();
      REQUIRE(port.ok());
      const auto outcome = job.host->send(*port, *target, {c.strategy, false, false});
      const auto received = target->received();
      INFO("source: " << outcome.text);
      INFO("target: " << (received ? "received" : received.error().text));
      const auto copies = [&] {
        size_t n = 0;
        for (Host* host : {job.host.get(), target.get()})
          if (host->alive()) n += host->guests().size();
        return n;
      };
      if (c.at_source && act == Act::die) {
        // It takes its copy along. The target has the job only if it had everything.
        CHECK(copies() <= 1);
        if (received.ok()) job.ends_well(*target);
        continue;
      }
      if (received.ok()) {  // a fault point that this strategy does not pass, or passes too late
        CHECK(copies() == 1);
        job.ends_well(*target);
        continue;
      }
      CHECK_FALSE(outcome.moved);
      CHECK(copies() == 1);
      REQUIRE(job.host->guests().size() == 1);
      auto next = std::make_unique<Host>(job.collector.write_end());
      const auto again = next->listen();
      REQUIRE(again.ok());
      const auto second = job.host->send(*again, *next, {c.strategy, false, false});
      INFO(second.text);
      REQUIRE(second.moved);
      REQUIRE(next->received().ok());
      job.ends_well(*next);
    }
  }
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
