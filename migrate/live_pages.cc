#include <unistd.h>

#include <algorithm>

#include "migrate/objects.h"
#include "migrate/page_origin.h"
#include "migrate/page_stream.h"
#include "migrate/pagemap.h"
#include "migrate/proc.h"

namespace hob::migrate {

LivePages::LivePages(const std::vector<CaptiveProcess>& processes, const Image& image,
                     const std::vector<Fd>& objects)
    : processes_(processes), image_(image), objects_(objects) {}

std::vector<uint32_t> LivePages::owners() const {
  std::vector<uint32_t> all;
  for (const ProcessImage& p : image_.processes) all.push_back(static_cast<uint32_t>(p.pid));
  all.push_back(stream::kObjects);
  return all;
}

size_t LivePages::index_of(uint32_t process) const {
  const auto& all = image_.processes;
  return static_cast<size_t>(
      std::find_if(all.begin(), all.end(),
                   [&](const ProcessImage& p) { return static_cast<uint32_t>(p.pid) == process; }) -
      all.begin());
}

Result<Ranges> LivePages::populated(uint32_t process) const {
  if (process == stream::kObjects) return populated_objects();
  const size_t index = index_of(process);
  CHECK(index < processes_.size());
  PageMap map = TRY(PageMap::open(processes_[index].pid));
  Ranges found;
  Range span;  // neighbours are scanned by one call
  for (const MappingImage& m : image_.processes[index].mappings) {
    if (!streamed(m)) continue;
    if (m.range.start != span.end) {
      TRY(map.scan(span, found));
      span.start = m.range.start;
    }
    span.end = m.range.end;
  }
  TRY(map.scan(span, found));
  return found;
}

Result<Ranges> LivePages::populated_objects() const {
  Ranges found;
  for (uint32_t i = 0; i < objects_.size(); i++) {
    if (!image_.objects[i].streamed) continue;
    for (const Range& r : TRY(migrate::populated(objects_[i], image_.objects[i].size)))
      found.push_back({stream::object_address(i, r.start), stream::object_address(i, r.end)});
  }
  return found;
}

bool LivePages::has(uint32_t process, uint64_t address) const {
  if (address % kPage) return false;
  if (process == stream::kObjects) {
    if (!stream::is_object(address)) return false;
    const uint64_t index = stream::object_index(address);
    return index < objects_.size() && image_.objects[index].streamed &&
           stream::object_offset(address) < image_.objects[index].size;
  }
  const size_t index = index_of(process);
  if (index >= processes_.size()) return false;
  for (const MappingImage& m : image_.processes[index].mappings)
    if (streamed(m) && m.range.contains(address)) return true;
  return false;
}

Result<void> LivePages::read(uint32_t process, uint64_t address, std::span<std::byte> to) const {
  if (process != stream::kObjects) {
    const size_t index = index_of(process);
    CHECK(index < processes_.size());
    return proc::read_memory(processes_[index].pid, {address}, to.data(), to.size());
  }
  const Fd& file = objects_[stream::object_index(address)];
  const auto offset = static_cast<off_t>(stream::object_offset(address));
  const ssize_t n = ::pread(file.get(), to.data(), to.size(), offset);
  if (n < 0) return Error::sys("read", "shared memory");
  std::fill(to.begin() + n, to.end(), std::byte{});  // its last page may be a part of one
  return {};
}

}  // namespace hob::migrate
