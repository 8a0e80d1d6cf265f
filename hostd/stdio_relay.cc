#include "hostd/stdio_relay.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "migrate/unread_input.h"

namespace hob::hostd {
namespace {

/// How much is read at once: the default capacity of a pipe (pipe(7)).
constexpr size_t kPipe = 64u << 10;
/// The most that a pipe of an unprivileged guest can hold (fs.pipe-max-size, pipe(7)); kept free,
/// so that drain() finds room for what a frozen guest has written.
constexpr size_t kLargestPipe = 1u << 20;
constexpr size_t kHold = wire::kStreamWindow + kLargestPipe;

Result<Fd> path_of_descriptor(int fd) {
  return open_file(fmt::format("/proc/self/fd/{}", fd), O_PATH);
}

wire::StreamSender sender_from(const pb::OutputState& state) {
  return wire::StreamSender(wire::StreamSender::State{state.offset(), state.unacknowledged(),
                                                      state.end(), state.closed()},
                            kHold);
}

void store(const wire::StreamSender& sender, pb::OutputState& state) {
  wire::StreamSender::State now = sender.state();
  state.set_offset(now.offset);
  state.set_unacknowledged(std::move(now.bytes));
  state.set_end(now.end);
  state.set_closed(now.closed);
}

}  // namespace

Result<std::unique_ptr<StdioRelay>> StdioRelay::create(EventLoop& loop, std::string job,
                                                       const pb::Program& program,
                                                       const pb::Identity& identity,
                                                       const migrate::Sandbox& sandbox, Send send) {
  std::unique_ptr<StdioRelay> relay(new StdioRelay(loop, std::move(job), std::move(send)));
  relay->terminal_ = program.terminal();
  relay->no_input_ = program.no_input() && !program.terminal();
  if (relay->terminal_) {
    TRY(relay->make_terminal(program, TRY(sandbox.open_terminal())));
  } else {
    TRY(relay->make_pipes());
  }
  TRY(relay->give_to(identity));
  return relay;
}

StdioRelay::~StdioRelay() = default;

Result<void> StdioRelay::make_pipes() {
  Pipe in = TRY(make_pipe()), out = TRY(make_pipe()), err = TRY(make_pipe());
  input_end_ = std::move(in.write_end);
  input_marker_ = TRY(path_of_descriptor(input_end_.get()));
  outputs_.push_back({pb::STDOUT, std::move(out.read_end), wire::StreamSender(kHold), {}});
  outputs_.push_back({pb::STDERR, std::move(err.read_end), wire::StreamSender(kHold), {}});
  TRY(set_nonblocking(input_end_.get()));
  for (Output& output : outputs_) TRY(set_nonblocking(output.end.get()));
  guest_ = {std::move(in.read_end), std::move(out.write_end), std::move(err.write_end)};
  return {};
}

Result<void> StdioRelay::give_to(const pb::Identity& identity) {
  // A terminal keeps its group, tty, which may write to it.
  const gid_t group = terminal_ ? static_cast<gid_t>(-1) : identity.gid();
  for (const Fd* end : {&guest_.in, &guest_.out, &guest_.err})
    if (::fchown(end->get(), identity.uid(), group) < 0)
      return Error::sys("give to the job's user", "its standard streams");
  return {};
}

Result<void> StdioRelay::make_terminal(const pb::Program& program, Fd master) {
  int unlock = 0;
  if (::ioctl(master.get(), TIOCSPTLCK, &unlock) < 0) return Error::sys("unlock", "a pty");
  // This call keeps O_CLOEXEC among the flags of the description: /proc would show it for all of
  // the guest's descriptors, and they would be closed by what it executes after a move.
  Fd slave(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY));
  if (!slave || ::fcntl(slave.get(), F_SETFD, FD_CLOEXEC) < 0)
    return Error::sys("open", "the slave of a pty");
  termios settings{};
  if (program.termios().size() == sizeof settings) {
    std::memcpy(&settings, program.termios().data(), sizeof settings);
    if (::tcsetattr(slave.get(), TCSANOW, &settings) < 0) return Error::sys("set up", "a pty");
  }
  input_end_ = TRY(master.duplicate());
  input_marker_ = TRY(master.duplicate());
  outputs_.push_back({pb::STDOUT, std::move(master), wire::StreamSender(kHold), {}});
  guest_.out = TRY(slave.duplicate());
  guest_.err = TRY(slave.duplicate());
  guest_.in = std::move(slave);
  return resize(program.window());
}

migrate::Stdio StdioRelay::take_guest_ends() {
  return std::move(guest_);
}
void StdioRelay::drop_guest_ends() {
  guest_ = {};
}

std::vector<migrate::External> StdioRelay::externals() const {
  using Kind = migrate::External::Kind;
  if (terminal_) return {{Kind::terminal, outputs_[0].end.get(), guest_.in.get()}};
  // At the source the pipe may have been closed at our end; its mark still names it.
  const int input = guest_.in ? input_end_.get() : input_marker_.get();
  return {{Kind::input, input, guest_.in.get()},
          {Kind::output, outputs_[0].end.get(), guest_.out.get()},
          {Kind::errors, outputs_[1].end.get(), guest_.err.get()}};
}

Result<void> StdioRelay::start(const pb::StdioState* state) {
  if (state != nullptr) {
    if (state->out().unacknowledged().size() > kHold ||
        state->err().unacknowledged().size() > kHold)
      return Error{"take over the standard streams: more bytes under way than allowed", EINVAL};
    input_ = wire::StreamReceiver(state->stdin_offset());
    outputs_[0].sender = sender_from(state->out());
    if (!terminal_) outputs_[1].sender = sender_from(state->err());
    if (state->stdin_closed()) input_.close();
    if (state->stdin_end() || state->stdin_closed()) close_input();
    if (terminal_) TRY(resize(state->window()));
  }
  started_ = true;
  if (state == nullptr && no_input_) {
    TRY(input_.receive(0, {}, true));
    close_input();
  }
  for (Output& output : outputs_) {
    send_pieces(output);
    watch_output(output);
  }
  return {};
}

void StdioRelay::watch_output(Output& output) {
  const bool want = output.end && !output.sender.ended() &&
                    (output.sender.room() >= kLargestPipe + kPipe || output.sender.closed());
  if (!want) return output.watch.reset();
  if (output.watch) return;
  Result<EventLoop::Handle> watch =
      loop_.watch(output.end.get(), EPOLLIN, [this, &output](uint32_t) {
        read_output(output);
        send_pieces(output);
        watch_output(output);
      });
  CHECK(watch.ok());
  output.watch = std::move(*watch);
}

bool StdioRelay::read_output(Output& output) {
  if (!output.end || output.sender.ended()) return false;
  char buffer[kPipe];
  const ssize_t n = ::read(output.end.get(), buffer, sizeof buffer);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n > 0) {
    if (!output.sender.closed()) output.sender.append({buffer, static_cast<size_t>(n)});
    return true;
  }
  // 0: every writer has closed; EIO: the same of a pty.
  output.sender.end();
  output.watch.reset();
  return false;
}

void StdioRelay::send_pieces(Output& output) {
  while (!output.sender.only_end_left()) {
    const auto piece = output.sender.piece();
    if (!piece) return;
    wire::Message message;
    pb::Data* data = message.envelope.mutable_data();
    data->set_job(job_);
    data->set_stream(output.stream);
    data->set_offset(piece->offset);
    data->set_end(piece->end);
    message.bulk = std::string(piece->bytes);
    send_(std::move(message));
  }
}

void StdioRelay::on_data(const pb::Data& data, std::string_view bytes) {
  if (data.stream() != pb::STDIN || !started_) return;
  const bool again = data.offset() < input_.offset();
  if (auto taken = input_.receive(data.offset(), bytes, data.end()); !taken.ok()) {
    log::warning("job {}: input: {}", job_, taken.error().text);
    return;
  }
  write_input();
  if (again) send_input_ack();  // its sender has not heard that it came
}

void StdioRelay::write_input() {
  if (departing_) return;  // it waits here, not acknowledged: the next host gets it from the shadow
  const uint64_t before = input_.offset();
  bool full = false;
  while (input_end_ && !input_.ready().empty() && !full) {
    const std::string_view bytes = input_.ready();
    const ssize_t n = ::write(input_end_.get(), bytes.data(), bytes.size());
    if (n > 0) {
      input_.consume(static_cast<size_t>(n));
    } else if (n < 0 && errno == EAGAIN) {
      full = true;
    } else if (n < 0 && errno != EINTR) {
      input_.close();  // EPIPE: the guest reads no more
    }
  }
  watch_input(full);
  if (input_.ended() || input_.closed()) close_input();
  if (input_.offset() != before || input_.closed() || input_.ended()) send_input_ack();
}

void StdioRelay::watch_input(bool on) {
  if (on == input_watched_) return;
  input_watched_ = on;
  if (!on) return input_watch_.reset();
  Result<EventLoop::Handle> watch =
      loop_.watch(input_end_.get(), EPOLLOUT, [this](uint32_t) { write_input(); });
  CHECK(watch.ok());
  input_watch_ = std::move(*watch);
}

void StdioRelay::close_input() {
  watch_input(false);
  if (terminal_ && input_end_ && !input_.closed()) {
    // A terminal has no end: a reader in line mode takes ^D for one.
    const char end_of_file = 4;
    if (::write(input_end_.get(), &end_of_file, 1) < 0)
      log::debug("job {}: end of input not delivered: {}", job_, std::strerror(errno));
  }
  input_end_.reset();
}

void StdioRelay::send_input_ack() {
  pb::Envelope envelope;
  pb::Ack* ack = envelope.mutable_ack();
  ack->set_job(job_);
  ack->set_stream(pb::STDIN);
  ack->set_offset(input_.offset());
  // Nothing is read after the end: that it has arrived is worth a word, or it would be sent for
  // ever.
  ack->set_closed(input_.closed() || input_.ended());
  send_({std::move(envelope), {}});
}

void StdioRelay::on_ack(const pb::Ack& ack) {
  if (!started_) return;
  for (Output& output : outputs_) {
    if (output.stream != ack.stream()) continue;
    if (auto taken = output.sender.acked(ack.offset(), ack.closed()); !taken.ok())
      log::warning("job {}: acknowledgement: {}", job_, taken.error().text);
    if (ack.closed() && !terminal_) {
      output.watch.reset();
      output.end.reset();  // the guest's next write gets EPIPE
    }
    send_pieces(output);
    watch_output(output);
  }
}

Result<void> StdioRelay::resize(const pb::WindowSize& window) {
  if (!terminal_ || (window.rows() == 0 && window.columns() == 0)) return {};
  winsize size{};
  size.ws_row = static_cast<unsigned short>(window.rows());
  size.ws_col = static_cast<unsigned short>(window.columns());
  if (::ioctl(outputs_[0].end.get(), TIOCSWINSZ, &size) < 0)
    return Error::sys("set the window size of", "a pty");
  return {};
}

pid_t StdioRelay::foreground() const {
  pid_t group = 0;
  if (!terminal_ || ::ioctl(outputs_[0].end.get(), TIOCGPGRP, &group) < 0) return 0;
  return group;
}

void StdioRelay::drain() {
  for (Output& output : outputs_) {
    while (read_output(output)) {
    }
    send_pieces(output);
    watch_output(output);
  }
}

pb::StdioState StdioRelay::depart() {
  drain();
  departing_ = true;
  watch_input(false);
  if (terminal_) {
    Result<std::string> unread = migrate::take_unread_input(outputs_[0].end.get());
    if (unread.ok()) unread_ = std::move(*unread);
    if (!unread.ok()) log::warning("job {}: {}", job_, unread.error().text);
  }
  return state();
}

void StdioRelay::stay() {
  if (!std::exchange(departing_, false)) return;
  pb::StdioState taken;
  taken.set_stdin_unread(std::exchange(unread_, {}));
  if (auto back = put_back(taken); !back.ok()) log::warning("job {}: {}", job_, back.error().text);
  write_input();
}

Result<void> StdioRelay::put_back(const pb::StdioState& state) {
  if (!terminal_) return {};
  return migrate::put_back_unread_input(outputs_[0].end.get(), state.stdin_unread());
}

pb::StdioState StdioRelay::state() const {
  pb::StdioState state;
  state.set_stdin_offset(input_.offset());
  state.set_stdin_end(input_.ended());
  state.set_stdin_closed(input_.closed());
  state.set_stdin_unread(unread_);
  store(outputs_[0].sender, *state.mutable_out());
  if (!terminal_) store(outputs_[1].sender, *state.mutable_err());
  winsize size{};
  if (terminal_ && ::ioctl(outputs_[0].end.get(), TIOCGWINSZ, &size) == 0) {
    state.mutable_window()->set_rows(size.ws_row);
    state.mutable_window()->set_columns(size.ws_col);
  }
  return state;
}

bool StdioRelay::waiting_for_acks() const {
  return std::any_of(outputs_.begin(), outputs_.end(),
                     [](const Output& output) { return !output.sender.all_acked(); });
}

uint64_t StdioRelay::acknowledged() const {
  uint64_t sum = 0;
  for (const Output& output : outputs_) sum += output.sender.acknowledged();
  return sum;
}

void StdioRelay::rewind() {
  if (!started_) return;
  send_input_ack();
  for (Output& output : outputs_) {
    output.sender.rewind();
    send_pieces(output);
  }
}

bool StdioRelay::finished() const {
  for (const Output& output : outputs_)
    if (output.end &&
        !(output.sender.ended() && (output.sender.all_sent() || output.sender.only_end_left())))
      return false;
  return true;
}

uint64_t StdioRelay::end_of(pb::Stream stream) const {
  for (const Output& output : outputs_) {
    if (output.stream != stream || output.sender.closed()) continue;
    const wire::StreamSender::State state = output.sender.state();
    return state.offset + state.bytes.size();
  }
  return 0;
}

}  // namespace hob::hostd
