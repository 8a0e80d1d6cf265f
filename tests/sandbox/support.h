#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "migrate/program.h"
#include "migrate/sandbox.h"

// In tests CHECK is Catch's; the headers above have used base/check.h's already.
#undef CHECK
#include <catch2/catch.hpp>

/// Leaves the test case as skipped, saying what is missing (see hob_test in cmake/hob.cmake).
#define NEED(condition, what)                \
  do {                                       \
    if (!(condition)) {                      \
      std::printf("SKIP: needs %s\n", what); \
      return;                                \
    }                                        \
  } while (false)

/// What each test here needs: the rights of hostd and the unified hierarchy.
#define NEED_SANDBOX()            \
  NEED(::geteuid() == 0, "root"); \
  NEED(hob::migrate::Cgroup::root(), "cgroup v2")

namespace hob::migrate::test {

inline const std::string kParent = "/hob-test-" + std::to_string(::getpid());
inline constexpr uid_t kUid = 23456;
inline constexpr gid_t kGid = 23457;

inline std::string parent_directory() {
  return *Cgroup::root() + kParent;
}

/// The value, or the failure of the test with the Error's text.
template <class T>
T must(Result<T> result) {
  if (!result) FAIL(result.error().text);
  if constexpr (!std::is_void_v<T>) return std::move(result).value();
}

/// A cgroup path of this test's own; the parent directory goes with the object.
struct Place {
  Place() = default;
  Place(const Place&) = delete;
  ~Place() { ::rmdir(parent_directory().c_str()); }
  std::string path = kParent + "/guest";
};

inline std::string read_all(const Fd& fd) {
  std::string data;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd.get(), buffer, sizeof buffer)) != 0;) {
    if (n < 0 && errno == EIO) break;  // a pty whose last slave was closed
    REQUIRE(n > 0);
    data.append(buffer, static_cast<size_t>(n));
  }
  return data;
}

inline Fd null_device() {
  return must(open_file("/dev/null", O_RDWR));
}

inline int wait_for(pid_t pid) {
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  return status;
}

/// Waits at most 10 s until the condition holds.
template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 10'000; ++i) {
    if (condition()) return true;
    ::usleep(1000);
  }
  return condition();
}

inline Program program(std::vector<std::string> arguments) {
  Program p;
  p.arguments = std::move(arguments);
  p.environment = {"PATH=/usr/bin:/bin"};
  p.directory = "/";
  p.user = {kUid, kGid, {kGid}};
  return p;
}

inline Program shell(const std::string& script) {
  return program({"/bin/sh", "-c", script});
}

inline Sandbox furnished(const Place& place, ClockOffsets offsets = {}) {
  Sandbox sandbox = must(Sandbox::create(place.path));
  must(sandbox.furnish("hob-home", offsets));
  return sandbox;
}

struct Outcome {
  int status = 0;  ///< as of wait(2)
  std::string out, err;
};

/// Runs a program to its end. Output beyond what pipes hold (64 KiB each) would block it.
inline Outcome run(Sandbox& sandbox, const Program& what) {
  Pipe out = must(make_pipe());
  Pipe err = must(make_pipe());
  const pid_t pid = must(
      start(sandbox, what, {null_device(), std::move(out.write_end), std::move(err.write_end)}));
  Outcome outcome;
  outcome.out = read_all(out.read_end);
  outcome.err = read_all(err.read_end);
  outcome.status = wait_for(pid);
  return outcome;
}

inline Outcome run(const Program& what) {
  Place place;
  Sandbox sandbox = furnished(place);
  return run(sandbox, what);
}

/// The Error with which a program does not start.
inline Error refusal(const Program& what) {
  Place place;
  Sandbox sandbox = furnished(place);
  auto pid = start(sandbox, what, {null_device(), null_device(), null_device()});
  REQUIRE_FALSE(pid.ok());
  return pid.error();
}

/// Runs `body` as a child inside a sandbox and returns what it wrote.
inline std::string inside(Sandbox& sandbox, const std::function<void(int out)>& body) {
  Pipe pipe = must(make_pipe());
  const pid_t pid = must(sandbox.clone(kRootPid, [&] {
    body(pipe.write_end.get());
    ::_exit(0);
  }));
  pipe.write_end.reset();
  std::string out = read_all(pipe.read_end);
  CHECK(wait_for(pid) == 0);
  return out;
}

/// Entries whose names begin with `prefix`; "." and ".." count if it is empty.
inline size_t count_entries(const std::string& directory, const std::string& prefix = "") {
  DIR* dir = ::opendir(directory.c_str());
  REQUIRE(dir != nullptr);
  size_t n = 0;
  while (const dirent* entry = ::readdir(dir))
    if (std::string_view(entry->d_name).starts_with(prefix)) ++n;
  ::closedir(dir);
  return n;
}

}  // namespace hob::migrate::test
