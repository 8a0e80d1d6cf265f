#include <pty.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <regex>

#include "support.h"

using namespace hob;
using namespace hob::migrate;
using namespace hob::migrate::test;

namespace {

/// A directory that every user may enter, removed with what is in it.
struct Scratch {
  Scratch() {
    char name[] = "/tmp/hob-test-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path = name;
    REQUIRE(::chmod(name, 0755) == 0);
  }
  Scratch(const Scratch&) = delete;
  ~Scratch() {
    for (const auto& file : files) ::unlink(file.c_str());
    ::rmdir(path.c_str());
  }
  std::string file(const std::string& name, const std::string& content, mode_t mode) {
    files.push_back(path + "/" + name);
    must(replace_file(files.back(), content));
    REQUIRE(::chmod(files.back().c_str(), mode) == 0);
    return files.back();
  }
  std::string path;
  std::vector<std::string> files;
};

std::string lines(const std::vector<std::string>& strings, char end) {
  std::string all;
  for (const auto& s : strings) all += s + end;
  return all;
}

}  // namespace

TEST_CASE("the exit status is the program's") {
  NEED_SANDBOX();
  CHECK(run(program({"true"})).status == 0);
  CHECK(WEXITSTATUS(run(program({"false"})).status) == 1);
  CHECK(WEXITSTATUS(run(shell("exit 77")).status) == 77);
  const int killed = run(shell("kill -TERM $$")).status;
  CHECK(WIFSIGNALED(killed));
  CHECK(WTERMSIG(killed) == SIGTERM);
}

TEST_CASE("standard streams are three separate streams, in whatever order they were opened") {
  NEED_SANDBOX();
  const Outcome outcome = run(shell("echo to-out; echo to-err >&2"));
  CHECK(outcome.out == "to-out\n");
  CHECK(outcome.err == "to-err\n");

  // In a process whose own 0, 1 and 2 are the ends, crosswise: a plain dup2 would overwrite them.
  Place place;
  Pipe out = must(make_pipe());
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto sandbox = Sandbox::create(place.path);
    if (!sandbox || !sandbox->furnish("h", {})) ::_exit(10);
    ::dup2(out.write_end.get(), 0);
    ::dup2(must(make_pipe()).write_end.get(), 1);
    ::dup2(::open("/dev/null", O_RDONLY), 2);
    auto pid = start(*sandbox, shell("echo crossed; exit 3"), {Fd(2), Fd(0), Fd(1)});
    if (!pid) ::_exit(11);
    int status = 0;
    ::waitpid(*pid, &status, 0);
    if (!sandbox->destroy()) ::_exit(12);
    ::_exit(WEXITSTATUS(status));
  }
  out.write_end.reset();
  CHECK(read_all(out.read_end) == "crossed\n");
  CHECK(WEXITSTATUS(wait_for(child)) == 3);
}

TEST_CASE("a stream that is closed for the program is no descriptor of it") {
  NEED_SANDBOX();
  Program p = shell("ls /proc/$$/fd");
  CHECK(run(p).out.starts_with("0\n1\n2\n"));
  p.closed = {true, false, true};
  CHECK(run(p).out.starts_with("1\n"));
  CHECK(run(p).out.find("2\n") == std::string::npos);
}

TEST_CASE("arguments and environment arrive byte for byte") {
  NEED_SANDBOX();
  const std::vector<std::string> strings = {"two\nlines", "", "caf\xe9 \xff\xfe", " $HOME '\"\\ ",
                                            "-"};
  Program p = program({"perl", "-e", "print map { \"$_\\0\" } @ARGV", "--"});
  p.arguments.insert(p.arguments.end(), strings.begin(), strings.end());
  CHECK(run(p).out == lines(strings, '\0'));

  Program e = program({"/bin/cat", "/proc/self/environ"});
  e.environment = {"A=1", "A=2", "EMPTY=", "no-equals-sign", "BYTES=\xff\n"};
  CHECK(run(e).out == lines(e.environment, '\0'));
  e.environment.clear();
  CHECK(run(e).out.empty());
}

TEST_CASE("directory, umask, ids, session and limits are the job's") {
  NEED_SANDBOX();
  Program p =
      shell("pwd -P; umask; id -u; id -g; id -G; ulimit -Sn; ulimit -Hn; ulimit -c; echo $$ $PPID");
  p.directory = "/usr/lib";
  p.umask = 027;
  p.user = {kUid, kGid, {kGid, 40001, 40002}};
  p.limits = {{RLIMIT_NOFILE, {100, 200}}, {RLIMIT_CORE, {0, 0}}};
  CHECK(run(p).out == "/usr/lib\n0027\n23456\n23457\n23457 40001 40002\n100\n200\n0\n2 0\n");
  // pid, ppid, pgrp and session of the shell, from its own point of view.
  CHECK(run(shell("cut -d' ' -f1,4-6 /proc/$$/stat")).out == "2 0 2 2\n");
}

TEST_CASE("signals begin as in a fresh process, whatever the starter does with them") {
  NEED_SANDBOX();
  sigset_t all, old;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &old);
  const auto pipe_was = ::signal(SIGPIPE, SIG_IGN);
  const auto hup_was = ::signal(SIGHUP, SIG_IGN);
  const std::string status = run(program({"cat", "/proc/self/status"})).out;
  ::signal(SIGPIPE, pipe_was);
  ::signal(SIGHUP, hup_was);
  ::sigprocmask(SIG_SETMASK, &old, nullptr);
  for (const char* line : {"SigBlk:\t0000000000000000\n", "SigIgn:\t0000000000000000\n",
                           "SigCgt:\t0000000000000000\n"}) {
    INFO(line);
    CHECK(status.find(line) != std::string::npos);
  }
}

TEST_CASE("a program has no descriptor but its streams") {
  NEED_SANDBOX();
  const Fd extra(::open("/dev/null", O_RDONLY));  // without close-on-exec
  REQUIRE(extra.get() >= 0);
  // The fourth is the one with which ls reads the directory.
  CHECK(run(program({"ls", "/proc/self/fd"})).out == "0\n1\n2\n3\n");
}

TEST_CASE("guests come last: processor, disk and memory") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  Pipe in = must(make_pipe());
  const pid_t pid = must(
      start(sandbox, program({"cat"}), {std::move(in.read_end), null_device(), null_device()}));
  CHECK(::sched_getscheduler(pid) == SCHED_IDLE);
  CHECK(must(read_file("/proc/" + std::to_string(pid) + "/oom_score_adj")) == "1000\n");
  auto session = read_file("/proc/" + std::to_string(pid) + "/autogroup");
  if (session) CHECK(session->ends_with(" nice 19\n"));
  in.write_end.reset();
  CHECK(wait_for(pid) == 0);
}

TEST_CASE("being hurried to its stop leaves a thread's timer slack as it was") {
  NEED_SANDBOX();
  for (const char* slack : {"50000", "777777"}) {
    INFO(slack);
    Place place;
    Sandbox sandbox = furnished(place);
    Pipe in = must(make_pipe());
    const pid_t pid = must(
        start(sandbox, program({"cat"}), {std::move(in.read_end), null_device(), null_device()}));
    const std::string file = "/proc/" + std::to_string(pid) + "/timerslack_ns";
    must(write_control(file, slack));
    must(sandbox.cgroup().freeze());
    must(sandbox.cgroup().wait_frozen(seconds(10)));
    for (int i = 0; i < 2; i++) must(hasten_stop(sandbox.cgroup()));
    CHECK(::sched_getscheduler(pid) != SCHED_IDLE);
    must(lower_priority(sandbox.cgroup()));
    CHECK(::sched_getscheduler(pid) == SCHED_IDLE);
    CHECK(must(read_file(file)) == std::string(slack) + "\n");
    must(sandbox.cgroup().thaw());
    in.write_end.reset();
    CHECK(wait_for(pid) == 0);
  }
}

TEST_CASE("no limit of home's lets a guest raise its priority") {
  NEED_SANDBOX();
  Program p = program({"perl", "-e",
                       "use POSIX; print POSIX::nice(-1) ? 'raised' : 'refused';"
                       "open F, '/proc/self/limits'; print grep /priority/, <F>"});
  p.limits = {{RLIMIT_NICE, {40, 40}}, {RLIMIT_RTPRIO, {99, 99}}};
  const std::string out = run(p).out;
  CHECK(out.starts_with("refused"));
  CHECK(std::regex_search(out, std::regex("Max nice priority +0 +0 ")));
  CHECK(std::regex_search(out, std::regex("Max realtime priority +0 +0 ")));
}

TEST_CASE("a terminal becomes the controlling terminal") {
  NEED_SANDBOX();
  int master = -1, slave = -1;
  REQUIRE(::openpty(&master, &slave, nullptr, nullptr, nullptr) == 0);
  const Fd own(master);
  Fd in(slave);
  Fd out = must(in.duplicate());
  Fd err = must(in.duplicate());
  Place place;
  Sandbox sandbox = furnished(place);
  // /dev/tty opens only with a controlling terminal; ^C from the master reaches the program.
  Program p = shell(
      "trap 'echo interrupted; exit 5' INT; echo ready >/dev/tty; while :; do sleep 0.01; done");
  p.terminal = true;
  const pid_t pid = must(start(sandbox, p, {std::move(in), std::move(out), std::move(err)}));
  std::string seen;
  const auto read_until = [&](const std::string& word) {
    char buffer[256];
    while (seen.find(word) == seen.npos) {
      const ssize_t n = ::read(own.get(), buffer, sizeof buffer);
      REQUIRE(n > 0);
      seen.append(buffer, static_cast<size_t>(n));
    }
  };
  read_until("ready");
  REQUIRE(::write(own.get(), "\x03", 1) == 1);
  read_until("interrupted");
  CHECK(WEXITSTATUS(wait_for(pid)) == 5);
}

TEST_CASE("a stream that is no terminal cannot be the controlling terminal") {
  NEED_SANDBOX();
  Program p = program({"true"});
  p.terminal = true;
  const Error error = refusal(p);
  CHECK(error.code == ENOTTY);
  CHECK(error.text.find("controlling terminal") != std::string::npos);
}

TEST_CASE("what cannot be executed is told apart by the code") {
  NEED_SANDBOX();
  Scratch scratch;
  const auto code = [](std::vector<std::string> arguments) {
    return refusal(program(std::move(arguments))).code;
  };
  CHECK(code({"no-such-program"}) == ENOENT);
  CHECK(code({"/no/such/program"}) == ENOENT);
  CHECK(code({""}) == ENOENT);
  CHECK(code({scratch.file("plain", "#!/bin/sh\n", 0644)}) == EACCES);
  CHECK(code({scratch.file("private", "#!/bin/sh\n", 0700)}) == EACCES);
  CHECK(code({scratch.path}) == EACCES);
  CHECK(code({scratch.file("binary",
                           std::string("\x7f"
                                       "ELF\0\0\0",
                                       7),
                           0755)}) == ENOEXEC);
  CHECK(code({scratch.file("orphan", "#!/no/such/interpreter\n", 0755)}) == ELIBACC);
  CHECK(code({}) == EINVAL);
  CHECK(code({"true", std::string("zero\0byte", 9)}) == EINVAL);
  CHECK(refusal(program({"no-such-program"})).text ==
        "execute no-such-program: No such file or directory; it is not in the job's PATH");
}

TEST_CASE("names are looked up in the job's own PATH, as execvp does") {
  NEED_SANDBOX();
  Scratch scratch;
  scratch.file("tool", "#!/bin/sh\necho shebang $1\n", 0755);
  scratch.file("script", "echo bare $0 $1\n", 0755);
  Program p = program({"tool", "arg"});
  p.environment = {"PATH=/nowhere:" + scratch.path};
  CHECK(run(p).out == "shebang arg\n");
  p.arguments = {"script", "arg"};  // no #! line: the shell runs it
  CHECK(run(p).out == "bare " + scratch.path + "/script arg\n");
  p.arguments = {"tool", "arg"};
  p.environment = {"PATH=/nowhere:"};  // the empty element is the current directory
  CHECK(refusal(p).code == ENOENT);
  p.directory = scratch.path;
  CHECK(run(p).out == "shebang arg\n");
  p.environment = {"NO_PATH=1"};
  CHECK(refusal(p).code == ENOENT);
  p.arguments = {"true"};  // the default path
  CHECK(run(p).status == 0);
}

TEST_CASE("a bad directory is named, and is no missing program") {
  NEED_SANDBOX();
  Program p = program({"true"});
  p.directory = "/no/such/directory";
  const Error missing = refusal(p);
  CHECK(missing.code == ENOTDIR);
  CHECK(missing.text.find("/no/such/directory: No such file or directory") != std::string::npos);
  p.directory = "/root";
  if (::access("/root/.", X_OK) == 0) {
    struct stat root;
    REQUIRE(::stat("/root", &root) == 0);
    if ((root.st_mode & S_IXOTH) == 0) CHECK(refusal(p).code == EACCES);
  }
}

TEST_CASE("nothing runs as root or with its group") {
  NEED_SANDBOX();
  Program p = program({"true"});
  for (const Credentials& user :
       {Credentials{0, kGid, {}}, Credentials{kUid, 0, {}}, Credentials{kUid, kGid, {kGid, 0}}}) {
    p.user = user;
    CHECK(refusal(p).code == EPERM);
    if (user.groups.empty()) CHECK(confine(user) == EPERM);
  }
}

TEST_CASE("after a program that did not start, the sandbox takes another") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  CHECK(start(sandbox, program({"nope"}), {null_device(), null_device(), null_device()})
            .error()
            .code == ENOENT);
  CHECK(run(sandbox, program({"echo", "second"})).out == "second\n");
}
