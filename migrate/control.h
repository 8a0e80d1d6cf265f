#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "migrate/image.h"
#include "migrate/link.h"

/// What the two ends say to each other on the connection `control`, in this order.
///
///     source                                target
///     announcement  ------------------->    ready | refused TEXT
///     draft, perhaps ------------------>    drafted
///     image         ------------------->    running | failed TEXT
///                   <-------------------    hurry, perhaps: push what has not been asked for
///                   <-------------------    complete
///
/// Where all pages travel before the commit (strategy.h), nothing follows "running". A checkpoint
/// is "saved" instead, and the guest goes on at the source.
///
/// Between the commit and "running" the target may ask for what only one copy can have
/// (handover.h), in this order, each question at most once:
///
///                   <-------------------    weaken
///     weakened      ------------------->
///                   <-------------------    let_go
///     gone          ------------------->
///
/// "failed" is said only when the target has not committed and never will. A link that ends without
/// it after the image has begun leaves the question to SourceHooks::settle.
namespace hob::migrate::control {

enum class Word : uint32_t {
  announcement = 1,
  ready,  ///< its text: kOtherKernel, or nothing
  refused,
  image,
  running,
  failed,
  complete,
  hurry,
  saved,
  weaken,
  weakened,
  let_go,
  gone,
  draft,
  drafted
};

/// The processes may get another vdso (vdso.h).
inline constexpr std::string_view kOtherKernel = "other kernel";

Result<void> say(Connection& link, Word word, std::string_view text = {});
/// The next word. If it is another than `expected`, its text is the Error; code kRefused for
/// `refused` and `failed`, which are answers, EPIPE and others for a broken link.
Result<void> expect(Connection& link, Word expected);
/// expect(Word::ready): true if its text is kOtherKernel.
Result<bool> expect_ready(Connection& link);
/// The next word, of the target's after the image: `running`, `saved`, `weaken` or `let_go`; Errors
/// as above.
Result<Word> next_after_image(Connection& link);
inline constexpr int kRefused = ECONNREFUSED;
/// The next word, whatever it is.
Result<Word> hear(Connection& link);

Result<void> send_announcement(Connection& link, const Announcement& announcement);
Result<Announcement> receive_announcement(Connection& link);

/// Returns how many bytes it was.
Result<uint64_t> send_image(Connection& link, const Image& image, Word word = Word::image);
/// Reads an image, or a draft, into `memory`.
struct Received {
  bool is_draft;
  size_t size;
};
Result<Received> receive_image(Connection& link, std::span<std::byte> memory);

}  // namespace hob::migrate::control
