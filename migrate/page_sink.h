#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/crew.h"
#include "migrate/inheriting_mutex.h"
#include "migrate/link.h"
#include "migrate/page_link.h"
#include "migrate/page_stream.h"
#include "migrate/relink.h"
#include "migrate/territory.h"
#include "migrate/thread_priority.h"
#include "migrate/types.h"

namespace hob::migrate {

/// The target's end of the page stream: three threads that fill in what the moved processes touch
/// and what the source pushes, until all of it is there.
///
/// Every address space (those of the image, and those of children forked since) has a Territory,
/// which says what its addresses still stand for; one lock covers all territories, and a page is
/// installed under it, so that memory which the program gives back is never brought back by a late
/// page.
class PageSink {
 public:
  /// `complete` runs on a thread of the sink when the last page is in, before done_fd() is
  /// readable; `lost` when the stream broke before that. One of the two, once.
  struct Events {
    std::function<void()> complete;
    std::function<void()> lost;
  };
  /// `relink`: how long to wait for a source whose link has broken; none: what breaks is lost.
  /// `silence`: for how long it may push nothing.
  static Result<std::unique_ptr<PageSink>> create(Connection demand, Connection bulk, Events events,
                                                  Duration relink = {},
                                                  Duration silence = kPagePatience);
  ~PageSink();

  /// The memory of a process, as the page stream names it: registered ranges of its userfaultfd,
  /// and the addresses in the page stream that they stand for. Before it may run.
  void add(uint32_t process, Fd uffd, const std::vector<HeldBack>& registered);
  /// What start() needs, made beforehand. The threads that answer faults are urgent from the start:
  /// at the guest's first fault they would wait for a turn to become it.
  struct Prepared {
    std::unique_ptr<Crew> crew;
    std::vector<std::byte> scratch;  ///< touched: on the guest's processor that would take 0.1 ms
  };
  static Prepared prepare();
  /// `light`: see BulkPriority.
  void start(Prepared prepared, bool light);
  /// All memory has been added: what is pushed may be installed. It waits until then.
  void open();
  /// Ends the threads, whatever they are doing.
  void stop();

  /// The source has come back (relink.h); it has been told received().
  void renew(Connection demand, Connection bulk);
  PagesByProcess received();
  /// The link is broken now. It may be made again.
  bool is_broken() const { return link_.is_broken(); }

  int done_fd() const { return done_.get(); }
  Result<void> outcome() const;  ///< valid when done_fd() is readable
  uint64_t pages() const { return pages_; }
  uint64_t demanded() const { return demanded_; }
  Time finished_at() const { return finished_at_; }

 private:
  struct Space {
    uint32_t process;
    Fd uffd;
    Territory own;     // private memory
    Territory shared;  // of Image::objects
    std::vector<Range> wiped_on_fork = {};
    bool dead = false;
    std::optional<uint64_t> source_of(uint64_t target) const {
      const auto source = own.source_of(target);
      return source ? source : shared.source_of(target);
    }
    /// Who waits for a page looks again.
    void wake(uint64_t target) const;
  };
  struct Waiting {
    size_t space;
    uint64_t target;
  };
  enum class Installed { done, again };

  PageSink(Connection demand, Connection bulk, Events events, Fd done, Fd wake, Duration relink,
           Duration silence);
  void serve_faults();
  void receive_demanded();
  void receive_pushed();
  void receive_answers(Connection& demand);
  Result<void> receive_until_end(Connection& bulk, BulkPriority& priority);
  Result<bool> receive_record(Connection& bulk);
  void ask_again(std::vector<std::pair<uint32_t, uint64_t>>& requests);
  void finish(Result<void> outcome);

  void read_events(size_t space, std::vector<std::pair<uint32_t, uint64_t>>& requests);
  void on_fault(size_t space, uint64_t address,
                std::vector<std::pair<uint32_t, uint64_t>>& requests);
  void retry_zeros();
  void learn_populated(const stream::Record& record);
  bool populated(uint32_t process, uint64_t source) const;
  void fill_zero(size_t space, uint64_t target);
  void install(uint32_t process, uint64_t source, std::span<const std::byte> bytes);
  Installed copy(Space& space, Range target, const std::byte* from);
  void resolve_waiting(uint32_t process, uint64_t source, bool zero);

  PageLink link_;
  Events events_;
  Fd done_, wake_;
  InheritingMutex lock_;  // spaces_, waiting_, zeros_, populated_, mapped_
  std::vector<std::unique_ptr<Space>> spaces_;
  std::multimap<std::pair<uint32_t, uint64_t>, Waiting> waiting_;  // by process and source address
  std::vector<Waiting> zeros_;                                     // to be tried again
  std::map<uint32_t, std::map<uint64_t, uint64_t>> populated_;     // start to end, per process
  std::set<uint32_t> mapped_;                                      // whose map is complete
  ReceivedPages received_;                                         // under lock_, too
  std::atomic<int> urgent_{0};                                     // faults that want the lock
  std::atomic<bool> stopping_{false};
  std::condition_variable_any opened_;
  bool open_ = false;  // under lock_
  bool light_ = false;
  std::atomic<uint64_t> pages_{0}, demanded_{0};
  Time finished_at_{};
  Result<void> outcome_;
  std::unique_ptr<Crew> crew_;
  std::vector<std::byte> scratch_;
};

}  // namespace hob::migrate
