#include "migrate/page_source.h"

#include <algorithm>
#include <cstring>

#include "migrate/fault.h"

namespace hob::migrate {
namespace {

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

bool all_zero(const std::byte* page) {
  uint64_t words[64];
  for (size_t at = 0; at < kPage; at += sizeof words) {
    std::memcpy(words, page + at, sizeof words);
    uint64_t any = 0;
    for (uint64_t w : words) any |= w;
    if (any) return false;
  }
  return true;
}

bool holds(const Ranges& ranges, uint64_t address) {
  auto after = std::upper_bound(ranges.begin(), ranges.end(), address,
                                [](uint64_t a, const Range& r) { return a < r.end; });
  return after != ranges.end() && after->contains(address);
}

}  // namespace

// ---- demands

DemandServer::DemandServer(const PageOrigin& origin, Connection& link)
    : origin_(origin), link_(link), thread_([this] { run(); }) {
  // A program waits for each of these; the pushing thread waits for none (ENGINE.md P14).
  go_first(thread_);
}

void DemandServer::stop() {
  link_.shut();
  if (thread_.joinable()) thread_.join();
}

void DemandServer::run() {
  while (serve_one()) served_++;
}

void DemandServer::await_calm() const {
  constexpr auto kLook = std::chrono::microseconds(250);
  constexpr int kCalm = 4, kLimit = 20;  // looks
  uint64_t before = served_;
  for (int looks = 0, calm = 0; looks < kLimit && calm < kCalm; looks++) {
    std::this_thread::sleep_for(kLook);
    const uint64_t now = served_;
    calm = now == before ? calm + 1 : 0;
    before = now;
  }
}

bool DemandServer::serve_one() {
  link_.set_patience(kForEver);  // nobody has to fault
  auto record = link_.receive();
  if (!record || record->size() != sizeof(stream::Request)) return false;
  stream::Request request;
  std::memcpy(&request, record->data(), sizeof request);
  if (!origin_.has(request.process, request.address)) return false;
  std::byte page[kPage];
  stream::Reply reply = {request.address, request.process, 0};
  if (!origin_.read(request.process, request.address, page)) return false;
  link_.set_patience(kPagePatience);
  if (all_zero(page)) {
    reply.zero = 1;
    return link_.send({bytes_of(reply)}).ok();
  }
  return link_.send({bytes_of(reply), page}).ok();
}

// ---- the stream

Pusher::Pusher(const PageOrigin& origin, Connection& link)
    : origin_(origin), link_(link), buffer_(stream::kBatchBytes), packed_(stream::kBatchBytes) {}

Result<void> Pusher::tell_populated() {
  for (uint32_t process : origin_.owners())
    maps_.emplace_back(process, TRY(origin_.populated(process)));
  for (const auto& [process, ranges] : maps_) {
    TRY(tell(stream::Kind::populated, process, ranges));
    TRY(tell_mapped(process));
  }
  return {};
}

Result<void> Pusher::push_all(const PagesByProcess& received) {
  if (maps_.empty()) TRY(tell_populated());
  for (const auto& [process, ranges] : maps_) {
    const auto there = received.find(process);
    TRY(push(process, there == received.end() ? ranges : without(ranges, there->second)));
  }
  return {};
}

Result<void> Pusher::end() {
  TRY(fault::point(Fault::push));
  return link_.send({bytes_of(stream::Head{stream::Kind::end, 0, 0})});
}

Result<void> Pusher::tell(stream::Kind kind, uint32_t process, const Ranges& ranges) {
  constexpr size_t kPerRecord = 8192;
  for (size_t at = 0; at < ranges.size(); at += kPerRecord) {
    auto some = std::span(ranges).subspan(at, std::min(kPerRecord, ranges.size() - at));
    TRY(link_.send({bytes_of(stream::Head{kind, process, 0}), std::as_bytes(some)}));
  }
  return {};
}

Result<void> Pusher::tell_mapped(uint32_t process) {
  return link_.send({bytes_of(stream::Head{stream::Kind::mapped, process, 0})});
}

Result<void> Pusher::push(uint32_t process, const Ranges& ranges, const Ranges& sent) {
  // From the top: stacks and young mappings, which are the likeliest to be needed, lie there.
  for (size_t i = ranges.size(); i-- > 0;) TRY(push_range(process, ranges[i], sent));
  return {};
}

Result<void> Pusher::push_range(uint32_t process, Range range, const Ranges& sent) {
  Ranges cleared;
  for (; !range.empty(); range.start += std::min(range.size(), stream::kBatchBytes)) {
    const size_t size = std::min(range.size(), stream::kBatchBytes);
    if (priority_) priority_->pause();
    TRY(origin_.read(process, range.start, std::span(buffer_).first(size)));
    // Runs of pages that are wanted and not zero.
    size_t run = 0;
    for (size_t at = 0; at <= size; at += kPage) {
      const uint64_t address = range.start + at;
      bool travels = at < size;
      if (travels && wanted_) travels = wanted_(process, address, &buffer_[at]);
      if (travels && all_zero(&buffer_[at])) {
        travels = false;
        if (holds(sent, address)) cleared.push_back({address, address + kPage});
      }
      if (travels) continue;
      if (run < at)
        TRY(send_pages(process, range.start + run,
                       std::span<const std::byte>(buffer_).subspan(run, at - run)));
      run = at + kPage;
    }
  }
  return tell(stream::Kind::cleared, process, joined(std::move(cleared)));
}

Result<void> Pusher::send_pages(uint32_t process, uint64_t address,
                                std::span<const std::byte> pages) {
  const Time start = Clock::now();
  const size_t packed = packing_.pack_next() ? stream::pack(pages, packed_) : 0;
  if (packed > 0)
    TRY(link_.send({bytes_of(stream::Head{stream::Kind::packed, process, address}),
                    std::span<const std::byte>(packed_).first(packed)}));
  else
    TRY(link_.send({bytes_of(stream::Head{stream::Kind::pages, process, address}), pages}));
  packing_.sent(pages.size(), Clock::now() - start);
  pages_ += pages.size() / kPage;
  return fault::link_point(Fault::cut);
}

}  // namespace hob::migrate
