#pragma once

#include <string>

#include "coordinator/ledger.h"

// Catch2 has a CHECK of its own, which is the one that tests mean.
#undef CHECK
#include <catch2/catch.hpp>

#include "tests/kit/scratch.h"

namespace hob::coordinator::test {

inline WallTime at(int64_t s) {
  return WallTime{} + seconds(1'700'000'000 + s);
}

inline HostRow host_row(const std::string& name) {
  HostRow row;
  row.name = name;
  row.public_key = name + std::string(32 - name.size(), '\0');
  row.endpoint = "tcp://10.77.0.1:7718";
  row.registered = at(0);
  return row;
}

inline JobRow job_row(const std::string& id, HostId home, int64_t submitted = 0) {
  JobRow row;
  row.id = id;
  row.home = home;
  row.user = "ann";
  row.uid = 1000;
  row.command = "cc -c x.c";
  row.submitted = at(submitted);
  return row;
}

/// The value; a failed call fails the test with its text.
template <class T>
T get(Result<T> result) {
  if (!result) FAIL(result.error().text);
  return std::move(result).value();
}
inline void get(Result<void> result) {
  if (!result) FAIL(result.error().text);
}
template <class T>
Error fail(Result<T> result) {
  REQUIRE_FALSE(result.ok());
  return std::move(result).error();
}

}  // namespace hob::coordinator::test
