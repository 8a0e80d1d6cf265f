#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "base/result.h"
#include "migrate/link.h"
#include "migrate/page_source.h"
#include "migrate/page_store.h"

namespace hob::migrate {

/// Keeps pages at the target: takes them from the source while the guest still lives there, and
/// then is to the PageSink what a source would be, without a network in between.
class PageKeeper {
 public:
  static Result<std::unique_ptr<PageKeeper>> create(PageStore store);
  /// Ends its threads, whatever they are doing.
  ~PageKeeper();

  /// Takes pages on a thread of its own until the source says that it was the last; `failed` is
  /// called there if it never does.
  void fill(Connection bulk, std::function<void()> failed);
  /// Waits for the last page.
  Result<void> filled();

  /// The connections for the sink. Once.
  Connection take_demand() { return std::move(sink_demand_); }
  Connection take_bulk() { return std::move(sink_bulk_); }
  /// From here on pages are served, and nothing is put into the store any more.
  void serve();
  /// All that has not been asked for follows.
  void push();

  PageStore& store() { return store_; }

 private:
  PageKeeper(PageStore store, std::pair<Connection, Connection> demand,
             std::pair<Connection, Connection> bulk);
  Result<void> take_all();
  void push_all();

  PageStore store_;
  Connection demand_, sink_demand_, bulk_, sink_bulk_;
  std::unique_ptr<Connection> source_;
  std::unique_ptr<DemandServer> server_;
  std::thread filler_, pusher_;
  Result<void> outcome_;
};

}  // namespace hob::migrate
