#include "wire/byte_stream.h"

#include <fmt/core.h>

#include <algorithm>

namespace hob::wire {
namespace {

/// Consumed bytes at the front of a buffer are erased when they are many: erasing costs a memmove
/// of the rest, which is never longer than the window.
constexpr size_t kCompactAt = kStreamPiece;

void compact(std::string& buffer, size_t& head) {
  if (head != buffer.size() && head < kCompactAt) return;
  buffer.erase(0, head);
  head = 0;
}

}  // namespace

StreamSender::StreamSender(State state, size_t capacity)
    : capacity_(capacity),
      buffer_(std::move(state.bytes)),
      offset_(state.offset),
      sent_ever_(buffer_.size()),
      end_(state.end),
      closed_(state.closed) {}

StreamSender::State StreamSender::state() const {
  return {offset_, buffer_.substr(first_), end_, closed_};
}

size_t StreamSender::room() const {
  return end_ || closed_ || held() >= capacity_ ? 0 : capacity_ - held();
}

void StreamSender::append(std::string_view bytes) {
  if (closed_) return;
  CHECK(bytes.size() <= room());
  buffer_.append(bytes);
}

std::optional<StreamSender::Piece> StreamSender::piece(size_t limit) {
  const size_t reach = std::min(held(), kStreamWindow);
  if (all_sent() || (sent_ >= reach && reach < held())) return std::nullopt;
  const size_t count = std::min(limit, reach - sent_);
  Piece piece{offset_ + sent_, std::string_view(buffer_).substr(first_ + sent_, count), false};
  sent_ += count;
  sent_ever_ = std::max(sent_ever_, sent_);
  piece.end = end_ && sent_ == held();
  end_sent_ = end_sent_ || piece.end;
  return piece;
}

Result<void> StreamSender::acked(uint64_t offset, bool closed) {
  if (offset > offset_) {
    if (offset - offset_ > sent_ever_)
      return Error{fmt::format("take an acknowledgement: offset {}, but only {} bytes were sent",
                               offset, offset_ + sent_ever_)};
    drop(static_cast<size_t>(offset - offset_));
  }
  if (closed) {
    closed_ = true;
    drop(held());
  }
  return {};
}

void StreamSender::drop(size_t count) {
  first_ += count;
  offset_ += count;
  sent_ -= std::min(sent_, count);
  sent_ever_ -= std::min(sent_ever_, count);
  compact(buffer_, first_);
}

void StreamSender::rewind() {
  sent_ = 0;
  end_sent_ = false;
}

bool StreamSender::all_sent() const {
  return sent_ == held() && (!end_ || end_sent_ || closed_);
}

Result<void> StreamReceiver::receive(uint64_t offset, std::string_view bytes, bool end) {
  const uint64_t limit = consumed_ + window_;
  if (offset > limit || bytes.size() > limit - std::min(offset, limit))
    return Error{
        fmt::format("take bytes of a stream: {} bytes at offset {}, but the window ends at {}",
                    bytes.size(), offset, limit)};
  const uint64_t last = offset + bytes.size();
  const uint64_t seen = early_.empty() ? consumed_ + in_order_ : early_.rbegin()->second;
  if (end_ && (last > *end_ || (end && last != *end_)))
    return Error{
        fmt::format("take bytes of a stream: they reach to {}, but it ended at {}", last, *end_)};
  if (end && last < seen)
    return Error{
        fmt::format("take the end of a stream: at {}, but bytes up to {} have come", last, seen)};
  if (end) end_ = last;
  place(offset, bytes);
  if (closed_) discard_closed();
  return {};
}

void StreamReceiver::place(uint64_t offset, std::string_view bytes) {
  const uint64_t have = consumed_ + in_order_;
  if (offset < have) {
    const uint64_t twice = std::min<uint64_t>(have - offset, bytes.size());
    bytes.remove_prefix(twice);
    offset += twice;
  }
  if (bytes.empty()) return;
  const size_t at = head_ + static_cast<size_t>(offset - consumed_);
  if (buffer_.size() < at + bytes.size()) buffer_.resize(at + bytes.size());
  bytes.copy(buffer_.data() + at, bytes.size());

  uint64_t first = offset, last = offset + bytes.size();
  auto it = early_.upper_bound(last);
  while (it != early_.begin() && std::prev(it)->second >= first) {
    --it;
    first = std::min(first, it->first);
    last = std::max(last, it->second);
    it = early_.erase(it);
  }
  if (first == have)
    in_order_ = static_cast<size_t>(last - consumed_);
  else
    early_.emplace(first, last);
}

std::string_view StreamReceiver::ready() const {
  return std::string_view(buffer_).substr(head_, in_order_);
}

void StreamReceiver::consume(size_t count) {
  CHECK(count <= in_order_);
  head_ += count;
  consumed_ += count;
  in_order_ -= count;
  compact(buffer_, head_);
}

void StreamReceiver::close() {
  closed_ = true;
  discard_closed();
}

void StreamReceiver::discard_closed() {
  consume(in_order_);
}

}  // namespace hob::wire
