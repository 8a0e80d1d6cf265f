#include "migrate/page_source.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "migrate/control.h"
#include "migrate/fault.h"
#include "migrate/page_stream.h"
#include "migrate/pagemap.h"

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

bool streamed(const MappingImage& m) {
  return m.kind == MappingKind::anonymous || m.kind == MappingKind::stack;
}

class DemandServer {
 public:
  DemandServer(const std::vector<CaptiveProcess>& processes, const Image& image, Connection& link)
      : processes_(processes), image_(image), link_(link), thread_([this] { run(); }) {}
  ~DemandServer() { stop(); }

  void stop() {
    link_.shut();
    if (thread_.joinable()) thread_.join();
  }
  uint64_t served() const { return served_; }

 private:
  void run() {
    // A program waits for each of these; the pushing thread waits for none (ENGINE.md P14).
    sched_param first = {1};
    ::sched_setscheduler(0, SCHED_FIFO, &first);
    while (serve_one()) served_++;
  }

  bool serve_one() {
    link_.set_patience(hours(24));  // nobody has to fault
    auto record = link_.receive();
    if (!record || record->size() != sizeof(stream::Request)) return false;
    stream::Request request;
    std::memcpy(&request, record->data(), sizeof request);
    if (request.process >= processes_.size() || !may_have(request)) return false;
    std::byte page[kPage];
    stream::Reply reply = {request.address, request.process, 0};
    if (!proc::read_memory(processes_[request.process].pid, {request.address}, page, kPage))
      return false;
    link_.set_patience(seconds(30));
    if (all_zero(page)) {
      reply.zero = 1;
      return link_.send({bytes_of(reply)}).ok();
    }
    return link_.send({bytes_of(reply), page}).ok();
  }

  // The target gets the memory that it was told of and no other.
  bool may_have(const stream::Request& request) const {
    if (request.address % kPage) return false;
    for (const MappingImage& m : image_.processes[request.process].mappings)
      if (streamed(m) && m.range.contains(request.address)) return true;
    return false;
  }

  const std::vector<CaptiveProcess>& processes_;
  const Image& image_;
  Connection& link_;
  std::atomic<uint64_t> served_{0};
  std::thread thread_;
};

class Pusher {
 public:
  Pusher(const std::vector<CaptiveProcess>& processes, const Image& image, Connection& link)
      : processes_(processes), image_(image), link_(link), buffer_(stream::kBatchBytes) {}

  Result<uint64_t> push_all() {
    std::vector<std::vector<Range>> maps(processes_.size());
    for (uint32_t p = 0; p < processes_.size(); p++) {
      maps[p] = TRY(populated(p));
      TRY(tell_populated(p, maps[p]));
    }
    for (uint32_t p = 0; p < processes_.size(); p++)
      // From the top: stacks and young mappings, which are the likeliest to be needed, lie there.
      for (size_t i = maps[p].size(); i-- > 0;) TRY(push_range(p, maps[p][i]));
    TRY(fault::point(Fault::push));
    TRY(link_.send({bytes_of(stream::Head{stream::Kind::end, 0, 0})}));
    return pages_;
  }

 private:
  Result<std::vector<Range>> populated(uint32_t p) {
    PageMap map = TRY(PageMap::open(processes_[p].pid));
    std::vector<Range> found;
    Range span;
    for (const MappingImage& m : image_.processes[p].mappings) {
      if (!streamed(m)) continue;
      if (m.range.start != span.end) {
        TRY(map.scan(span, found));
        span.start = m.range.start;
      }
      span.end = m.range.end;
    }
    TRY(map.scan(span, found));
    return found;
  }

  Result<void> tell_populated(uint32_t p, const std::vector<Range>& ranges) {
    constexpr size_t kPerRecord = 8192;
    for (size_t at = 0; at < ranges.size(); at += kPerRecord) {
      auto some = std::span(ranges).subspan(at, std::min(kPerRecord, ranges.size() - at));
      TRY(link_.send({bytes_of(stream::Head{stream::Kind::populated, p, 0}), std::as_bytes(some)}));
    }
    return link_.send({bytes_of(stream::Head{stream::Kind::mapped, p, 0})});
  }

  Result<void> push_range(uint32_t p, Range range) {
    while (!range.empty()) {
      const size_t size = std::min(range.size(), stream::kBatchBytes);
      TRY(proc::read_memory(processes_[p].pid, {range.start}, buffer_.data(), size));
      TRY(send_nonzero(p, range.start, size));
      range.start += size;
    }
    return {};
  }

  Result<void> send_nonzero(uint32_t p, uint64_t address, size_t size) {
    for (size_t at = 0; at < size;) {
      if (all_zero(&buffer_[at])) {
        at += kPage;
        continue;
      }
      size_t end = at + kPage;
      while (end < size && !all_zero(&buffer_[end])) end += kPage;
      TRY(link_.send({bytes_of(stream::Head{stream::Kind::pages, p, address + at}),
                      std::span<const std::byte>(buffer_).subspan(at, end - at)}));
      pages_ += (end - at) / kPage;
      at = end;
    }
    return {};
  }

  const std::vector<CaptiveProcess>& processes_;
  const Image& image_;
  Connection& link_;
  Bytes buffer_;
  uint64_t pages_ = 0;
};

}  // namespace

Result<Pushed> push_pages(const std::vector<CaptiveProcess>& processes, const Image& image,
                          Link& link) {
  DemandServer server(processes, image, link.demand);
  // Below the demand server and below what the owner does. It is this thread's own nice value.
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 5);
  auto pages = Pusher(processes, image, link.bulk).push_all();
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 0);
  if (!pages) return std::move(pages).error().in("push the pages");
  TRY(control::expect(link.control, control::Word::complete));
  server.stop();
  return Pushed{*pages, server.served()};
}

}  // namespace hob::migrate
