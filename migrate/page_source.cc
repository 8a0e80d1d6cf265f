#include "migrate/page_source.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "migrate/control.h"
#include "migrate/fault.h"
#include "migrate/objects.h"
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

/// What may be asked for, and where it lies.
class Memory {
 public:
  Memory(const std::vector<CaptiveProcess>& processes, const Image& image,
         const std::vector<Fd>& objects)
      : processes_(processes), image_(image), objects_(objects) {}

  uint32_t processes() const { return static_cast<uint32_t>(processes_.size()); }

  /// The target gets the memory that it was told of and no other.
  bool may_be_asked_for(const stream::Request& request) const {
    if (request.address % kPage) return false;
    if (request.process == stream::kObjects) {
      if (!stream::is_object(request.address)) return false;
      const uint64_t index = stream::object_index(request.address);
      return index < objects_.size() && image_.objects[index].streamed &&
             stream::object_offset(request.address) < image_.objects[index].size;
    }
    if (request.process >= processes_.size()) return false;
    for (const MappingImage& m : image_.processes[request.process].mappings)
      if (streamed(m) && m.range.contains(request.address)) return true;
    return false;
  }

  Result<void> read(uint32_t process, uint64_t address, std::span<std::byte> to) const {
    if (process != stream::kObjects)
      return proc::read_memory(processes_[process].pid, {address}, to.data(), to.size());
    const Fd& file = objects_[stream::object_index(address)];
    const auto offset = static_cast<off_t>(stream::object_offset(address));
    const ssize_t n = ::pread(file.get(), to.data(), to.size(), offset);
    if (n < 0) return Error::sys("read", "shared memory");
    std::fill(to.begin() + n, to.end(), std::byte{});  // its last page may be a part of one
    return {};
  }

  /// Ascending ranges that hold something.
  Result<std::vector<Range>> populated(uint32_t process) const {
    return process == stream::kObjects ? populated_objects() : populated_pages(process);
  }

 private:
  Result<std::vector<Range>> populated_objects() const {
    std::vector<Range> found;
    for (uint32_t i = 0; i < objects_.size(); i++) {
      if (!image_.objects[i].streamed) continue;
      for (const Range& r : TRY(migrate::populated(objects_[i], image_.objects[i].size)))
        found.push_back({stream::object_address(i, r.start), stream::object_address(i, r.end)});
    }
    return found;
  }

  Result<std::vector<Range>> populated_pages(uint32_t p) const {
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

  const std::vector<CaptiveProcess>& processes_;
  const Image& image_;
  const std::vector<Fd>& objects_;
};

class DemandServer {
 public:
  DemandServer(const Memory& memory, Connection& link)
      : memory_(memory), link_(link), thread_([this] { run(); }) {}
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
    if (!memory_.may_be_asked_for(request)) return false;
    std::byte page[kPage];
    stream::Reply reply = {request.address, request.process, 0};
    if (!memory_.read(request.process, request.address, page)) return false;
    link_.set_patience(kPagePatience);
    if (all_zero(page)) {
      reply.zero = 1;
      return link_.send({bytes_of(reply)}).ok();
    }
    return link_.send({bytes_of(reply), page}).ok();
  }

  const Memory& memory_;
  Connection& link_;
  std::atomic<uint64_t> served_{0};
  std::thread thread_;
};

class Pusher {
 public:
  Pusher(const Memory& memory, Connection& link)
      : memory_(memory), link_(link), buffer_(stream::kBatchBytes) {}

  Result<uint64_t> push_all() {
    std::vector<std::pair<uint32_t, std::vector<Range>>> maps;
    for (uint32_t p = 0; p < memory_.processes(); p++)
      maps.emplace_back(p, TRY(memory_.populated(p)));
    maps.emplace_back(stream::kObjects, TRY(memory_.populated(stream::kObjects)));
    for (const auto& [process, ranges] : maps) TRY(tell_populated(process, ranges));
    for (const auto& [process, ranges] : maps)
      // From the top: stacks and young mappings, which are the likeliest to be needed, lie there.
      for (size_t i = ranges.size(); i-- > 0;) TRY(push_range(process, ranges[i]));
    TRY(fault::point(Fault::push));
    TRY(link_.send({bytes_of(stream::Head{stream::Kind::end, 0, 0})}));
    return pages_;
  }

 private:
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
      TRY(memory_.read(p, range.start, std::span(buffer_).first(size)));
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

  const Memory& memory_;
  Connection& link_;
  Bytes buffer_;
  uint64_t pages_ = 0;
};

}  // namespace

Result<Pushed> push_pages(const std::vector<CaptiveProcess>& processes, const Image& image,
                          const std::vector<Fd>& objects, Link& link) {
  const Memory memory(processes, image, objects);
  link.bulk.set_patience(kPagePatience);
  link.control.set_patience(kPagePatience);
  DemandServer server(memory, link.demand);
  // Below the demand server and below what the owner does. It is this thread's own nice value.
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 5);
  auto pages = Pusher(memory, link.bulk).push_all();
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 0);
  if (!pages) return std::move(pages).error().in("push the pages");
  TRY(control::expect(link.control, control::Word::complete));
  server.stop();
  return Pushed{*pages, server.served()};
}

}  // namespace hob::migrate
