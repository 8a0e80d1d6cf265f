#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "cli/options.h"
#include "cli/standard_stream.h"
#include "cli/terminal.h"
#include "wire/byte_stream.h"
#include "wire/stream.h"

namespace hob::cli {

/// How a shadow ends: what its parent is to see.
struct Ending {
  int status = 0;  // exit status
  int signal = 0;  // not 0: dies of this signal, as the job did
  // With RunOptions::tell_failure: hob failed, not the command.
  std::string failure = {};  // why
  bool not_begun = false;    // and nothing of the command has run
};

/// A job's proxy at home: the `remote run` process itself. It brings the job to hostd, relays its
/// streams, terminal and signals, and ends as the job ends.
///
/// The life of a shadow, as in shadow.cc (streams and signals have files of their own):
///   connect  -> Run sent; hostd answers Accepted, then Waiting any number of times
///   Started  -> stdin flows; a later Started means the job runs at a new place
///   (lost)   -> hostd's connection broke: Attach is tried for 30 seconds
///   Exited   -> the last output is written, then run() returns
/// Dropping the connection, by whatever death of the shadow, is what tells hostd to end the job.
class Shadow {
 public:
  Shadow(EventLoop& loop, RunOptions options, std::string socket);
  ~Shadow();

  /// Everything. Errors are said on stderr and become an Ending.
  Ending run();

 private:
  enum class Phase { asking, waiting, running, lost, exited };

  // hostd
  bool connect();
  void open_channel(Fd socket);
  void send(pb::Envelope envelope) { send(wire::Message{std::move(envelope), {}}); }
  void send(wire::Message message);
  void on_message(wire::Message message);
  void on_close(const Error& reason);
  void on_failure(const pb::Failure& failure);
  void on_waiting(const std::string& reason);
  void on_started(const pb::Started& started);
  void on_exited(const pb::Exited& exited);
  void try_attach();
  void on_attached();

  // streams
  struct Sink {
    Sink(EventLoop& loop, int fd, pb::Stream stream)
        : target(loop, fd, StandardStream::Direction::output), stream(stream) {}
    StandardStream target;
    pb::Stream stream;
    wire::StreamReceiver receiver;
    uint64_t acked = 0;
    EventLoop::Handle ack_timer;
  };
  Result<void> check_input() const;
  void start_input();
  void read_input();
  void input_closed();
  void send_input();
  /// What connections on the way have lost is sent again until it is acknowledged, the end
  /// included.
  void watch_acknowledgements();
  void on_data(const pb::Data& data, std::string_view bytes);
  Sink& sink_of(pb::Stream stream);
  void write_output(Sink& sink);
  void acknowledge(Sink& sink);
  /// Tells the job's new place what has arrived, in case the old one took the news with it.
  void acknowledge_again();
  bool output_written() const;

  // signals and terminal
  void take_signals();
  void on_signal(int signal);
  void interrupt();
  void interrupt_key();
  void hang_up();
  void stop();
  void send_signal(int number);
  /// For a signal that may end the job: home is asked whether the job can get it. 0: only asked.
  void order_signal(int number);
  void on_signal_answer(const pb::Envelope& answer);
  void not_reached(std::string_view why);
  void send_window_size();
  void on_time_limit();

  void end(Ending ending);
  void end_now(Ending ending);
  void fail(std::string_view text, int status = kRunFailed, bool begun = true);
  /// `silence`: a host does not answer, or does again.
  void note(std::string_view text, bool silence = false);

  EventLoop& loop_;
  RunOptions options_;
  std::string socket_path_;
  std::unique_ptr<wire::StreamChannel> channel_;
  Phase phase_ = Phase::asking;
  std::string job_;
  bool started_ = false;
  std::optional<Ending> ending_;  // decided; output may still be on its way
  bool finished_ = false;
  bool output_lost_ = false;
  bool input_lost_ = false;

  std::string waiting_reason_, waiting_said_;
  EventLoop::Handle waiting_timer_;
  uint64_t last_request_ = 1;
  EventLoop::Handle attach_timer_, attach_limit_;

  std::optional<StandardStream> input_;
  EventLoop::Handle foreground_timer_;
  wire::StreamSender sender_;
  EventLoop::Handle resend_timer_;
  Duration resend_after_{0};
  uint64_t acknowledged_before_ = 0;
  std::optional<Sink> out_, err_;

  EventLoop::Handle signals_;
  Fd terminal_of_session_;  // "/dev/tty", to notice a hang-up
  std::optional<RawTerminal> raw_;
  std::vector<std::string> held_notes_;
  Time last_interrupt_{};
  int interrupts_ = 0;
  uint64_t signal_request_ = 0;  // the latest order_signal(); 0: answered
  int ordered_signal_ = 0;
  EventLoop::Handle signal_limit_;
  bool unreachable_ = false;  // and the user has been told: the next Ctrl-C ends the shadow
  EventLoop::Handle time_limit_;
  bool timed_out_ = false;
};

/// As the job died, so that our parent sees what it would see of the job. Leaves no core of its
/// own.
[[noreturn]] void die_of(int signal);

/// remote run: the whole process. Returns an exit status, or does not return (death by signal).
int run(const RunOptions& options);

}  // namespace hob::cli
