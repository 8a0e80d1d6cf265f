#include "migrate/checkpoint.h"

#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/log.h"
#include "migrate/control.h"
#include "migrate/fault.h"
#include "migrate/page_keeper.h"
#include "migrate/stubs.h"

namespace hob::migrate {
namespace {

using Digest = std::array<uint8_t, 32>;

struct Head {
  char magic[8];
  uint32_t version, zero;
  uint64_t offset, size;
  Digest index_digest, pages_digest;
};
constexpr char kMagic[8] = {'H', 'O', 'B', 'C', 'K', 'P', 'T', '1'};
constexpr uint32_t kVersion = 2;
/// Of an index: an image of 1 GiB, and page maps.
constexpr uint64_t kMaxIndex = 2ull << 30;

constexpr std::string_view kSubject = "the checkpoint";

Digest digest_of(std::span<const std::byte> bytes) {
  Digest digest;
  CHECK(EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr) > 0);
  return digest;
}

/// Of the pages: all from page 0 to `end`.
Result<Digest> digest_of_pages(const Fd& file, uint64_t end) {
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(),
                                                                   EVP_MD_CTX_free);
  CHECK(context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) > 0);
  Bytes buffer(1u << 20);
  for (uint64_t at = kPage; at < end;) {
    const auto part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), end - at));
    TRY(read_at(file.get(), part, at, "read", kSubject));
    CHECK(EVP_DigestUpdate(context.get(), part.data(), part.size()) > 0);
    at += part.size();
  }
  Digest digest;
  CHECK(EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) > 0);
  return digest;
}

Result<CheckpointIndex> index_of(const PageStore& store, Announcement announcement, Bytes image) {
  CheckpointIndex index;
  index.announcement = std::move(announcement);
  index.image = std::move(image);
  for (uint32_t process : store.owners())
    index.owners.push_back({process, TRY(store.populated(process)), {}});
  auto owner = index.owners.begin();
  for (const PageStore::Extent& e : store.extents()) {  // in the order of owners()
    while (owner->process != e.process) ++owner;
    owner->extents.push_back({e.address, e.size, e.offset});
  }
  return index;
}

Result<uint64_t> write_index(const PageStore& store, const CheckpointIndex& index) {
  const Bytes bytes = encode(index);
  if (bytes.size() > kMaxIndex) return Error{"write the checkpoint: too many pages", E2BIG};
  TRY(write_at(store.file().get(), bytes, store.end(), "write", kSubject));
  // The head makes it a checkpoint: nothing of it may come to the disk before the rest.
  if (::fdatasync(store.file().get()) < 0) return Error::sys("write", "the checkpoint");
  Head head = {};
  std::memcpy(head.magic, kMagic, sizeof kMagic);
  head.version = kVersion;
  head.offset = store.end();
  head.size = bytes.size();
  head.index_digest = digest_of(bytes);
  head.pages_digest = TRY(digest_of_pages(store.file(), store.end()));
  TRY(write_at(store.file().get(), std::as_bytes(std::span(&head, 1)), 0, "write", kSubject));
  if (::fdatasync(store.file().get()) < 0) return Error::sys("write", "the checkpoint");
  return store.end() + bytes.size();
}

}  // namespace

Result<uint64_t> record_checkpoint(Listener listener, Fd file, Duration patience) {
  Link link = TRY(listener.accept(patience));
  link.control.set_patience(patience);
  auto recorded = [&]() -> Result<uint64_t> {
    Announcement announcement = TRY(control::receive_announcement(link.control));
    if (!announcement.copy) return Error{"make a checkpoint: the source wants to move", EPROTO};
    auto keeper = TRY(PageKeeper::create(PageStore(std::move(file), kPage)));
    keeper->fill(std::move(link.bulk), [&] { link.control.shut(); });
    // Whatever kernel it will be restarted on.
    TRY(control::say(link.control, control::Word::ready, control::kOtherKernel));
    link.control.set_patience(kRoundsPatience);
    SharedMemory memory = TRY(SharedMemory::map(kMaxImage));
    const auto [is_draft, size] =
        TRY(control::receive_image(link.control, {memory.data(), memory.size()}));
    if (is_draft) return Error{"make a checkpoint: the source sends a draft", EPROTO};
    Bytes image(memory.data(), memory.data() + size);
    TRY(decode_image(image));
    TRY(fault::point(Fault::image_received));
    TRY(keeper->filled());
    TRY(fault::point(Fault::kept));
    const auto index = TRY(index_of(keeper->store(), std::move(announcement), std::move(image)));
    return write_index(keeper->store(), index);
  }();
  if (!recorded) {
    // If it does not arrive: the source goes on in any case.
    auto told = control::say(link.control, control::Word::failed, recorded.error().text);
    if (!told) log::warning("{}", told.error().text);
    return recorded;
  }
  TRY(control::say(link.control, control::Word::saved));
  return recorded;
}

Result<CheckpointFile> CheckpointFile::read(Fd file) {
  struct stat st;
  if (::fstat(file.get(), &st) < 0) return Error::sys("look at", "the checkpoint");
  Head head;
  const auto size = static_cast<uint64_t>(st.st_size);
  if (!S_ISREG(st.st_mode) || size < kPage) return Error{"it is no checkpoint", EBADMSG};
  TRY(read_at(file.get(), std::as_writable_bytes(std::span(&head, 1)), 0, "read", kSubject));
  if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0)
    return Error{"it is no checkpoint, or one that was not finished", EBADMSG};
  if (head.version != kVersion)
    return Error{"the checkpoint was made by another version of hob", EBADMSG};
  if (head.size > kMaxIndex || head.offset > size || head.size > size - head.offset)
    return Error{"read the checkpoint: it ends too early", EBADMSG};
  Bytes bytes(head.size);
  TRY(read_at(file.get(), bytes, head.offset, "read", kSubject));
  if (digest_of(bytes) != head.index_digest)
    return Error{"read the checkpoint: it is damaged", EBADMSG};
  CheckpointIndex index = TRY(decode_checkpoint_index(bytes));
  for (const auto& owner : index.owners)
    for (const auto& e : owner.extents)
      if (e.offset < kPage || e.offset > head.offset || e.size > head.offset - e.offset)
        return Error{"read the checkpoint: pages lie outside of it", EBADMSG};
  const int64_t monotonic = TRY(decode_image(index.image)).monotonic;
  return CheckpointFile(std::move(file), std::move(index), head.offset, head.pages_digest, size,
                        monotonic);
}

Result<void> CheckpointFile::verify() const {
  if (TRY(digest_of_pages(file_, pages_end_)) == pages_digest_) return {};
  return Error{"read the checkpoint: its pages are damaged", EBADMSG};
}

Result<PageStore> CheckpointFile::store() const {
  PageStore store(TRY(file_.duplicate()));
  for (const auto& owner : index_.owners) {
    store.set_populated(owner.process, owner.populated);
    for (const auto& e : owner.extents)
      TRY(store.add({owner.process, e.address, e.size, e.offset}));
  }
  return store;
}

}  // namespace hob::migrate
