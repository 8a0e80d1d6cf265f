#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "wire/stream.h"

/// What the tests of the command line stand on: the real `remote` as a process of its own, and a
/// hostd whose part the test plays, message by message, over a real unix socket.
///
/// Everything that waits has a limit of kPatience, after which the test fails; no test asks how
/// long something took.
namespace hob::test {

inline constexpr std::chrono::milliseconds kPatience{10'000};

/// A directory that goes with its contents.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// One connection of `remote`, seen from hostd.
class Connection {
 public:
  explicit Connection(Fd socket) : socket_(std::move(socket)) {}
  /// The next message; throws if none comes or the connection has ended.
  wire::Message receive();
  /// The next message but for Acks, which come when they like.
  wire::Message receive_but_acks();
  /// Waits for the other side to close.
  void expect_end();
  void send(pb::Envelope envelope, std::string_view bulk = {});
  /// Bytes that need be no message.
  void send_raw(std::string_view bytes);
  void answer(const pb::Envelope& request, pb::Envelope envelope);
  void close() { socket_.reset(); }

  // The commonest things hostd says of job "j1".
  void accept(const pb::Envelope& request);
  void started();
  void data(pb::Stream stream, uint64_t offset, std::string_view bytes, bool end = false);
  void ack(uint64_t offset, bool closed = false);
  void exited(int status);

 private:
  Fd socket_;
  wire::StreamDecoder decoder_;
};

class FakeHostd {
 public:
  explicit FakeHostd(std::string path);
  Connection accept();
  const std::string& path() const { return path_; }
  /// As when hostd is stopped: the socket file stays, nobody listens.
  void stop() { socket_.reset(); }
  void start();

 private:
  std::string path_;
  Fd socket_;
};

/// A program under test. Its standard streams are pipes unless given.
class Process {
 public:
  struct Setup {
    std::vector<std::string> environment;    // NAME=VALUE, added
    std::function<void()> in_child = [] {};  // just before exec
    std::optional<int> in, out, err;         // descriptors to use instead of pipes
  };
  Process(const std::string& program, std::vector<std::string> arguments, Setup setup);
  ~Process();

  void write(std::string_view bytes);
  void close_input() { in_.reset(); }
  void close_output() { out_.reset(); }
  /// At least one byte of stdout or stderr, or "" at the end.
  std::string read_output(size_t limit = 65536) { return read_some(out_, limit); }
  std::string read_error(size_t limit = 65536) { return read_some(err_, limit); }
  /// Up to and with the next new line.
  std::string read_error_line();
  /// Both streams to their ends, then the status of waitpid(2).
  int finish();
  const std::string& output() const { return output_; }
  const std::string& error() const { return error_; }
  pid_t pid() const { return pid_; }
  void signal(int number) const;
  /// Waits until it has stopped (waitpid(2) with WUNTRACED).
  void wait_until_stopped();

 private:
  std::string read_some(Fd& fd, size_t limit);
  int wait();

  pid_t pid_ = -1;
  Fd in_, out_, err_;
  std::string output_, error_;
  std::optional<int> status_;
};

/// The path of the built `remote`.
std::string remote_program();

/// Polls `condition` until it holds; false after kPatience.
bool eventually(const std::function<bool()>& condition);

/// What waitpid(2) says of a process.
bool exited_with(int status, int code);
bool died_of(int status, int signal);

}  // namespace hob::test
