#include <poll.h>

#include <algorithm>

#include "base/log.h"
#include "migrate/arrival.h"
#include "migrate/checkpoint.h"
#include "migrate/fault.h"
#include "migrate/landing.h"
#include "migrate/stages.h"
#include "migrate/thread_priority.h"
#include "migrate/urgency.h"

namespace hob::migrate {

Listener::Listener(std::unique_ptr<State> state) : state_(std::move(state)) {}
Listener::Listener(Listener&&) noexcept = default;
Listener::~Listener() = default;
uint16_t Listener::port() const {
  return state_->socket.port;
}

Result<Listener> Listener::open(const std::string& address, const LinkKey& key) {
  auto state = std::make_unique<State>();
  state->socket = TRY(listen_on(address));
  state->key = key;
  return Listener(std::move(state));
}

std::pair<Fd, LinkKey> Listener::take() {
  return {std::move(state_->socket.fd), state_->key};
}

Result<Link> Listener::accept(Duration patience) {
  return accept_link(state_->socket.fd.get(), state_->key, patience);
}

// ---- what goes on behind the guest

Arrival::State::~State() {
  readmission.reset();
  if (!sink) return;
  if (!finished) {
    // Without its pages the guest must not go on; the source need not keep them. It hears that
    // before its connections end, or it would take them for broken (wants_no_more(), send.cc).
    kill_guest();
    say(control::Word::complete);
  }
  sink->stop();
}

void Arrival::State::say(control::Word word, std::string_view text) {
  if (!control) return;
  std::lock_guard guard(saying);
  hurried = hurried || word == control::Word::hurry;
  completed = completed || word == control::Word::complete;
  // If the source is gone, so is what it would do about it; if it comes back, it is told again.
  if (auto told = control::say(*control, word, text); !told) log::warning("{}", told.error().text);
}

void Arrival::State::readmit(Listener listener) {
  auto [socket, key] = listener.take();
  const auto admitted = [this](Link link) {
    {
      std::lock_guard guard(saying);
      control.emplace(std::move(link.control));
      for (const auto& [said, word] : {std::pair(hurried, control::Word::hurry),
                                       std::pair(completed, control::Word::complete)})
        if (auto told = said ? control::say(*control, word) : Result<void>(); !told)
          log::warning("{}", told.error().text);
    }
    sink->renew(std::move(link.demand), std::move(link.bulk));
  };
  readmission.emplace(std::move(socket), key,
                      Readmission::Events{[this] { return sink->received(); }, admitted});
}

void Arrival::State::kill_guest() {
  auto killed = sandbox.cgroup().kill();
  if (!killed) log::error("{}", killed.error().text);
}

Result<void> Arrival::State::make_sink(std::unique_ptr<PageKeeper> from, std::optional<Link>& link,
                                       PageSink::Prepared prepared, bool tell_complete,
                                       Duration relink, Duration silence, bool light) {
  keeper = std::move(from);
  PageSink::Events events = {[this, tell_complete] {
                               if (tell_complete) say(control::Word::complete);
                             },
                             [this] { kill_guest(); }};
  sink = keeper ? TRY(PageSink::create(keeper->take_demand(), keeper->take_bulk(), events))
                : TRY(PageSink::create(std::move(link->demand), std::move(link->bulk), events,
                                       relink, silence));
  sink->start(std::move(prepared), light);
  return {};
}

Arrival::Arrival(std::unique_ptr<State> state) : state_(std::move(state)) {}
Arrival::Arrival(Arrival&&) noexcept = default;
Arrival::~Arrival() = default;
int Arrival::done_fd() const {
  return state_->sink->done_fd();
}
void Arrival::hurry() {
  state_->say(control::Word::hurry);
}

Result<Report> Arrival::finish() {
  State& s = *state_;
  pollfd p{done_fd(), POLLIN, 0};
  CHECK(::poll(&p, 1, 0) == 1);
  s.readmission.reset();
  s.sink->stop();
  s.finished = true;
  if (!s.sink->outcome()) {
    s.kill_guest();
    return Error{
        s.sink->outcome().error().text + "; pages of the guest are lost, it has been killed",
        s.sink->outcome().error().code};
  }
  s.report.push = std::max(s.sink->finished_at() - s.resumed_at, Duration{0});
  s.report.pages_moved += s.sink->pages();
  s.report.pages_demanded = s.sink->demanded();
  return s.report;
}

namespace {

Result<void> may_be_guest(const Guest& guest) {
  if (guest.user.uid != 0 && guest.user.gid != 0) return {};
  return Error{"receive a guest as root: hosts run nothing as root", EPERM};
}

Result<std::unique_ptr<PageKeeper>> keeper_for(const Guest& guest, Keep keep) {
  switch (keep) {
    case Keep::nowhere:
      return std::unique_ptr<PageKeeper>();
    case Keep::memory:
      return PageKeeper::create(TRY(PageStore::in_memory()));
    case Keep::file:
      return PageKeeper::create(TRY(PageStore::in_directory(guest.page_directory)));
  }
  CHECK(false);
}

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) != 0;
}

/// Waits until the sink has every page. Its connections have patience of their own.
Result<void> await_pages(const PageSink& sink) {
  pollfd p{sink.done_fd(), POLLIN, 0};
  while (::poll(&p, 1, -1) < 0)
    if (errno != EINTR) return Error::sys("wait for", "pages");
  return sink.outcome();
}

}  // namespace

/// From the image to the commit: `landing` has the image, `state` the sink.
static Result<void> land(Landing& landing, Arrival::State& state, TargetHooks& hooks,
                         bool before_commit) {
  TRY(landing.build(*state.sink));
  if (state.keeper) {
    TRY(state.keeper->filled());
    TRY(fault::point(Fault::kept));
    state.keeper->serve();
  }
  // The address spaces stand; what is not there yet will be asked for.
  if (before_commit) state.sink->open();

  stages::mark("hold back");
  TRY(landing.finish());
  stages::mark("clock");
  TRY(hooks.attached(landing.image().hook_bytes));
  stages::mark("attach");
  TRY(fault::point(Fault::restored));
  // Everything is restored and nothing runs. Confined: no privileges, the user's rights.

  if (before_commit && !state.keeper) {
    TRY(await_pages(*state.sink));
    TRY(fault::point(Fault::kept));
  } else if (readable(state.sink->done_fd()) || (!state.keeper && state.sink->is_broken())) {
    return Error{"the link broke before the commit", EPIPE};
  }
  // Nothing is missing, or the source is still there to send it.
  return {};
}

static void resume(Landing& landing, Arrival::State& state, Guest& guest) {
  stages::mark("commit");
  guest.root = landing.resume(guest.wishes);
  state.sink->open();  // earlier, pages that nobody waits for would take a processor from the guest
  state.resumed_at = Clock::now();
  stages::mark("resume");
  landing.count(state.report);
  if (state.keeper) state.keeper->push();
}

Result<Arrival> Arrival::receive(Listener listener, Guest& guest, TargetHooks& hooks,
                                 Duration patience) {
  TRY(may_be_guest(guest));
  std::optional<Link> link = TRY(listener.accept(patience));
  link->control.set_patience(patience);
  TRY(fault::point(Fault::connected));

  // Whatever fails from here to the commit is told to the source, which then goes on itself.
  auto state = std::make_unique<State>(*guest.sandbox);
  Connection& control = state->control.emplace(std::move(link->control));
  bool committed = false;
  auto received = [&]() -> Result<void> {
    const Announcement announcement = TRY(control::receive_announcement(control));
    if (announcement.copy) return Error{"receive a guest: the source makes a copy of it", EPROTO};
    std::optional<LightSession> light;
    std::optional<KeptOff> beside;
    if (announcement.runs) light.emplace();
    const MemoryPlan plan = plan_of(announcement.strategy);
    Landing landing = TRY(Landing::prepare(guest, announcement, patience));
    TRY(fault::point(Fault::prepared));
    auto keeper = TRY(keeper_for(guest, plan.keep));
    if (keeper) keeper->fill(std::move(link->bulk), [&control] { control.shut(); });
    auto prepared = PageSink::prepare();
    if (announcement.runs) prepared.crew->await_ready();
    TRY(control::say(control, control::Word::ready,
                     landing.other_kernel() ? control::kOtherKernel : ""));
    // Copies of the tree are parked in the sandbox.

    if (plan.rounds) control.set_patience(kRoundsPatience);
    std::optional<FirstOfAll> urgent(std::in_place);
    auto image = TRY(control::receive_image(control, landing.image_memory()));
    if (image.is_draft) {
      urgent.reset();  // the guest runs
      TRY(landing.draft(image.size));
      TRY(fault::point(Fault::drafted));
      TRY(control::say(control, control::Word::drafted));
      urgent.emplace();
      image = TRY(control::receive_image(control, landing.image_memory()));
      if (image.is_draft) return Error{"the link: a second draft", EPROTO};
    }
    // What could be built upon a draft stands.

    control.set_patience(patience);
    stages::mark("receive");
    TRY(landing.decode(image.size, [&] {
      prepared.crew.reset();
      urgent.reset();
      return keeper ? keeper->filled() : Result<void>();
    }));
    stages::mark("decode");
    // The image is whole and well-formed, and the copies are those it needs.

    const Duration relink =
        plan.before_commit ? Duration{0} : std::min<Duration>(kRelinkLimit, patience);
    // Until its owner wants its host back a source that does not push sends nothing.
    const Duration silence = plan.pushes ? kPagePatience : kForEver;
    if (!prepared.crew) prepared = PageSink::prepare();
    TRY(state->make_sink(std::move(keeper), link, std::move(prepared), !plan.before_commit, relink,
                         silence, announcement.runs));
    stages::mark("page sink");
    TRY(land(landing, *state, hooks, plan.before_commit));
    TRY(hooks.commit());
    committed = true;
    TRY(fault::point(Fault::committed));
    // Home has recorded this copy as the live one. There is no way back.

    TRY(landing.take_over(&control));
    TRY(fault::point(Fault::taken_over));
    // What only one copy can have is here.

    resume(landing, *state, guest);
    TRY(fault::point(Fault::running));
    // It runs.
    Result<void> told;
    {
      std::lock_guard guard(state->saying);
      told = control::say(control, control::Word::running);
    }
    if (!told) log::warning("tell the source that the guest runs: {}", told.error().text);
    urgent.reset();
    // It may have woken up behind the engine, and not one of 0.7 ms of clearing up is its own.
    if (state->report.threads == 1)
      if (const auto root = proc::stat(Tid{guest.root})) beside.emplace(root->processor);
    if (!plan.before_commit) state->readmit(std::move(listener));
    stages::tell("target");
    // A source that is not needed any more may be gone, and one that is comes back; it asks home.
    return {};
  }();
  if (received) return Arrival(std::move(state));
  Error why = std::move(received).error();
  if (!committed) {
    // If it does not arrive, the source asks home.
    state->say(control::Word::failed, why.text);
    return why;
  }
  // The guest lives here or nowhere. The source learns it from home; what it has not sent is lost.
  if (state->sink) state->sink->stop();
  return std::move(why).in("after the commit");
}

Result<Arrival> Arrival::restart(const CheckpointFile& checkpoint, Guest& guest, TargetHooks& hooks,
                                 Duration patience) {
  TRY(may_be_guest(guest));
  TRY(checkpoint.verify());
  auto state = std::make_unique<State>(*guest.sandbox);
  Landing landing = TRY(Landing::prepare(guest, checkpoint.announcement(), patience));
  const auto image = checkpoint.image();
  if (image.size() > landing.image_memory().size())
    return Error{"restart the checkpoint: its image is too large", E2BIG};
  std::copy(image.begin(), image.end(), landing.image_memory().begin());
  TRY(landing.decode(image.size()));
  std::optional<Link> none;
  TRY(state->make_sink(TRY(PageKeeper::create(TRY(checkpoint.store()))), none, PageSink::prepare(),
                       false, {}, kPagePatience, false));
  TRY(land(landing, *state, hooks, true));
  TRY(hooks.commit());
  TRY(landing.take_over(nullptr));
  resume(landing, *state, guest);
  return Arrival(std::move(state));
}

}  // namespace hob::migrate
