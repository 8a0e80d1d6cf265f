// pmake/away.h against a hostd of which the test says what it answers.
#include "pmake/away.h"

#include <sys/wait.h>

#include <csignal>

#include "tests/kit/loop.h"

#include <catch2/catch.hpp>

namespace hob::pmake {
namespace {

struct Rig {
  std::unique_ptr<EventLoop> loop = EventLoop::create().value();
  std::vector<pb::Envelope> sent;
  std::string job;
  std::vector<Away::Ending> endings;
  std::vector<std::string> silences;
  Away away{*loop,
            {[this](wire::Message message, bool) { sent.push_back(std::move(message.envelope)); },
             [this](const std::string& name) { job = name; },
             [this](Away::Ending ending) { endings.push_back(std::move(ending)); },
             [this](const std::string& text) { silences.push_back(text); }}};

  Rig() {
    DoorRequest request;
    request.environment = {"A=b", "REMOTE_MAKE=x", "REMOTE_MAKER=y", "REMOTE_TARGET=t"};
    request.directory = "/dir";
    request.umask = 022;
    request.limits.push_back({1, 2});
    away.start(request, {"/bin/sh", "-c", "text"}, 7, 9);
  }
  void hear(pb::Envelope envelope, std::string bulk = {}) {
    away.on_message({std::move(envelope), std::move(bulk)});
    loop->run_once(milliseconds(0));
  }
  void accept() {
    pb::Envelope envelope;
    envelope.set_answers(1);
    envelope.mutable_accepted()->set_job("h.1");
    hear(std::move(envelope));
  }
  void begin() {
    accept();
    pb::Envelope envelope;
    envelope.mutable_started()->set_job("h.1");
    hear(std::move(envelope));
  }
  void write(pb::Stream stream, uint64_t offset, std::string bytes) {
    pb::Envelope envelope;
    envelope.mutable_data()->set_stream(stream);
    envelope.mutable_data()->set_offset(offset);
    hear(std::move(envelope), std::move(bytes));
  }
  void exit(int status) {
    pb::Envelope envelope;
    envelope.mutable_exited()->set_status(status);
    hear(std::move(envelope));
  }
  std::string output() {
    std::string all;
    for (const Away::Piece& piece : away.take_output())
      all += (piece.err ? "2:" : "1:") + piece.bytes + ";";
    return all;
  }
};

TEST_CASE("the job is the recipe, without the build's machinery and without input") {
  Rig rig;
  REQUIRE(rig.sent.size() == 1);
  const pb::Run& run = rig.sent[0].run();
  CHECK(run.lease() == 7);
  CHECK(run.recipe() == 9);
  CHECK(run.patience_ns() > 0);
  const pb::Program& program = run.program();
  CHECK(program.arguments_size() == 3);
  CHECK(std::vector<std::string>(program.environment().begin(), program.environment().end()) ==
        std::vector<std::string>{"A=b", "REMOTE_MAKER=y", "REMOTE_PLACED=1"});
  CHECK(program.directory() == "/dir");
  CHECK(program.umask() == 022);
  CHECK(program.no_input());
  REQUIRE(program.limits_size() == 1);
  CHECK(program.limits(0).hard() == 2);
}

TEST_CASE("output is kept in the order it came, and not twice") {
  Rig rig;
  rig.begin();
  CHECK(rig.job == "h.1");
  rig.write(pb::STDOUT, 0, "ab");
  rig.write(pb::STDERR, 0, "x");
  rig.write(pb::STDOUT, 0, "abc");
  rig.write(pb::STDOUT, 3, "d");
  rig.exit(3 << 8);
  REQUIRE(rig.endings.size() == 1);
  CHECK(rig.endings[0].failure.empty());
  CHECK(WEXITSTATUS(rig.endings[0].status) == 3);
  CHECK(rig.output() == "1:ab;2:x;1:cd;");
  rig.exit(0);
  CHECK(rig.endings.size() == 1);
}

TEST_CASE("much output is acknowledged, so that more may come") {
  Rig rig;
  rig.begin();
  rig.sent.clear();
  rig.write(pb::STDERR, 0, std::string(wire::kStreamWindow / 2, 'x'));
  REQUIRE(rig.sent.size() == 1);
  CHECK(rig.sent[0].ack().job() == "h.1");
  CHECK(rig.sent[0].ack().stream() == pb::STDERR);
  CHECK(rig.sent[0].ack().offset() == wire::kStreamWindow / 2);
}

TEST_CASE("what was refused has not begun, and what was lost has") {
  Rig rig;
  rig.accept();
  SECTION("refused") {
    rig.hear(wire::failure(pb::Failure::STALE, "the owner is back"));
    REQUIRE(rig.endings.size() == 1);
    CHECK(rig.endings[0].not_begun);
    CHECK(rig.endings[0].failure == "the owner is back");
  }
  SECTION("lost, and nobody has said that it had begun") {
    rig.hear(wire::failure(pb::Failure::LOST, "its host is silent"));
    REQUIRE(rig.endings.size() == 1);
    CHECK(!rig.endings[0].not_begun);
  }
  SECTION("a stream that cannot be") {
    rig.write(pb::STDOUT, wire::kStreamWindow * 2, "x");
    REQUIRE(rig.endings.size() == 1);
    CHECK(!rig.endings[0].not_begun);
    CHECK(rig.sent.back().kill_job().job() == "h.1");
  }
}

TEST_CASE("signals go to the job, those that end it are answered") {
  Rig rig;
  rig.begin();
  rig.sent.clear();
  rig.away.on_signal(SIGUSR1);
  rig.away.on_signal(SIGINT);
  REQUIRE(rig.sent.size() == 2);
  CHECK(rig.sent[0].signal().number() == SIGUSR1);
  CHECK(rig.sent[1].signal().number() == SIGINT);
  pb::Envelope done = wire::done();
  done.set_answers(2);
  SECTION("it has got it") {
    rig.hear(done);
    CHECK(rig.endings.empty());
    rig.exit(SIGINT);
    CHECK(rig.endings.size() == 1);
  }
  SECTION("it cannot be reached: killed, and not waited for") {
    pb::Envelope failure = wire::failure(pb::Failure::UNREACHABLE, "silent");
    failure.set_answers(2);
    rig.hear(failure);
    REQUIRE(rig.endings.size() == 1);
    CHECK(WTERMSIG(rig.endings[0].status) == SIGINT);
    CHECK(rig.sent.back().has_kill_job());
  }
  SECTION("a second and a third") {
    rig.hear(done);
    rig.away.on_signal(SIGINT);
    CHECK(rig.sent.back().signal().number() == SIGKILL);
    rig.away.on_signal(SIGINT);
    rig.loop->run_once(milliseconds(0));
    CHECK(rig.sent.back().has_kill_job());
    CHECK(rig.endings.size() == 1);
  }
}

TEST_CASE("before it has begun a signal ends it here") {
  Rig rig;
  rig.away.on_signal(SIGTERM);
  rig.loop->run_once(milliseconds(0));
  REQUIRE(rig.endings.size() == 1);
  CHECK(WTERMSIG(rig.endings[0].status) == SIGTERM);
  CHECK(rig.sent.size() == 1);  // it has no name yet by which it could be killed
}

TEST_CASE("that its host is silent is told, other news are not") {
  Rig rig;
  rig.begin();
  pb::Envelope note;
  note.mutable_note()->set_job("h.1");
  note.mutable_note()->set_text("moved");
  rig.hear(note);
  note.mutable_note()->set_text("h2 has not answered");
  note.mutable_note()->set_silence(true);
  rig.hear(note);
  CHECK(rig.silences == std::vector<std::string>{"h2 has not answered"});
}

TEST_CASE("what does not end it comes to it when it has begun") {
  Rig rig;
  rig.away.on_signal(SIGSTOP);
  CHECK(!rig.sent.back().has_signal());
  rig.begin();
  REQUIRE(rig.sent.back().has_signal());
  CHECK(rig.sent.back().signal().number() == SIGSTOP);
  rig.away.hostd_gone();
  rig.away.on_signal(SIGCONT);
  CHECK(rig.sent.back().signal().number() == SIGSTOP);
  rig.away.hostd_back();
  rig.accept();
  CHECK(rig.sent.back().signal().number() == SIGCONT);
}

TEST_CASE("a hostd that comes back takes the job up again") {
  Rig rig;
  SECTION("one that had not taken it has not begun it") {
    rig.away.hostd_gone();
    rig.loop->run_once(milliseconds(0));
    REQUIRE(rig.endings.size() == 1);
    CHECK(rig.endings[0].not_begun);
  }
  SECTION("with what has come of its output") {
    rig.begin();
    rig.write(pb::STDOUT, 0, "abc");
    rig.away.hostd_gone();
    CHECK(rig.endings.empty());
    rig.sent.clear();
    rig.away.hostd_back();
    REQUIRE(rig.sent.size() == 1);
    CHECK(rig.sent[0].attach().job() == "h.1");
    CHECK(rig.sent[0].attach().stdout_offset() == 3);
    rig.accept();
    rig.exit(0);
    REQUIRE(rig.endings.size() == 1);
    CHECK(rig.endings[0].failure.empty());
    CHECK(rig.output() == "1:abc;");
  }
}

}  // namespace
}  // namespace hob::pmake
