#include "migrate/landing.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "migrate/capture.h"
#include "migrate/draft.h"
#include "migrate/fault.h"
#include "migrate/huge_pages.h"
#include "migrate/stages.h"

namespace hob::migrate {
namespace {

/// An image may be that much larger than its draft before it takes longer to receive.
constexpr size_t kMoreThanDraft = 256u << 10;
constexpr Duration kParkLimit = seconds(10);

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

Landing::Landing(const Guest& guest, SharedMemory memory, Duration patience)
    : guest_(&guest),
      patience_(patience),
      memory_(std::make_unique<SharedMemory>(std::move(memory))) {}

Result<Landing> Landing::prepare(const Guest& guest, const Announcement& announcement,
                                 Duration patience) {
  auto platform = std::make_unique<Platform>(TRY(this_platform()));
  if (auto text = difference(announcement.platform, *platform); !text.empty())
    return Error{text, EOPNOTSUPP};
  TRY(check_free_huge_pages(announcement.huge_pages));
  Landing landing(guest, TRY(SharedMemory::map(kMaxImage)), patience);
  landing.copy_ = announcement.copy;
  landing.other_kernel_ = announcement.platform.vdso != platform->vdso;
  landing.platform_ = std::move(platform);
  TRY(landing.park(announcement.tree));
  return landing;
}

Result<void> Landing::park(const Tree& tree) {
  Patience bound(patience_);
  restoration_.reset();
  stubs_.reset();
  stubs_ = std::make_unique<Stubs>(TRY(Stubs::make(*guest_, tree, *memory_, kParkLimit)));
  restoration_ =
      std::make_unique<Restoration>(TRY(Restoration::begin(*guest_, *stubs_, *platform_)));
  return {};
}

std::span<std::byte> Landing::image_memory() {
  return std::span(memory_->data(), memory_->size()).subspan(draft_place_.end);
}

Result<void> Landing::draft(size_t size) {
  Patience bound(patience_);
  draft_ = std::make_unique<Image>(TRY(decode_image(image_memory().first(size))));
  draft_place_ = {0, size};
  memory_->touch(size, size + kMoreThanDraft);
  if (draft_->tree != stubs_->tree()) return {};  // it will be another one once more
  auto built = restoration_->build_ahead(*draft_, draft_place_);
  built_ahead_ = built.ok();
  if (!built) {
    log::debug("build ahead: {}", built.error().text);
    restoration_.reset();
    stubs_.reset();
  }
  return {};
}

// Why it must begin from parked copies once more.
std::optional<std::string> Landing::begins_anew() const {
  if (!stubs_) return "nothing could be built ahead";
  if (image_->tree != stubs_->tree()) return "the tree has changed";
  if (!built_ahead_) return std::nullopt;
  if (auto why = difference(*draft_, *image_)) return why;
  if (restoration_->in_the_way(*image_)) return "its memory is where the engine is";
  return std::nullopt;
}

Result<void> Landing::decode(size_t size, const std::function<Result<void>()>& end_threads) {
  place_ = {draft_place_.end, draft_place_.end + size};
  image_ = std::make_unique<Image>(TRY(decode_image(image_memory().first(size))));
  TRY(fault::point(Fault::image_received));
  const auto why = begins_anew();
  if (draft_ && (why || !built_ahead_)) put_back_pages(*image_, *draft_, pages_of_draft_);
  if (!why) return {};
  log::debug("the move begins anew: {}", *why);
  if (end_threads) TRY(end_threads());
  return park(image_->tree);
}

Result<void> Landing::build(PageSink& sink) {
  Patience bound(patience_);
  TRY(restoration_->adopt(*image_, place_));
  TRY(fault::point(Fault::adopted));
  TRY(refill_input(*guest_, image_->input));
  // Files are open, with the user's rights.

  TRY(restoration_->build_memory());
  TRY(fault::point(Fault::space));
  std::vector<Fd> uffds;
  std::vector<int> numbers;
  for (size_t i = 0; i < stubs_->size(); i++) {
    uffds.push_back(stubs_->take_uffd(i));
    numbers.push_back(uffds.back().get());
  }
  const auto covered = TRY(restoration_->hold_back_pages(numbers));
  for (size_t i = 0; i < uffds.size(); i++)
    sink.add(static_cast<uint32_t>(image_->processes[i].pid), std::move(uffds[i]), covered[i]);
  return {};
}

Result<void> Landing::finish() {
  Patience bound(patience_);
  TRY(restoration_->build_threads());
  TRY(fault::point(Fault::threads));
  TRY(restoration_->set_registers());
  stages::mark("registers");
  takeover_ = std::make_unique<Takeover>(*restoration_, *image_);
  TRY(takeover_->prepare(!copy_));
  return wait_for_clock(stubs_->pid(0), image_->monotonic);
}

Result<void> Landing::take_over(Connection* source) {
  // Others may have a lock for as long as they like.
  Patience bound(2 * kLockPatience);
  return takeover_->complete(source);
}

pid_t Landing::resume(Wishes& wishes) {
  const pid_t root = stubs_->pid(0).value;
  restoration_->resume(wishes);
  return root;
}

void Landing::count(Report& report) const {
  report.image_bytes = place_.size();
  migrate::count(*image_, report);
}

}  // namespace hob::migrate
