#include "rig.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <thread>

namespace hob::test {
namespace {

void await(int fd, short events, const char* what) {
  pollfd state{fd, events, 0};
  if (::poll(&state, 1, static_cast<int>(kPatience.count())) != 1)
    throw std::runtime_error(std::string("waited in vain for ") + what);
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string path = std::filesystem::temp_directory_path() / "hob-cli-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = path;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::filesystem::remove_all(path_);
}

wire::Message Connection::receive() {
  auto message = wire::receive_blocking(socket_.get(), decoder_, kPatience);
  if (!message.ok()) throw std::runtime_error("hostd: " + message.error().text);
  return std::move(message).value();
}

wire::Message Connection::receive_but_acks() {
  for (;;) {
    wire::Message message = receive();
    if (!message.envelope.has_ack()) return message;
  }
}

void Connection::expect_end() {
  for (;;) {
    auto message = wire::receive_blocking(socket_.get(), decoder_, kPatience);
    if (message.ok()) continue;
    if (message.error().code == ETIMEDOUT) throw std::runtime_error("the connection does not end");
    return;
  }
}

void Connection::send(pb::Envelope envelope, std::string_view bulk) {
  auto sent = wire::send_blocking(socket_.get(), {std::move(envelope), std::string(bulk)});
  if (!sent.ok()) throw std::runtime_error("hostd: " + sent.error().text);
}

void Connection::send_raw(std::string_view bytes) {
  auto sent = write_all(socket_.get(), std::as_bytes(std::span(bytes)), "a connection");
  if (!sent.ok()) throw std::runtime_error("hostd: " + sent.error().text);
}

void Connection::answer(const pb::Envelope& request, pb::Envelope envelope) {
  envelope.set_answers(request.request());
  send(std::move(envelope));
}

void Connection::accept(const pb::Envelope& request) {
  pb::Envelope envelope;
  envelope.mutable_accepted()->set_job("j1");
  answer(request, std::move(envelope));
}

void Connection::started() {
  pb::Envelope envelope;
  envelope.mutable_started()->set_job("j1");
  envelope.mutable_started()->set_host("h2");
  send(std::move(envelope));
}

void Connection::data(pb::Stream stream, uint64_t offset, std::string_view bytes, bool end) {
  pb::Envelope envelope;
  pb::Data& data = *envelope.mutable_data();
  data.set_job("j1");
  data.set_stream(stream);
  data.set_offset(offset);
  data.set_end(end);
  send(std::move(envelope), bytes);
}

void Connection::ack(uint64_t offset, bool closed) {
  pb::Envelope envelope;
  pb::Ack& ack = *envelope.mutable_ack();
  ack.set_job("j1");
  ack.set_stream(pb::STDIN);
  ack.set_offset(offset);
  ack.set_closed(closed);
  send(std::move(envelope));
}

void Connection::exited(int status) {
  pb::Envelope envelope;
  envelope.mutable_exited()->set_job("j1");
  envelope.mutable_exited()->set_status(status);
  send(std::move(envelope));
}

FakeHostd::FakeHostd(std::string path) : path_(std::move(path)) {
  start();
}

void FakeHostd::start() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof address.sun_path) throw std::runtime_error("socket path too long");
  std::memcpy(address.sun_path, path_.data(), path_.size());
  ::unlink(path_.c_str());
  socket_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ||
      ::listen(socket_.get(), 64) < 0)
    throw std::runtime_error("listen on " + path_ + ": " + std::strerror(errno));
}

Connection FakeHostd::accept() {
  await(socket_.get(), POLLIN, "a connection");
  Fd connection(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection) throw std::runtime_error("accept failed");
  return Connection(std::move(connection));
}

Process::Process(const std::string& program, std::vector<std::string> arguments, Setup setup) {
  Pipe in = make_pipe().value(), out = make_pipe().value(), err = make_pipe().value();
  arguments.insert(arguments.begin(), program);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ == 0) {
    ::dup2(setup.in.value_or(in.read_end.get()), 0);
    ::dup2(setup.out.value_or(out.write_end.get()), 1);
    ::dup2(setup.err.value_or(err.write_end.get()), 2);
    for (std::string& entry : setup.environment) ::putenv(entry.data());
    setup.in_child();
    ::execv(program.c_str(), argv.data());
    ::_exit(99);
  }
  in_ = std::move(in.write_end);
  out_ = std::move(out.read_end);
  err_ = std::move(err.read_end);
}

Process::~Process() {
  if (status_ || pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Process::write(std::string_view bytes) {
  auto written = write_all(in_.get(), std::as_bytes(std::span(bytes)), "the stdin of remote");
  if (!written.ok()) throw std::runtime_error(written.error().text);
}

std::string Process::read_some(Fd& fd, size_t limit) {
  if (!fd) return {};
  await(fd.get(), POLLIN, "output");
  std::string buffer(limit, '\0');
  const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
  buffer.resize(n < 0 ? 0 : static_cast<size_t>(n));
  if (buffer.empty()) fd.reset();
  return buffer;
}

std::string Process::read_error_line() {
  std::string line;
  for (;;) {
    const std::string c = read_error(1);
    line += c;
    if (c.empty() || c == "\n") return line;
  }
}

int Process::finish() {
  while (out_ || err_) {
    pollfd states[2] = {{out_ ? out_.get() : -1, POLLIN, 0}, {err_ ? err_.get() : -1, POLLIN, 0}};
    const auto limit = static_cast<int>(kPatience.count());
    if (::poll(states, 2, limit) < 1) throw std::runtime_error("waited in vain for the end");
    if (states[0].revents != 0) output_ += read_output();
    if (states[1].revents != 0) error_ += read_error();
  }
  return wait();
}

int Process::wait() {
  if (status_) return *status_;
  int status = 0;
  if (!eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }))
    throw std::runtime_error("the process does not end");
  status_ = status;
  return status;
}

void Process::signal(int number) const {
  ::kill(pid_, number);
}

void Process::wait_until_stopped() {
  int status = 0;
  const bool stopped =
      eventually([&] { return ::waitpid(pid_, &status, WUNTRACED | WNOHANG) == pid_; });
  if (!stopped || !WIFSTOPPED(status)) throw std::runtime_error("the process does not stop");
}

std::string remote_program() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "remote";
}

bool exited_with(int status, int code) {
  return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

bool died_of(int status, int signal) {
  return WIFSIGNALED(status) && WTERMSIG(status) == signal;
}

bool eventually(const std::function<bool()>& condition) {
  for (const Time end = Clock::now() + kPatience; Clock::now() < end;) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace hob::test
