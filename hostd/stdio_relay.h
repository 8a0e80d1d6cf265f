#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "migrate/migrate.h"
#include "migrate/program.h"
#include "wire/byte_stream.h"
#include "wire/message.h"

namespace hob::hostd {

/// The starter's ends of a guest's standard streams, and the byte streams to the shadow.
///
/// Reads what the guest writes while the shadow keeps up, writes what the shadow sends while the
/// guest reads, and knows at any moment what has to travel when the guest moves: state(). One
/// thread, the loop's; `send` is called with Data and Ack for `job`.
class StdioRelay {
 public:
  using Send = std::function<void(wire::Message)>;

  /// New pipes, or a new pty of the sandbox with `program`'s window and settings. They belong to
  /// the guest's user, who can open /dev/stderr and the like.
  static Result<std::unique_ptr<StdioRelay>> create(EventLoop& loop, std::string job,
                                                    const pb::Program& program,
                                                    const pb::Identity& identity,
                                                    const migrate::Sandbox& sandbox, Send send);
  ~StdioRelay();

  /// The guest's ends, for starting it; they are given away.
  migrate::Stdio take_guest_ends();
  /// For the engine. At the target the guest's ends are included until drop_guest_ends().
  std::vector<migrate::External> externals() const;
  void drop_guest_ends();

  /// Begins to relay. `state`: where the streams stand, for a guest that has come from elsewhere.
  Result<void> start(const pb::StdioState* state);

  void on_data(const pb::Data& data, std::string_view bytes);
  void on_ack(const pb::Ack& ack);
  Result<void> resize(const pb::WindowSize& window);
  /// Process group in the foreground of the terminal; 0 if there is none.
  pid_t foreground() const;

  /// Reads all that the guest, which must be frozen or dead, has written and not yet been read.
  void drain();
  /// The guest, which must be frozen, is about to leave: where its streams stand, what it has
  /// written and not been read, and what was typed and it has not read. Nothing more is given to
  /// it, until stay(): the move has failed.
  pb::StdioState depart();
  void stay();
  /// At the target, before the guest runs: what depart() took from its terminal.
  Result<void> put_back(const pb::StdioState& state);
  /// Something was sent, or is to be, that the shadow has not acknowledged; and how much it has.
  bool waiting_for_acks() const;
  uint64_t acknowledged() const;
  /// Sends again what the shadow has not acknowledged (its connection was broken for a while).
  void rewind();
  /// The guest is gone: everything it wrote has been read and sent once. That nothing follows is
  /// not sent by itself: Exited says it.
  bool finished() const;
  /// Offset at which an output ends; 0 if its reader reads no more.
  uint64_t end_of(pb::Stream stream) const;

 private:
  struct Output {
    pb::Stream stream;
    Fd end;
    wire::StreamSender sender;
    EventLoop::Handle watch;
  };
  StdioRelay(EventLoop& loop, std::string job, Send send)
      : loop_(loop), job_(std::move(job)), send_(std::move(send)) {}
  Result<void> make_pipes();
  Result<void> give_to(const pb::Identity& identity);
  Result<void> make_terminal(const pb::Program& program, Fd master);
  void watch_output(Output& output);
  /// False at the end of the stream or when nothing is there.
  bool read_output(Output& output);
  void send_pieces(Output& output);
  pb::StdioState state() const;
  void send_input_ack();
  void write_input();
  void close_input();
  void watch_input(bool on);

  EventLoop& loop_;
  std::string job_;
  Send send_;
  bool terminal_ = false;
  bool no_input_ = false;
  bool started_ = false;  // before, where the streams stand is not known
  std::vector<Output> outputs_;
  wire::StreamReceiver input_;
  bool departing_ = false;
  std::string unread_;  // taken from the terminal by depart()
  Fd input_end_;        // gone once the shadow's stdin has ended
  Fd input_marker_;     // O_PATH: names the pipe without holding it open
  EventLoop::Handle input_watch_;
  bool input_watched_ = false;
  migrate::Stdio guest_;
};

}  // namespace hob::hostd
