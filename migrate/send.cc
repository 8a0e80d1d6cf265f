#include <poll.h>

#include <functional>
#include <future>
#include <optional>

#include "base/log.h"
#include "migrate/captive.h"
#include "migrate/capture.h"
#include "migrate/control.h"
#include "migrate/fault.h"
#include "migrate/handover.h"
#include "migrate/huge_pages.h"
#include "migrate/ipc.h"
#include "migrate/migrate.h"
#include "migrate/page_source.h"
#include "migrate/parts.h"
#include "migrate/precopy.h"
#include "migrate/relink.h"
#include "migrate/sketch.h"
#include "migrate/stages.h"
#include "migrate/thread_priority.h"

namespace hob::migrate {
namespace {

constexpr Duration kConnectLimit = seconds(10);
constexpr Duration kFreezeLimit = seconds(2);
constexpr Duration kCaptureLimit = seconds(60);

// True: threads must not be in the vdso when they are captured.
Result<bool> announce(const Guest& guest, const Platform& platform, const SendOptions& options,
                      bool runs, Link& link) {
  TreeView view = TRY(view_tree(guest));
  const uint32_t huge_pages = TRY(count_huge_pages(view.pids));
  TRY(control::send_announcement(link.control, {platform, std::move(view.tree), options.strategy,
                                                options.copy, runs, huge_pages}));
  return control::expect_ready(link.control);
}

/// On a thread of its own: it takes 10 ms where no other perf event is open on the machine.
RegisterSamples sample(const std::vector<Tid>& processes) {
  RegisterSamples samples;
  for (const Tid process : processes) samples.watch(process);
  return samples;
}

/// What the capture reads of every process.
void keep_open(const Guest& guest, proc::KeptOpen& files) {
  auto view = view_tree(guest);
  if (!view) return;
  for (const Tid pid : view->pids) {
    files.add(pid,
              {"status", "stat", "personality", "timers", "timens_offsets", "oom_score_adj", "fd"});
    files.add(pid, {("task/" + std::to_string(pid.value) + "/children").c_str()});
  }
  const Tid init{guest.sandbox->init()};
  files.add(init, {("task/" + std::to_string(init.value) + "/children").c_str(), "oom_score_adj",
                   "root/dev/shm"});
}

/// What the pages of an image will take, of which there is a draft. Room for more is cheap.
size_t pages_of(const Image& draft, const TouchedPages& touched) {
  constexpr size_t kPerThread = 8 * kPage, kMore = 64 * kPage;
  size_t size = kMore;
  for (const ProcessImage& p : draft.processes)
    size += p.page_bytes.size() + p.threads.size() * kPerThread;
  for (const auto& [process, pages] : touched) size += pages.size() * kPage;
  return size;
}

/// Nothing: the guest has something that drafts do not have.
Result<std::optional<Sketch>> send_draft(const Guest& guest, const Platform& platform, Link& link,
                                         Arena& arena) {
  auto sketched = sketch(guest, guest.advices, platform, arena);
  if (!sketched) {
    log::debug("{}", sketched.error().text);
    return std::optional<Sketch>();
  }
  TRY(fault::point(Fault::drafting));
  TRY(control::send_image(link.control, sketched->draft, control::Word::draft));
  TRY(control::expect(link.control, control::Word::drafted));
  return std::optional<Sketch>(std::move(*sketched));
}

/// Who is the live copy now?
enum class Verdict { target, source };

/// Sends what travels before the commit behind the image.
using Push = std::function<Result<void>()>;

// From the first byte of the image on, only the target's own word or the record at home can tell.
// Of a copy the target never becomes the live one.
Verdict await_verdict(Link& link, const Image& image, const SendOptions& options, const Push& push,
                      Yielding& yielding, Report& report, const std::function<bool()>& settle,
                      Error& why) {
  const bool copy = options.copy;
  auto told = [&]() -> Result<void> {
    TRY(fault::point(Fault::image_sending));
    report.image_bytes = TRY(control::send_image(link.control, image));
    stages::mark("send");
    TRY(fault::point(Fault::image_sent));
    Error unsent;
    if (auto pushed = push(); !pushed) {
      // The target says why, or is gone.
      unsent = std::move(pushed).error();
      link.bulk.shut();
    }
    link.control.set_patience(options.patience);
    for (;;) {
      auto word = control::next_after_image(link.control);
      if (!word && word.error().code != control::kRefused && unsent.code != 0) return unsent;
      // Nothing is given up for a checkpoint, and a move does not end as one.
      if (word.ok() && copy != (*word == control::Word::saved))
        return Error{"the link: the target does something else than was announced", EPROTO};
      switch (TRY(std::move(word))) {
        case control::Word::weaken:
          // The target is the live copy, and may have to wait for locks that others have.
          link.control.set_patience(kPagePatience);
          yielding.weaken();
          TRY(control::say(link.control, control::Word::weakened));
          break;
        case control::Word::let_go:
          link.control.set_patience(kPagePatience);
          yielding.let_go();
          TRY(control::say(link.control, control::Word::gone));
          TRY(fault::point(Fault::let_go));
          break;
        default:
          return {};
      }
    }
  }();
  if (told) return copy ? Verdict::source : Verdict::target;
  why = std::move(told).error();
  if (copy || why.code == control::kRefused) return Verdict::source;
  link.control.shut();  // whatever it says now comes too late: home decides
  return settle() ? Verdict::target : Verdict::source;
}

/// Whether pages are pushed, and what came of it.
struct Delivery {
  bool at_once;
  bool awaited;  ///< somebody wants this host back
  uint64_t pages = 0;
};

/// A connection has failed: is it because the target wants no more pages? Then it has said so.
bool wants_no_more(Link& link) {
  constexpr int kLastWords = 200;  // ms: what was said before may come after, on another connection
  for (;;) {
    pollfd p{link.control.fd(), POLLIN, 0};
    if (::poll(&p, 1, kLastWords) <= 0) return false;
    const auto word = control::hear(link.control);
    if (!word || *word == control::Word::complete) return word.ok();
  }
}

/// The next word, or none within `limit`. An Error if the target has ended one of the other two
/// connections and says nothing: it has found its link broken, and waits for another.
Result<std::optional<control::Word>> hear_within(Link& link, Duration limit) {
  const Time end = Clock::now() + limit;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(end - Clock::now()).count();
    pollfd p[] = {{link.control.fd(), POLLIN, 0},
                  {link.bulk.fd(), POLLRDHUP, 0},
                  {link.demand.fd(), POLLRDHUP, 0}};
    const int n = ::poll(p, std::size(p), static_cast<int>(std::max<int64_t>(left, 0)));
    if (n < 0 && errno != EINTR) return Error::sys("wait for", "the target");
    if (n > 0 && p[0].revents) return std::optional(TRY(control::hear(link.control)));
    if (n > 0) return Error{"the link: ended by the target", EPIPE};
    if (n == 0) return std::optional<control::Word>();
  }
}

/// Over one link: serves and pushes what the target has not `received`, until it has all, or wants
/// no more.
Result<void> deliver(const LivePages& pages, Link& link, const Guest& guest,
                     const PagesByProcess& received, Delivery& delivery, SourceHooks& hooks) {
  link.bulk.set_patience(kPagePatience);
  link.control.set_patience(kPagePatience);
  BulkPriority priority(!delivery.awaited);
  Pusher pusher(pages, link.bulk);
  pusher.pause_with(priority);
  struct Count {
    ~Count() { delivery.pages += pusher.pages(); }
    const Pusher& pusher;
    Delivery& delivery;
  } count{pusher, delivery};
  TRY(pusher.tell_populated());
  // Strategy::demand. The target's side decides, or the owner of this host.
  while (!delivery.at_once) {
    if (const auto word = TRY(hear_within(link, seconds(1)))) {
      if (word == control::Word::complete) return {};
      delivery.at_once = word == control::Word::hurry;
    }
    delivery.at_once = delivery.at_once || hooks.hurry() || TRY(guest.sandbox->cgroup().freezing());
  }
  TRY(pusher.push_all(received));
  TRY(pusher.end());
  for (;;) {
    const auto word = TRY(hear_within(link, kPagePatience));
    if (word == control::Word::complete) return {};
    if (!word) return Error{"the link: the target says nothing of the last page", ETIMEDOUT};
  }
}

Sent not_moved(Error why) {
  Sent sent;
  sent.obstacles.push_back({std::move(why.text)});
  return sent;
}

}  // namespace

Result<Sent> send(Guest& guest, const std::string& address, uint16_t port, const LinkKey& key,
                  SourceHooks& hooks, const SendOptions& options) {
  Sent sent;
  const MemoryPlan plan = plan_of(options.strategy);
  if (options.copy && !plan.before_commit)
    return Error{"make a checkpoint: strategy " + std::string(name_of(options.strategy)) +
                     " leaves pages behind; use freeze-copy or pre-copy",
                 EINVAL};
  sent.obstacles = TRY(check(guest));
  if (!sent.obstacles.empty()) return sent;
  TRY(fault::point(Fault::check));
  // Nothing known is in the way. The guest is untouched.

  const bool runs = !TRY(guest.sandbox->cgroup().freezing());
  std::optional<LightSession> light;
  std::optional<KeptOff> beside;
  if (const Place place = place_of(guest); runs && place.lone) beside.emplace(place.processor);
  if (runs) light.emplace();
  const Platform platform = TRY(this_platform());
  const std::vector<Tid> processes = TRY(view_tree(guest)).pids;
  for (const Tid process : processes)
    if (!guest.advices.knows(process)) guest.advices.read(process);
  std::future<RegisterSamples> sampling;
  if (runs && !plan.before_commit) sampling = std::async(std::launch::async, sample, processes);
  Link link = TRY(connect_link(address, port, key, kConnectLimit));
  link.control.set_patience(options.patience);
  const auto ready = announce(guest, platform, options, runs, link);
  if (!ready) {
    if (ready.error().code == control::kRefused || ready.error().code == kObstacle)
      return not_moved(ready.error());
    return ready.error();
  }
  // The target is prepared: its copies of the tree are parked, its memory is touched.

  std::optional<PreCopy> precopy;
  // Of a guest that stands still already nothing changes between rounds.
  if (plan.rounds && !TRY(guest.sandbox->cgroup().freezing())) {
    light.reset();  // rounds have to keep up with what the guest writes
    const auto means =
        options.compare_pages ? ChangeTracker::Means::comparison : ChangeTracker::Means::best;
    link.bulk.set_patience(kPagePatience);
    precopy.emplace(TRY(PreCopy::begin(guest, platform, link.bulk, means)));
    TRY(precopy->rounds([&hooks] { return hooks.hurry(); }));
    // Who wants it to stand still since may have frozen it while it was in our hands, for a moment.
    if (hooks.hurry()) TRY(guest.sandbox->cgroup().freeze());
  }
  // Most of the memory is there, if that is how it travels. The guest runs.

  RegisterSamples samples;
  if (sampling.valid()) samples = sampling.get();
  samples.begin();
  // A draft and an image, of an interpreter's changed file pages and many stacks.
  constexpr size_t kPages = 8u << 20;
  Arena arena(kPages);
  std::optional<Sketch> sketched;
  if (!options.copy && !TRY(guest.sandbox->cgroup().freezing()))
    sketched = TRY(send_draft(guest, platform, link, arena));
  // What can be is built at the target. The guest runs.

  proc::KeptOpen kept;
  keep_open(guest, kept);
  const int processor = place_of(guest).processor;
  if (sketched) sketched->files.prepare(processor);
  const TouchedPages touched = samples.take();
  constexpr size_t kWithoutDraft = 1u << 20;
  if (runs) arena.prepare(sketched ? pages_of(sketched->draft, touched) : kWithoutDraft);
  light.reset();
  beside.reset();
  std::optional<IpcVisit> visit(TRY(IpcVisit::to(guest)));
  Patience patience(kCaptureLimit);
  Captives captives =
      TRY(Captives::take(guest, kFreezeLimit, processor, [&hooks] { return hooks.hurry(); }));
  if (sketched) sketched->files.begin();
  TRY(fault::point(Fault::seized));
  const std::string hook_bytes = hooks.frozen();
  stages::mark("drain");
  // Nothing of the guest runs. Leaving this function gives all back.

  const Beforehand known = {guest.advices, sketched ? &*sketched : nullptr, touched};
  auto captured = capture(guest, captives, known, platform, *ready, arena);
  if (!captured && captured.error().code == kObstacle)
    return not_moved(std::move(captured).error());
  TRY(captured.ok() ? Result<void>() : Result<void>(captured.error()));
  Image& image = captured->image;
  image.hook_bytes = hook_bytes;
  stages::mark("finish");
  TRY(fault::point(Fault::captured));
  // The image is complete.

  const LivePages pages(captives.processes, image, captured->objects);
  std::optional<DemandServer> server;
  const Push push = [&]() -> Result<void> {
    captives.captured();
    // Before the target may ask for what only one copy can have open.
    if (sketched) sketched->files.clear();
    visit.reset();
    server.emplace(pages, link.demand);
    if (!plan.before_commit) return {};
    captives.take_time();
    link.bulk.set_patience(kPagePatience);
    if (precopy) return precopy->finish(pages, captives.processes);
    Pusher pusher(pages, link.bulk);
    TRY(pusher.push_all());
    sent.report.pages_moved = pusher.pages();
    return pusher.end();
  };
  Error why;
  Yielding yielding(captives, image, platform);
  const auto settle = [&] {  // which may take minutes
    captives.take_time();
    visit.reset();
    return hooks.settle();
  };
  const Verdict verdict =
      await_verdict(link, image, options, push, yielding, sent.report, settle, why);
  captives.take_time();
  if (verdict == Verdict::target)
    for (TakenBytes& bytes : captured->taken) bytes.keep();
  sent.report.freeze = Clock::now() - captives.stopped_at;
  stages::mark("wait for the target");
  stages::tell("source");
  if (verdict == Verdict::source && !(options.copy && why.code == 0))
    return std::move(why).in(options.copy ? "make a checkpoint" : "move the guest");
  count(image, sent.report);
  if (precopy) {
    sent.report.pages_moved += precopy->pages();
    sent.report.rounds = static_cast<uint32_t>(precopy->done().size());
  }
  sent.saved = options.copy;
  if (options.copy) return sent;
  sent.moved = true;
  for (Scratch& scratch : captured->borrowed) scratch.abandon();
  // The target is the live copy. This one can never run again: it stays stopped until it is killed.

  if (!captives.was_frozen()) LightSession::for_good();

  if (!plan.before_commit) {
    Delivery delivery{plan.pushes || captives.was_frozen(), captives.was_frozen()};
    Result<void> delivered = fault::point(Fault::told_running);
    if (delivered && server) server->await_calm();
    if (delivered) delivered = deliver(pages, link, guest, {}, delivery, hooks);
    // The pages are here and nowhere else.
    for (uint32_t number = 1; !delivered && may_relink(delivered.error()); number++) {
      if (wants_no_more(link)) {
        delivered = {};
        break;
      }
      log::warning("{}; the link to {} is made again", delivered.error().text, address);
      if (server) {
        server->stop();
        sent.report.pages_demanded += server->served();
        server.reset();
      }
      for (Connection* c : {&link.control, &link.demand, &link.bulk}) {
        sent.report.wire_bytes += c->sent_bytes();
        c->break_off();
      }
      auto again = relink(address, port, key, number, kRelinkLimit);
      if (!again) {
        delivered = std::move(again).error().in(delivered.error().text + "; make the link again");
        break;
      }
      link = std::move(again->link);
      server.emplace(pages, link.demand);
      delivered = deliver(pages, link, guest, again->received, delivery, hooks);
    }
    sent.report.pages_moved += delivery.pages;
    if (!delivered) sent.lost = std::move(delivered).error().text;
  }
  // None where the link broke before it was needed, and home says that the target lives.
  if (server) {
    server->stop();
    sent.report.pages_demanded += server->served();
  }
  captives.destroy(!guest.lowest_priority);
  for (const Connection* c : {&link.control, &link.demand, &link.bulk})
    sent.report.wire_bytes += c->sent_bytes();
  // Every page is there. Nothing of the guest is left here.
  return sent;
}

}  // namespace hob::migrate
