// hostd/exports.h, the part that makes checkpoints of jobs, and lets a job go on from its own when
// its host is lost.
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "base/log.h"
#include "hostd/exports.h"
#include "migrate/strategy.h"
#include "wire/grant_token.h"

namespace hob::hostd {
namespace {

/// Numbers of copies, apart from those of moves.
constexpr uint64_t kCopies = 1ull << 62;

}  // namespace

void Exports::checkpoint(const std::string& job, const std::string& path, const std::string& memory,
                         std::function<void(Result<uint64_t> size)> on_end) {
  ExportPtr e = find(job);
  const auto refuse = [&](const std::string& why) {
    on_end(Error{fmt::format("checkpoint {}: {}", job, why), EBUSY});
  };
  if (!e || e->phase != Export::Phase::running) return refuse("it does not run");
  if (e->saving) return refuse("a checkpoint of it is being made already");
  if (e->record.moving() || (e->last_move && !e->last_move->pages_in()))
    return refuse("it is on the move; try again");
  e->saving = std::make_unique<Saving>();
  e->saving->number = kCopies + ++copies_;
  e->saving->memory = memory.empty() ? std::string(name_of(migrate::Strategy::pre_copy)) : memory;
  e->saving->on_end = std::move(on_end);
  pb::Record record;
  record.set_job(job);
  record.set_attempt(e->saving->number);
  record.set_key(wire::random_bytes(32));
  record.set_path(path);
  *record.mutable_identity() = e->record.state().identity();
  std::weak_ptr<Export> weak = e;
  auto recorder = Recorder::start(
      loop_, *options_.recorders, options_.starter, options_.address, record,
      {[this, weak, key = record.key()](const pb::Listening& listening) {
         if (ExportPtr x = weak.lock(); x && x->saving) copy_to(x, listening, key);
       },
       [this, weak, number = e->saving->number](Result<uint64_t> size) {
         if (ExportPtr x = weak.lock(); x && x->saving && x->saving->number == number)
           end_saving(x, size.ok()
                             ? std::move(size)
                             : Error{fmt::format("checkpoint {}: {}", x->job(), size.error().text),
                                     size.error().code});
       }});
  if (!recorder.ok()) return end_saving(e, std::move(recorder).error());
  e->saving->recorder = std::move(*recorder);
}

void Exports::copy_to(const ExportPtr& e, const pb::Listening& listening, const std::string& key) {
  pb::Envelope envelope;
  pb::Depart* depart = envelope.mutable_depart();
  depart->set_job(e->job());
  depart->set_attempt(e->saving->number);
  depart->set_address(listening.address());
  depart->set_port(listening.port());
  depart->set_key(key);
  depart->set_memory(e->saving->memory);
  depart->set_copy(true);
  post_.send(e->record.site(), std::move(envelope));
}

void Exports::on_copied(const ExportPtr& e, const pb::Departed& departed) {
  // Saved: the recorder says how it ended.
  if (departed.saved()) return;
  std::string why = departed.obstacles_size() > 0 ? departed.obstacles(0) : departed.text();
  end_saving(e, Error{fmt::format("checkpoint {}: {}", e->job(), why), EIO});
}

void Exports::end_saving(const ExportPtr& e, Result<uint64_t> size) {
  const std::unique_ptr<Saving> saving = std::move(e->saving);
  saving->on_end(std::move(size));
}

// ---------------------------------------------------------------------------------- now and then

std::string Exports::own_checkpoint(const Export& e) const {
  return fmt::format("{}/{}/{}", options_.checkpoints, e.record.state().identity().uid(), e.job());
}

void Exports::save_now_and_then(const ExportPtr& e) {
  const uint64_t period = e->record.state().run().checkpoint_every_ns();
  if (period == 0) return;
  // The recorder writes it with the user's rights, in a directory that is his.
  const pb::Identity& identity = e->record.state().identity();
  const std::string directory = fmt::format("{}/{}", options_.checkpoints, identity.uid());
  if (auto made = make_directories(options_.checkpoints, 0711); !made.ok())
    return note(e, fmt::format("no checkpoints: {}", made.error().text));
  if (auto made = make_directories(directory, 0700); !made.ok())
    return note(e, fmt::format("no checkpoints: {}", made.error().text));
  if (::chown(directory.c_str(), identity.uid(), identity.gid()) < 0)
    return note(e, fmt::format("no checkpoints: {}", Error::sys("give away", directory).text));
  const auto length = nanoseconds(static_cast<int64_t>(std::min<uint64_t>(period, 1ull << 60)));
  e->save_timer = loop_.every(length, [this, weak = std::weak_ptr<Export>(e)] {
    ExportPtr x = weak.lock();
    if (!x || x->phase != Export::Phase::running || x->saving || !x->suspended.empty()) return;
    checkpoint(x->job(), own_checkpoint(*x), "", [this, weak](Result<uint64_t> size) {
      ExportPtr y = weak.lock();
      if (!y) return;
      if (size.ok()) {
        y->saved_wall = WallClock::now();
        y->save_trouble.clear();
      } else if (std::exchange(y->save_trouble, size.error().text) != size.error().text) {
        note(y, size.error().text);
      }
    });
  });
}

bool Exports::go_on_from_checkpoint(const ExportPtr& e, const std::string& why) {
  if (!e->saved_wall || e->record.state().run().checkpoint_every_ns() == 0) return false;
  const auto age = std::chrono::duration_cast<seconds>(WallClock::now() - *e->saved_wall).count();
  note(e, fmt::format("{}; the job goes on at home from its checkpoint of {} s ago", why, age));
  log::warning("job {}: {}; from its checkpoint of {} s ago", e->job(), why, age);
  // Should the lost copy be heard of again: it is not at this site, and is killed (on_where_is).
  pb::Envelope kill;
  kill.mutable_kill()->set_job(e->job());
  if (e->record.site() != post_.own_name()) post_.send(e->record.site(), std::move(kill));
  e->record.abandon(e->record.attempt());
  e->move.reset();
  e->last_move.reset();
  e->saving.reset();
  e->grant.reset();
  e->suspended.clear();
  e->site_silent = false;
  start_on(e, post_.own_name());
  return true;
}

}  // namespace hob::hostd
