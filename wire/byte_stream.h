#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/message.h"

/// The two ends of one standard stream, as message Data in wire/hob.proto describes it: bytes with
/// offsets, acknowledgements, and a bounded window. Nothing is lost or doubled when the job moves,
/// when hostd restarts, or when pieces arrive twice or in another order.
///
/// Pure: bytes in, pieces out; the shadow and the starter do the reading, writing and sending. Both
/// use these classes, each a sender for one direction and a receiver for the other.
namespace hob::wire {

/// The sending end: holds what the reader has not acknowledged.
///
/// It takes `capacity` bytes, but never has more than kStreamWindow of them under way: a receiver
/// keeps no more than that. A larger capacity is for a writer that is cut off and has to be emptied
/// at once. Pieces reach at most kStreamWindow beyond what is acknowledged, however much is held.
class StreamSender {
 public:
  /// What has to travel when the sending end itself moves to another process.
  struct State {
    uint64_t offset = 0;  // of the first byte of `bytes`, from the stream's beginning
    std::string bytes;    // not acknowledged
    bool end = false;     // nothing follows `bytes`
    bool closed = false;  // the reader reads no more
  };

  explicit StreamSender(size_t capacity = kStreamWindow) : capacity_(capacity) {}
  /// Goes on from `state`; all of its bytes are to be sent (again).
  explicit StreamSender(State state, size_t capacity = kStreamWindow);
  State state() const;

  /// How many bytes append() takes now. 0 after end() and after the reader closed.
  size_t room() const;
  /// More of the stream. At most room() bytes.
  void append(std::string_view bytes);
  /// Nothing follows.
  void end() { end_ = true; }

  /// What to send in one Data; `bytes` is valid until the next call of a non-const member.
  struct Piece {
    uint64_t offset = 0;
    std::string_view bytes;
    bool end = false;
  };
  /// The next piece that was not sent yet, which then counts as sent; nothing if there is none, or
  /// if an acknowledgement has to come first.
  std::optional<Piece> piece(size_t limit = kStreamPiece);

  /// An Ack arrived. A lower offset than an earlier one means nothing; one beyond what was sent is
  /// an Error: the peer lies or speaks of another stream.
  Result<void> acked(uint64_t offset, bool closed);

  /// Everything not acknowledged is to be sent again, the end included.
  void rewind();

  /// The reader reads no more; what is left is dropped, and so is whatever append() brings.
  bool closed() const { return closed_; }
  bool ended() const { return end_; }
  /// Every byte, and the end if there is one, was sent at least once since the last rewind().
  bool all_sent() const;
  /// Nothing but the end of the stream was not sent yet.
  bool only_end_left() const { return sent_ == held() && end_ && !all_sent(); }
  /// Every byte was acknowledged.
  bool all_acked() const { return first_ == buffer_.size(); }
  /// Offset of the first byte that is not acknowledged.
  uint64_t acknowledged() const { return offset_; }

 private:
  size_t held() const { return buffer_.size() - first_; }
  void drop(size_t count);

  size_t capacity_;
  std::string buffer_;  // from first_ on: not acknowledged
  size_t first_ = 0;
  uint64_t offset_ = 0;   // of buffer_[first_]
  size_t sent_ = 0;       // bytes after first_ that were sent
  size_t sent_ever_ = 0;  // the same, not reset by rewind(): what an Ack may cover
  bool end_ = false;
  bool end_sent_ = false;
  bool closed_ = false;
};

/// The receiving end: puts pieces in order, drops what it has, keeps what comes early.
class StreamReceiver {
 public:
  /// `offset`: where the stream begins for this receiver (what an earlier receiver has consumed).
  explicit StreamReceiver(uint64_t offset = 0, size_t window = kStreamWindow)
      : window_(window), consumed_(offset) {}

  /// One Data. Error: bytes beyond the window, beyond an announced end, or two different ends; the
  /// sender is broken, nothing of this piece was taken.
  Result<void> receive(uint64_t offset, std::string_view bytes, bool end);

  /// The bytes in order that were not consumed yet; valid until the next non-const call.
  std::string_view ready() const;
  /// The first `count` bytes of ready() have been written where they belong.
  void consume(size_t count);
  /// The destination takes no more (EPIPE): all that has come and will come counts as consumed.
  void close();

  bool closed() const { return closed_; }
  /// Everything before this has been consumed: the offset of an Ack.
  uint64_t offset() const { return consumed_; }
  /// The end is known and everything before it was consumed.
  bool ended() const { return end_ && *end_ == consumed_; }

 private:
  void place(uint64_t offset, std::string_view bytes);
  void discard_closed();

  size_t window_;
  std::string buffer_;  // buffer_[head_] is the byte at consumed_
  size_t head_ = 0;
  size_t in_order_ = 0;                 // bytes from head_ on without a gap
  std::map<uint64_t, uint64_t> early_;  // [first, last) beyond in_order_, apart from each other
  uint64_t consumed_;
  std::optional<uint64_t> end_;
  bool closed_ = false;
};

}  // namespace hob::wire
