#include <algorithm>
#include <cstring>
#include <type_traits>

#include "migrate/image.h"
#include "migrate/image_check.h"

/// The format of images and announcements.
///
/// Constraints: read once, front to back; hostile; a few KiB to some MiB, mostly pages; both ends
/// run the same release (a cell is upgraded as a whole), so a reader reads its own version only.
/// Rejected: protobuf (copies the pages, and its cost is in the freeze), raw structures (padding
/// travels, and the layout would be whatever the compiler did).
///
/// Bytes: magic "HOBIMAGE", "HOBANNCE" or "HOBINDEX", version u32, then the fields in the order of
/// the fields() functions below. Integers little-endian at their natural width, enums as u8,
/// strings and sequences as a u32 count and their elements, siginfo_t as its 128 bytes. Nothing may
/// be left over.
namespace hob::migrate {
namespace {

constexpr uint32_t kVersion = 6;
constexpr char kImageMagic[8] = {'H', 'O', 'B', 'I', 'M', 'A', 'G', 'E'};
constexpr char kAnnouncementMagic[8] = {'H', 'O', 'B', 'A', 'N', 'N', 'C', 'E'};
constexpr char kCheckpointMagic[8] = {'H', 'O', 'B', 'I', 'N', 'D', 'E', 'X'};

class Writer {
 public:
  explicit Writer(Bytes& out) : out_(out) {}
  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      raw(&value, sizeof value);
    } else {
      fields(*this, value);
    }
  }
  void operator()(std::string& s) { counted(s.data(), s.size()); }
  void operator()(Bytes& b) { counted(b.data(), b.size()); }
  void operator()(siginfo_t& s) { raw(&s, sizeof s); }
  template <class T>
  void operator()(std::vector<T>& all) {
    count(all.size());
    for (T& one : all) (*this)(one);
  }
  template <class T, size_t N>
  void operator()(std::array<T, N>& all) {
    for (T& one : all) (*this)(one);
  }
  /// Bytes that are sent from where they lie.
  void view(std::span<const std::byte>& bytes) {
    count(bytes.size());
    views_.push_back({out_.size(), bytes});
  }
  struct View {
    size_t at;
    std::span<const std::byte> bytes;
  };
  std::vector<View> views_;

 private:
  void count(size_t n) {
    auto small = static_cast<uint32_t>(n);
    raw(&small, sizeof small);
  }
  void counted(const void* data, size_t n) {
    count(n);
    raw(data, n);
  }
  void raw(const void* data, size_t n) {
    if (n == 0) return;
    const size_t at = out_.size();
    out_.resize(at + n);
    std::memcpy(out_.data() + at, data, n);
  }
  Bytes& out_;
};

/// Never reads past the end and never allocates more than a small multiple of what it has read:
/// sequences grow as their elements are read, from what as many bytes of input would hold.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> in) : in_(in) {}
  bool bad() const { return bad_; }
  bool at_end() const { return in_.empty(); }
  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_enum_v<T>) {
      raw(&value, sizeof value);
      if (value > T::last) fail(value);
    } else if constexpr (std::is_arithmetic_v<T>) {
      raw(&value, sizeof value);
    } else {
      fields(*this, value);
    }
  }
  void operator()(std::string& s) {
    auto bytes = take(count());
    s.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void operator()(Bytes& b) {
    auto bytes = take(count());
    b.assign(bytes.begin(), bytes.end());
  }
  void operator()(siginfo_t& s) { raw(&s, sizeof s); }
  template <class T>
  void operator()(std::vector<T>& all) {
    const size_t n = count();
    all.reserve(std::min(n, in_.size() / sizeof(T)));  // processes are large and slow to move
    for (size_t i = 0; i < n && !bad_; i++) (*this)(all.emplace_back());
  }
  template <class T, size_t N>
  void operator()(std::array<T, N>& all) {
    for (T& one : all) (*this)(one);
  }
  void view(std::span<const std::byte>& bytes) { bytes = take(count()); }

 private:
  template <class T>
  void fail(T& value) {
    bad_ = true;
    value = T{};
  }
  size_t count() {
    uint32_t n = 0;
    raw(&n, sizeof n);
    return bad_ ? 0 : n;
  }
  std::span<const std::byte> take(size_t n) {
    if (n > in_.size()) bad_ = true;
    if (bad_) return {};
    auto taken = in_.first(n);
    in_ = in_.subspan(n);
    return taken;
  }
  void raw(void* to, size_t n) {
    auto bytes = take(n);
    if (!bad_) std::memcpy(to, bytes.data(), n);
  }
  std::span<const std::byte> in_;
  bool bad_ = false;
};

// The fields, for both directions.

template <class A>
void fields(A& a, TreeNode& x) {
  a(x.pid), a(x.parent), a(x.group), a(x.session), a(x.terminal), a(x.pty), a(x.zombie),
      a(x.exit_code), a(x.exit_signal);
}
template <class A>
void fields(A& a, StateLayout::Component& x) {
  a(x.number), a(x.offset), a(x.size);
}
template <class A>
void fields(A& a, Platform& x) {
  a(x.vdso), a(x.state.size), a(x.state.components), a(x.features);
}
template <class A>
void fields(A& a, Announcement& x) {
  a(x.platform), a(x.tree), a(x.strategy), a(x.copy), a(x.runs), a(x.huge_pages);
}
template <class A>
void fields(A& a, Range& x) {
  a(x.start), a(x.end);
}
template <class A>
void fields(A& a, CheckpointIndex::Owner::Extent& x) {
  a(x.address), a(x.size), a(x.offset);
}
template <class A>
void fields(A& a, CheckpointIndex::Owner& x) {
  a(x.process), a(x.populated), a(x.extents);
}
template <class A>
void fields(A& a, CheckpointIndex& x) {
  a(x.announcement), a(x.image), a(x.owners);
}
template <class A>
void fields(A& a, user_regs_struct& x) {
  for (auto* r :
       {&x.r15,    &x.r14, &x.r13, &x.r12,     &x.rbp,     &x.rbx, &x.r11,      &x.r10, &x.r9,
        &x.r8,     &x.rax, &x.rcx, &x.rdx,     &x.rsi,     &x.rdi, &x.orig_rax, &x.rip, &x.cs,
        &x.eflags, &x.rsp, &x.ss,  &x.fs_base, &x.gs_base, &x.ds,  &x.es,       &x.fs,  &x.gs})
    a(*r);
}
template <class A>
void fields(A& a, kernel::RseqConfiguration& x) {
  a(x.pointer), a(x.size), a(x.signature), a(x.flags);
}
template <class A>
void fields(A& a, ThreadImage& x) {
  a(x.tid), a(x.name), a(x.registers), a(x.extended_state), a(x.signal_mask), a(x.rseq);
  a(x.robust_list), a(x.robust_size), a(x.tid_address);
  a(x.stack_pointer), a(x.stack_size), a(x.stack_flags), a(x.pending);
  a(x.wait_call), a(x.wait_end), a(x.timer_slack), a(x.speculation), a(x.keep_capabilities);
  a(x.no_time_stamps), a(x.no_cpuid);
  a(x.nice), a(x.processors), a(x.policy), a(x.disk_priority), a(x.filters);
}
template <class A>
void fields(A& a, FilterImage& x) {
  a(x.code), a(x.log);
}
template <class A>
void fields(A& a, FileImage& x) {
  a(x.path), a(x.size), a(x.modified);
}
template <class A>
void fields(A& a, MappingImage& x) {
  a(x.range.start), a(x.range.end), a(x.kind), a(x.protection), a(x.shared), a(x.advice), a(x.file),
      a(x.offset);
}
template <class A>
void fields(A& a, DescriptorImage& x) {
  a(x.number), a(x.description), a(x.close_on_exec);
}
template <class A>
void fields(A& a, TimerImage& x) {
  a(x.id), a(x.clock), a(x.signal), a(x.notify), a(x.thread), a(x.value);
  a(x.interval_s), a(x.interval_ns), a(x.left_s), a(x.left_ns);
}
template <class A>
void fields(A& a, IntervalTimer& x) {
  a(x.interval_s), a(x.interval_us), a(x.left_s), a(x.left_us);
}
template <class A>
void fields(A& a, ResourceLimit& x) {
  a(x.soft), a(x.hard);
}
template <class A>
void fields(A& a, kernel::MemoryMap& x) {
  for (auto* p : {&x.start_code, &x.end_code, &x.start_data, &x.end_data, &x.start_brk, &x.brk,
                  &x.start_stack, &x.arg_start, &x.arg_end, &x.env_start, &x.env_end})
    a(*p);
}
template <class A>
void fields(A& a, kernel::SignalAction& x) {
  a(x.handler), a(x.flags), a(x.restorer), a(x.mask);
}
template <class A>
void fields(A& a, ProcessImage& x) {
  a(x.pid), a(x.threads), a(x.memory_map), a(x.auxv), a(x.files), a(x.executable);
  a(x.executable_is_object), a(x.mappings), a(x.vdso);
  a(x.lock_future), a(x.no_huge_pages), a(x.merge_memory), a(x.memory_error_policy);
  a(x.descriptors), a(x.directory), a(x.umask), a(x.actions), a(x.pending), a(x.interval_timers);
  a(x.timers), a(x.limits), a(x.personality), a(x.dumpable), a(x.subreaper);
  a(x.parent_death_signal), a(x.permitted_state), a(x.stop_signal), a(x.untold), a(x.memory_score);
  a(x.pages), a.view(x.page_bytes);
}
template <class A>
void fields(A& a, EpollEntry& x) {
  a(x.number), a(x.events), a(x.data);
}
template <class A>
void fields(A& a, WatchImage& x) {
  a(x.number), a(x.mask), a(x.path);
}
template <class A>
void fields(A& a, Description& x) {
  a(x.kind), a(x.flags), a(x.position), a(x.path), a(x.pipe), a(x.object), a(x.socket), a(x.pty),
      a(x.external), a(x.value), a(x.mode);
  a(x.arm_flags), a(x.interval_s), a(x.interval_ns), a(x.left_s), a(x.left_ns), a(x.watched);
  a(x.owner), a(x.of), a(x.owner_type), a(x.owner_number), a(x.owner_signal), a(x.watches);
}
template <class A>
void fields(A& a, PipeImage& x) {
  a(x.path), a(x.hung_up), a(x.device), a(x.inode), a(x.capacity), a(x.content);
}
template <class A>
void fields(A& a, ObjectPiece& x) {
  a(x.offset), a(x.content);
}
template <class A>
void fields(A& a, ObjectImage& x) {
  a(x.kind), a(x.path), a(x.size), a(x.mode), a(x.seals), a(x.huge), a(x.streamed), a(x.pieces);
}
template <class A>
void fields(A& a, SocketImage& x) {
  a(x.state), a(x.name), a(x.has_file), a(x.inode), a(x.mode), a(x.backlog), a(x.process);
  a(x.descriptor), a(x.type), a(x.peer), a(x.shutdown), a(x.pass_credentials), a(x.send_buffer),
      a(x.receive_buffer), a(x.send_timeout), a(x.receive_timeout), a(x.low_water);
  a(x.queue);
}
template <class A>
void fields(A& a, Endpoint& x) {
  a(x.address), a(x.port);
}
template <class A>
void fields(A& a, InetImage& x) {
  a(x.state), a(x.family), a(x.type), a(x.local), a(x.remote), a(x.backlog), a(x.process);
  a(x.descriptor), a(x.peer), a(x.shutdown), a(x.broken), a(x.send_buffer), a(x.receive_buffer);
  a(x.buffer_locks), a(x.options), a(x.queue);
}
template <class A>
void fields(A& a, LockImage& x) {
  a(x.kind), a(x.write), a(x.process), a(x.descriptor), a(x.start), a(x.end);
}
template <class A>
void fields(A& a, PtyImage& x) {
  a(x.number), a(x.locked), a(x.packets), a(x.hung_up), a(x.foreground), a(x.settings);
  a(x.rows), a(x.columns), a(x.width), a(x.height), a(x.typed), a(x.printed);
}
template <class A>
void fields(A& a, TerminalImage& x) {
  a(x.present), a(x.session), a(x.foreground), a(x.settings), a(x.rows), a(x.columns);
}
template <class A>
void fields(A& a, SegmentImage& x) {
  a(x.id), a(x.key), a(x.mode), a(x.size), a(x.removed), a(x.pieces);
}
template <class A>
void fields(A& a, SemaphoresImage& x) {
  a(x.id), a(x.key), a(x.mode), a(x.values);
}
template <class A>
void fields(A& a, MessageImage& x) {
  a(x.type), a(x.content);
}
template <class A>
void fields(A& a, QueueImage& x) {
  a(x.id), a(x.key), a(x.mode), a(x.capacity), a(x.messages);
}
template <class A>
void fields(A& a, SharedFileImage& x) {
  a(x.name), a(x.mode), a(x.size), a(x.modified), a(x.pieces);
}
template <class A>
void fields(A& a, IpcImage& x) {
  a(x.segments), a(x.semaphores), a(x.queues), a(x.files);
}
template <class A>
void fields(A& a, Image& x) {
  a(x.tree), a(x.descriptions), a(x.pipes), a(x.objects), a(x.sockets), a(x.vdsos), a(x.ipc),
      a(x.terminal), a(x.input), a(x.hook_bytes);
  a(x.monotonic), a(x.processes), a(x.locks), a(x.ptys), a(x.network), a(x.machine);
  a(x.inet_sockets), a(x.filters);
}

struct Header {
  std::array<char, 8> magic = {};
  uint32_t version = 0;
};
template <class A>
void fields(A& a, Header& x) {
  a(x.magic), a(x.version);
}

Header header(const char (&magic)[8]) {
  Header h;
  std::copy(magic, magic + 8, h.magic.begin());
  h.version = kVersion;
  return h;
}

template <class T>
Result<T> decode(std::span<const std::byte> bytes, const char (&magic)[8]) {
  Reader reader(bytes);
  Header got;
  reader(got);
  if (reader.bad() || !std::equal(got.magic.begin(), got.magic.end(), magic))
    return invalid("it does not start with its magic");
  if (got.version != kVersion) return invalid("its version is not this release's");
  T value;
  reader(value);
  if (reader.bad()) return invalid("it ends early or has a value out of range");
  if (!reader.at_end()) return invalid("bytes are left over");
  return value;
}

}  // namespace

Bytes encode(const Announcement& announcement) {
  Bytes bytes;
  Writer writer(bytes);
  Header h = header(kAnnouncementMagic);
  writer(h);
  writer(
      const_cast<Announcement&>(announcement));  // fields() serves both directions; only read here
  return bytes;
}

Result<Announcement> decode_announcement(std::span<const std::byte> bytes) {
  auto announcement = TRY(decode<Announcement>(bytes, kAnnouncementMagic));
  TRY(check_form(announcement.tree));
  return announcement;
}

Bytes encode(const CheckpointIndex& index) {
  Bytes bytes;
  Writer writer(bytes);
  Header h = header(kCheckpointMagic);
  writer(h);
  writer(const_cast<CheckpointIndex&>(index));  // only read, as above
  return bytes;
}

Result<CheckpointIndex> decode_checkpoint_index(std::span<const std::byte> bytes) {
  auto index = TRY(decode<CheckpointIndex>(bytes, kCheckpointMagic));
  TRY(check_form(index.announcement.tree));
  TRY(check_form(index.owners));
  return index;
}

std::vector<std::span<const std::byte>> encode(const Image& image, Bytes& storage) {
  storage.clear();
  Writer writer(storage);
  Header h = header(kImageMagic);
  writer(h);
  writer(const_cast<Image&>(image));  // only read, as above
  std::vector<std::span<const std::byte>> pieces;
  size_t at = 0;
  for (const Writer::View& view : writer.views_) {
    pieces.push_back(std::span<const std::byte>(storage).subspan(at, view.at - at));
    pieces.push_back(view.bytes);
    at = view.at;
  }
  pieces.push_back(std::span<const std::byte>(storage).subspan(at));
  return pieces;
}

Bytes encode_whole(const Image& image) {
  Bytes storage, whole;
  for (auto piece : encode(image, storage)) whole.insert(whole.end(), piece.begin(), piece.end());
  return whole;
}

Result<Image> decode_image(std::span<const std::byte> bytes) {
  auto image = TRY(decode<Image>(bytes, kImageMagic));
  TRY(check_form(image));
  return image;
}

}  // namespace hob::migrate
