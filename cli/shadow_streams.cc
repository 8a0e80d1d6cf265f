// The standard streams of a Shadow (cli/shadow.h).
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "cli/say.h"
#include "cli/shadow.h"

namespace hob::cli {
namespace {

/// What is written is acknowledged when it is a quarter of the window, so that the writer never
/// waits for room, or after this time, so that little has to be kept for the next move.
constexpr uint64_t kAckAfter = wire::kStreamWindow / 4;
constexpr Duration kAckDelay = milliseconds(20);
/// Input that nobody acknowledges is sent again after this time; then after twice as long, and so
/// on up to the longest, because a job that does not read its stdin looks the same.
constexpr Duration kResend = seconds(5);
constexpr Duration kResendLongest = seconds(60);
/// How late input typed in the background may be noticed after `fg`.
constexpr Duration kForegroundCheck = milliseconds(200);
/// Ctrl-C, as a raw terminal gives it.
constexpr char kInterruptKey = '\x03';

pb::Envelope ack_of(const std::string& job, pb::Stream stream, uint64_t offset, bool closed) {
  pb::Envelope envelope;
  pb::Ack& ack = *envelope.mutable_ack();
  ack.set_job(job);
  ack.set_stream(stream);
  ack.set_offset(offset);
  ack.set_closed(closed);
  return envelope;
}

}  // namespace

/// What the job would be told at its first read, and here would only look like the end.
Result<void> Shadow::check_input() const {
  if (options_.no_input || options_.closed[0]) return {};
  struct stat status {};
  if (::fstat(STDIN_FILENO, &status) < 0) return Error::sys("read", "stdin");
  const int flags = ::fcntl(STDIN_FILENO, F_GETFL);
  const bool unreadable = (flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH) != 0;
  if (!S_ISDIR(status.st_mode) && !unreadable) return {};
  return Error::sys("read", "stdin", unreadable ? EBADF : EISDIR,
                    "give the command a file, or no input with -n");
}

void Shadow::start_input() {
  if (options_.no_input || options_.closed[0]) {
    sender_.end();
    return send_input();
  }
  input_.emplace(loop_, STDIN_FILENO, StandardStream::Direction::input);
  input_->when_ready([this] { read_input(); });
}

void Shadow::read_input() {
  if (input_->in_background()) {
    // A command that reads nothing is not stopped for being in the background; neither are we. The
    // shell does not tell when it brings us to the foreground, so look again.
    input_->pause();
    foreground_timer_ = loop_.after(kForegroundCheck, [this] {
      if (input_) input_->when_ready([this] { read_input(); });
    });
    return;
  }
  const size_t room = std::min(sender_.room(), wire::kStreamPiece);
  if (room == 0) return input_->pause();
  char buffer[wire::kStreamPiece];
  const StandardStream::Outcome outcome = input_->read(buffer, room);
  switch (outcome.kind) {
    case StandardStream::Outcome::Kind::blocked:
      return;
    case StandardStream::Outcome::Kind::moved:
      sender_.append({buffer, outcome.count});
      if (raw_ &&
          std::string_view(buffer, outcome.count).find(kInterruptKey) != std::string_view::npos)
        interrupt_key();
      return send_input();
    case StandardStream::Outcome::Kind::end:
    case StandardStream::Outcome::Kind::failed:
      if (raw_) return hang_up();  // a raw terminal has no end but its own
      if (outcome.kind == StandardStream::Outcome::Kind::failed) {
        input_lost_ = true;
        say(Error::sys("read", "stdin", outcome.error,
                       "the command sees the end of its input instead")
                .text);
      }
      input_.reset();
      sender_.end();
      return send_input();
  }
}

/// The job reads no more. Whoever writes to our stdin must learn it, as from the job itself.
void Shadow::input_closed() {
  if (!input_) return;
  input_.reset();
  if (Fd null{::open("/dev/null", O_RDONLY | O_CLOEXEC)}; null) ::dup2(null.get(), STDIN_FILENO);
}

void Shadow::send_input() {
  if (phase_ != Phase::running) return;
  while (auto piece = sender_.piece()) {
    wire::Message message;
    pb::Data& data = *message.envelope.mutable_data();
    data.set_job(job_);
    data.set_stream(pb::STDIN);
    data.set_offset(piece->offset);
    data.set_end(piece->end);
    message.bulk = piece->bytes;
    send(std::move(message));
  }
  watch_acknowledgements();
  if (input_ && sender_.room() > 0) input_->when_ready([this] { read_input(); });
}

void Shadow::watch_acknowledgements() {
  const bool all_there = sender_.closed() || (sender_.all_acked() && !sender_.ended());
  if (all_there) return resend_timer_.reset();
  if (resend_timer_) return;
  const bool progress =
      sender_.acknowledged() != std::exchange(acknowledged_before_, sender_.acknowledged());
  resend_after_ = progress || resend_after_ == Duration::zero()
                      ? kResend
                      : std::min(2 * resend_after_, kResendLongest);
  resend_timer_ = loop_.after(resend_after_, [this] {
    resend_timer_.reset();
    if (sender_.acknowledged() == acknowledged_before_) sender_.rewind();
    send_input();
  });
}

Shadow::Sink& Shadow::sink_of(pb::Stream stream) {
  std::optional<Sink>& sink = stream == pb::STDERR ? err_ : out_;
  if (!sink) sink.emplace(loop_, stream == pb::STDERR ? STDERR_FILENO : STDOUT_FILENO, stream);
  return *sink;
}

void Shadow::on_data(const pb::Data& data, std::string_view bytes) {
  if (data.stream() != pb::STDOUT && data.stream() != pb::STDERR) return;
  if (bytes.empty() && !data.end()) return;
  Sink& sink = sink_of(data.stream());
  // Bytes that came before: their sender has not heard that they did, and may wait for that.
  if (data.offset() < sink.receiver.offset()) sink.acked = data.offset();
  if (auto taken = sink.receiver.receive(data.offset(), bytes, data.end()); !taken.ok())
    return fail(fmt::format("job {}: {}", job_, taken.error().text));
  write_output(sink);
}

void Shadow::write_output(Sink& sink) {
  while (!sink.receiver.ready().empty()) {
    const StandardStream::Outcome outcome = sink.target.write(sink.receiver.ready());
    if (outcome.kind == StandardStream::Outcome::Kind::moved) {
      sink.receiver.consume(outcome.count);
      continue;
    }
    if (outcome.kind == StandardStream::Outcome::Kind::blocked) {
      sink.target.when_ready([this, &sink] { write_output(sink); });
      return acknowledge(sink);
    }
    // Nobody reads any more: that is the job's to know, by EPIPE. Anything else loses output.
    if (outcome.error != EPIPE) {
      output_lost_ = true;
      say(Error::sys("write", sink.stream == pb::STDERR ? "stderr" : "stdout", outcome.error).text);
    }
    sink.receiver.close();
  }
  sink.target.pause();
  acknowledge(sink);
  if (ending_) end(*ending_);
}

void Shadow::acknowledge(Sink& sink) {
  const uint64_t offset = sink.receiver.offset();
  const auto now = [this, &sink] {
    sink.ack_timer.reset();
    sink.acked = sink.receiver.offset();
    send(ack_of(job_, sink.stream, sink.acked, sink.receiver.closed()));
  };
  if (offset - sink.acked >= kAckAfter || sink.receiver.closed()) return now();
  if (offset > sink.acked && !sink.ack_timer) sink.ack_timer = loop_.after(kAckDelay, now);
}

void Shadow::acknowledge_again() {
  for (std::optional<Sink>* sink : {&out_, &err_})
    if (*sink)
      send(ack_of(job_, (*sink)->stream, (*sink)->receiver.offset(), (*sink)->receiver.closed()));
}

bool Shadow::output_written() const {
  return (!out_ || out_->receiver.ready().empty()) && (!err_ || err_->receiver.ready().empty());
}

}  // namespace hob::cli
