#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "base/log.h"
#include "migrate/capture.h"
#include "migrate/control.h"
#include "migrate/fault.h"
#include "migrate/migrate.h"
#include "migrate/page_sink.h"
#include "migrate/restore.h"
#include "migrate/stubs.h"

namespace hob::migrate {
namespace {

/// No image is larger: pages that must travel in it (changed copies of file pages) are the bulk of
/// it.
constexpr size_t kMaxImage = 1u << 30;
constexpr size_t kTouched = 4u << 20;

/// The guest's clock must not go back, however the hosts' own clocks differ: the caller has set the
/// offsets, this waits out what rounding and scheduling leave of a difference.
Result<void> wait_for_clock(Tid process, int64_t not_before) {
  // On a busy host the caller may have been told the time that much late.
  constexpr int64_t kMost = 500'000'000;
  for (;;) {
    const int64_t behind = not_before - TRY(guest_monotonic(process));
    if (behind <= 0) return {};
    if (behind > kMost)
      return Error{"resume the guest: its clock would go back by " +
                       std::to_string(behind / 1'000'000) +
                       " ms; the sandbox was given wrong clock offsets",
                   EINVAL};
    const timespec wait = {0, behind};
    ::nanosleep(&wait, nullptr);
  }
}

/// Bytes that the guest had not read yet go into its new pipe before anything else does.
Result<void> refill_input(const Guest& guest, const Bytes& input) {
  if (input.empty()) return {};
  for (const External& e : guest.externals) {
    if (e.kind != External::Kind::input) continue;
    const int capacity = ::fcntl(e.starter_end, F_GETPIPE_SZ);
    if (capacity < static_cast<int>(input.size()) &&
        ::fcntl(e.starter_end, F_SETPIPE_SZ, input.size()) < 0)
      return Error::sys("enlarge", "the input pipe");
    const ssize_t n = ::write(e.starter_end, input.data(), input.size());
    if (n != static_cast<ssize_t>(input.size()))
      return Error::sys("refill", "the input pipe", n < 0 ? errno : EAGAIN);
    return {};
  }
  return Error{"refill the input pipe: the starter has none for the guest", EBADF};
}

}  // namespace

struct Listener::State {
  ListenSocket socket;
  LinkKey key;
};

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

struct Arrival::State {
  explicit State(Connection c, Sandbox& s) : control(std::move(c)), sandbox(s) {}
  ~State() {
    if (!sink) return;
    sink->stop();
    // Without its pages the guest must not go on.
    if (!finished) kill_guest();
  }
  void kill_guest() {
    auto killed = sandbox.cgroup().kill();
    if (!killed) log::error("{}", killed.error().text);
  }

  Connection control;
  Sandbox& sandbox;
  std::unique_ptr<PageSink> sink;
  bool finished = false;
  Report report;
  Time resumed_at;
};

Arrival::Arrival(std::unique_ptr<State> state) : state_(std::move(state)) {}
Arrival::Arrival(Arrival&&) noexcept = default;
Arrival::~Arrival() = default;
int Arrival::done_fd() const {
  return state_->sink->done_fd();
}

Result<Report> Arrival::finish() {
  State& s = *state_;
  pollfd p{done_fd(), POLLIN, 0};
  CHECK(::poll(&p, 1, 0) == 1);
  s.sink->stop();
  if (!s.sink->outcome()) {
    s.kill_guest();
    s.finished = true;
    return Error{
        s.sink->outcome().error().text + "; pages of the guest are lost, it has been killed",
        s.sink->outcome().error().code};
  }
  s.finished = true;
  s.report.push = s.sink->finished_at() - s.resumed_at;
  s.report.pages_moved += s.sink->pages();
  s.report.pages_demanded = s.sink->demanded();
  return s.report;
}

namespace {

/// The steps from the announcement to the moment before the commit. Tells the source if it fails.
struct Preparation {
  Platform platform;
  SharedMemory image_memory;
  Stubs stubs;
};

Result<Stubs> make_stubs(const Guest& guest, const Tree& tree, const SharedMemory& memory) {
  return Stubs::make(guest, tree, memory, seconds(10));
}

Result<void> count(const Image& image, size_t size, Report& report) {
  report.image_bytes = size;
  report.processes = static_cast<uint32_t>(image.processes.size());
  for (const ProcessImage& p : image.processes) {
    report.threads += static_cast<uint32_t>(p.threads.size());
    report.mappings += static_cast<uint32_t>(p.mappings.size());
    report.descriptors += static_cast<uint32_t>(p.descriptors.size());
    report.pages_moved += p.pages.size();
  }
  return {};
}

}  // namespace

Result<Arrival> Arrival::receive(Listener listener, Guest& guest, TargetHooks& hooks,
                                 Duration patience) {
  if (guest.user.uid == 0 || guest.user.gid == 0)
    return Error{"receive a guest as root: hosts run nothing as root", EPERM};
  Link link = TRY(accept_link(listener.state_->socket.fd.get(), listener.state_->key, patience));
  link.control.set_patience(patience);
  TRY(fault::point(Fault::connected));

  // Whatever fails from here to the commit is told to the source, which then goes on itself.
  auto state = std::make_unique<State>(std::move(link.control), *guest.sandbox);
  Connection& control = state->control;
  bool committed = false;
  auto received = [&]() -> Result<void> {
    Patience bound(patience);
    const Announcement announcement = TRY(control::receive_announcement(control));
    const Platform platform = TRY(this_platform());
    if (auto text = difference(announcement.platform, platform); !text.empty())
      return Error{text, EOPNOTSUPP};
    SharedMemory memory = TRY(SharedMemory::map(kMaxImage));
    memory.touch(kTouched);
    auto stubs = std::make_unique<Stubs>(TRY(make_stubs(guest, announcement.tree, memory)));
    auto restoration =
        std::make_unique<Restoration>(TRY(Restoration::begin(guest, *stubs, platform)));
    TRY(fault::point(Fault::prepared));
    TRY(control::say(control, control::Word::ready));
    // Copies of the tree are parked in the sandbox, in their sessions and groups.

    const size_t size = TRY(control::receive_image(control, {memory.data(), memory.size()}));
    const Image image = TRY(decode_image({memory.data(), size}));
    TRY(fault::point(Fault::image_received));
    if (!(image.tree == stubs->tree())) {
      restoration.reset();
      stubs = nullptr;
      stubs = std::make_unique<Stubs>(TRY(make_stubs(guest, image.tree, memory)));
      restoration = std::make_unique<Restoration>(TRY(Restoration::begin(guest, *stubs, platform)));
    }
    // The image is whole and well-formed, and the stubs are those it needs.

    Sandbox* sandbox = guest.sandbox;
    state->sink = TRY(
        PageSink::create(std::move(link.demand), std::move(link.bulk),
                         {[&control] {
                            // The source waits for this word to free the memory; if it is gone, so
                            // is the memory.
                            if (auto told = control::say(control, control::Word::complete); !told)
                              log::warning("{}", told.error().text);
                          },
                          [sandbox] {
                            if (auto killed = sandbox->cgroup().kill(); !killed)
                              log::error("{}", killed.error().text);
                          }}));
    state->sink->start();  // while the stubs work; from here on this process has threads
    TRY(restoration->adopt(image, size));
    TRY(fault::point(Fault::adopted));
    TRY(refill_input(guest, image.input));
    // Files are open, with the user's rights.

    TRY(restoration->build_memory());
    TRY(fault::point(Fault::space));
    std::vector<Fd> uffds;
    std::vector<int> numbers;
    for (size_t i = 0; i < stubs->size(); i++) {
      uffds.push_back(stubs->take_uffd(i));
      numbers.push_back(uffds.back().get());
    }
    const auto covered = TRY(restoration->hold_back_pages(numbers));
    for (size_t i = 0; i < uffds.size(); i++)
      state->sink->add(static_cast<uint32_t>(i), std::move(uffds[i]), covered[i]);
    // The address spaces stand; what is not there yet will be asked for.

    TRY(restoration->build_threads());
    TRY(fault::point(Fault::threads));
    TRY(restoration->set_registers());
    TRY(wait_for_clock(stubs->pid(0), image.monotonic));
    TRY(hooks.attached(image.hook_bytes));
    TRY(fault::point(Fault::restored));
    // Everything is restored and nothing runs. Confined: no privileges, the user's rights.

    if (pollfd p{state->sink->done_fd(), POLLIN, 0}; ::poll(&p, 1, 0) != 0)
      return Error{"the link broke before the commit", EPIPE};
    TRY(hooks.commit());
    committed = true;
    TRY(fault::point(Fault::committed));
    // Home has recorded this copy as the live one. There is no way back.

    guest.root = stubs->pid(0).value;
    restoration->resume();
    state->resumed_at = Clock::now();
    TRY(count(image, size, state->report));
    TRY(fault::point(Fault::running));
    // It runs.
    return control::say(control, control::Word::running);
  }();
  if (received) return Arrival(std::move(state));
  Error why = std::move(received).error();
  if (!committed) {
    // Best effort: if it does not arrive, the source asks home.
    if (auto told = control::say(control, control::Word::failed, why.text); !told)
      log::warning("{}", told.error().text);
    return why;
  }
  // The guest lives here or nowhere. The source learns it from home; what it has not sent is lost.
  if (state->sink) state->sink->stop();
  return std::move(why).in("after the commit");
}

}  // namespace hob::migrate
