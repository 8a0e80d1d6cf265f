#pragma once

#include <cstdint>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/image.h"
#include "migrate/proc.h"

/// Huge pages of hugetlbfs: MAP_HUGETLB and memfd_create(2) with MFD_HUGETLB. (Transparent huge
/// pages are the kernel's own affair.)
///
/// A host has as many as its administrator has set aside, so the target is asked for them before
/// anything is frozen. userfaultfd could deliver them only whole, each a fault of 2 MiB: they
/// travel in the image instead, those that are not all zero, and at most kMostHugePages. Private
/// ones whose contents nobody has touched are not in it either. Pages of 2 MiB alone: of the larger
/// ones one would be more than all that may travel.
namespace hob::migrate {

inline constexpr uint64_t kHugePage = 2u << 20;
inline constexpr uint64_t kMostHugePages = 256;  ///< 512 MiB, as much as other objects (objects.cc)

/// Whether a mapping is of huge pages, as far as its name tells.
bool may_be_huge(const proc::Mapping& m);
/// An Error with code kObstacle, about `subject`: of pages of another size.
Result<void> check_huge_size(Tid process, const proc::Mapping& m, const std::string& subject);

/// How many huge pages the processes would take elsewhere: of each its private mappings, whole, for
/// that is what mmap(2) reserves; and shared memory once. An Error with code kObstacle: too many.
Result<uint32_t> count_huge_pages(const std::vector<Tid>& processes);

/// At the target: an Error that says what is missing, if fewer are free.
Result<void> check_free_huge_pages(uint32_t wanted);

/// Shared memory of huge pages: a memfd with the contents of the object, but not yet its mode and
/// seals. ENOMEM or ENOSPC if somebody else has taken the pages meanwhile.
Result<Fd> make_huge_memory(const ObjectImage& object);

/// Whether memory is all zero.
bool all_zero(const std::byte* memory, size_t size);

}  // namespace hob::migrate
