#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "wire/message.h"

namespace hob::wire {

/// Cuts a byte stream into messages: u32 envelope length, u32 bulk length (both little endian),
/// envelope, bulk. Pure; sizes are checked before anything is kept for them. After an Error the
/// stream is useless.
class StreamDecoder {
 public:
  void feed(std::string_view bytes) { buffer_.append(bytes); }
  /// The next whole message, nothing if more bytes are needed, or what is wrong with the stream.
  Result<std::optional<Message>> next();

 private:
  std::string buffer_;
  size_t consumed_ = 0;
};

/// The bytes of one message on a stream.
std::string encode_for_stream(Message& message);

/// Who is at the other end of a unix socket (SO_PEERCRED, SO_PEERGROUPS), as the kernel says.
struct PeerIdentity {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};
Result<PeerIdentity> peer_identity(int fd);

/// One end of a unix stream socket that carries messages, driven by the event loop.
///
/// send() never blocks: what the kernel does not take waits in memory; senders of bulk watch
/// `queued()`. What comes damaged, or in another version, is answered with Failure and ends the
/// channel; so does sending more than wire/message.h allows. `on_message` and `on_close` are called
/// from the loop; on_close once, with the reason, after which the channel only waits to be dropped.
/// Dropping it inside its own callbacks is allowed.
class StreamChannel {
 public:
  struct Events {
    std::function<void(Message)> on_message;
    std::function<void(const Error&)> on_close;
  };
  static Result<std::unique_ptr<StreamChannel>> create(EventLoop& loop, Fd socket, Events events);
  ~StreamChannel();

  void send(Message message);
  void send(pb::Envelope envelope) { send(Message{std::move(envelope), {}}); }
  /// From now on what is sent in one round of the loop goes out together at its end. For who always
  /// comes back to the loop before it waits for anything else.
  void gather() { gathers_ = true; }
  /// Sends `envelope` as the answer to `request` (nothing if the request wanted none).
  void answer(const pb::Envelope& request, pb::Envelope envelope);
  size_t queued() const { return output_.size() - written_; }
  int fd() const { return socket_.get(); }

 private:
  StreamChannel(EventLoop& loop, Fd socket, Events events)
      : loop_(loop),
        socket_(std::move(socket)),
        events_(std::make_shared<Events>(std::move(events))) {}
  void on_ready(uint32_t ready);
  void read_input();
  void deliver_messages();
  void write_output();
  void close(Error reason);

  EventLoop& loop_;
  Fd socket_;
  std::shared_ptr<Events> events_;  // a callback that is running keeps it
  EventLoop::Handle watch_;
  bool watching_output_ = false;
  bool gathers_ = false;
  StreamDecoder decoder_;
  std::string output_;
  size_t written_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// Listens on a unix socket path (an older file there is replaced) and hands over each connection.
/// When the process has no descriptor left, clients wait in the backlog; it is logged and tried
/// again.
class StreamListener {
 public:
  static Result<std::unique_ptr<StreamListener>> create(EventLoop& loop, const std::string& path,
                                                        unsigned mode,
                                                        std::function<void(Fd)> on_connection);
  ~StreamListener();

 private:
  explicit StreamListener(EventLoop& loop) : loop_(loop) {}
  void accept_one(const std::function<void(Fd)>& on_connection);

  EventLoop& loop_;
  std::string path_;
  Fd socket_;
  EventLoop::Handle watch_;
  EventLoop::Handle pause_;
};

/// Connects to a unix socket path; blocking descriptor, close-on-exec.
Result<Fd> connect_stream(const std::string& path);

/// For programs without a loop: sends one message, and waits for one, on a blocking descriptor.
Result<void> send_blocking(int fd, Message message);
Result<Message> receive_blocking(int fd, StreamDecoder& decoder, Duration limit);

}  // namespace hob::wire
