#include "migrate/register_samples.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include <catch2/catch.hpp>

namespace hob::migrate {
namespace {

TEST_CASE("Pages are ranked by how many samples name them") {
  const std::vector<uint64_t> words = {
      0x1008, 0x1010, 0x1018,  // one page, one sample
      0x2000, 0x3fff, 0x5000,  //
      0x3000, 0x2abc, 0x9000,  //
      0x3123, 0x7000, 0x8000,
  };
  const std::vector<uint64_t> pages = rank_pages(words, 3);
  REQUIRE(pages.size() == 7);
  CHECK(pages[0] == 0x3000);  // three samples
  CHECK(pages[1] == 0x2000);  // two
  CHECK(std::count(pages.begin(), pages.end(), 0x1000u) == 1);
  CHECK(rank_pages({}, 3).empty());
}

// It is neither stopped nor asked.
TEST_CASE("Samples show the page that a running program works with") {
  void* page = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(page != MAP_FAILED);
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (auto* word = static_cast<volatile uint64_t*>(page);;) *word = *word + 1;
  }
  REQUIRE(child > 0);
  bool seen = false;
  for (int i = 0; i < 100 && !seen; i++) {  // on a busy machine it may have had no time yet
    RegisterSamples samples;
    samples.watch({child});
    samples.begin();
    ::usleep(20'000);
    const TouchedPages touched = samples.take();
    const auto at = touched.find({child});
    seen = at != touched.end() &&
           std::count(at->second.begin(), at->second.end(), reinterpret_cast<uint64_t>(page)) == 1;
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::munmap(page, kPage);
  CHECK(seen);
}

TEST_CASE("Of a process that is gone there are no samples") {
  RegisterSamples samples;
  samples.watch({INT32_MAX});
  samples.begin();
  CHECK(samples.take().empty());
}

}  // namespace
}  // namespace hob::migrate
