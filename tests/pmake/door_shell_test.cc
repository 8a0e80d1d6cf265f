// The shell without a C library (pmake/door_shell.cc), as make starts it: what it tells pmake, and
// what it does with each answer.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "pmake/visitor.h"
#include "tests/kit/loop.h"
#include "wire/stream.h"

#include <catch2/catch.hpp>

#include "tests/kit/scratch.h"

namespace hob::pmake {
namespace {

/// A pmake of which the test says what it answers.
struct Rig {
  Scratch scratch;
  std::unique_ptr<EventLoop> loop = EventLoop::create().value();
  std::unique_ptr<wire::StreamListener> listener;
  std::unique_ptr<Visitor> visitor;
  std::optional<DoorRequest> request;
  std::vector<int> signals;
  bool gone = false;
  std::vector<std::string> environment = {"PATH=/usr/bin:/bin", "A=b"};
  std::string input = "/dev/null";

  Rig() {
    listener = wire::StreamListener::create(*loop, scratch / "socket.door", 0600, [this](Fd fd) {
                 visitor = Visitor::create(*loop, std::move(fd),
                                           {[this](DoorRequest r) { request = std::move(r); },
                                            [this](int signal) { signals.push_back(signal); },
                                            [this] { gone = true; }})
                               .value();
               }).value();
    environment.push_back("REMOTE_MAKE=" + scratch / "socket");
  }

  pid_t start(std::vector<std::string> words) {
    // As it is installed: the whole shell lies beside it. Here it only says that it is it.
    REQUIRE(::system(("cp " HOB_RECIPE_SHELL " " + (scratch / "sh")).c_str()) == 0);
    REQUIRE(replace_file(scratch / "whole", "#!/bin/sh\necho whole $*\n", 0755).ok());
    const pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid > 0) return pid;
    std::vector<char*> arguments, variables;
    for (std::string& word : words) arguments.push_back(word.data());
    for (std::string& entry : environment) variables.push_back(entry.data());
    arguments.push_back(nullptr), variables.push_back(nullptr);
    for (int fd : {1, 2})
      ::dup2(::open((scratch / (fd == 1 ? "out" : "err")).c_str(), O_CREAT | O_WRONLY | O_APPEND,
                    0600),
             fd);
    ::dup2(::open(input.c_str(), O_RDONLY), 0);
    ::umask(027);
    if (::chdir("/tmp") == 0)
      ::execve((scratch / "sh").c_str(), arguments.data(), variables.data());
    ::_exit(99);
  }
  pid_t ask(std::vector<std::string> words = {"sh", "-c", "echo text"}) {
    const pid_t pid = start(std::move(words));
    REQUIRE(run_until(*loop, [&] { return request.has_value(); }));
    return pid;
  }
  int end_of(pid_t pid) {
    int status = 0;
    REQUIRE(run_until(*loop, [&] { return ::waitpid(pid, &status, WNOHANG) == pid; }));
    return status;
  }
  std::string text(const char* name) { return read_file(scratch / name).value(); }
};

TEST_CASE("it tells what it was given, and ends as it is told") {
  Rig rig;
  const pid_t pid = rig.ask({"sh", "-ec", "exit 1", ""});
  CHECK(rig.request->arguments == std::vector<std::string>{"sh", "-ec", "exit 1", ""});
  CHECK(rig.request->environment == rig.environment);
  CHECK(rig.request->directory == "/tmp");
  CHECK(rig.request->umask == 027);
  CHECK(rig.request->limits.size() == door::kLimits);
  rig.visitor->send(encode_output(false, "a") + encode_output(true, "b"));
  rig.visitor->tell(door::Kind::exit, 42);
  const int status = rig.end_of(pid);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 42);
  CHECK(rig.text("out") == "a");
  CHECK(rig.text("err") == "b");
  CHECK(run_until(*rig.loop, [&] { return rig.gone; }));
}

TEST_CASE("a large environment and a large output cross") {
  Rig rig;
  for (int i = 0; i < 12; ++i)
    rig.environment.push_back("V" + std::to_string(i) + "=" + std::string(100'000, 'x'));
  const pid_t pid = rig.ask();
  CHECK(rig.request->environment == rig.environment);
  std::string bytes;
  for (int i = 0; i < 300'000; ++i) bytes += std::to_string(i);
  rig.visitor->send(encode_output(false, bytes) + encode(door::Kind::exit, 0));
  CHECK(rig.end_of(pid) == 0);
  CHECK(rig.text("out") == bytes);
}

TEST_CASE("it dies as the job did, and tells of its own signals") {
  Rig rig;
  const pid_t pid = rig.ask();
  ::kill(pid, SIGTERM);
  REQUIRE(run_until(*rig.loop, [&] { return !rig.signals.empty(); }));
  CHECK(rig.signals == std::vector<int>{SIGTERM});
  CHECK(::waitpid(pid, nullptr, WNOHANG) == 0);
  rig.visitor->tell(door::Kind::die, SIGABRT);
  const int status = rig.end_of(pid);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  CHECK(!WCOREDUMP(status));
}

TEST_CASE("here it becomes the makefile's own shell, and forgets the build") {
  Rig rig;
  rig.environment.push_back("REMOTE_SHELL=/bin/sh -u");
  rig.environment.push_back("REMOTE_TARGET=t");
  const pid_t pid =
      rig.ask({"sh", "-c", "echo $0 $- ${REMOTE_MAKE-no} ${REMOTE_TARGET-no} $REMOTE_PLACED $A"});
  rig.visitor->tell(door::Kind::here);
  CHECK(rig.end_of(pid) == 0);
  CHECK(rig.text("out") == "/bin/sh u no no 1 b\n");
}

TEST_CASE("inside the build's machinery stays as it is") {
  Rig rig;
  const pid_t pid = rig.ask({"sh", "-c", "echo ${REMOTE_PLACED-no} $REMOTE_MAKE"});
  rig.visitor->tell(door::Kind::inside);
  CHECK(rig.end_of(pid) == 0);
  CHECK(rig.text("out") == "no " + rig.scratch / "socket" + "\n");
}

TEST_CASE("a pmake that ends fails the recipe") {
  Rig rig;
  const pid_t pid = rig.ask();
  rig.visitor.reset();
  const int status = rig.end_of(pid);
  CHECK(WEXITSTATUS(status) == door::kFailed);
  CHECK(rig.text("err").find("pmake has ended") != std::string::npos);
}

TEST_CASE("what is out of the ordinary is the whole shell's") {
  Rig rig;
  SECTION("no pmake") {
    rig.listener.reset();
  }
  SECTION("no variable") {
    rig.environment.pop_back();
  }
  SECTION("scripts") {
    rig.environment.push_back("REMOTE_SCRIPTS=1");
  }
  SECTION("a shell that has to be looked for") {
    rig.environment.push_back("REMOTE_SHELL=bash");
  }
  SECTION("input") {
    rig.input = "/etc/passwd";
  }
  SECTION("an open jobserver") {
    rig.environment.push_back("MAKEFLAGS= -j --jobserver-auth=1,2");
  }
  const pid_t pid = rig.start({"sh", "-c", "text"});
  CHECK(rig.end_of(pid) == 0);
  CHECK(rig.text("out") == "whole -c text\n");
  CHECK(!rig.request);
}

TEST_CASE("what names us for $(SHELL) is the whole shell's") {
  Rig rig;
  std::string text = "text", name = "/lib/recipe/sh";
  SECTION("in the recipe") {
    text = "echo /lib/recipe/sh";
  }
  SECTION("in one that is for no Bourne shell") {
    text = "echo /lib/recipe/any";
    name = "/lib/recipe/any";
  }
  SECTION("exported") {
    rig.environment.push_back("SHELL=/lib/recipe/sh");
  }
  const pid_t pid = rig.start({name, "-c", text});
  CHECK(rig.end_of(pid) == 0);
  CHECK(rig.text("out") == "whole -c " + text + "\n");
}

TEST_CASE("what ninja calls us by is in other names too") {
  Rig rig;
  rig.environment.push_back("SHELL=/bin/sh");
  const pid_t pid = rig.ask({"/bin/sh", "-c", "/usr/bin/sha256sum"});
  rig.visitor->tell(door::Kind::exit, 3);
  CHECK(rig.end_of(pid) == 3 << 8);
}

TEST_CASE("what would have ended it does, when it is to run here") {
  Rig rig;
  const pid_t pid = rig.ask({"sh", "-c", "true"});
  ::kill(pid, SIGTERM);
  for (int i = 0; i < 100 && rig.signals.empty(); ++i) rig.loop->run_once(milliseconds(50));
  REQUIRE(rig.signals == std::vector<int>{SIGTERM});
  rig.visitor->tell(door::Kind::here);
  CHECK(rig.end_of(pid) == SIGTERM);
}

TEST_CASE("it is the whole shell as well when pmake says so") {
  Rig rig;
  rig.environment.push_back("MAKEFLAGS= -j --jobserver-auth=77,78");
  const pid_t pid = rig.ask({"sh", "x", "y"});
  rig.visitor->tell(door::Kind::whole);
  CHECK(rig.end_of(pid) == 0);
  CHECK(rig.text("out") == "whole x y\n");
}

}  // namespace
}  // namespace hob::pmake
