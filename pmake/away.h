#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "pmake/door.h"
#include "wire/byte_stream.h"
#include "wire/message.h"

namespace hob::pmake {

/// A recipe's job while it is elsewhere: what the shadow (cli/shadow.h) is to a job of `remote
/// run`, but many of them share this process and its one connection to hostd.
///
/// Its output is kept until the end, in the order it came, and never shown if hob has lost the job;
/// in memory: a recipe's output is a screen or two. It has no standard input. Signals of its shell
/// go to the job; those that are to end it are answered by home, and nobody waits for a job that
/// cannot be reached. hostd may go and come back: the job is taken up again, within the limit that
/// a shadow has. Messages go out by `send`; those of hostd about this job, and the answers to
/// requests that `send` gave a number, come in by on_message(). `on_end` is called once, at last,
/// and may drop this object. One thread, the loop's.
class Away {
 public:
  struct Ending {
    int status = 0;  ///< as waitpid(2) tells it
    /// Not empty: hob failed, not the command; why.
    std::string failure = {};
    bool not_begun = false;  ///< and nothing of it has run
  };
  struct Piece {
    bool err;
    std::string bytes;
  };
  struct Events {
    /// To hostd. With `answered`, a request: its answer is to come to on_message().
    std::function<void(wire::Message, bool answered)> send;
    std::function<void(const std::string& job)> on_job;  ///< it has a name
    std::function<void(Ending)> on_end;
    /// Its host does not answer, or does again.
    std::function<void(const std::string& text)> on_silence;
  };
  Away(EventLoop& loop, Events events) : loop_(loop), events_(std::move(events)) {}
  Away(const Away&) = delete;

  /// `command` is what runs, with the request's environment, directory, umask and limits.
  void start(const DoorRequest& request, const std::vector<std::string>& command, uint64_t lease,
             uint64_t recipe);
  void on_message(const wire::Message& message);
  void on_signal(int signal);
  /// Its shell has died: nobody wants the job any more. Does not call on_end.
  void abandon();
  void hostd_gone();
  /// hostd is there again.
  void hostd_back();

  const std::string& job() const { return job_; }
  std::vector<Piece> take_output() { return std::move(output_); }

 private:
  struct Stream {
    wire::StreamReceiver receiver;
    uint64_t acked = 0;
    EventLoop::Handle ack_timer;
  };
  Stream& stream(bool err) { return streams_[err ? 1 : 0]; }
  void on_data(const pb::Data& data, std::string_view bytes);
  void keep(bool err, uint64_t offset, std::string_view bytes, bool end);
  void acknowledge(bool err);
  void send(pb::Envelope envelope, bool answered = false);
  void end_input();
  void order_signal(int signal);
  void send_signal(int signal, bool answered);
  void send_held();
  void not_reached();
  void end(Ending ending);
  void fail(std::string why);

  EventLoop& loop_;
  Events events_;
  std::string job_;
  bool started_ = false, lost_ = false, ended_ = false;
  int interrupts_ = 0;
  Time last_interrupt_{};
  std::vector<int> held_;  // signals for when the job can be told
  int ordered_ = 0;        // a signal that home has not answered
  Stream streams_[2];
  std::vector<Piece> output_;
  EventLoop::Handle attach_limit_, signal_limit_, input_again_;
};

}  // namespace hob::pmake
