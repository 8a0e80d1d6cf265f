#include "base/log.h"
#include "migrate/captive.h"
#include "migrate/capture.h"
#include "migrate/control.h"
#include "migrate/fault.h"
#include "migrate/handover.h"
#include "migrate/migrate.h"
#include "migrate/page_source.h"
#include "migrate/parts.h"

namespace hob::migrate {
namespace {

constexpr Duration kConnectLimit = seconds(10);
constexpr Duration kFreezeLimit = seconds(2);
constexpr Duration kVerdictLimit = seconds(60);

Result<void> announce(const Guest& guest, const Platform& platform, Link& link) {
  TreeView view = TRY(view_tree(guest));
  TRY(control::send_announcement(link.control, {platform, std::move(view.tree)}));
  return control::expect(link.control, control::Word::ready);
}

/// Who is the live copy now?
enum class Verdict { target, source };

// From the first byte of the image on, only the target's own word or the record at home can tell.
Verdict await_verdict(Link& link, const Image& image, Yielding& yielding, Report& report,
                      SourceHooks& hooks, Error& why) {
  auto told = [&]() -> Result<void> {
    TRY(fault::point(Fault::image_sending));
    report.image_bytes = TRY(control::send_image(link.control, image));
    TRY(fault::point(Fault::image_sent));
    link.control.set_patience(kVerdictLimit);
    for (;;) {
      switch (TRY(control::next_after_image(link.control))) {
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
  if (told) return Verdict::target;
  why = std::move(told).error();
  if (why.code == control::kRefused) return Verdict::source;
  link.control.shut();  // whatever it says now comes too late: home decides
  return hooks.settle() ? Verdict::target : Verdict::source;
}

void count(const Image& image, Report& report) {
  report.processes = static_cast<uint32_t>(image.processes.size());
  for (const ProcessImage& p : image.processes) {
    report.threads += static_cast<uint32_t>(p.threads.size());
    report.mappings += static_cast<uint32_t>(p.mappings.size());
    report.descriptors += static_cast<uint32_t>(p.descriptors.size());
    report.pages_moved += p.pages.size();
  }
}

Sent not_moved(Error why) {
  Sent sent;
  sent.obstacles.push_back({std::move(why.text)});
  return sent;
}

}  // namespace

Result<Sent> send(Guest& guest, const std::string& address, uint16_t port, const LinkKey& key,
                  SourceHooks& hooks) {
  Sent sent;
  sent.obstacles = TRY(check(guest));
  if (!sent.obstacles.empty()) return sent;
  TRY(fault::point(Fault::check));
  // Nothing known is in the way. The guest is untouched.

  const Platform platform = TRY(this_platform());
  for (const Tid process : TRY(view_tree(guest)).pids)
    if (!guest.advices.knows(process)) guest.advices.read(process);
  Link link = TRY(connect_link(address, port, key, kConnectLimit));
  if (auto ready = announce(guest, platform, link); !ready) {
    if (ready.error().code == control::kRefused) return not_moved(std::move(ready).error());
    return std::move(ready).error();
  }
  // The target is prepared: its copies of the tree are parked, its memory is touched.

  Patience patience(kVerdictLimit);
  Captives captives = TRY(Captives::take(guest, kFreezeLimit));
  TRY(fault::point(Fault::seized));
  const std::string hook_bytes = hooks.frozen();
  // Nothing of the guest runs. Leaving this function gives all back.

  auto captured = capture(guest, captives, guest.advices, platform);
  if (!captured && captured.error().code == kObstacle)
    return not_moved(std::move(captured).error());
  TRY(captured.ok() ? Result<void>() : Result<void>(captured.error()));
  captives.captured();
  Image& image = captured->image;
  image.hook_bytes = hook_bytes;
  TRY(fault::point(Fault::captured));
  // The image is complete; what was borrowed for it has been given back.

  Error why;
  Yielding yielding(captives, image, platform);
  if (await_verdict(link, image, yielding, sent.report, hooks, why) == Verdict::source)
    return std::move(why).in("move the guest");
  for (TakenBytes& bytes : captured->taken) bytes.keep();
  sent.report.freeze = Clock::now() - captives.stopped_at;
  sent.moved = true;
  count(image, sent.report);
  // The target is the live copy. This one can never run again: it stays stopped until it is killed.

  auto pushed = [&]() -> Result<Pushed> {
    TRY(fault::point(Fault::told_running));
    return push_pages(captives.processes, image, captured->objects, link);
  }();
  captives.destroy();
  if (!pushed) {
    sent.lost = std::move(pushed).error().text;
    return sent;
  }
  sent.report.pages_moved += pushed->pages;
  sent.report.pages_demanded = pushed->demanded;
  // Every page is there. Nothing of the guest is left here.
  return sent;
}

}  // namespace hob::migrate
