#include "migrate/page_sink.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "migrate/fault.h"
#include "migrate/page_stream.h"
#include "migrate/thread_priority.h"

namespace hob::migrate {
namespace {

template <class T>
T head_of(std::span<const std::byte> record) {
  T head;
  std::memcpy(&head, record.data(), sizeof head);
  return head;
}

// Lets the thread that reads the events go on: copies fail until it has read them.
void step_back() {
  ::sched_yield();
  ::usleep(20);
}

}  // namespace

PageSink::PageSink(Connection demand, Connection bulk, Events events, Fd done, Fd wake,
                   Duration relink, Duration silence)
    : link_(std::move(demand), std::move(bulk), relink, silence),
      events_(std::move(events)),
      done_(std::move(done)),
      wake_(std::move(wake)) {}

Result<std::unique_ptr<PageSink>> PageSink::create(Connection demand, Connection bulk,
                                                   Events events, Duration relink,
                                                   Duration silence) {
  Fd done(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      wake_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!done || !wake_fd) return Error::sys("make", "an eventfd");
  return std::unique_ptr<PageSink>(new PageSink(std::move(demand), std::move(bulk),
                                                std::move(events), std::move(done),
                                                std::move(wake_fd), relink, silence));
}

PageSink::~PageSink() {
  stop();
}

void PageSink::add(uint32_t process, Fd uffd, const std::vector<HeldBack>& registered) {
  std::lock_guard guard(lock_);
  auto space = std::make_unique<Space>();
  space->process = process;
  space->uffd = std::move(uffd);
  for (const HeldBack& held : registered) {
    (stream::is_object(held.source) ? space->shared : space->own).add(held.target, held.source);
    if (held.wiped_on_fork) space->wiped_on_fork.push_back(held.target);
  }
  spaces_.push_back(std::move(space));
  const uint64_t one = 1;  // the thread that serves faults looks at it from now on
  CHECK(::write(wake_.get(), &one, sizeof one) == sizeof one);
}

PageSink::Prepared PageSink::prepare() {
  auto crew = std::make_unique<Crew>(3, [](size_t number) {
    if (number < 2) go_first();  // a program waits (ENGINE.md P14)
    // With its first allocation a thread gets a heap of its own, and that and the first pages of
    // its stack take 20 us.
    std::array<char, 4 * kPage> stack;
    std::vector<pollfd> heap(1);
    ::explicit_bzero(stack.data(), stack.size());
    ::explicit_bzero(heap.data(), sizeof heap[0]);
  });
  return {std::move(crew), std::vector<std::byte>(stream::kBatchBytes)};
}

void PageSink::start(Prepared prepared, bool light) {
  light_ = light;
  crew_ = std::move(prepared.crew);
  scratch_ = std::move(prepared.scratch);
  crew_->begin(
      {[this] { serve_faults(); }, [this] { receive_demanded(); }, [this] { receive_pushed(); }});
}

void PageSink::open() {
  {
    std::lock_guard guard(lock_);
    open_ = true;
  }
  opened_.notify_all();
}

void PageSink::stop() {
  stopping_ = true;
  open();
  link_.stop();
  const uint64_t one = 1;
  if (::write(wake_.get(), &one, sizeof one) < 0) CHECK(errno == EAGAIN);
  if (crew_) crew_->join();
}

Result<void> PageSink::outcome() const {
  return outcome_;
}

// ---- faults and events of the address spaces

void PageSink::serve_faults() {
  PageLink::Held link = link_.current();
  while (!stopping_) {
    std::vector<pollfd> polled = {{wake_.get(), POLLIN, 0}};
    std::vector<size_t> which;
    bool again;
    {
      std::lock_guard guard(lock_);
      again = !zeros_.empty();
      for (size_t i = 0; i < spaces_.size(); i++) {
        if (spaces_[i]->dead) continue;
        polled.push_back({spaces_[i]->uffd.get(), POLLIN, 0});
        which.push_back(i);
      }
    }
    if (::poll(polled.data(), polled.size(), again ? 1 : 1000) < 0) continue;
    uint64_t woken;
    if (polled[0].revents && ::read(wake_.get(), &woken, sizeof woken) < 0) CHECK(errno == EAGAIN);
    std::vector<std::pair<uint32_t, uint64_t>> requests;
    {
      urgent_++;
      std::lock_guard guard(lock_);
      urgent_--;
      for (size_t i = 0; i < which.size(); i++)
        if (polled[i + 1].revents) read_events(which[i], requests);
      retry_zeros();
      if (const auto now = link_.current(); now != link) {
        link = now;
        ask_again(requests);
      }
    }
    for (auto [process, address] : requests) {
      demanded_++;
      const stream::Request request = {address, process, 0};
      // If it does not get there: the receivers notice, and a new link is asked for all.
      if (!link->demand.send({std::as_bytes(std::span(&request, 1))})) break;
    }
  }
}

// Of a link made again: everything that somebody waits for.
void PageSink::ask_again(std::vector<std::pair<uint32_t, uint64_t>>& requests) {
  requests.clear();
  for (const auto& [key, waiting] : waiting_)
    if (requests.empty() || requests.back() != key) requests.push_back(key);
}

void PageSink::renew(Connection demand, Connection bulk) {
  link_.renew(std::move(demand), std::move(bulk));
  const uint64_t one = 1;
  if (::write(wake_.get(), &one, sizeof one) < 0) CHECK(errno == EAGAIN);
}

PagesByProcess PageSink::received() {
  std::lock_guard guard(lock_);
  PagesByProcess all;
  for (const uint32_t process : received_.processes()) all[process] = received_.of(process);
  return all;
}

// ---- installing pages

PageSink::Installed PageSink::copy(Space& space, Range target, const std::byte* from) {
  uint64_t size = target.size();
  while (!target.empty() && !space.dead) {
    uffdio_copy copy = {};
    copy.dst = target.start;
    copy.src = reinterpret_cast<uint64_t>(from);
    copy.len = size;
    uint64_t done = size;
    if (::ioctl(space.uffd.get(), UFFDIO_COPY, &copy) < 0) {
      done = copy.copy > 0 ? static_cast<uint64_t>(copy.copy) : 0;
      if (done == 0) {
        if (errno == EAGAIN) return Installed::again;
        if (errno == ESRCH) {
          space.dead = true;
          return Installed::done;
        }
        // A copy must lie in one mapping of the kernel's, and neighbours that differ in protection
        // or advice are two: ENOENT. What is in front of their border comes in smaller steps.
        if (errno == ENOENT && size > kPage) {
          size = (size / 2 + kPage - 1) & ~(kPage - 1);
          continue;
        }
        // EEXIST: touched already. ENOENT and others: no longer memory of this kind.
        space.wake(target.start);
        done = kPage;
      }
    }
    target.start += done;
    from += done;
    size = target.size();
  }
  return Installed::done;
}

void PageSink::install(uint32_t process, uint64_t source, std::span<const std::byte> bytes) {
  constexpr uint64_t kUnderLock = 64u << 10;  // 16 us: a fault waits no longer for the lock
  while (!bytes.empty()) {
    const auto size = std::min<uint64_t>(bytes.size(), kUnderLock);
    const Range part{source, source + size};
    bool again = false;
    while (urgent_ > 0) ::sched_yield();
    {
      std::lock_guard guard(lock_);
      for (auto& space : spaces_) {
        if ((process != stream::kObjects && space->process != process) || space->dead) continue;
        const Territory& territory = process == stream::kObjects ? space->shared : space->own;
        territory.each_target_of(part, [&](Range target, uint64_t from) {
          if (copy(*space, target, bytes.data() + (from - source)) == Installed::again)
            again = true;
        });
      }
    }
    if (again && !stopping_) {
      step_back();  // what has been copied will answer EEXIST
      continue;
    }
    source += size;
    bytes = bytes.subspan(size);
  }
}

void PageSink::resolve_waiting(uint32_t process, uint64_t source, bool zero) {
  std::lock_guard guard(lock_);
  auto [first, last] = waiting_.equal_range({process, source});
  for (auto at = first; at != last; ++at) {
    const Waiting& w = at->second;
    Space& space = *spaces_[w.space];
    // Given back or moved while its page was under way: it reads as zero, or the program looks
    // again.
    if (zero || space.source_of(w.target) != source)
      fill_zero(w.space, w.target);
    else if (!space.dead)
      space.wake(w.target);
  }
  waiting_.erase(first, last);
}

// ---- the two connections

void PageSink::receive_demanded() {
  for (PageLink::Held link = link_.current(); link; link = link_.after_demand(link))
    receive_answers(link->demand);
}

void PageSink::receive_answers(Connection& demand) {
  demand.set_patience(kForEver);  // answers come when there are questions
  for (;;) {
    auto record = demand.receive();
    if (!record || record->size() < sizeof(stream::Reply)) return;
    const auto reply = head_of<stream::Reply>(*record);
    auto page = record->subspan(sizeof reply);
    if (reply.address % kPage || page.size() != (reply.zero ? 0 : kPage)) return;
    if (!reply.zero) {
      install(reply.process, reply.address, page);
      pages_++;
    }
    resolve_waiting(reply.process, reply.address, reply.zero);
  }
}

void PageSink::learn_populated(const stream::Record& record) {
  std::lock_guard guard(lock_);
  auto& known = populated_[record.process];
  for (size_t i = 0; i < record.range_count(); i++) {
    const Range range = record.range(i);
    known.emplace(range.start, range.end);
  }
}

// True: it was the last one.
Result<bool> PageSink::receive_record(Connection& bulk) {
  const auto record = TRY(stream::decode_record(TRY(bulk.receive()), scratch_));
  switch (record.kind) {
    case stream::Kind::populated:
      learn_populated(record);
      return false;
    case stream::Kind::mapped: {
      std::lock_guard guard(lock_);
      mapped_.insert(record.process);
      return false;
    }
    case stream::Kind::pages:
      install(record.process, record.address, record.pages);
      pages_ += record.pages.size() / kPage;
      {
        std::lock_guard guard(lock_);
        received_.add(record.process, {record.address, record.address + record.pages.size()});
      }
      TRY(fault::point(Fault::pull));
      TRY(fault::link_point(Fault::cut));
      return false;
    case stream::Kind::end:
      return true;
    default:
      return Error{"the page stream: a record that has no place here", EBADMSG};
  }
}

void PageSink::receive_pushed() {
  {
    std::unique_lock guard(lock_);
    opened_.wait(guard, [this] { return open_; });
  }
  BulkPriority priority(light_);
  PageLink::Held link = link_.current();
  for (;;) {
    auto received = receive_until_end(link->bulk, priority);
    if (received || !may_relink(received.error())) return finish(std::move(received));
    link = link_.after_bulk(link, received.error());
    if (!link) return finish(std::move(received));
  }
}

Result<void> PageSink::receive_until_end(Connection& bulk, BulkPriority& priority) {
  do priority.pause();
  while (!TRY(receive_record(bulk)));
  return {};
}

void PageSink::finish(Result<void> outcome) {
  {
    std::lock_guard guard(lock_);
    // Closing ends all waiting; what is still missing was never populated and reads as zeros.
    if (outcome)
      for (auto& space : spaces_) {
        space->uffd.reset();
        space->dead = true;
      }
    outcome_ = std::move(outcome);
    finished_at_ = Clock::now();
  }
  if (outcome_)
    events_.complete();
  else
    events_.lost();
  const uint64_t one = 1;
  CHECK(::write(done_.get(), &one, sizeof one) == sizeof one);
}

}  // namespace hob::migrate
