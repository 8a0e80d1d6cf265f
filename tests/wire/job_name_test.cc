#include "wire/job_name.h"

#include <catch2/catch.hpp>
#include <string>

using hob::wire::is_job_of;

TEST_CASE("a host names its own jobs and nobody else's") {
  CHECK(is_job_of("h0", "h0.17"));
  CHECK(is_job_of("a.b", "a.b.1"));
  CHECK_FALSE(is_job_of("h0", "h1.17"));
  CHECK_FALSE(is_job_of("h", "h0.17"));
  CHECK_FALSE(is_job_of("h0", "h0.1.17"));
  CHECK_FALSE(is_job_of("h0", "h0.1.."));
}

TEST_CASE("what is no job's name belongs to nobody") {
  CHECK_FALSE(is_job_of("", ".17"));
  CHECK_FALSE(is_job_of("h0", ""));
  CHECK_FALSE(is_job_of("h0", "h0"));
  CHECK_FALSE(is_job_of("h0", "h0."));
  CHECK_FALSE(is_job_of("h0", "h0.17x"));
  CHECK_FALSE(is_job_of("h0", "h0./../1"));
  CHECK_FALSE(is_job_of("h0", std::string("h0.1\0", 5)));
  CHECK_FALSE(is_job_of("h0", "h0." + std::string(100, '1')));
  CHECK(is_job_of(std::string(63, 'h'), std::string(63, 'h') + ".18446744073709551615"));
}
