// `remote run` against a hostd that the test plays: what it is told, exit statuses, signals,
// messages.
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "run_rig.h"
//
#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::test;

TEST_CASE(
    "run: hostd gets the arguments, environment, directory, umask and limits, byte for byte") {
  RunRig rig;
  const std::string place = rig.directory.path() + "/a \xff place";
  REQUIRE(::mkdir(place.c_str(), 0755) == 0);
  const std::vector<std::string> command{"cmd",        "[a,b]", "-H",        "foo", "--host=h9",
                                         "\xff\xfe\n", "",      "--no-wait", "--",  "-t"};
  std::vector<std::string> arguments{"-H",          "h3", "--keep",      "-e",
                                     "ADDED=[x,y]", "-e", "TERM=changed"};
  arguments.insert(arguments.end(), command.begin(), command.end());
  Process::Setup setup;
  setup.environment = {"TERM=before", "BYTES=\x80\x81"};
  setup.in_child = [&] {
    if (::chdir(place.c_str()) < 0) ::_exit(98);
    ::umask(0137);
    const rlimit files{77, 88};
    ::setrlimit(RLIMIT_NOFILE, &files);
  };
  Process remote = rig.start(arguments, setup);
  Connection connection = rig.hostd.accept();
  const wire::Message message = connection.receive();
  REQUIRE(message.envelope.has_run());
  CHECK(message.envelope.request() != 0);
  const pb::Run& run = message.envelope.run();
  CHECK(run.host() == "h3");
  CHECK(run.keep());
  CHECK_FALSE(run.no_wait());
  CHECK_FALSE(run.or_local());
  CHECK_FALSE(run.local());
  const pb::Program& program = run.program();
  CHECK(std::vector<std::string>(program.arguments().begin(), program.arguments().end()) ==
        command);
  CHECK(program.directory() == place);
  CHECK(program.umask() == 0137);
  CHECK_FALSE(program.terminal());
  const auto has = [&](std::string_view entry) {
    return std::count(program.environment().begin(), program.environment().end(), entry);
  };
  CHECK(has("ADDED=[x,y]") == 1);
  CHECK(has("TERM=changed") == 1);
  CHECK(has("TERM=before") == 0);
  CHECK(has("BYTES=\x80\x81") == 1);
  const auto limit = std::find_if(program.limits().begin(), program.limits().end(),
                                  [](const pb::Limit& l) { return l.resource() == RLIMIT_NOFILE; });
  REQUIRE(limit != program.limits().end());
  CHECK(limit->soft() == 77);
  CHECK(limit->hard() == 88);
  CHECK(program.limits_size() == RLIM_NLIMITS);
  connection.accept(message.envelope);
  connection.started();
  connection.exited(0);
  CHECK(exited_with(remote.finish(), 0));
}

TEST_CASE("run: exit statuses are the job's own") {
  for (int code : {0, 1, 42, 124, 125, 127, 255}) {
    RunRig rig;
    Process remote = rig.start({"cmd"});
    rig.begin().exited(code << 8);
    CHECK(exited_with(remote.finish(), code));
    CHECK(remote.error().empty());
  }
}

TEST_CASE("run: the job's death by a signal is passed on, without a core") {
  for (int number : {SIGTERM, SIGKILL, SIGSEGV, SIGABRT, SIGINT, SIGPIPE, SIGRTMIN + 3}) {
    RunRig rig;
    Process remote = rig.start({"cmd"});
    rig.begin().exited(number | (number == SIGSEGV ? 0x80 : 0));
    const int status = remote.finish();
    CHECK(died_of(status, number));
    CHECK_FALSE(WCOREDUMP(status));
  }
}

TEST_CASE("run: failures become 125, 126 and 127 with one line") {
  const std::pair<pb::Failure::Kind, int> cases[] = {
      {pb::Failure::NO_PROGRAM, 127}, {pb::Failure::NOT_EXECUTABLE, 126},
      {pb::Failure::NO_HOST, 125},    {pb::Failure::LOST, 125},
      {pb::Failure::INTERNAL, 125},   {pb::Failure::UNREACHABLE, 125}};
  for (auto [kind, code] : cases) {
    RunRig rig;
    Process remote = rig.start({"cmd"});
    Connection connection = rig.hostd.accept();
    connection.answer(connection.receive().envelope,
                      wire::failure(kind, "run cmd: it is not to be"));
    CHECK(exited_with(remote.finish(), code));
    CHECK(remote.error() == "remote: run cmd: it is not to be\n");
    CHECK(remote.output().empty());
  }
}

TEST_CASE("run: a failure's text cannot write to the terminal") {
  RunRig rig;
  Process remote = rig.start({"cmd"});
  Connection connection = rig.hostd.accept();
  connection.answer(connection.receive().envelope,
                    wire::failure(pb::Failure::LOST, "a\x1b[2Jb\nc"));
  CHECK(exited_with(remote.finish(), 125));
  CHECK(remote.error() == "remote: a?[2Jb?c\n");
}

TEST_CASE("run: signals are forwarded to the job") {
  RunRig rig;
  Process remote = rig.start({"-n", "cmd"});
  Connection connection = rig.begin_without_input();
  for (int number : {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGCONT}) {
    remote.signal(number);
    const pb::Envelope envelope = connection.receive_but_acks().envelope;
    REQUIRE(envelope.has_signal());
    CHECK(envelope.signal().number() == number);
    CHECK(envelope.signal().job() == "j1");
  }
  connection.exited(7 << 8);
  CHECK(exited_with(remote.finish(), 7));
}

TEST_CASE("run: a second interrupt kills, a third ends the shadow") {
  RunRig rig;
  Process remote = rig.start({"-n", "cmd"});
  Connection connection = rig.begin_without_input();
  const auto next_signal = [&] { return connection.receive_but_acks().envelope.signal().number(); };
  remote.signal(SIGINT);
  CHECK(next_signal() == SIGINT);
  remote.signal(SIGINT);
  CHECK(next_signal() == SIGKILL);
  remote.signal(SIGINT);
  connection.expect_end();
  CHECK(died_of(remote.finish(), SIGINT));
}

TEST_CASE("run: a job that cannot be reached is not waited for") {
  RunRig rig;
  Process remote = rig.start({"-n", "cmd"});
  Connection connection = rig.begin_without_input();
  const auto refuse = [&](int number) {
    const pb::Envelope asked = connection.receive_but_acks().envelope;
    CHECK(asked.signal().number() == number);
    REQUIRE(asked.request() != 0);
    connection.answer(asked, wire::failure(pb::Failure::UNREACHABLE, "h2 does not answer"));
  };
  SECTION("Ctrl-C says so, and the next one ends the shadow, however late") {
    remote.signal(SIGINT);
    refuse(SIGINT);
    CHECK(remote.read_error_line() ==
          "remote: job j1: h2 does not answer; Ctrl-C again ends `remote run`, and the job is "
          "killed as soon "
          "as it can be\n");
    remote.signal(SIGINT);
    connection.expect_end();
    CHECK(died_of(remote.finish(), SIGINT));
    CHECK(remote.error().empty());
  }
  SECTION("when it answers again, Ctrl-C is the job's again") {
    remote.signal(SIGINT);
    refuse(SIGINT);
    CHECK(remote.read_error_line().find("Ctrl-C again") != std::string::npos);
    remote.signal(SIGTERM);
    const pb::Envelope asked = connection.receive_but_acks().envelope;
    connection.answer(asked, wire::done());
    // Messages come in order: what the shadow prints after it has read that answer.
    connection.data(pb::STDOUT, 0, "x");
    CHECK(remote.read_output() == "x");
    remote.signal(SIGINT);
    CHECK(connection.receive_but_acks().envelope.has_signal());
    connection.exited(0);
    CHECK(exited_with(remote.finish(), 0));
  }
  for (int number : {SIGTERM, SIGHUP, SIGQUIT}) {
    DYNAMIC_SECTION("signal " << number << " ends the shadow at once") {
      remote.signal(number);
      refuse(number);
      connection.expect_end();
      CHECK(died_of(remote.finish(), number));
      CHECK(remote.error() ==
            "remote: job j1: h2 does not answer; not waiting for it: it is killed as soon as it "
            "can be\n");
    }
  }
}

TEST_CASE("run: --timeout does not wait for a job that cannot be reached") {
  RunRig rig;
  Process remote = rig.start({"-n", "--timeout", "10ms", "cmd"});
  Connection connection = rig.begin_without_input();
  const pb::Envelope asked = connection.receive_but_acks().envelope;
  CHECK(asked.signal().number() == SIGTERM);
  connection.answer(asked, wire::failure(pb::Failure::UNREACHABLE, "h2 does not answer"));
  CHECK(exited_with(remote.finish(), 124));
}

TEST_CASE("run: without hostd nobody waits for a signal to arrive") {
  RunRig rig;
  Process remote = rig.start({"-n", "cmd"});
  Connection connection = rig.begin();
  rig.hostd.stop();
  connection.close();
  CHECK(remote.read_error_line().find("lost the connection") != std::string::npos);
  SECTION("SIGTERM") {
    remote.signal(SIGTERM);
    CHECK(died_of(remote.finish(), SIGTERM));
  }
  SECTION("Ctrl-C twice") {
    remote.signal(SIGINT);
    CHECK(remote.read_error_line().find("Ctrl-C again") != std::string::npos);
    remote.signal(SIGINT);
    CHECK(died_of(remote.finish(), SIGINT));
  }
}

TEST_CASE("run: what was ignored from the start stays ignored") {
  RunRig rig;
  Process::Setup setup;
  setup.in_child = [] { ::signal(SIGHUP, SIG_IGN); };
  Process remote = rig.start({"-n", "cmd"}, setup);
  Connection connection = rig.begin_without_input();
  remote.signal(SIGHUP);
  remote.signal(SIGUSR1);
  CHECK(connection.receive_but_acks().envelope.signal().number() == SIGUSR1);
  connection.exited(0);
  CHECK(exited_with(remote.finish(), 0));
}

TEST_CASE("run: a signal before the job runs ends the shadow") {
  RunRig rig;
  Process remote = rig.start({"cmd"});
  Connection connection = rig.hostd.accept();
  connection.accept(connection.receive().envelope);
  remote.signal(SIGTERM);
  connection.expect_end();
  CHECK(died_of(remote.finish(), SIGTERM));
}

TEST_CASE("run: stopping the shadow stops the job, continuing continues it") {
  RunRig rig;
  Process remote = rig.start({"-n", "cmd"});
  Connection connection = rig.begin_without_input();
  remote.signal(SIGTSTP);
  CHECK(connection.receive_but_acks().envelope.signal().number() == SIGSTOP);
  remote.wait_until_stopped();
  remote.signal(SIGCONT);
  CHECK(connection.receive_but_acks().envelope.signal().number() == SIGCONT);
  connection.exited(0);
  CHECK(exited_with(remote.finish(), 0));
}

TEST_CASE("run: a killed shadow closes the connection") {
  RunRig rig;
  Process remote = rig.start({"cmd"});
  Connection connection = rig.begin();
  remote.signal(SIGKILL);
  connection.expect_end();
}

TEST_CASE("run: waiting and moving are said, once each, and not when quiet") {
  for (bool quiet : {false, true}) {
    RunRig rig;
    Process remote = quiet ? rig.start({"-q", "cmd"}) : rig.start({"cmd"});
    Connection connection = rig.hostd.accept();
    connection.accept(connection.receive().envelope);
    pb::Envelope waiting;
    waiting.mutable_waiting()->set_reason("no idle host: 3 in use");
    connection.send(waiting);
    connection.send(waiting);
    if (!quiet) CHECK(remote.read_error_line() == "remote: waiting: no idle host: 3 in use\n");
    connection.send(waiting);
    connection.started();
    pb::Envelope note;
    note.mutable_note()->set_text("moved home from h2 (owner returned); frozen 2.3 ms");
    connection.send(note);
    connection.exited(0);
    CHECK(exited_with(remote.finish(), 0));
    CHECK(remote.error() ==
          (quiet ? "" : "remote: moved home from h2 (owner returned); frozen 2.3 ms\n"));
  }
}

TEST_CASE("run: --timeout ends the job and exits with 124") {
  RunRig rig;
  Process remote = rig.start({"-n", "--timeout", "10ms", "cmd"});
  Connection connection = rig.begin_without_input();
  CHECK(connection.receive_but_acks().envelope.signal().number() == SIGTERM);
  connection.exited(SIGTERM);
  CHECK(exited_with(remote.finish(), 124));
}

TEST_CASE("run: a missing hostd is one clear line") {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/none.sock";
  const std::string line = "remote: connect to " + path +
                           ": No such file or directory; is hob-hostd running on this machine?";
  SECTION("and 125") {
    Process remote(remote_program(), {"run", "true"},
                   {{"REMOTE_SOCKET=" + path}, [] {}, {}, {}, {}});
    CHECK(exited_with(remote.finish(), 125));
    CHECK(remote.error() == line + "\n");
  }
  SECTION("or, with --or-local, the command runs here") {
    Process remote(remote_program(),
                   {"run", "--or-local", "-e", "X=5", "sh", "-c", "echo $X; exit 9"},
                   {{"REMOTE_SOCKET=" + path}, [] {}, {}, {}, {}});
    CHECK(exited_with(remote.finish(), 9));
    CHECK(remote.output() == "5\n");
    CHECK(remote.error() == line + " Running the command on this machine.\n");
  }
  SECTION("or 127 if there is no such command either") {
    Process remote(remote_program(), {"run", "-q", "--or-local", "/no/such/command"},
                   {{"REMOTE_SOCKET=" + path}, [] {}, {}, {}, {}});
    CHECK(exited_with(remote.finish(), 127));
    CHECK(remote.error() == "remote: run /no/such/command: No such file or directory\n");
  }
}

TEST_CASE("run: a hostd that dies and comes back finds the shadow there") {
  RunRig rig;
  Process remote = rig.start({"-q", "cmd"});
  Connection connection = rig.begin();
  remote.write("abc");
  CHECK(connection.receive().bulk == "abc");
  connection.data(pb::STDOUT, 0, "one ");
  CHECK(remote.read_output() == "one ");
  rig.hostd.stop();
  connection.close();
  rig.hostd.start();
  Connection second = rig.hostd.accept();
  const pb::Envelope attach = second.receive().envelope;
  REQUIRE(attach.has_attach());
  CHECK(attach.attach().job() == "j1");
  CHECK(attach.attach().stdout_offset() == 4);
  CHECK(attach.attach().stderr_offset() == 0);
  second.accept(attach);
  const wire::Message again = second.receive_but_acks();
  CHECK(again.envelope.data().offset() == 0);
  CHECK(again.bulk == "abc");
  second.data(pb::STDOUT, 0, "one two");
  second.exited(5 << 8);
  CHECK(exited_with(remote.finish(), 5));
  CHECK(remote.output() == "two");
  CHECK(remote.error().empty());
}

TEST_CASE("run: a hostd that does not know the job any more") {
  RunRig rig;
  Process remote = rig.start({"-q", "cmd"});
  Connection connection = rig.begin();
  connection.close();
  Connection second = rig.hostd.accept();
  second.answer(second.receive().envelope,
                wire::failure(pb::Failure::LOST, "job j1: lost with its host h2"));
  CHECK(exited_with(remote.finish(), 125));
  CHECK(remote.error() == "remote: job j1: lost with its host h2\n");
}

TEST_CASE("run: a hostd that does not come back") {
  RunRig rig;
  Process remote = rig.start({"cmd"}, {{"REMOTE_ATTACH_SECONDS=0"}, [] {}, {}, {}, {}});
  Connection connection = rig.begin();
  rig.hostd.stop();
  connection.close();
  CHECK(exited_with(remote.finish(), 125));
  CHECK(remote.error().find("did not come back") != std::string::npos);
}

TEST_CASE("run: a hostd that closes before it took the job") {
  RunRig rig;
  Process remote = rig.start({"cmd"});
  rig.hostd.accept().close();
  CHECK(exited_with(remote.finish(), 125));
  CHECK(remote.error().find("did not take the job") != std::string::npos);
}

TEST_CASE("run: a hostd that talks nonsense") {
  for (const std::string& nonsense :
       {std::string(8, '\xff'), std::string("\x03\0\0\0\0\0\0\0???", 11)}) {
    RunRig rig;
    Process remote = rig.start({"-q", "cmd"}, {{"REMOTE_ATTACH_SECONDS=0"}, [] {}, {}, {}, {}});
    Connection connection = rig.begin();
    rig.hostd.stop();
    connection.send_raw(nonsense);
    connection.expect_end();
    CHECK(exited_with(remote.finish(), 125));
    CHECK(remote.error().find("did not come back") != std::string::npos);
  }
}
