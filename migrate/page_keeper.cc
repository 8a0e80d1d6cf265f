#include "migrate/page_keeper.h"

#include <cerrno>

#include "base/log.h"

namespace hob::migrate {

PageKeeper::PageKeeper(PageStore store, std::pair<Connection, Connection> demand,
                       std::pair<Connection, Connection> bulk)
    : store_(std::move(store)),
      demand_(std::move(demand.first)),
      sink_demand_(std::move(demand.second)),
      bulk_(std::move(bulk.first)),
      sink_bulk_(std::move(bulk.second)) {}

Result<std::unique_ptr<PageKeeper>> PageKeeper::create(PageStore store) {
  auto demand = TRY(connect_threads());
  auto bulk = TRY(connect_threads());
  return std::unique_ptr<PageKeeper>(
      new PageKeeper(std::move(store), std::move(demand), std::move(bulk)));
}

PageKeeper::~PageKeeper() {
  if (source_) source_->shut();
  if (filler_.joinable()) filler_.join();
  bulk_.shut();
  if (pusher_.joinable()) pusher_.join();
}

void PageKeeper::fill(Connection bulk, std::function<void()> failed) {
  source_ = std::make_unique<Connection>(std::move(bulk));
  source_->set_patience(kPagePatience);
  filler_ = std::thread([this, failed = std::move(failed)] {
    outcome_ = take_all();
    if (!outcome_) failed();
  });
}

Result<void> PageKeeper::take_all() {
  Bytes scratch(stream::kBatchBytes);
  for (;;) {
    const auto record = TRY(stream::decode_record(TRY(source_->receive()), scratch));
    if (TRY(store_.take(record))) return {};
  }
}

Result<void> PageKeeper::filled() {
  if (filler_.joinable()) filler_.join();
  return outcome_;
}

void PageKeeper::serve() {
  CHECK(!filler_.joinable());
  server_ = std::make_unique<DemandServer>(store_, demand_);
}

void PageKeeper::push() {
  pusher_ = std::thread([this] { push_all(); });
}

void PageKeeper::push_all() {
  BulkPriority priority(false);
  bulk_.set_patience(kPagePatience);
  Pusher pusher(store_, bulk_);
  pusher.pause_with(priority);
  auto pushed = [&]() -> Result<void> {
    TRY(pusher.push_all());
    return pusher.end();
  }();
  // A sink that has hung up needs no more: the guest has ended.
  if (pushed || pushed.error().code == EPIPE) return;
  log::error("{}", pushed.error().text);
  bulk_.shut();  // the sink then knows that pages are lost
}

}  // namespace hob::migrate
